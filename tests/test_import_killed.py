"""Importing very many users, killed and begun again: nobody is lost, nobody is there twice, and memory stays small."""

import os
import re
import signal
import subprocess
import sys
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

import flask_migrate
import pytest
from flask import Flask
from sqlalchemy import func, select

from authapp import database
from authapp.extensions import db
from authapp.models import User
from tests import databases
from tests.conftest import Figure
from tests.mail.conftest import PRODUCTION
from tests.test_import_users import HASH

MANY = 100_000


@pytest.mark.long
@pytest.mark.parametrize("kind", databases.KINDS)
def test_a_hundred_thousand_users_survive_kills_none_lost_and_none_twice(
    kind: str, request: pytest.FixtureRequest, root: Path, tmp_path: Path, figure: Figure
):
    file = tmp_path / "users.csv"
    with file.open("w") as lines:
        lines.write("email,password_hash,name,is_verified,id\n")
        lines.writelines(
            f"user{n}@example{n % 997}.org,{HASH},User {n},true,{uuid.UUID(int=n * 7**30)}\n" for n in range(MANY)
        )
    with databases.empty(kind, request) as url, databases.serving(url) as app:
        with app.app_context():
            flask_migrate.upgrade()
        command = [sys.executable, "-m", "flask", "--app", "wsgi", "auth", "import-users", str(file)]
        environment = {"PATH": os.environ["PATH"], **PRODUCTION, "DATABASE_URL": url}
        for part in (0.1, 0.3, 0.5, 0.8):
            _kill_at(app, int(MANY * part), subprocess.Popen(command, cwd=root, env=environment))
        began = datetime.now(UTC)
        there = _number(app)
        with subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.PIPE, text=True) as process:
            peak = _peak(process)
            assert process.stdout is not None
            said = process.stdout.read()
        assert process.returncode == 0
        seconds = (datetime.now(UTC) - began).total_seconds()
        assert said == f"Imported {MANY - there:,} users; {there:,} were there already; 0 refused.\n"
        with app.app_context():
            found = db.session.execute(select(User.email, User.id)).all()
            assert len({email for email, _ in found}) == len(found) == MANY
            assert {id.int for _, id in found} == {n * 7**30 for n in range(MANY)}
            database.rollback()
    figure(f"peak memory of an import of {MANY:,} ({kind}), MiB", peak)
    figure(f"rows a second, {there:,} of them there already ({kind})", round(MANY / seconds))
    assert peak < 200


def _number(app: Flask) -> int:
    with app.app_context():
        number: int = db.session.scalar(select(func.count()).select_from(User)) or 0
        database.rollback()
        return number


def _peak(process: "subprocess.Popen[str]") -> int:
    """Wait for a process to end and give the most memory that it has held, in MiB."""
    peak = 0
    while process.poll() is None:
        # What the kernel tells of a child that has ended counts this process too, from which it was forked.
        held = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
        peak = int(held[1]) // 1024 if held else peak
        time.sleep(0.1)
    return peak


def _kill_at(app: Flask, number: int, process: "subprocess.Popen[bytes]") -> None:
    """Kill an import as soon as there are so many accounts."""
    while _number(app) < number:
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
