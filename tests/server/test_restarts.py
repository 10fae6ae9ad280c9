"""Stopping and restarting the service while clients use it: no request is lost, none is half done."""

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from flask import Flask

from authapp.testing import FAST_PASSWORD_HASH
from tests.conftest import Figure
from tests.factories import OTHER_PASSWORD, PASSWORD
from tests.server.conftest import Service, production, serving

pytestmark = [pytest.mark.server, pytest.mark.long]

CONNECTIONS = 20
SLOW_CONNECTIONS = 5
PAUSE_SECONDS = 0.1
LONG_PAUSE_SECONDS = 6.0
"""Of the slow ones: longer than an idle connection is kept, which is five seconds, or two when the server stops."""
RESTARTS = 2
TIMEOUT_SECONDS = 30

Serve = Callable[[], Any]


@dataclass
class Person:
    """One client with one connection, which it keeps, and an account.

    It follows HTTP: where an idle connection turns out to be closed just when a request is sent into it, a GET is sent
    once more (RFC 9110, 9.2.2), and nothing else ever is.
    """

    http: httpx.Client
    number: int
    end: threading.Event
    longest_pause: float
    failures: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    sent_again: int = 0
    is_refused: bool = False

    def __post_init__(self) -> None:
        self.password, self.next_password = PASSWORD, OTHER_PASSWORD
        self.email = f"person-{self.number}@example.org"
        self.tokens: dict[str, str] = {}

    def live(self) -> None:
        """Use the service until the end, or until it lets nobody connect any more."""
        self.tokens = self.ask("POST", "/register", 201, email=self.email, password=self.password)
        while not (self.end.is_set() or self.failures or self.is_refused):
            self.end.wait(random.uniform(0, self.longest_pause))
            self.ask("GET", "/me")
            self.tokens = self.ask("POST", "/refresh", refresh_token=self.tokens["refresh_token"]) or self.tokens
            self.ask("PATCH", "/me", name=f"Person {self.number}")
            self.ask("GET", "/sessions")
            self.ask("POST", "/logout", refresh_token=self.tokens["refresh_token"])
            self.tokens = self.log_in() or self.tokens
            self.change_password()

    def log_in(self) -> dict[str, str]:
        return self.ask("POST", "/login", email=self.email, password=self.password)

    def change_password(self) -> None:
        old, new = self.password, self.next_password
        changed = self.ask("POST", "/change-password", current_password=old, new_password=new)
        if changed:
            self.tokens, self.password, self.next_password = changed, new, old

    def ask(self, method: str, path: str, status: int = 200, **body: str) -> dict[str, Any]:
        """Send one request and give the answer's data; once something has failed, send no more."""
        if self.failures or self.is_refused:
            return {}
        self.end.wait(random.uniform(0, PAUSE_SECONDS))
        began = time.monotonic()
        try:
            answer = self.send(method, path, body)
        except httpx.ConnectError:
            self.is_refused = True
            return {}
        except httpx.TransportError as error:
            self.failures.append(f"{method} {path}: {error!r}")
            return {}
        self.seconds.append(time.monotonic() - began)
        if answer.status_code != status:
            self.failures.append(f"{method} {path}: {answer.status_code} {answer.text}")
            return {}
        found: dict[str, Any] = answer.json()["data"]
        return found

    def send(self, method: str, path: str, body: dict[str, str]) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.tokens['access_token']}"} if self.tokens else {}
        request = self.http.build_request(method, path, json=body or None, headers=headers)
        try:
            return self.http.send(request)
        except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):
            if method != "GET":
                raise
            self.sent_again += 1
            return self.http.send(request)


@contextmanager
def people(address: str, *, connections: int = CONNECTIONS) -> Iterator[tuple[list[Person], Callable[[], None]]]:
    """Have the people use the service; what is yielded beside them waits for the end of what they do."""
    end = threading.Event()
    base = f"{address}/api/auth"
    clients = [httpx.Client(base_url=base, timeout=TIMEOUT_SECONDS) for _ in range(connections)]
    found = [
        Person(client, number, end, LONG_PAUSE_SECONDS if number < SLOW_CONNECTIONS else PAUSE_SECONDS)
        for number, client in enumerate(clients)
    ]
    with ThreadPoolExecutor(connections) as threads:
        living: list[Future[None]] = [threads.submit(person.live) for person in found]

        def finish() -> None:
            end.set()
            for one in living:
                one.result()

        try:
            yield found, finish
        finally:
            finish()
            for client in clients:
                client.close()


@pytest.fixture
def serve(app: Flask, root: Path, tmp_path: Path) -> Serve:
    """Run the service on the test's database, with cheap hashes."""
    environment = production(
        app,
        workers=2,
        AUTH_REQUIRE_VERIFIED_EMAIL="false",
        AUTH_PASSWORD_HASH=FAST_PASSWORD_HASH,
    )
    return lambda: serving(root, environment, tmp_path)


def test_a_rolling_restart_fails_no_request_of_twenty_connections(serve: Serve, figure: Figure):
    with serve() as service, people(service.address) as (everybody, finish):
        time.sleep(2)
        for _ in range(RESTARTS):
            restart(service)
            time.sleep(2)
        finish()
        report(everybody, figure)
        assert not any(person.is_refused for person in everybody)
        assert_all_go_on(everybody)


def test_a_service_that_is_stopped_answers_what_was_sent_and_refuses_new_connections(serve: Serve, figure: Figure):
    with serve() as service, people(service.address) as (everybody, finish):
        time.sleep(2)
        service.arbiter.send_signal(signal.SIGTERM)
        began = time.monotonic()
        wait_until(lambda: is_refused(service))
        figure("seconds until new connections were refused", round(time.monotonic() - began, 2))
        assert service.arbiter.wait(TIMEOUT_SECONDS) == 0
        figure("seconds until the service had ended", round(time.monotonic() - began, 2))
        finish()
        report(everybody, figure)
        assert all(person.is_refused for person in everybody)
    # What each of them was told last is what the database knows.
    with serve() as service:
        for person in everybody:
            person.is_refused = False
            person.http = httpx.Client(base_url=f"{service.address}/api/auth", timeout=TIMEOUT_SECONDS)
        assert_all_go_on(everybody)


def assert_all_go_on(everybody: list[Person]) -> None:
    """Check that each can log in with the last password, use the answer, and change the password."""
    for person in everybody:
        person.tokens = person.log_in()
        person.ask("GET", "/me")
        person.change_password()
        person.ask("GET", "/me")
        person.http.close()
    assert [failure for person in everybody for failure in person.failures] == []


def report(everybody: list[Person], figure: Figure) -> None:
    """Print what they met, and fail for each request that failed."""
    seconds = [one for person in everybody for one in person.seconds]
    failures = [failure for person in everybody for failure in person.failures]
    figure("requests answered", len(seconds))
    figure("requests failed", len(failures))
    figure("GETs sent again, into a new connection", sum(person.sent_again for person in everybody))
    figure("longest answer, seconds", round(max(seconds), 2))
    assert failures == []


def restart(service: Service) -> None:
    """Have the service restart, and wait until every worker is another."""
    old = service.workers()
    service.arbiter.send_signal(signal.SIGHUP)
    wait_until(lambda: len(service.workers()) == len(old) and not set(old) & set(service.workers()))


def is_refused(service: Service) -> bool:
    try:
        httpx.get(f"{service.address}/healthz", timeout=TIMEOUT_SECONDS)
    except httpx.ConnectError:
        return True
    return False


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.any_database
def test_a_restart_with_settings_that_do_not_work_leaves_the_service_as_it_is(app: Flask, root: Path, tmp_path: Path):
    for name in ("authapp", "migrations", "wsgi.py", "gunicorn.conf.py"):
        (tmp_path / name).symlink_to(root / name)
    environment = production(app, workers=1)
    secret = environment.pop("SECRET_KEY")
    settings = tmp_path / ".env"
    settings.write_text(f"SECRET_KEY={secret}\n")
    with serving(tmp_path, environment, tmp_path) as service:
        old = service.workers()
        settings.write_text("SECRET_KEY=short\n")
        service.arbiter.send_signal(signal.SIGHUP)
        wait_until(lambda: "the workers stay as they are" in service.log.read_text())
        assert "authapp: SECRET_KEY is shorter than 32 bytes" in service.log.read_text()
        assert httpx.get(f"{service.address}/readyz").status_code == 200
        assert service.workers() == old

        settings.write_text(f"SECRET_KEY={secret}\n")
        restart(service)
        assert httpx.get(f"{service.address}/readyz").status_code == 200
