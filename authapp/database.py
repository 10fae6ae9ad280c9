"""The database: how each kind is opened, who commits, and what its driver's errors mean.

Rules change objects and never commit. An entry point (view, command, worker) calls `commit` on its last line.
"""

import sqlite3
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeVar, cast

import pymysql
from flask import Flask
from sqlalchemy import Insert, Select, Table, insert
from sqlalchemy.engine import URL, CursorResult, Row, make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session
from sqlalchemy.orm.exc import StaleDataError
from sqlalchemy.sql.dml import UpdateBase

from authapp import mariadb, sqlite
from authapp.config import is_in_memory
from authapp.errors import ServiceUnavailableError
from authapp.extensions import Model, db

T = TypeVar("T", bound=object)

# Far longer than a connection is waited for where the database is well.
_POOL_TIMEOUT_SECONDS = 1
_SQLITE_BUSY_SECONDS = 4

# MariaDB and MySQL: deadlock, lock wait timeout, record changed since last read (MariaDB 11.6 and later).
_TRANSIENT_CODES = (1213, 1205, 1020)
_DUPLICATE_CODE = 1062
_UNKNOWN_DATABASE_CODE = 1049
_SQLITE_DUPLICATE_CODES = (sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)
# Server errors that are the server's state and not our statement: out of connections, threads, memory or disk, going
# down, access withdrawn, the connection or the query ended by somebody, read-only. In the 2000s it is the client's
# library that speaks: it lost the server.
_AWAY_CODES = frozenset({
    1021, 1040, 1041, 1044, 1045, 1049, 1053, 1114, 1129, 1130, 1135, 1152, 1158, 1159, 1160, 1161, 1184, 1203, 1226,
    1290, 1317, 1698, 1836, 1927, 1969, 3024, 4031,
})  # fmt: skip
_CLIENT_CODES = range(2000, 3000)
_SQLITE_AWAY_CODES = frozenset({
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL,
})  # fmt: skip


def configure(app: Flask) -> None:
    """Give Flask-SQLAlchemy its address and the options of the kind of database it names. Raises `ConfigError`."""
    url = make_url(app.config["DATABASE_URL"])
    app.config["SQLALCHEMY_DATABASE_URI"] = url
    # What a host asks for comes first, but for what this library cannot do without.
    ours, given = engine_options(url), app.config.get("SQLALCHEMY_ENGINE_OPTIONS") or {}
    connect = {**ours["connect_args"], **given.get("connect_args", {})}
    kept = {name: ours[name] for name in ("hide_parameters", "isolation_level") if name in ours}
    sizes = {name for name in ours if "poolclass" in given and name.startswith(("pool_", "max_overflow"))}
    ours = {name: option for name, option in ours.items() if name not in sizes}
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {**ours, **given, **kept, "connect_args": connect}
    if url.get_backend_name() == "sqlite":
        sqlite.make_file(app, url)


def engine_options(url: URL | str) -> dict[str, Any]:
    """Give the options for `create_engine`, also as a host's own `SQLALCHEMY_ENGINE_OPTIONS`.

    Values never show in an exception (they may be password hashes), and SQLite keeps to its foreign keys.
    """
    url = make_url(url)
    if url.get_backend_name() == "sqlite":
        # With this isolation level the driver opens a transaction at the first write, and takes the write lock
        # with it: a read never locks, and two writers wait for each other instead of failing half-way.
        connect = {"isolation_level": "IMMEDIATE", "timeout": _SQLITE_BUSY_SECONDS, "factory": sqlite.Connection}
        # One in memory is a single connection, for which there is no pool to size. In a file there may be as many as
        # gunicorn.conf.py has threads, since each of them may wait for the one who writes.
        pool = {} if is_in_memory(url) else {"pool_size": 10, "max_overflow": 54, "pool_timeout": _POOL_TIMEOUT_SECONDS}
        return {"hide_parameters": True, "connect_args": connect, **pool}
    session = f"SET SESSION innodb_lock_wait_timeout={mariadb.LOCK_TIMEOUT_SECONDS}, sql_mode='STRICT_ALL_TABLES'"
    return {
        "hide_parameters": True,
        "module": mariadb.DRIVER,
        # A lost compare-and-set must be able to read the row that won.
        "isolation_level": "READ COMMITTED",
        "pool_recycle": 1800,
        "pool_timeout": _POOL_TIMEOUT_SECONDS,
        "pool_size": 10,
        "max_overflow": 10,
        "connect_args": {
            "connect_timeout": mariadb.CONNECT_TIMEOUT_SECONDS,
            "read_timeout": mariadb.STATEMENT_TIMEOUT_SECONDS,
            "write_timeout": mariadb.STATEMENT_TIMEOUT_SECONDS,
            "init_command": session,
        },
    }


def row(statement: Select[*tuple[Any, ...]], **parameters: object) -> Row[Any] | None:
    """Run one SELECT on a connection of its own and give its first row; nothing stays open.

    Raises `ServiceUnavailableError`: it serves views of a host too, whose error pages know no better.
    """
    try:
        with db.engine.connect() as connection:
            return connection.execute(statement, parameters).first()
    except (DBAPIError, PoolTimeoutError) as error:
        if is_away(error):
            raise ServiceUnavailableError from error
        raise


def reading() -> Session:
    """Open a session of its own, to load objects with and then hold nothing; see `take_in`.

    What is only read had better be read so: a transaction that is open when the request's context ends can fail where
    nobody answers the error any more.
    """
    return Session(db.engine, expire_on_commit=False)


def take_in(loaded: T) -> T:
    """Give the session's own object for one that `reading` loaded, as it was loaded, without another SELECT.

    There may be one already: a host, or a script, has had to do with this user before. What that has changed and not
    flushed yet would be overwritten, so it is written first, and read back.
    """
    session = db.session()
    is_changed = bool(session.dirty)
    session.flush()
    taken: T = session.merge(loaded, load=False)
    if is_changed:
        session.refresh(taken)
    return taken


def change(statement: UpdateBase, **parameters: object) -> int:
    """Run an INSERT, UPDATE or DELETE in the session and give the number of rows that its WHERE matched."""
    result = db.session.execute(statement, parameters, execution_options={"synchronize_session": False})
    assert isinstance(result, CursorResult)
    return result.rowcount


def insert_new(model: type[Model], *rows: Mapping[str, object]) -> None:
    """Write these rows, but for those whose key there is already; in one statement."""
    db.session.execute(_insert_new(model), list(rows))


@lru_cache
def _insert_new(model: type[Model]) -> Insert:
    # For the table, not the class, whose objects nobody wants: that costs a third.
    statement = insert(cast("Table", model.__table__))
    return statement.prefix_with("OR IGNORE", dialect="sqlite").prefix_with("IGNORE", dialect="mysql")


def commit() -> None:
    """Commit the session. For entry points: views, commands, workers.

    Our objects stay as they were saved, also in the session of a host that expires them: the answer would load them
    anew, and an error then would refuse, or repeat, what has been done.
    """
    session = db.session()
    expires, session.expire_on_commit = session.expire_on_commit, False
    try:
        session.commit()
    finally:
        session.expire_on_commit = expires
    for other in [found for found in session if expires and not isinstance(found, Model)]:
        session.expire(other)


def rollback() -> None:
    """Undo the session's changes."""
    db.session.rollback()


def start_over() -> None:
    """Undo the session's changes and forget its objects, for a second run that loads its own."""
    rollback()
    db.session.expunge_all()


def is_duplicate(error: IntegrityError) -> bool:
    """Tell a broken unique constraint from every other broken constraint."""
    if isinstance(error.orig, sqlite3.IntegrityError):
        return error.orig.sqlite_errorcode in _SQLITE_DUPLICATE_CODES
    return _code(error) == _DUPLICATE_CODE


def is_transient(error: Exception) -> bool:
    """Say whether the same transaction, run again, may end otherwise: it lost a lock, or a row changed under it.

    A race to insert and a row that is gone, or that what it points to is, show as such when they are met again.
    """
    lost_lock = isinstance(error, DBAPIError) and _code(error) in _TRANSIENT_CODES
    return lost_lock or isinstance(error, IntegrityError | StaleDataError)


def is_away(error: Exception) -> bool:
    """Say whether the error means that the database cannot serve now, rather than that we asked nonsense.

    The drivers raise an `OperationalError` for either: for a lost connection and for a column that does not exist.
    """
    if isinstance(error, InterfaceError | PoolTimeoutError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    if isinstance(error.orig, sqlite3.OperationalError):
        return getattr(error.orig, "sqlite_errorcode", sqlite3.SQLITE_IOERR) & 0xFF in _SQLITE_AWAY_CODES
    code = _code(error)
    if code is None:
        return error.connection_invalidated or isinstance(error, OperationalError)
    return code in _AWAY_CODES or code in _TRANSIENT_CODES or code in _CLIENT_CODES


def absent(error: Exception) -> str | None:
    """Say how to make the database, if what is wrong is that the server has none of that name."""
    if not isinstance(error, DBAPIError) or _code(error) != _UNKNOWN_DATABASE_CODE:
        return None
    return f"make it: CREATE DATABASE {db.engine.url.database} CHARACTER SET utf8mb4"


def reason(error: Exception) -> str:
    """Give the driver's words, which name a user and a host, but no password."""
    original = getattr(error, "orig", None)
    return str(original.args[-1] if original is not None and original.args else type(error).__name__)


def _code(error: DBAPIError) -> int | None:
    original = error.orig
    if isinstance(original, pymysql.MySQLError) and original.args and isinstance(original.args[0], int):
        return original.args[0]
    return None
