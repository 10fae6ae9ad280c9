"""Clients that take their time: behind nginx they hold nothing, without it a thread each, and not for long."""

import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from flask import Flask

from authapp.testing import FAST_PASSWORD_HASH
from tests.conftest import Figure
from tests.factories import ALICE, PASSWORD
from tests.server import slow
from tests.server.conftest import StartNode, starting
from tests.server.proxy import Proxy, nginx

pytestmark = [pytest.mark.server, pytest.mark.long, pytest.mark.any_database]

SETTINGS = {
    "AUTH_REQUIRE_VERIFIED_EMAIL": "false",
    "AUTH_PASSWORD_HASH": FAST_PASSWORD_HASH,
}
ACCOUNT = {"email": ALICE, "password": PASSWORD}
REQUESTS = 60
THREADS = 64
# What gunicorn.conf.py gives a client, and the second that its workers look at the clock in, on a busy machine.
REQUEST_SECONDS = 10
ANSWER_SECONDS = 30
GRACE_SECONDS = 5


@pytest.fixture
def alone(start_node: StartNode, tmp_path: Path) -> Iterator[str]:
    """The service without nginx, in whose log no error may stand afterwards."""
    yield start_node(workers=2, **SETTINGS)
    (log,) = tmp_path.glob("gunicorn-*.log")
    assert "Traceback" not in log.read_text()
    assert not [line for line in log.read_text().splitlines() if '"status": 5' in line]


@pytest.fixture(scope="module")
def proxied(shared_app: Flask, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """nginx before one process of the service."""
    root = Path(__file__).parents[2]
    with starting(shared_app, root, tmp_path_factory.mktemp("logs")) as start:
        node = start(workers=1, TRUSTED_PROXIES=1, **SETTINGS)
        with nginx(tmp_path_factory.mktemp("nginx"), [node.removeprefix("http://")]) as proxy:
            yield proxy


def served(address: str, trust: ssl.SSLContext | bool = True) -> tuple[Counter[int], float]:
    """Have others log in and look at their accounts; gives how often they got which status, and the longest wait."""

    def ask(number: int) -> tuple[int, float]:
        begun = time.monotonic()
        with httpx.Client(base_url=f"{address}/api/auth", verify=trust, timeout=10) as client:
            if number % 2:
                answer = client.post("/login", json=ACCOUNT)
            else:
                answer = client.get("/me", headers={"Authorization": f"Bearer {token}"})
        return answer.status_code, time.monotonic() - begun

    registered = httpx.post(f"{address}/api/auth/register", json=ACCOUNT, verify=trust, timeout=10).json()
    token = registered["data"]["access_token"]
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, range(REQUESTS)))
    return Counter(status for status, _ in answers), max(seconds for _, seconds in answers)


@pytest.mark.parametrize("kind", [slow.body, slow.half_head, slow.reader])
def test_behind_nginx_more_slow_clients_than_threads_do_not_stop_the_others(
    app: Flask, proxied: Proxy, kind: Callable[[socket.socket], slow.Slow], figure: Figure
):
    with slow.crowd(proxied.address, THREADS + 6, kind) as clients:
        time.sleep(2)
        assert not any(client.is_over for client in clients)
        statuses, longest = served(proxied.address, proxied.trust)
    figure(f"longest wait beside {THREADS + 6} slow clients ({kind.__name__}), seconds", round(longest, 2))
    assert statuses == {200: REQUESTS}


def test_gunicorn_alone_serves_others_beside_30_slow_senders_of_each_kind_and_refuses_these(
    app: Flask, alone: str, figure: Figure
):
    # One process may have got them all.
    with slow.crowd(alone, 30, slow.body, slow.half_head) as clients:
        begun = time.monotonic()
        statuses, longest = served(alone)
        time.sleep(max(0, begun + REQUEST_SECONDS + GRACE_SECONDS - time.monotonic()))
        assert [client.is_over for client in clients] == [True] * 60
    figure("longest wait beside 60 slow senders without nginx, seconds", round(longest, 2))
    assert statuses == {200: REQUESTS}
    for client in clients[:30]:
        assert client.got.startswith(b"HTTP/1.1 400 BAD REQUEST\r\n")
        assert client.got.endswith(
            b'{"error":{"code":"BAD_REQUEST","message":"The body cannot be read."},"success":false}\n'
        )
    assert {client.got for client in clients[30:]} == {b""}


def test_gunicorn_alone_serves_others_beside_30_clients_that_do_not_read_or_hang_up(
    app: Flask, alone: str, tmp_path: Path, figure: Figure
):
    with slow.crowd(alone, 30, slow.reader, slow.lingering):
        begun = time.monotonic()
        statuses, longest = served(alone)
        time.sleep(GRACE_SECONDS)
        # A line is written when the thread is done with the request: each reader holds one with his next.
        before = ended(tmp_path, slow.LARGE)
        time.sleep(max(0, begun + ANSWER_SECONDS + GRACE_SECONDS - time.monotonic()))
        assert ended(tmp_path, slow.LARGE) == before + 30
    figure("longest wait beside 60 clients that do not read or hang up, without nginx, seconds", round(longest, 2))
    assert statuses == {200: REQUESTS}


def ended(logs: Path, path: str) -> int:
    """Count the requests for this path that have ended."""
    (log,) = logs.glob("gunicorn-*.log")
    return log.read_text().count(f'"method": "GET", "path": "{path}"')
