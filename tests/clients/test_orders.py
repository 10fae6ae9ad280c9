"""The service of examples/clients/orders.py, which knows authapp's address and nothing else."""

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import time_machine
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from authapp.testing import add_user
from tests.browser.spa import answering
from tests.conftest import MakeApp
from tests.factories import ALICE, PASSWORD, key_pair
from tests.services import free_port

pytestmark = pytest.mark.any_database

Tokens = dict[str, str]


class Auth:
    """authapp at one address, which is stopped and started again under other settings."""

    def __init__(self, make_app: MakeApp) -> None:
        self._make_app, self._port, self._running = make_app, free_port(), ExitStack()
        self.address = f"http://127.0.0.1:{self._port}"

    def start(self, **keys: object) -> None:
        self.stop()
        app = self._make_app(JWT_ALGORITHM="RS256", **keys)
        self._running.enter_context(answering(app, self._port))

    def stop(self) -> None:
        self._running.close()

    def log_in(self) -> Tokens:
        account = {"email": ALICE, "password": PASSWORD}
        found: Tokens = httpx.post(f"{self.address}/api/auth/login", json=account).json()["data"]
        return found

    def log_out(self, tokens: Tokens) -> None:
        body = {"refresh_token": tokens["refresh_token"]}
        assert httpx.post(f"{self.address}/api/auth/logout", json=body).is_success


def keys(current: str, *, beside: str) -> dict[str, object]:
    """Give the settings that sign with the one key and show the other."""
    return {"JWT_PRIVATE_KEY": key_pair("RS256", current)[0], "JWT_PREVIOUS_PUBLIC_KEYS": key_pair("RS256", beside)[1]}


@pytest.fixture
def auth(make_app: MakeApp) -> Iterator[Auth]:
    """authapp, in which Alice has an account."""
    found = Auth(make_app)
    # The key that comes next has been announced.
    found.start(**keys("earlier", beside="current"))
    add_user(make_app(), ALICE)
    yield found
    found.stop()


@pytest.fixture
def orders(auth: Auth, root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FlaskClient]:
    """The other service."""
    monkeypatch.setenv("AUTH_SERVICE", auth.address)
    spec = importlib.util.spec_from_file_location("examples_orders", root / "examples/clients/orders.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module.app.test_client()
    module.auth.close()


def ask(call: Callable[..., TestResponse], path: str, token: str | None = None) -> tuple[int, str]:
    """Call a route of the other service, and give the status with the code, or with whom it is for."""
    answer = call(path, headers={"Authorization": f"Bearer {token}"} if token else {})
    body = answer.json or {}
    return answer.status_code, body.get("error", {}).get("code") or next(iter(body.values()))


def test_signature_is_enough_and_only_an_access_token_will_do(auth: Auth, orders: FlaskClient):
    tokens = auth.log_in()
    assert ask(orders.get, "/orders", tokens["access_token"]) == (200, ALICE)
    assert ask(orders.get, "/orders", tokens["refresh_token"]) == (401, "TOKEN_INVALID")
    assert ask(orders.get, "/orders", "no.such.token") == (401, "TOKEN_INVALID")
    assert ask(orders.get, "/orders") == (401, "UNAUTHORIZED")
    for route, method in (("/orders", orders.get), ("/payments", orders.post)):
        assert ask(method, route, "\u00e9.no.token") == (401, "TOKEN_INVALID")
    with time_machine.travel(timedelta(minutes=31)):
        assert ask(orders.get, "/orders", tokens["access_token"]) == (401, "TOKEN_EXPIRED")


def test_logout_is_seen_where_it_is_asked_for(auth: Auth, orders: FlaskClient):
    tokens = auth.log_in()
    assert ask(orders.post, "/payments", tokens["access_token"]) == (201, ALICE)
    auth.log_out(tokens)
    assert ask(orders.post, "/payments", tokens["access_token"]) == (401, "TOKEN_REVOKED")
    assert ask(orders.get, "/orders", tokens["access_token"]) == (200, ALICE)


def test_key_that_was_announced_is_known_and_an_outage_stops_only_what_asks(auth: Auth, orders: FlaskClient):
    before = auth.log_in()["access_token"]
    assert ask(orders.get, "/orders", before) == (200, ALICE)
    auth.start(**keys("current", beside="earlier"))
    after = auth.log_in()["access_token"]
    assert [ask(orders.get, "/orders", token) for token in (before, after)] == [(200, ALICE)] * 2
    auth.stop()
    assert ask(orders.get, "/orders", after) == (200, ALICE)
    assert ask(orders.post, "/payments", after) == (503, "SERVICE_UNAVAILABLE")
