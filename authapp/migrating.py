"""Running the migrations, for `flask db …`: one run at a time, and after an interruption on from where that was."""

import contextlib
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import click
import pymysql
from alembic.runtime.migration import MigrationInfo, RevisionStep, StampStep
from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    NullPool,
    String,
    Table,
    create_engine,
    delete,
    event,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from authapp import database

_PROGRESS = Table(
    "auth_migration_progress",
    MetaData(),
    Column("command", String(64), primary_key=True),
    Column("done", Integer, nullable=False),
    Column("is_tried", Boolean, nullable=False),
)
_TRY = "UPDATE auth_migration_progress SET done = %s, is_tried = 1"
_TAKE_BACK = "UPDATE auth_migration_progress SET is_tried = 0"
_NOT_COUNTED = (_PROGRESS.name, "alembic_version")
_WAIT_SECONDS = 60
_TIME_LIMITS = ("read_timeout", "write_timeout")
_Step = RevisionStep | StampStep
_CHANGES = re.compile(r"\s*(ALTER|CREATE|DELETE|DROP|INSERT|RENAME|REPLACE|TRUNCATE|UPDATE)\b", re.IGNORECASE)
# What the server says of a change that has been made: the table, column, index, key or constraint is there, or gone.
_MADE_BEFORE = frozenset({1050, 1051, 1054, 1060, 1061, 1091, 1146, 1826})


def engine(url: URL) -> Engine:
    """Open the database for Alembic: no time limit on a statement, and on SQLite a transaction around all of it."""
    options = database.engine_options(url)
    connect = {name: option for name, option in options["connect_args"].items() if name not in _TIME_LIMITS}
    if url.get_backend_name() == "sqlite":
        connect["timeout"] = _WAIT_SECONDS
    kept = {name: options[name] for name in ("hide_parameters", "isolation_level") if name in options}
    # Without a pool a connection ends with its block, and its lock with it.
    made = create_engine(url, poolclass=NullPool, connect_args=connect, **kept)
    if url.get_backend_name() == "sqlite":
        # The driver opens a transaction before a row is written, but not before a table is made: a migration that
        # fails half-way would leave its first half, and two at once would run into each other.
        event.listen(made, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
        # A table is changed by making it anew and dropping the old one, which would take along all that points to it.
        event.listen(made, "connect", lambda connection, _record: connection.execute("PRAGMA foreign_keys = OFF"))
    return made


@contextlib.contextmanager
def alone(connection: Connection) -> Iterator[None]:
    """Wait until no other run of migrations is at work on this database, and keep later ones waiting.

    On SQLite the transaction does that by itself. Raises `ClickException` after a minute.
    """
    if connection.dialect.name != "sqlite":
        lock = text("SELECT GET_LOCK(CONCAT('authapp.', MD5(DATABASE())), :seconds)")
        is_ours = connection.scalar(lock, {"seconds": _WAIT_SECONDS})
        # The lock stays ours for as long as the connection, the transaction need not.
        connection.commit()
        if not is_ours:
            raise _busy()
    try:
        yield
    except DBAPIError as error:
        if getattr(error.orig, "sqlite_errorcode", None) != sqlite3.SQLITE_BUSY:
            raise
        raise _busy() from None


def _busy() -> click.ClickException:
    return click.ClickException(
        f"Another migration has had this database for {_WAIT_SECONDS} seconds: wait for its end, then run this again."
    )


class Progress:
    """How far a migration has come, where the server commits each change of a table by itself.

    It is a row that tells the command under way, the number of its statements that are done, and whether the next one
    has been tried. A migration that is run again passes over what is done; of the one that had been tried it may hear
    that its change is there. The row is written before each statement, and is committed with it or not at all.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._exists = inspect(connection).has_table(_PROGRESS.name)
        connection.commit()
        self._is_running, self._count, self._done, self._was_tried = False, 0, 0, False
        event.listen(connection.engine, "do_execute", self._execute)
        event.listen(connection.engine, "do_execute_no_params", self._execute_no_params)
        event.listen(connection.engine, "do_executemany", self._executemany)

    def along(self, steps: Iterable[_Step]) -> Iterator[_Step]:
        """Give these steps of Alembic's, each when the one before it is over."""
        for step in steps:
            if not step.info.is_stamp:
                self._begin(_command(step.info))
            yield step
        if self._exists:
            _PROGRESS.drop(self._connection)
            self._connection.commit()

    def over(self, **_told: object) -> None:
        """Forget the step, in the transaction that puts the new version on record."""
        self._is_running = False
        if self._exists:
            self._connection.execute(delete(_PROGRESS))

    def _begin(self, command: str) -> None:
        """Find out what of this step is done. Raises `ClickException` where another one was interrupted."""
        if not self._exists:
            _PROGRESS.create(self._connection)
            self._exists = True
        found = self._connection.execute(select(_PROGRESS)).first()
        if found is None:
            self._connection.execute(insert(_PROGRESS).values(command=command, done=0, is_tried=False))
        self._connection.commit()
        under_way, self._done, self._was_tried = found or (command, 0, False)
        if under_way != command:
            raise click.ClickException(f"flask db {under_way} was interrupted: run that again first.")
        self._is_running, self._count = True, 0

    def _execute(self, cursor: Any, statement: str, parameters: Any, _context: object) -> bool:
        return self._go_on(cursor, statement, lambda: cursor.execute(statement, parameters))

    def _execute_no_params(self, cursor: Any, statement: str, _context: object) -> bool:
        return self._go_on(cursor, statement, lambda: cursor.execute(statement))

    def _executemany(self, cursor: Any, statement: str, parameters: Any, _context: object) -> bool:
        return self._go_on(cursor, statement, lambda: cursor.executemany(statement, parameters))

    def _go_on(self, cursor: Any, statement: str, run: Callable[[], object]) -> bool:
        """Run a statement unless it is done, and say whether that was ours to do."""
        if not self._is_running or not _CHANGES.match(statement) or any(name in statement for name in _NOT_COUNTED):
            return False
        self._count += 1
        if self._count <= self._done:
            return True
        may_be_made = self._was_tried and self._count == self._done + 1
        cursor.execute(_TRY, (self._count - 1,))
        try:
            run()
        except pymysql.MySQLError as error:
            if may_be_made and error.args[0] in _MADE_BEFORE:
                return True
            self._take_back(cursor)
            raise
        return True

    @staticmethod
    def _take_back(cursor: Any) -> None:
        """Put on record that the statement changed nothing, unless nobody can know that: the server is gone."""
        with contextlib.suppress(pymysql.MySQLError):
            cursor.execute(_TAKE_BACK)
            cursor.connection.commit()


def _command(step: MigrationInfo) -> str:
    """Give the command that runs this step, and no other before it."""
    if step.is_upgrade:
        return f"upgrade {step.up_revision_id}"
    return f"downgrade {(*step.down_revision_ids, 'base')[0]}"
