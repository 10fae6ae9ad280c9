"""Does a request cost more where there are a million accounts? At most 1.1 times what it costs at a thousand.

    make bench-growth
    .venv/bin/python -m benchmarks.growth --rows 100000 --rounds 4 --database sqlite

Fills two databases of each kind, one with a thousand users, sessions and revoked tokens and one with a million, and
gives the application, in this process, the same requests on both, in turns: `GET me`, refresh, and login, whose hash is
left out of it. Each request is a user's picked at random. What it costs is this process's time of the processor, the
median of the rounds; and what MariaDB has used meanwhile (all that it did, for others too), where it runs on this
machine. SQLite's files are read before every sixth round: some systems soon forget what nobody reads, and what is
measured here is the processor, not the disk. Exits with 1 where the large one costs more.
"""

import io
import os
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any
from unittest import mock

import flask_migrate
from flask import Flask
from werkzeug.test import EnvironBuilder

from authapp import clock, create_app, passwords, tokens
from authapp.extensions import db
from authapp.models import Session, User
from benchmarks.filling import Filled, fill
from benchmarks.people import ME, PASSWORD, PREFIX, production
from benchmarks.service import used
from benchmarks.setting import Given, database, main_of
from benchmarks.table import Figure

SMALL = 1_000
MOST_TIMES = 1.10
REQUESTS, ROUNDS = 50, 36
_ROUNDS_A_LOOK = 6
REFRESH, LOGIN = "refresh", "login less its hash"
KINDS = ("GET me", REFRESH, LOGIN)
SEED = 20261122
_PIECE = 2**20
Environ = dict[str, Any]


@dataclass
class Cost:
    """What one kind of request cost at one size, in seconds: ours a request of each round, MariaDB's in all."""

    ours: list[float] = field(default_factory=list)
    database: float = 0.0
    requests: int = 0

    @property
    def median(self) -> float:
        """Give what a request cost this process."""
        return statistics.median(self.ours)


def _nothing() -> dict[str, Cost]:
    return {kind: Cost() for kind in KINDS}


@dataclass
class Size:
    """An application whose database is filled, and what its requests have cost."""

    app: Flask
    filled: Filled
    costs: dict[str, Cost] = field(default_factory=_nothing)
    generations: Counter[int] = field(default_factory=Counter)
    """How often each user's session was refreshed."""

    def warm(self) -> None:
        """Read SQLite's file, so that the system has it in memory."""
        with self.app.app_context():
            url = db.engine.url
        if url.get_backend_name() == "sqlite":
            with Path(str(url.database)).open("rb") as file:
                while file.read(_PIECE):
                    pass

    def round(self, kind: str, requests: int, chance: random.Random) -> None:
        """Give the application so many requests; they are made before the time is taken."""
        environs = [self._request(kind, chance.randint(1, self.filled.users)) for _ in range(requests)]
        before, began = used(os.getpid())[2], time.process_time()
        for environ in environs:
            _send(self.app, environ)
        cost, took = self.costs[kind], time.process_time() - began
        cost.ours.append(took / requests)
        cost.database += used(os.getpid())[2] - before
        cost.requests += requests

    def _request(self, kind: str, number: int) -> Environ:
        """Make a request of this user's, without a look at the database, which would know the rows by then."""
        if kind == LOGIN:
            return _post("/login", {"email": self.filled.email(number), "password": PASSWORD})
        user = User(id=self.filled.user_id(number), email=self.filled.email(number), role="user")
        ends = self.filled.now + timedelta(days=6)
        session = Session(
            id=self.filled.session_id(number),
            user_id=user.id,
            generation=1 + self.generations[number],
            rotated_at=clock.now(),
            authenticated_at=clock.now(),
            expires_at=ends,
            ends_at=ends,
        )
        with self.app.app_context():
            pair = tokens.pair(user, session)
        if kind == REFRESH:
            self.generations[number] += 1
            return _post("/refresh", {"refresh_token": pair.refresh_token})
        return EnvironBuilder(ME, headers=[("Authorization", f"Bearer {pair.access_token}")]).get_environ()


def _post(path: str, body: dict[str, str]) -> Environ:
    environ: Environ = EnvironBuilder(PREFIX + path, method="POST", json=body).get_environ()
    return environ


def _send(app: Flask, environ: Environ) -> None:
    """Answer a request as a server would; nothing of a client is in the way."""
    told: list[str] = []

    def start(status: str, headers: object, error: object = None) -> Any:
        told.append(status)
        return io.BytesIO().write

    answer = app(environ, start)
    content = b"".join(answer)
    if hasattr(answer, "close"):
        answer.close()
    if not told[0].startswith(str(HTTPStatus.OK.value)):
        raise SystemExit(f"{environ['PATH_INFO']} answered {told[0]}: {content.decode()}")


@contextmanager
def sized(url: str, rows: int) -> Iterator[Size]:
    """Make an application on this empty database, with so many of each."""
    app = create_app(production(url), environ={})
    with app.app_context():
        flask_migrate.upgrade()
    filled = fill(url, users=rows, tokens=rows)
    yield Size(app, filled)
    with app.app_context():
        db.engine.dispose()


def compare(small: Size, large: Size, *, rounds: int, requests: int) -> None:
    """Give both the same requests in turns; a round that is not counted comes first."""
    chance = random.Random(SEED)  # noqa: S311  # It picks users.
    # The hash takes a hundred times as long as all the rest, and is the same whoever it is for.
    with mock.patch.object(passwords, "verify", lambda _, password_hash: password_hash is not None):
        for number in range(rounds + 1):
            for size in () if number % _ROUNDS_A_LOOK else (small, large):
                size.warm()
            for kind in KINDS:
                for size in (small, large) if number % 2 else (large, small):
                    size.round(kind, requests, chance)
            if number == 0:
                small.costs, large.costs = _nothing(), _nothing()


def figures(database: str, small: Size, large: Size) -> list[Figure]:
    """Say what was met on one kind of database."""
    found = []
    sizes = f"{small.filled.users:,} to {large.filled.users:,}"
    for kind in KINDS:
        less, more = small.costs[kind], large.costs[kind]
        times = more.median / less.median
        name = f"growth, {database}: CPU of {kind}, {sizes}"
        ours = f"{times:.2f} ({_micro(less.median)} to {_micro(more.median)})"
        found.append(Figure(name, f"<= {MOST_TIMES:.2f}", "1.00", ours, times <= MOST_TIMES))
        if large.app.config["DATABASE_URL"].startswith("mysql") and less.database:
            theirs = (less.database / less.requests, more.database / more.requests)
            told = f"{theirs[1] / theirs[0]:.2f} ({_micro(theirs[0])} to {_micro(theirs[1])})"
            found.append(Figure(f"  MariaDB's own CPU of {kind}", "", "1.00", told))
    return found


def _micro(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} us"


def measure(url: str, given: Given) -> list[Figure]:
    """Measure on this empty database and another one of its kind."""
    with database(given.kind) as other:
        if other is None:
            return []
        with sized(url, SMALL) as small, sized(other, given.rows) as large:
            compare(small, large, rounds=given.rounds, requests=REQUESTS)
            return figures(given.kind, small, large)


if __name__ == "__main__":
    sys.exit(main_of(__doc__, measure, rounds=ROUNDS, seconds=0))
