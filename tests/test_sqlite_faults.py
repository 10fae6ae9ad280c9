"""SQLite's file when nobody may write it, or when the disk has no room."""

import os
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import flask_migrate
import pytest
from flask import Flask
from sqlalchemy import text

from authapp.extensions import db
from tests import databases
from tests.factories import ALICE, BOB, PASSWORD, Api, data, make_user, refusal
from tests.services import lacking

UNAVAILABLE = (503, "SERVICE_UNAVAILABLE")
NOBODY = 65534


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that other users reach too; pytest's own they do not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


@contextmanager
def unprivileged() -> Iterator[None]:
    """Be nobody for a while: a permission means nothing to root."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)


@contextmanager
def served_from(directory: Path) -> Iterator[Flask]:
    with databases.serving(f"sqlite:///{directory / 'own.db'}") as app:
        with app.app_context():
            flask_migrate.upgrade()
        yield app


def test_file_that_may_only_be_read_is_read(directory: Path):
    with served_from(directory) as app:
        make_user(app)
        api = Api(app)
        token = api.log_in()["access_token"]
        # Whatever a request loads late, it loads now.
        data(api.register(BOB), 201)
        data(api.patch("/me", {"name": "Alice"}, token=token))
        with app.app_context():
            db.engine.dispose()
        for file in directory.iterdir():
            file.chmod(0o444)
        with unprivileged():
            data(api.get("/me", token=token))
            assert refusal(api.post("/login", {"email": ALICE, "password": "wrong"}))[0] == 401
            for answer in (
                api.post("/login", {"email": ALICE, "password": PASSWORD}),
                api.register("carol@example.org"),
                api.patch("/me", {"name": "Other"}, token=token),
            ):
                assert refusal(answer) == UNAVAILABLE
            with app.app_context():
                db.engine.dispose()
        for file in directory.iterdir():
            file.chmod(0o644)
        assert data(api.get("/me", token=token))["user"]["name"] == "Alice"
        data(api.patch("/me", {"name": "Other"}, token=token))


@pytest.fixture
def small_disk(directory: Path) -> Iterator[Path]:
    """A disk of its own; where none can be mounted the test is skipped, or fails where services are required."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", directory], capture_output=True, check=False
    )
    if mounted.returncode:
        lacking(f"no disk can be mounted: {mounted.stderr.decode().strip()}")
    yield directory
    subprocess.run(["umount", "--lazy", directory], check=True)


def fill(disk: Path) -> Path:
    """Take all the room that is left."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * 4096) == 4096:
            pass
    return filler


def test_full_disk_refuses_what_it_cannot_keep_and_is_read_on(small_disk: Path):
    with served_from(small_disk) as app:
        make_user(app)
        api = Api(app)
        token = api.log_in()["access_token"]
        filler = fill(small_disk)
        answers = Counter[int]()
        for number in range(60):
            # As long as the journal has pages to use again, some fit in.
            answer = api.register(f"user{number}@example.org")
            answers[answer.status_code] += 1
            if answer.status_code != 201:
                assert refusal(answer) == UNAVAILABLE
                assert answer.headers["Retry-After"]
            data(api.get("/me", token=token))
        assert answers[503]
        assert integrity(app) == "ok"
        assert accounts(app) == answers[201] + 1

        filler.unlink()
        data(api.register(BOB), 201)
        assert integrity(app) == "ok"
        assert accounts(app) == answers[201] + 2


def integrity(app: Flask) -> str:
    with app.app_context(), db.engine.connect() as connection:
        return str(connection.scalar(text("PRAGMA integrity_check")))


def accounts(app: Flask) -> int:
    with app.app_context(), db.engine.connect() as connection:
        return int(connection.scalar(text("SELECT COUNT(*) FROM auth_user")) or 0)
