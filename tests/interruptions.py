"""A program that kills migrations after each of their statements and runs them again: `-m tests.interruptions URL`.

Each run is a process of its own, forked from this one, which has opened nothing. How often one was killed is printed.
"""

import os
import re
import signal
import sys
from collections.abc import Callable

import flask_migrate
import pymysql
from flask import Flask
from sqlalchemy import Engine, event

from authapp import create_app, schema
from authapp.testing import TEST_SETTINGS
from tests.test_migrations import differences, tables

CHANGE = re.compile(r"\s*(ALTER|BEGIN|COMMIT|CREATE|DELETE|DROP|INSERT|RENAME|UPDATE)\b")


def run(app: Flask, act: Callable[[], object], *, last: int | None = None) -> bool:
    """Do this in a process that is killed right after it has sent its `last` change; say whether it came to its end."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if last is not None:
                die_after(last)
            with app.app_context():
                act()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, -signal.SIGKILL):
        sys.exit(f"failed at change {last}")
    return code == 0


def die_after(last: int) -> None:
    """Have this process killed once it has sent so many changes: the server may still have to make the last one."""
    left = [last]

    def sent(statement: str) -> None:
        if CHANGE.match(statement):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    send = pymysql.connections.Connection._execute_command  # type: ignore[attr-defined]  # The stubs leave it out.

    def sending(connection: object, command: int, statement: str | bytes) -> None:
        send(connection, command, statement)
        sent(statement.decode(errors="replace") if isinstance(statement, bytes) else statement)

    pymysql.connections.Connection._execute_command = sending  # type: ignore[attr-defined]
    event.listen(
        Engine,
        "after_cursor_execute",
        lambda connection, _cursor, statement, *_: sent(statement) if connection.dialect.name == "sqlite" else None,
    )


def be_at_head() -> None:
    assert schema.problem() is None
    assert differences() == []
    assert "auth_migration_progress" not in tables()


def be_at_base() -> None:
    assert tables() == {"alembic_version"}


def main(url: str) -> None:
    app = create_app({**TEST_SETTINGS, "DATABASE_URL": url}, environ={})
    killed, last = 0, 0
    up, down = flask_migrate.upgrade, lambda: flask_migrate.downgrade(revision="base")
    while True:
        last += 1
        were_killed = []
        for act, check in ((up, be_at_head), (down, be_at_base)):
            were_killed.append(not run(app, act, last=last))
            run(app, act)
            run(app, check)
        if not any(were_killed):
            break
        killed += sum(were_killed)
    sys.stdout.write(f"{killed}\n")


if __name__ == "__main__":
    main(sys.argv[1])
