"""The statements that an application sends to its database: count them, or act between two of them."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pymysql
import pytest
from flask import Flask
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import OperationalError

from authapp.extensions import db


@dataclass(frozen=True)
class Sent:
    """A statement on its way: over which connection, its text and its parameters as the driver gets them.

    There are several sets of parameters where `is_many`.
    """

    connection: Connection
    statement: str
    parameters: Any
    is_many: bool


@contextmanager
def heard(app: Flask) -> Iterator[list[str]]:
    """Collect the statements that are sent meanwhile."""
    found: list[str] = []
    with listening(app, lambda sent: found.append(sent.statement)):
        yield found


@contextmanager
def sent_to_mariadb(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Collect what is sent to MariaDB meanwhile, by any connection: each of them is a round trip."""
    found: list[str] = []
    send = pymysql.connections.Connection._execute_command  # type: ignore[attr-defined]  # It is private.

    def hear(connection: Any, command: int, sql: str | bytes) -> Any:
        found.append(sql.decode(errors="replace") if isinstance(sql, bytes) else sql)
        return send(connection, command, sql)

    with monkeypatch.context() as patch:
        patch.setattr(pymysql.connections.Connection, "_execute_command", hear)
        yield found


@contextmanager
def just_before(app: Flask, beginning: str, act: Callable[[], object]) -> Iterator[None]:
    """Do something, once, just before the first statement that begins so: what another process might do there.

    It has a thread of its own: in this one a request would share our context, and so our session and transaction.
    """
    done: list[str] = []

    def hear(sent: Sent) -> None:
        if sent.statement.startswith(beginning) and not done:
            done.append(sent.statement)
            with ThreadPoolExecutor(1) as elsewhere:
                elsewhere.submit(act).result()

    with listening(app, hear):
        yield
    assert done, f"no statement began with {beginning}"


@contextmanager
def failing(app: Flask, beginning: str, error: BaseException, *, times: int = 1) -> Iterator[None]:
    """Have the first statements that begin so fail with what SQLAlchemy makes of this error of the driver's."""
    left = [times]

    def hear(sent: Sent) -> None:
        if sent.statement.startswith(beginning) and left[0]:
            left[0] -= 1
            raise OperationalError(sent.statement, None, error)

    with listening(app, hear):
        yield
    assert not left[0], f"no statement began with {beginning}"


@contextmanager
def listening(app: Flask, hear: Callable[[Sent], object]) -> Iterator[None]:
    """Have `hear` told of each statement, just before it is sent."""

    def listener(connection: Connection, _: Any, statement: str, parameters: Any, _context: Any, is_many: bool) -> None:
        hear(Sent(connection, statement, parameters, is_many))

    with app.app_context():
        engine: Engine = db.engine
    event.listen(engine, "before_cursor_execute", listener)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", listener)
