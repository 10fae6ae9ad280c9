"""The gate before the password hashes, in a real worker: whom it refuses, what it costs, and that it loses no place."""

import re
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from flask import Flask

from authapp.testing import FAST_PASSWORD_HASH
from tests.conftest import Figure
from tests.factories import ALICE, PASSWORD, make_user
from tests.server.conftest import Service, production, serving

pytestmark = [pytest.mark.server, pytest.mark.long, pytest.mark.any_database]

PLACES = 21
"""One hash at once and twenty that wait: the defaults."""
TOO_MANY = 30
TIMEOUT_SECONDS = 120
LONGEST_WAIT_SECONDS = 10
SLOW_HASH = "scrypt:32768:8:6"
# So slow that whoever comes last waits too long; that is also longer than a client may take to send a request.
VERY_SLOW_HASH = "scrypt:32768:8:24"
DEFAULT_HASH = "scrypt:32768:8:3"
HASH_MIB = 32
# What a peak differs by from run to run, without any hash.
NOISE_MIB = 8

Serve = Callable[..., AbstractContextManager[Service]]


@pytest.fixture
def serve(app: Flask, root: Path, tmp_path: Path) -> Serve:
    """Run the service with one worker; Alice has an account whose hash is a cheap one."""

    def start(method: str, **settings: object) -> AbstractContextManager[Service]:
        given = {"AUTH_PASSWORD_HASH": method, **settings}
        return serving(root, production(app, workers=1, **given), tmp_path)

    return start


@dataclass(frozen=True)
class Answer:
    """An answer to a login: when it came, and after how long."""

    response: httpx.Response
    at: float
    seconds: float

    @property
    def is_turned_away(self) -> bool:
        """Whether there was no place to wait in. On a busy machine some wait, and in vain."""
        return self.response.status_code == 503 and self.seconds < LONGEST_WAIT_SECONDS


@contextmanager
def crowd(service: Service, number: int) -> Iterator[tuple[Callable[[], list[Answer]], list[httpx.Client]]]:
    """Connect so many clients; what is yielded beside them has all try to log in at the same moment."""
    together = threading.Barrier(number)
    with ExitStack() as stack, ThreadPoolExecutor(number) as threads:
        base = f"{service.address}/api/auth"
        clients = [stack.enter_context(httpx.Client(base_url=base, timeout=TIMEOUT_SECONDS)) for _ in range(number)]

        def log_in(client: httpx.Client) -> Answer:
            together.wait()
            began = time.monotonic()
            response = client.post("/login", json={"email": "nobody@example.org", "password": PASSWORD})
            return Answer(response, time.monotonic(), time.monotonic() - began)

        yield lambda: list(threads.map(log_in, clients)), clients


def storm(service: Service) -> list[Answer]:
    """Have more clients than there are places try to log in at the same moment, over new connections."""
    with crowd(service, TOO_MANY) as (log_in, _):
        return log_in()


def assert_every_place_is_free(service: Service) -> None:
    """Check that as many get in as there are places, or a few more while the first hashes are made."""
    turned_away = [answer for answer in storm(service) if answer.is_turned_away]
    assert 0 < len(turned_away) <= TOO_MANY - PLACES


def test_logins_past_the_queue_are_refused_at_once_and_told_when_to_come_back(serve: Serve, figure: Figure):
    with serve(SLOW_HASH) as service:
        began = time.monotonic()
        answers = storm(service)
    turned_away = [answer for answer in answers if answer.is_turned_away]
    checked = sorted(answer.at for answer in answers if answer.response.status_code == 401)
    for answer in turned_away:
        assert answer.response.json()["error"]["code"] == "SERVER_BUSY"
        assert int(answer.response.headers["Retry-After"]) > 0
    last_refusal = max(answer.at for answer in turned_away)
    figure("logins at once, and refused", (TOO_MANY, len(turned_away)))
    figure("seconds until the last refusal", round(last_refusal - began, 2))
    figure("seconds until the last password was checked", round(checked[-1] - began, 2))
    assert 0 < len(turned_away) <= TOO_MANY - PLACES
    # Almost the whole queue was still to come.
    assert last_refusal < checked[5]


def test_who_waits_too_long_is_told_to_come_back_over_a_connection_that_is_as_good_as_before(serve: Serve):
    with serve(VERY_SLOW_HASH) as service, crowd(service, PLACES) as (log_in, clients):
        answers = log_in()
        in_vain = [number for number, answer in enumerate(answers) if answer.response.status_code == 503]
        assert in_vain
        for number in in_vain:
            assert not answers[number].is_turned_away
            assert answers[number].response.json()["error"]["code"] == "SERVER_BUSY"
            again = clients[number].get("/me")
            assert again.status_code == 401
            assert local_port(again) == local_port(answers[number].response)


@pytest.mark.parametrize("concurrency", [1, 2])
def test_memory_grows_by_one_hash_for_each_that_is_computed_at_once(serve: Serve, figure: Figure, concurrency: int):
    peaks = []
    for method in (FAST_PASSWORD_HASH, DEFAULT_HASH):
        with serve(method, AUTH_HASH_CONCURRENCY=concurrency) as service:
            answers = [answer for _ in range(3) for answer in storm(service)]
            assert {answer.response.status_code for answer in answers} <= {401, 503}
            peaks.append(kibibytes(service, "VmHWM") / 1024)
    figure(f"peak of a worker without hashes, {concurrency} at once, MiB", round(peaks[0]))
    figure(f"peak of a worker with hashes of {HASH_MIB} MiB, {concurrency} at once, MiB", round(peaks[1]))
    assert peaks[1] - peaks[0] < concurrency * HASH_MIB + NOISE_MIB


def test_clients_that_hang_up_while_they_wait_leave_no_place_taken(serve: Serve):
    with serve(SLOW_HASH) as service:
        for _ in range(2 * TOO_MANY):
            hang_up_after_a_login(service)
        wait_until_answered(service, 2 * TOO_MANY)
        assert_every_place_is_free(service)


def test_a_hash_for_which_there_is_no_memory_is_no_wrong_password_and_leaves_no_place_taken(app: Flask, serve: Serve):
    make_user(app)
    account = {"email": ALICE, "password": PASSWORD}
    with serve(SLOW_HASH) as service, crowd(service, TOO_MANY) as (log_in, (client, *_)):
        # Her cheap hash is exchanged for one that wants memory, and every thread is started: one more would want some.
        assert client.post("/login", json=account).status_code == 200
        log_in()
        (worker,) = service.workers()
        _, most = resource.prlimit(worker, resource.RLIMIT_DATA)
        resource.prlimit(worker, resource.RLIMIT_DATA, ((kibibytes(service, "VmData") + 8 * 1024) * 1024, most))
        for _ in range(PLACES + 1):
            refused = client.post("/login", json=account)
            assert (refused.status_code, refused.json()["error"]["code"]) == (500, "INTERNAL_ERROR")
        resource.prlimit(worker, resource.RLIMIT_DATA, (most, most))
        assert client.post("/login", json=account).status_code == 200
        assert_every_place_is_free(service)


def test_logins_that_wait_when_the_service_is_told_to_stop_are_answered(serve: Serve):
    with serve(SLOW_HASH) as service, crowd(service, PLACES) as (log_in, _):
        stop = threading.Timer(0.5, service.arbiter.send_signal, [signal.SIGTERM])
        stop.start()
        answers = log_in()
        stop.join()
        assert not any(answer.is_turned_away for answer in answers)
        assert {answer.response.status_code for answer in answers} <= {401, 503}
        assert service.arbiter.wait(TIMEOUT_SECONDS) == 0


def local_port(response: httpx.Response) -> int:
    """Give the client's port, which tells one connection from another."""
    address: tuple[str, int] = response.extensions["network_stream"].get_extra_info("client_addr")
    return address[1]


def hang_up_after_a_login(service: Service) -> None:
    """Send a login and close the connection, as a client does whose user has left the page."""
    host, _, port = service.address.removeprefix("http://").partition(":")
    body = b'{"email": "nobody@example.org", "password": "%s"}' % PASSWORD.encode()
    head = b"POST /api/auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=TIMEOUT_SECONDS) as connection:
        connection.sendall(head % len(body) + body)


def wait_until_answered(service: Service, number: int) -> None:
    """Wait until the service is through with so many logins, whose clients do not wait."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while service.log.read_text().count('"path": "/api/auth/login"') < number:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def kibibytes(service: Service, what: str) -> int:
    """Read a figure of the worker's memory."""
    (worker,) = service.workers()
    found = re.search(rf"^{what}:\s+(\d+) kB$", Path(f"/proc/{worker}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1])
