"""Every route, each of its steps in the database failing in every way: served, or refused and nothing half done."""

import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Connection, NullPool, Table, create_engine, delete, insert, select, text
from werkzeug.test import TestResponse

from authapp import create_app, init_app, protect
from authapp.extensions import db
from authapp.mail import requests
from authapp.testing import TEST_SETTINGS, empty_tables, mailed_token
from tests.conftest import Figure
from tests.factories import ALICE, BOB, CAROL, OTHER_PASSWORD, PASSWORD, Api, data, mails, make_user
from tests.faults import COMMIT, MARIADB_CODES, ROLLBACK, SQLITE_CODES, Fault, Steps, stepping

DAVE = "dave@example.org"
UNAVAILABLE = (503, "SERVICE_UNAVAILABLE")
FORM = "application/x-www-form-urlencoded"
# Random, or written with what is.
VARYING = ("nonce", "password_hash", "text", "html")

Rows = dict[str, list[tuple[Any, ...]]]
Normal = dict[str, Counter[tuple[Any, ...]]]


class World:
    """Alice with three sign-ins, Bob with an address to verify, and the links mailed to them; it can be put back."""

    def __init__(self, app: Flask, connection: Connection) -> None:
        self.app, self.api, self._connection = app, Api(app), connection
        self.kind = "sqlite" if app.config["DATABASE_URL"].startswith("sqlite") else "mariadb"
        # Ours: other tests declare tables of a host's beside them.
        self._tables: list[Table] = [table for table in db.metadata.sorted_tables if table.name.startswith("auth_")]
        empty_tables(app)
        make_user(app)
        pair = self.api.log_in()
        self.access, self.refresh = str(pair["access_token"]), str(pair["refresh_token"])
        self.sid = data(self.api.get("/sessions", token=self.api.log_in()["access_token"]))["sessions"][0]["id"]
        self.used: str = self.api.log_in()["refresh_token"]
        data(self.api.refresh(data(self.api.refresh(self.used))["refresh_token"]))
        data(self.api.register(BOB), 201)
        self.verify = mailed_token(mails(app)[-1])
        data(self.api.post("/forgot-password", {"email": ALICE}), 202)
        self.reset = mailed_token(mails(app)[-1])
        data(self.api.post("/change-email", {"new_email": CAROL, "password": PASSWORD}, token=self.access), 202)
        self.change = next(mailed_token(mail) for mail in mails(app) if mail.to == CAROL)
        self.rows = self.look()
        self._known = {
            (name, index): set(values)
            for name, rows in self.rows.items()
            for index, values in enumerate(zip(*rows, strict=True))
        }

    def look(self) -> Rows:
        """Read every row of every table."""
        found = {table.name: [tuple(row) for row in self._connection.execute(select(table))] for table in self._tables}
        self._connection.commit()
        return found

    def settled(self) -> Rows:
        """Read every row once requests for mails are answered, as the worker does when it next looks."""
        with self.app.app_context():
            requests.answer_all()
        return self.look()

    def put_back(self) -> None:
        """Write every row as it was at first."""
        if self.look() == self.rows:
            return
        for table in reversed(self._tables):
            self._connection.execute(delete(table))
        for table in self._tables:
            rows = [dict(zip(table.columns.keys(), row, strict=True)) for row in self.rows[table.name]]
            if rows:
                self._connection.execute(insert(table), rows)
        self._connection.commit()

    def kill(self, connection_id: int) -> None:
        """End somebody's connection to MariaDB, and wait until it is gone."""
        self._connection.execute(text(f"KILL {connection_id}"))
        is_there = text("SELECT COUNT(*) FROM information_schema.processlist WHERE id = :id")
        while self._connection.scalar(is_there, {"id": connection_id}):
            time.sleep(0.001)

    def normal(self, rows: Rows) -> Normal:
        """Give rows in a form in which two successes are the same: ids, times and the like are known, or new."""

        def value(table: Table, index: int, found: Any) -> Any:
            varies = isinstance(found, uuid.UUID | datetime) or table.columns[index].name in VARYING
            return "new" if varies and found not in self._known.get((table.name, index), ()) else found

        return {
            table.name: Counter(
                tuple(value(table, *cell) for cell in enumerate(row)) for row in rows[table.name]
            )
            for table in self._tables
        }  # fmt: skip


@dataclass(frozen=True)
class Route:
    """A request, its status when all is well, and what one more of it gets where it was done but its answer lost."""

    name: str
    send: Callable[[World], TestResponse]
    status: int = 200
    again: tuple[int, str | None] = (200, None)
    # Whether one more leaves everything as it is.
    is_idempotent: bool = False
    # What a client does next that cannot know.
    next: Callable[[World], TestResponse] | None = None


def _route(name: str, method: str, path: str, body: Any = None, **more: Any) -> Route:
    """Describe a request of Alice's; its path and its body may speak of the world."""

    def send(world: World) -> TestResponse:
        content = body(world) if callable(body) else body
        return world.api.request(method, path.format(world=world), json=content, token=world.access)

    return Route(name, send, **more)


def _log_in_anew(world: World) -> TestResponse:
    return world.api.post("/login", {"email": ALICE, "password": OTHER_PASSWORD})


def _log_in_by_form(world: World) -> TestResponse:
    form = {"username": ALICE, "password": PASSWORD}
    return world.api.post("/login", data=form, content_type=FORM)


def _show_to_a_host(world: World) -> TestResponse:
    headers = {"Authorization": f"Bearer {world.access}"}
    return world.app.test_client().get("/guarded", headers=headers)


ACCEPTED: dict[str, Any] = {"status": 202, "again": (202, None)}
WRONG: dict[str, Any] = {"status": 401, "again": (401, "INVALID_CREDENTIALS")}
ROUTES = [
    _route(
        "register",
        "POST",
        "/register",
        {"email": DAVE, "password": PASSWORD},
        status=201,
        again=(409, "USER_ALREADY_EXISTS"),
    ),
    _route("verify-email", "POST", "/verify-email", lambda world: {"token": world.verify}, is_idempotent=True),
    _route("resend", "POST", "/resend-verification", {"email": BOB}, **ACCEPTED),
    _route("login", "POST", "/login", {"email": ALICE, "password": PASSWORD}),
    _route("login-wrong", "POST", "/login", {"email": ALICE, "password": OTHER_PASSWORD}, **WRONG),
    _route("login-nobody", "POST", "/login", {"email": DAVE, "password": PASSWORD}, **WRONG),
    Route("login-form", _log_in_by_form),
    _route("refresh", "POST", "/refresh", lambda world: {"refresh_token": world.refresh}, is_idempotent=True),
    _route(
        "refresh-used",
        "POST",
        "/refresh",
        lambda world: {"refresh_token": world.used},
        status=401,
        again=(401, "TOKEN_REVOKED"),
    ),
    _route("logout", "POST", "/logout", lambda world: {"refresh_token": world.refresh}, is_idempotent=True),
    _route("me", "GET", "/me"),
    _route("profile", "PATCH", "/me", {"name": "Alice"}, is_idempotent=True),
    _route("delete", "DELETE", "/me", {"password": PASSWORD}, again=(401, "TOKEN_INVALID")),
    _route(
        "change-password",
        "POST",
        "/change-password",
        {"current_password": PASSWORD, "new_password": OTHER_PASSWORD},
        again=(401, "TOKEN_REVOKED"),
        next=_log_in_anew,
    ),
    _route("forgot-password", "POST", "/forgot-password", {"email": ALICE}, **ACCEPTED),
    _route(
        "reset-password",
        "POST",
        "/reset-password",
        lambda world: {"token": world.reset, "new_password": OTHER_PASSWORD},
        again=(400, "LINK_INVALID"),
        next=_log_in_anew,
    ),
    _route("change-email", "POST", "/change-email", {"new_email": DAVE, "password": PASSWORD}, **ACCEPTED),
    _route(
        "change-email-confirm",
        "POST",
        "/change-email/confirm",
        lambda world: {"token": world.change},
        is_idempotent=True,
    ),
    _route("sessions", "GET", "/sessions"),
    _route("end-session", "DELETE", "/sessions/{world.sid}", again=(404, "NOT_FOUND")),
    _route("end-others", "DELETE", "/sessions"),
    Route("host", _show_to_a_host),
]


class Trial:
    """A route whose steps are known, and what it leaves when none fails; now they do."""

    def __init__(self, world: World, route: Route, steps: Steps) -> None:
        self._world, self._route, self._steps = world, route, steps
        world.put_back()
        steps.begin()
        answer = route.send(world)
        assert answer.status_code == route.status, answer.text
        self.steps, self._done = steps.taken, world.normal(world.look())
        world.put_back()

    def fails(self, at: int, fault: Fault) -> int:
        """Send the request while its step of this number fails, check what comes of it, and give its status."""
        self._steps.begin(at, fault)
        answer = self._route.send(self._world)
        where = f"{self._route.name}, {fault} at step {at} of {self._steps.taken}: {answer.text}"
        assert len(self._steps.taken) > at, where
        self._steps.begin()
        left = self._world.normal(self._world.settled())
        if answer.status_code == self._route.status:
            assert left == self._done, where
        else:
            assert _code(answer) == UNAVAILABLE, where
            assert answer.headers["Retry-After"], where
            assert "Set-Cookie" not in answer.headers, where
            if fault.is_late and self.steps[at] == COMMIT and left == self._done:
                self._check_repeated(where)
            else:
                assert left == self._world.normal(self._world.rows), where
                assert self._route.send(self._world).status_code == self._route.status, where
        self._world.put_back()
        return answer.status_code

    def _check_repeated(self, where: str) -> None:
        """Send once more what was done without an answer, as a client does that was told to come back."""
        again = self._route.send(self._world)
        assert (again.status_code, _code(again)[1]) == self._route.again, where
        if self._route.is_idempotent:
            assert self._world.normal(self._world.look()) == self._done, where
        if self._route.next:
            assert self._route.next(self._world).status_code == 200, where


def _code(answer: TestResponse) -> tuple[int, str | None]:
    assert answer.json is not None, answer.text
    error = answer.json.get("error")
    if error == "temporarily_unavailable":
        return UNAVAILABLE
    return answer.status_code, error["code"] if isinstance(error, dict) else error


@contextmanager
def world_of(app: Flask) -> Iterator[World]:
    """Make the world on the database of this application, with a host's view beside our routes."""
    app.add_url_rule("/guarded", "guarded", protect.login_required(lambda: {"success": True, "data": {}}))
    engine = create_engine(app.config["DATABASE_URL"], poolclass=NullPool)
    try:
        with engine.connect() as connection:
            yield World(app, connection)
    finally:
        empty_tables(app)
        with app.app_context():
            db.engine.dispose()


@pytest.fixture(scope="module")
def world(shared_app: Flask) -> Iterator[World]:
    """The world of the service, on each database."""
    settings = {**TEST_SETTINGS, "DATABASE_URL": shared_app.config["DATABASE_URL"]}
    with world_of(create_app(settings, environ={})) as made:
        yield made


@pytest.fixture
def hosts_world(shared_app: Flask) -> Iterator[World]:
    """The world of a host whose session and engine are its own, without our options."""
    host = Flask("shop", static_folder=None)
    url = shared_app.config["DATABASE_URL"]
    host.config.from_mapping({**TEST_SETTINGS, "SQLALCHEMY_DATABASE_URI": url})
    # Else what one try has cut, the next would meet.
    host.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"pool_pre_ping": True}
    SQLAlchemy().init_app(host)
    init_app(host, environ={})
    with world_of(host) as made:
        yield made


def faults_of(world: World, step: str) -> list[Fault]:
    """Give what can go wrong with such a step on this database."""
    if world.kind == "sqlite":
        return [Fault(code) for code in SQLITE_CODES] if step != ROLLBACK else []
    return [Fault(code) for code in MARIADB_CODES] if step != ROLLBACK else [Fault(2013)]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_step_that_fails_leaves_nothing_half_done(world: World, route: Route):
    """Each step fails in one way, in turn; all the ways are for the long run."""
    with stepping(world.app) as steps:
        trial = Trial(world, route, steps)
        for at, step in enumerate(trial.steps):
            if faults := faults_of(world, step):
                trial.fails(at, faults[at % len(faults)])
            if step == COMMIT and world.kind == "mariadb":
                trial.fails(at, Fault(2013, is_late=True))


@pytest.mark.long
@pytest.mark.usefixtures("shared_app")
@pytest.mark.parametrize("whose", ["world", "hosts_world"])
def test_no_failing_step_leaves_half_a_change_or_another_error(
    request: pytest.FixtureRequest, whose: str, figure: Figure
):
    world: World = request.getfixturevalue(whose)
    statuses = Counter[int]()
    with stepping(world.app) as steps:
        for route in ROUTES:
            trial = Trial(world, route, steps)
            for at, step in enumerate(trial.steps):
                faults = faults_of(world, step)
                if world.kind == "mariadb":
                    faults += [Fault(kill=world.kill, is_late=is_late) for is_late in (False, True)]
                    faults.append(Fault(2013, is_late=True))
                statuses.update(trial.fails(at, fault) for fault in faults)
    figure(f"steps that failed on {world.kind} in {whose}, by the answer's status", dict(statuses))
