"""Migrations as an operator runs them: with people in the database, two at once, and after an interruption."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import flask_migrate
import pytest
from alembic.script import ScriptDirectory
from flask import Flask
from sqlalchemy import Boolean, Connection, Engine, Integer, Table, event, insert, make_url
from sqlalchemy.exc import OperationalError

from authapp import clock, migrating, schema
from authapp.columns import Identifier, UTCDateTime
from authapp.extensions import db
from tests import databases
from tests.conftest import Figure
from tests.mail.conftest import PRODUCTION
from tests.test_migrations import TABLES, differences, execute, own_tables, tables
from tests.test_migrations import schema as described

USERS = 10_000
BATCH = 1000
VERSION = {"alembic_version"}


@pytest.fixture(params=databases.KINDS)
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of an empty database of the test's own."""
    with databases.empty(request.param, request) as found:
        yield found


@pytest.fixture
def own(url: str) -> Iterator[Flask]:
    """The service on this database."""
    with databases.serving(url) as app, app.app_context():
        yield app


def revisions() -> list[str]:
    """Give every revision, from the first to the last."""
    scripts = ScriptDirectory(str(schema.MIGRATIONS))
    return [script.revision for script in reversed(list(scripts.walk_revisions()))]


def start(root: Path, url: str, *command: str) -> "subprocess.Popen[str]":
    """Start `flask db …` as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "flask", "--app", "wsgi", "db", *command],
        cwd=root,
        env={"PATH": os.environ["PATH"], **PRODUCTION, "DATABASE_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def upgraded_at_once(root: Path, url: str, number: int) -> None:
    processes = [start(root, url, "upgrade") for _ in range(number)]
    for process in processes:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
        assert "Traceback" not in said


def value(column: Any, number: int, users: list[uuid.UUID]) -> object:
    """Make up a value of a column, a different one for each row."""
    kind = column.type
    if column.foreign_keys:
        return users[number]
    if isinstance(kind, Identifier):
        return uuid.UUID(int=number + 1)
    if isinstance(kind, UTCDateTime):
        return clock.now() + timedelta(seconds=number)
    if isinstance(kind, Boolean):
        return bool(number % 2)
    if isinstance(kind, Integer):
        return number
    return f"{number} Zoë 漢字 😀"[: getattr(kind, "length", None) or 32]


def fill(table: Table, users: list[uuid.UUID]) -> None:
    with db.engine.begin() as connection:
        for first in range(0, USERS, BATCH):
            batch = [
                {column.name: value(column, number, users) for column in table.columns}
                for number in range(first, first + BATCH)
            ]
            connection.execute(insert(table), batch)


def contents() -> dict[str, dict[str, list[object]]]:
    """Give every column of every table of ours, row by row, as the database gives it."""
    found: dict[str, dict[str, list[object]]] = {}
    for table in sorted(tables() & TABLES):
        with db.engine.connect() as connection:
            result = connection.exec_driver_sql(f"SELECT * FROM {table}")
            names = list(result.keys())
            read = sorted((tuple(row) for row in result), key=repr)
        found[table] = {name: [row[place] for row in read] for place, name in enumerate(names)}
    return found


def assert_kept(before: dict[str, dict[str, list[object]]], after: dict[str, dict[str, list[object]]]) -> None:
    """Check that what is on both sides of a migration is the same on both."""
    for table in before.keys() & after.keys():
        columns = sorted(before[table].keys() & after[table].keys())
        assert columns
        assert in_rows(before[table], columns) == in_rows(after[table], columns), table


def in_rows(table: dict[str, list[object]], columns: list[str]) -> list[tuple[object, ...]]:
    return sorted(zip(*(table[name] for name in columns), strict=True), key=repr)


@pytest.mark.long
def test_rows_of_ten_thousand_users_come_through_each_migration(own: Flask, figure: Figure):
    flask_migrate.upgrade()
    head = described()
    users = [uuid.UUID(int=number + 1) for number in range(USERS)]
    for table in own_tables():
        fill(table, users)
    full = contents()
    assert {table: len(next(iter(columns.values()))) for table, columns in full.items()} == dict.fromkeys(TABLES, USERS)
    for revision in reversed(revisions()):
        before = contents()
        flask_migrate.downgrade(revision="-1")
        below = contents()
        assert_kept(before, below)
        flask_migrate.upgrade(revision=revision)
        assert_kept(below, contents())
        flask_migrate.downgrade(revision="-1")
    assert tables() == VERSION
    flask_migrate.upgrade()
    figure(f"rows that came through, {db.engine.dialect.name}", USERS * len(full))
    assert described() == head
    assert differences() == []


def test_two_upgrades_at_once_end_well(url: str, root: Path):
    upgraded_at_once(root, url, 2)
    with databases.serving(url) as app, app.app_context():
        assert schema.problem() is None
        assert differences() == []


@pytest.mark.long
def test_three_upgrades_at_once_end_well_from_every_revision(url: str, root: Path):
    for revision in ("base", *revisions()):
        with databases.serving(url) as app, app.app_context():
            flask_migrate.downgrade(revision="base")
            if revision != "base":
                flask_migrate.upgrade(revision=revision)
            db.engine.dispose()
        upgraded_at_once(root, url, 3)
        with databases.serving(url) as app, app.app_context():
            assert differences() == []


def test_upgrade_that_waits_for_another_too_long_says_so(own: Flask, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(migrating, "_WAIT_SECONDS", 1)
    with migrating.engine(make_url(own.config["DATABASE_URL"])).connect() as other, migrating.alone(other):
        other.exec_driver_sql("SELECT 1")
        with pytest.raises(click.ClickException, match="Another migration has had this database"):
            flask_migrate.upgrade()
    flask_migrate.upgrade()
    assert schema.problem() is None


def test_migration_that_meets_a_table_of_somebody_elses_fails_each_time_and_then_goes_on(own: Flask):
    # What MariaDB has made before that stays, and is not made again; what is in the way is not taken for ours.
    execute("CREATE TABLE auth_outbox_message (id INTEGER)")
    for _ in range(3):
        with pytest.raises(OperationalError, match=r"auth_outbox_message'? already exists"):
            flask_migrate.upgrade()
    execute("DROP TABLE auth_outbox_message")
    flask_migrate.upgrade()
    assert differences() == []
    assert tables() == TABLES | VERSION


def test_migration_that_was_interrupted_is_ended_before_another_begins(request: pytest.FixtureRequest):
    with databases.empty("mariadb", request) as url, databases.serving(url) as app, app.app_context():
        last = revisions()[-1]
        flask_migrate.upgrade(revision=revisions()[-2])
        before = described()
        event.listen(Engine, "before_cursor_execute", fail)
        with pytest.raises(ZeroDivisionError):
            flask_migrate.upgrade()
        event.remove(Engine, "before_cursor_execute", fail)
        with pytest.raises(click.ClickException, match=f"flask db upgrade {last} was interrupted: run that again"):
            flask_migrate.downgrade()
        flask_migrate.upgrade()
        assert differences() == []
        flask_migrate.downgrade()
        assert described() == before


def fail(_connection: Connection, _cursor: object, statement: str, *_more: object) -> None:
    """Fail at the first change of a table of ours, before the server hears of it."""
    if "auth_" in statement and "auth_migration_progress" not in statement:
        raise ZeroDivisionError


@pytest.mark.long
@pytest.mark.parametrize("kind", databases.KINDS)
def test_migration_that_is_killed_after_any_statement_can_be_run_again(
    request: pytest.FixtureRequest, root: Path, figure: Figure, kind: str
):
    with databases.empty(kind, request) as url:
        command = [sys.executable, "-m", "tests.interruptions", url]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    figure("migrations killed and run again", done.stdout.strip())
