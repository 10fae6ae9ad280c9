"""Errors of the database, caused where a driver reports them: at any statement, commit or rollback of a request."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pymysql
import pytest
from flask import Flask
from sqlalchemy import Engine, event

from authapp.extensions import db

STATEMENT, COMMIT, ROLLBACK = "statement", "commit", "rollback"

# Deadlock, lock wait timeout, record changed meanwhile, server gone, connection lost.
MARIADB_CODES = (1213, 1205, 1020, 2006, 2013)
SQLITE_CODES = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL)
# After these MariaDB, or SQLite, has undone the transaction.
_UNDOING = (1213, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL)
_LOST = (2006, 2013)


@dataclass(frozen=True)
class Fault:
    """What goes wrong with a step: an error of the driver's, by its code; or its connection is ended, by `kill`.

    A late one lets the step be done first: what is lost is the answer.
    """

    code: int = 0
    is_late: bool = False
    kill: Callable[[int], None] | None = None

    def strike(self, connection: Any) -> None:
        """Do to the driver's connection what this error does to it, and raise the error."""
        if self.kill:
            # Whoever uses the connection next, meets the error.
            self.kill(connection.thread_id())
            return
        if self.code in _UNDOING:
            connection.rollback()
        if self.code in _LOST:
            connection._force_close()
        if self.code in SQLITE_CODES:
            error = sqlite3.OperationalError("caused by a test")
            error.sqlite_errorcode = self.code
            raise error
        raise pymysql.err.OperationalError(self.code, "caused by a test")


class Steps:
    """What a request does to the database, step by step; the one of a number can be made to fail."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self._at, self._fault = -1, Fault()

    def begin(self, at: int = -1, fault: Fault = Fault()) -> None:
        """Count from here; the step of number `at` fails."""
        self.taken, self._at, self._fault = [], at, fault

    def take(self, kind: str, connection: Any, act: Callable[[], object]) -> None:
        """Take a step."""
        self.taken.append(kind)
        fails = len(self.taken) - 1 == self._at
        if fails and not self._fault.is_late:
            self._fault.strike(connection)
        act()
        if fails and self._fault.is_late:
            self._fault.strike(connection)


@contextmanager
def stepping(app: Flask) -> Iterator[Steps]:
    """Have all that this application does to its database pass through `Steps`."""
    with app.app_context():
        engine: Engine = db.engine
    steps = Steps()

    def execute(cursor: Any, statement: str, parameters: Any, _context: Any) -> bool:
        steps.take(STATEMENT, cursor.connection, lambda: cursor.execute(statement, parameters))
        return True

    def execute_many(cursor: Any, statement: str, parameters: Any, _context: Any) -> bool:
        steps.take(STATEMENT, cursor.connection, lambda: cursor.executemany(statement, parameters))
        return True

    def passing(kind: str, act: Callable[[Any], None]) -> Callable[[Any], None]:
        # The pool hands over a wrapper of its own.
        return lambda given: steps.take(kind, getattr(given, "driver_connection", given), lambda: act(given))

    listeners = {"do_execute": execute, "do_executemany": execute_many}
    for name, listener in listeners.items():
        event.listen(engine, name, listener)
    with pytest.MonkeyPatch.context() as patch:
        # There is no event within which a commit could fail as it does.
        for kind, name in ((COMMIT, "do_commit"), (ROLLBACK, "do_rollback")):
            patch.setattr(engine.dialect, name, passing(kind, getattr(engine.dialect, name)))
        try:
            yield steps
        finally:
            for name, listener in listeners.items():
                event.remove(engine, name, listener)
