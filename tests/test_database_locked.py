"""Rows and files that somebody else has locked, and pools that are used up: who waits, how long, and what is left."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import NullPool, create_engine, text
from werkzeug.test import TestResponse

from authapp.extensions import db
from tests.conftest import Figure
from tests.factories import OTHER_PASSWORD, PASSWORD, Api, data, make_user, refusal, user_of

pytestmark = pytest.mark.long

UNAVAILABLE = (503, "SERVICE_UNAVAILABLE")
# A process of its own that writes, and waits to be told before it ends what it has begun.
WRITER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
connection.execute("ROLLBACK")
"""

Change = Callable[[], TestResponse]


def changes(api: Api, which: str) -> dict[str, Change]:
    """Make an account for each kind of change, each signed in, and give the changes."""
    found: dict[str, Change] = {}
    for name, change in CHANGES.items():
        email = f"{name}-{which}@example.org"
        make_user(api.app, email)
        found[name] = partial(change, api, email, api.log_in(email))
    return found


CHANGES: dict[str, Callable[[Api, str, Any], TestResponse]] = {
    "login": lambda api, email, _pair: api.post("/login", {"email": email, "password": PASSWORD}),
    "refresh": lambda api, _email, pair: api.refresh(pair["refresh_token"]),
    "logout": lambda api, _email, pair: api.post("/logout", {"refresh_token": pair["refresh_token"]}),
    "profile": lambda api, _email, pair: api.patch("/me", {"name": "A"}, token=pair["access_token"]),
    "delete": lambda api, _email, pair: api.delete("/me", json={"password": PASSWORD}, token=pair["access_token"]),
    "change": lambda api, _email, pair: api.post(
        "/change-password",
        {"current_password": PASSWORD, "new_password": OTHER_PASSWORD},
        token=pair["access_token"],
    ),
}


@contextmanager
def locked(app: Flask) -> Iterator[Callable[[], None]]:
    """Have somebody else hold every row, or SQLite's file; what is yielded lets go."""
    url = app.config["DATABASE_URL"]
    if url.startswith("sqlite"):
        command = [sys.executable, "-c", WRITER, url.removeprefix("sqlite:///")]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdin is not None
            assert writer.stdout is not None
            assert writer.stdout.readline() == "locked\n"
            yield partial(print, file=writer.stdin, flush=True)
            writer.communicate("\n" if writer.poll() is None else None)
        return
    with create_engine(url, poolclass=NullPool).connect() as rival:
        for table in ("auth_user", "auth_session"):
            rival.execute(text(f"SELECT * FROM {table} FOR UPDATE"))
        yield rival.rollback


def rows(app: Flask) -> dict[str, list[Any]]:
    with app.app_context(), db.engine.connect() as connection:
        # Other tests declare tables of a host's beside ours.
        ours = [table for table in db.metadata.sorted_tables if table.name.startswith("auth_")]
        return {table.name: list(connection.execute(table.select())) for table in ours}


def test_change_that_meets_a_lock_is_refused_in_time_and_leaves_nothing(app: Flask, figure: Figure):
    api = Api(app)
    meant = changes(api, "held")
    before = rows(app)
    with locked(app), ThreadPoolExecutor(len(meant)) as threads:
        began = time.monotonic()
        answers = dict(zip(meant, threads.map(lambda change: change(), meant.values()), strict=True))
        took = time.monotonic() - began
    figure("refused for a lock, the slowest, in seconds", round(took, 2))
    assert {name: refusal(answer) for name, answer in answers.items()} == dict.fromkeys(meant, UNAVAILABLE)
    assert all(answer.headers["Retry-After"] for answer in answers.values())
    assert rows(app) == before
    # Tried once more, as a retried transaction is, with some time to spare.
    assert took < 6
    for change in meant.values():
        data(change())


def test_change_that_meets_a_lock_waits_for_it(app: Flask):
    api = Api(app)
    meant = changes(api, "brief")
    with locked(app) as let_go, ThreadPoolExecutor(len(meant)) as threads:
        waiting = [threads.submit(change) for change in meant.values()]
        time.sleep(1)
        assert not any(each.done() for each in waiting)
        let_go()
        for each in waiting:
            data(each.result())


def test_reads_pass_a_lock(app: Flask):
    api = Api(app)
    make_user(app)
    token = api.log_in()["access_token"]
    with locked(app):
        began = time.monotonic()
        for path in ("/me", "/sessions"):
            data(api.get(path, token=token))
        assert time.monotonic() < began + 1


def test_used_up_pool_refuses_everybody_in_time_and_loses_no_connection(app: Flask, figure: Figure):
    api = Api(app)
    meant = changes(api, "pool")
    make_user(app)
    token = api.log_in()["access_token"]
    meant["me"] = partial(api.get, "/me", token=token)
    meant["sessions"] = partial(api.get, "/sessions", token=token)
    meant["register"] = partial(api.register, "new@example.org")
    with app.app_context():
        engine = db.engine
    with ExitStack() as taken, ThreadPoolExecutor(3 * len(meant)) as threads:
        options = app.config["SQLALCHEMY_ENGINE_OPTIONS"]
        for _ in range(options["pool_size"] + options["max_overflow"]):
            taken.enter_context(engine.connect())
        began = time.monotonic()
        # Each several times: those who hash a password wait for one another.
        answers = list(threads.map(lambda change: change(), [*meant.values()] * 3))
        took = time.monotonic() - began
    figure("refused for a used-up pool, the slowest, in seconds", round(took, 2))
    assert {refusal(answer) for answer in answers} == {UNAVAILABLE}
    assert took < 2
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]  # The pool's base class counts none.
    for change in meant.values():
        assert change().status_code < 300
    assert user_of(app, "new@example.org")
