"""Many clients at once over several worker processes, on each database."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest
from flask import Flask

from authapp.testing import FAST_PASSWORD_HASH
from tests.factories import ALICE, PASSWORD
from tests.server.conftest import starting

pytestmark = pytest.mark.server

CLIENTS = 16
ROUNDS = 50
TIMEOUT_SECONDS = 30

AtOnce = Callable[[Callable[[httpx.Client], httpx.Response]], list[httpx.Response]]


@pytest.fixture(scope="module")
def address(shared_app: Flask, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service of several workers, one for each database."""
    root = Path(__file__).parents[2]
    with starting(shared_app, root, tmp_path_factory.mktemp("logs")) as start:
        yield start(workers=4, AUTH_REQUIRE_VERIFIED_EMAIL="false", AUTH_PASSWORD_HASH=FAST_PASSWORD_HASH)


@contextmanager
def crowd(address: str) -> Iterator[AtOnce]:
    """Connect the clients; what is yielded has every one of them send at the same moment."""
    start = threading.Barrier(CLIENTS)
    with ExitStack() as connections, ThreadPoolExecutor(CLIENTS) as threads:
        base = f"{address}/api/auth"
        clients = [
            connections.enter_context(httpx.Client(base_url=base, timeout=TIMEOUT_SECONDS)) for _ in range(CLIENTS)
        ]

        def at_once(send: Callable[[httpx.Client], httpx.Response]) -> list[httpx.Response]:
            def wait_and_send(client: httpx.Client) -> httpx.Response:
                start.wait()
                return send(client)

            return list(threads.map(wait_and_send, clients))

        yield at_once


def test_clients_that_refresh_one_token_at_once_all_get_the_one_successor(app: Flask, address: str):
    base = f"{address}/api/auth"
    account = {"email": ALICE, "password": PASSWORD}
    oldest = token = httpx.post(f"{base}/register", json=account).json()["data"]["refresh_token"]
    elsewhere = httpx.post(f"{base}/login", json=account).json()["data"]

    with crowd(address) as at_once:
        for _ in range(ROUNDS):
            answers = at_once(partial(httpx.Client.post, url="/refresh", json={"refresh_token": token}))
            assert Counter(answer.status_code for answer in answers) == {200: CLIENTS}
            successors = {(answer.json()["data"]["refresh_token"]) for answer in answers}
            assert len(successors) == 1
            (token,) = successors
    access = answers[0].json()["data"]["access_token"]
    assert _me(base, access).status_code == 200

    replayed = httpx.post(f"{base}/refresh", json={"refresh_token": oldest})
    assert (replayed.status_code, replayed.json()["error"]["code"]) == (401, "TOKEN_REUSED")
    assert _me(base, access).json()["error"]["code"] == "TOKEN_REVOKED"
    assert httpx.post(f"{base}/refresh", json={"refresh_token": token}).json()["error"]["code"] == "TOKEN_REVOKED"
    assert _me(base, elsewhere["access_token"]).status_code == 200
    assert httpx.post(f"{base}/refresh", json={"refresh_token": elsewhere["refresh_token"]}).status_code == 200


def test_clients_that_register_one_address_at_once_make_one_account(app: Flask, address: str):
    with crowd(address) as at_once:
        account = {"email": ALICE, "password": PASSWORD}
        answers = at_once(partial(httpx.Client.post, url="/register", json=account))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: CLIENTS - 1}
    assert {answer.json()["error"]["code"] for answer in answers if answer.status_code == 409} == {
        "USER_ALREADY_EXISTS"
    }


def _me(base: str, token: str) -> httpx.Response:
    return httpx.get(f"{base}/me", headers={"Authorization": f"Bearer {token}"})
