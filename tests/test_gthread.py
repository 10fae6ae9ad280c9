"""The worker's own decisions: whom it serves on, whom it lets go first, and whom it no longer waits for."""

import io
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.workers.gthread import ThreadWorker

from authapp import gthread
from authapp.gthread import Worker

pytestmark = pytest.mark.any_database

THREADS = 4
"""Of which one may stay with a client."""
OTHERS_AGE = 2


@pytest.fixture
def worker() -> Iterator[Worker]:
    """A worker that was never forked."""
    config = Config()
    config.set("threads", THREADS)
    made = Worker(1, 0, [], None, 30, config, None)
    made.alive = True
    yield made
    made.tmp.close()
    gthread._loads[:] = bytes(len(gthread._loads))


class Conn:
    """A connection of gunicorn's, as much of it as the worker looks at, and its client."""

    def __init__(self) -> None:
        self.sock, self.client = socket.socketpair()
        self.parser: Any = SimpleNamespace(unreader=SimpleNamespace(buf=io.BytesIO()), mesg=None)

    def close(self, **_: object) -> None:
        self.sock.close()
        self.client.close()


@pytest.fixture
def conn() -> Iterator[Conn]:
    """A connection, and its client who asks for nothing yet."""
    conn = Conn()
    yield conn
    conn.close()


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Conn]:
    """Whom gunicorn has served, request by request; each takes one byte of its client's."""
    served: list[Conn] = []

    def handle(_worker: ThreadWorker, conn: Conn) -> bool:
        conn.sock.recv(1)
        served.append(conn)
        return True

    monkeypatch.setattr(ThreadWorker, "handle", handle)
    # A busy machine does not decide whether something was there.
    monkeypatch.setattr(gthread, "_LINGER_SECONDS", 0.2)
    return served


@pytest.fixture
def pauses_made(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long a worker has let others go first, each time that it took a connection."""
    made: list[float] = []
    monkeypatch.setattr(time, "sleep", made.append)
    monkeypatch.setattr(ThreadWorker, "accept", lambda _worker, _listener: None)
    return made


def test_thread_stays_while_requests_follow_upon_each_other(worker: Worker, conn: Conn, served: list[Conn]):
    conn.client.send(b"123")
    assert worker.handle(conn) is True
    assert served == [conn] * 3
    assert worker.since == {}


def test_thread_leaves_when_no_place_is_left_and_the_place_is_given_back(
    worker: Worker, conn: Conn, served: list[Conn]
):
    conn.client.send(b"1234")
    with worker.places:
        worker.handle(conn)
    assert len(served) == 1
    worker.handle(conn)
    assert len(served) == 4


def test_thread_leaves_a_worker_that_stops(worker: Worker, conn: Conn, served: list[Conn]):
    conn.client.send(b"12")
    worker.alive = False
    assert worker.handle(conn) is True
    assert served == [conn]


def test_what_was_read_ahead_is_left_to_gunicorn(worker: Worker, conn: Conn, served: list[Conn]):
    conn.parser.unreader.buf.write(b"GET /")
    conn.client.send(b"12")
    assert worker.handle(conn) is True
    assert served == [conn]


def test_connection_that_is_over_is_not_waited_for(worker: Worker, conn: Conn, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ThreadWorker, "handle", lambda _worker, _conn: False)
    conn.client.send(b"1")
    assert worker.handle(conn) is False
    assert conn.sock.recv(1) == b"1"


@pytest.mark.parametrize(
    ("numbers", "told_seconds_ago", "pauses"), [((3, 2), 0, 1), ((2, 2), 0, 0), ((1, 2), 0, 0), ((3, 0), 60, 0)]
)
def test_worker_with_fewer_connections_goes_first(
    worker: Worker, pauses_made: list[float], numbers: tuple[int, int], told_seconds_ago: float, pauses: int
):
    worker.nr_conns, others = numbers
    worker.notify()
    where = OTHERS_AGE * gthread._LOAD.size
    gthread._LOAD.pack_into(gthread._loads, where, time.monotonic() - told_seconds_ago, others)
    worker.accept(None)
    assert len(pauses_made) == pauses


def test_worker_that_stops_says_nothing_of_its_connections(worker: Worker):
    worker.alive = False
    worker.notify()
    assert not any(gthread._loads[:])


@pytest.mark.parametrize(
    ("seconds", "has_come", "expected"),
    [(5, False, "open"), (15, False, "read is over"), (15, True, "open"), (35, True, "closed")],
)
def test_who_takes_too_long_is_not_waited_for(
    worker: Worker, conn: Conn, seconds: float, has_come: bool, expected: str
):
    if has_come:
        body = SimpleNamespace(reader=SimpleNamespace(length=0))
        conn.parser = SimpleNamespace(mesg=SimpleNamespace(req_number=1, body=body), req_count=1)
    worker.since[conn] = time.monotonic() - seconds
    worker.notify()
    conn.sock.settimeout(0.2)
    conn.client.settimeout(0.2)
    assert is_over(conn.sock) is (expected != "open")
    assert is_over(conn.client) is (expected == "closed")


def is_over(end: socket.socket) -> bool:
    """Say whether nothing will come any more."""
    try:
        return end.recv(1) == b""
    except TimeoutError:
        return False


def test_request_whose_body_has_not_come_is_awaited():
    for reader in (SimpleNamespace(length=3), SimpleNamespace(parser=object())):
        body = SimpleNamespace(reader=reader)
        assert gthread._is_awaited(SimpleNamespace(mesg=SimpleNamespace(req_number=1, body=body), req_count=1))


def test_connection_is_closed_by_a_thread_and_counted_at_once(worker: Worker):
    closed = threading.Event()
    conn = SimpleNamespace(close=lambda **_: closed.set())
    over: Future[Any] = Future()
    over.set_result(False)
    worker.nr_conns, worker.tpool = 1, worker.get_thread_pool()
    worker.finish_request(conn, over)
    assert worker.nr_conns == 0
    assert closed.wait(20)
    worker.tpool.shutdown()
