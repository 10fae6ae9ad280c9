"""A worker that is killed (SIGKILL) in the middle of a request leaves all of it or nothing, on each database.

Afterwards the same request, sent again, ends with a working account.
"""

import os
import random
import secrets
import signal
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from flask import Flask
from sqlalchemy import select

from authapp import links, passwords, tokens, users
from authapp.extensions import db
from authapp.mail.models import OutboxMessage
from authapp.models import Link, RevokedToken, Session, User
from authapp.testing import FAST_PASSWORD_HASH, add_user
from tests.conftest import Figure, MakeApp
from tests.factories import OTHER_PASSWORD, PASSWORD
from tests.server.conftest import Service, production, serving

pytestmark = [pytest.mark.server, pytest.mark.long]

ROUNDS = 100
"""On each database: first at every moment of every route, then at random ones."""
SEED = 20261121
TIMEOUT_SECONDS = 20

Facts = tuple[object, ...]


@dataclass(frozen=True)
class Request:
    """One request, to be sent as often as it takes, and what its sender knew before."""

    email: str
    path: str
    body: dict[str, str]
    token: str | None = None
    sessions: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class World:
    """The service, and the database that it works on."""

    app: Flask
    service: Service
    http: httpx.Client

    def post(self, path: str, body: dict[str, str], *, token: str | None = None, die_at: int = 0) -> httpx.Response:
        headers = {"X-Die-At": str(die_at), **({"Authorization": f"Bearer {token}"} if token else {})}
        return self.http.post(path, json=body, headers=headers)

    def me(self, token: str) -> int:
        return self.http.get("/me", headers={"Authorization": f"Bearer {token}"}).status_code

    def log_in(self, email: str, password: str) -> httpx.Response:
        return self.post("/login", {"email": email, "password": password})

    def send(self, request: Request, *, die_at: int = 0) -> httpx.Response | None:
        """Send the request; `None` where the worker died before it had answered."""
        try:
            return self.post(request.path, request.body, token=request.token, die_at=die_at)
        except (httpx.RemoteProtocolError, httpx.ReadError):
            return None

    def facts(self, email: str) -> Facts:
        """Give all that the database knows of an account, in a form in which two accounts can be compared."""
        with self.app.app_context():
            user = users.find(email)
            mails = db.session.scalars(select(OutboxMessage.subject).where(OutboxMessage.to == email)).all()
            return (sorted(mails), *(_facts_of(user) if user else ()))

    def mailed_token(self, email: str) -> str:
        with self.app.app_context():
            (text,) = db.session.scalars(select(OutboxMessage.text).where(OutboxMessage.to == email))
        return text.partition("token=")[2].split()[0]


def _facts_of(user: User) -> Facts:
    (password,) = [one for one in (PASSWORD, OTHER_PASSWORD) if passwords.verify(one, user.password_hash)]
    sessions = list(db.session.scalars(select(Session).where(Session.user_id == user.id)))
    found = db.session.scalars(select(Link).where(Link.user_id == user.id))
    return (
        password,
        user.is_verified,
        user.epoch,
        sorted((one.generation, one.epoch, str(one.ended_because), _revoked(one)) for one in sessions),
        sorted((link.purpose, link.used_at is not None) for link in found),
    )


def _revoked(session: Session) -> list[tuple[int, str]]:
    generations = range(session.generation + 2)
    kinds = [(number, type) for number in generations for type in (tokens.ACCESS, tokens.REFRESH)]
    return [kind for kind in kinds if db.session.get(RevokedToken, tokens.jti(session.id, *kind))]


def register(world: World, email: str) -> Request:
    return Request(email, "/register", {"email": email, "password": PASSWORD, "name": "Alice"})


def refresh(world: World, email: str) -> Request:
    sessions = _sign_in_twice(world, email)
    return Request(email, "/refresh", {"refresh_token": sessions[0]["refresh_token"]}, sessions=sessions)


def reset_password(world: World, email: str) -> Request:
    sessions = _sign_in_twice(world, email)
    with world.app.app_context():
        user = users.find(email)
        assert user
        token = links.issue(user, links.RESET_PASSWORD)
        db.session.commit()
    return Request(email, "/reset-password", {"token": token, "new_password": OTHER_PASSWORD}, sessions=sessions)


def change_password(world: World, email: str) -> Request:
    sessions = _sign_in_twice(world, email)
    body = {"current_password": PASSWORD, "new_password": OTHER_PASSWORD}
    return Request(email, "/change-password", body, sessions[0]["access_token"], sessions)


def _sign_in_twice(world: World, email: str) -> list[dict[str, Any]]:
    add_user(world.app, email)
    return [_data(world.log_in(email, PASSWORD)) for _ in range(2)]


def go_on_after_register(world: World, request: Request, again: httpx.Response, is_done: bool) -> None:
    assert _outcome(again) == ((409, "USER_ALREADY_EXISTS") if is_done else (201, None))
    link = world.mailed_token(request.email)
    assert _outcome(world.post("/verify-email", {"token": link})) == (200, None)
    assert world.me(_data(world.log_in(request.email, PASSWORD))["access_token"]) == 200


def go_on_after_refresh(world: World, request: Request, again: httpx.Response, is_done: bool) -> None:
    successor = _data(again)
    assert world.me(successor["access_token"]) == 200
    third = _data(world.post("/refresh", {"refresh_token": successor["refresh_token"]}))
    assert world.me(third["access_token"]) == 200
    assert world.me(request.sessions[1]["access_token"]) == 200


def go_on_after_reset(world: World, request: Request, again: httpx.Response, is_done: bool) -> None:
    assert _outcome(again) == ((400, "LINK_INVALID") if is_done else (200, None))
    _assert_only_the_new_password_works(world, request)


def go_on_after_change(world: World, request: Request, again: httpx.Response, is_done: bool) -> None:
    if is_done:
        assert _outcome(again) == (401, "TOKEN_REVOKED")
    else:
        assert world.me(_data(again)["access_token"]) == 200
    _assert_only_the_new_password_works(world, request)


def _assert_only_the_new_password_works(world: World, request: Request) -> None:
    assert world.me(_data(world.log_in(request.email, OTHER_PASSWORD))["access_token"]) == 200
    assert _outcome(world.log_in(request.email, PASSWORD)) == (401, "INVALID_CREDENTIALS")
    for session in request.sessions:
        assert world.me(session["access_token"]) == 401
        refreshed = world.post("/refresh", {"refresh_token": session["refresh_token"]})
        assert _outcome(refreshed) == (401, "TOKEN_REVOKED")


ROUTES: dict[Callable[[World, str], Request], Callable[[World, Request, httpx.Response, bool], None]] = {
    register: go_on_after_register,
    refresh: go_on_after_refresh,
    reset_password: go_on_after_reset,
    change_password: go_on_after_change,
}


@dataclass
class Route:
    """A route, and what it does when nobody kills anything."""

    prepare: Callable[[World, str], Request]
    before: Facts
    after: Facts
    moments: int
    seconds: float

    @classmethod
    def tried(cls, world: World, prepare: Callable[[World, str], Request]) -> "Route":
        request = prepare(world, f"unharmed-{prepare.__name__}@example.org")
        before, began = world.facts(request.email), time.monotonic()
        answer = world.send(request)
        seconds = time.monotonic() - began
        assert answer is not None
        assert answer.status_code in (200, 201), answer.text
        after = world.facts(request.email)
        assert before != after
        return cls(prepare, before, after, int(answer.headers["X-Moments"]), seconds)


def test_a_killed_worker_leaves_all_of_a_request_or_nothing_and_its_sender_can_go_on(
    make_app: MakeApp, root: Path, tmp_path: Path, figure: Figure
):
    app = make_app(SECRET_KEY=secrets.token_urlsafe(48))
    # Forked from what is loaded already, the next worker is there at once.
    environment = production(app, workers=1, SECRET_KEY=app.config["SECRET_KEY"], AUTH_PASSWORD_HASH=FAST_PASSWORD_HASH)
    environment["GUNICORN_CMD_ARGS"] = "--preload"
    with serving(root, environment, tmp_path, wsgi="tests.server.mortal:app") as service, _http(service) as http:
        world = World(app, service, http)
        routes = [Route.tried(world, prepare) for prepare in ROUTES]
        steps = [(route, moment) for route in routes for moment in range(1, route.moments + 1)]
        left = Counter(
            kill_at_step(world, route, f"step-{number}@example.org", moment)
            for number, (route, moment) in enumerate(steps)
        )
        at_random = random.Random(SEED)
        for number in range(max(ROUNDS - len(steps), len(routes))):
            email = f"random-{number}@example.org"
            left[kill_at_random(world, routes[number % len(routes)], email, at_random)] += 1
        killed = service.log.read_text().count("was sent SIGKILL")
    for route in routes:
        figure(f"moments of {route.prepare.__name__}", route.moments)
    figure("workers killed", killed)
    for much in ("nothing", "all", "half"):
        figure(f"rounds that left {much}", left[much])
    assert killed == left.total() >= ROUNDS
    assert set(left) == {"nothing", "all"}


def _http(service: Service) -> httpx.Client:
    """Make a client that opens a connection for each request: no other's end is met in it."""
    return httpx.Client(
        base_url=f"{service.address}/api/auth",
        timeout=TIMEOUT_SECONDS,
        limits=httpx.Limits(max_keepalive_connections=0),
    )


def kill_at_step(world: World, route: Route, email: str, moment: int) -> str:
    """Have the worker die at this moment of the route."""
    request = route.prepare(world, email)
    assert world.send(request, die_at=moment) is None
    return look_and_go_on(world, route, request, None)


def kill_at_random(world: World, route: Route, email: str, at_random: random.Random) -> str:
    """Kill the worker from outside, some time while it has the request, or just after that."""
    request = route.prepare(world, email)
    # Whoever answers is there to be killed.
    assert world.me("nobody's") == 401
    (worker,) = world.service.workers()
    with ThreadPoolExecutor(1) as elsewhere:
        sent = elsewhere.submit(world.send, request)
        time.sleep(at_random.uniform(0, 1.2 * route.seconds))
        os.kill(worker, signal.SIGKILL)
    return look_and_go_on(world, route, request, sent.result())


def look_and_go_on(world: World, route: Route, request: Request, answer: httpx.Response | None) -> str:
    """Check what is left of the request, send it again, and use the account; say how much was left."""
    facts = world.facts(request.email)
    if facts not in (route.before, route.after):
        return "half"
    is_done = facts == route.after
    assert is_done or answer is None
    again = world.send(request)
    assert again is not None
    ROUTES[route.prepare](world, request, again, is_done)
    return "all" if is_done else "nothing"


def _data(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()["data"]
    return found


def _outcome(response: httpx.Response) -> tuple[int, str | None]:
    return response.status_code, response.json().get("error", {}).get("code")
