"""Checks of the database: whether it answers, and is as `migrations` and `authapp.database` want it."""

import os
from collections.abc import Sequence
from datetime import UTC
from pathlib import Path

from flask import current_app
from sqlalchemy import BindParameter, Connection, Table, bindparam, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from authapp import clock, database, tokens
from authapp import schema as versions
from authapp.config import is_in_memory
from authapp.doctor.finding import Finding, fail, ok, warning
from authapp.extensions import Base, db

_NOTABLE_SKEW_SECONDS = 2
_HOSTS_ENGINE = "give the host's SQLALCHEMY_ENGINE_OPTIONS what authapp.database.engine_options says."
_PRIVATE_MODE = 0o077


def reachable() -> Finding:
    """Check that the database answers, and takes writes."""
    try:
        with db.engine.connect() as connection:
            connection.execute(text("SELECT 1"))
            read_only = not _is_sqlite() and _variable(connection, "read_only", "OFF") not in ("OFF", "0")
    except SQLAlchemyError as error:
        mend = "this user must be able to write the file and its directory." if _is_sqlite() else "see that it runs."
        mend = f"{absent}." if (absent := database.absent(error)) else f"check DATABASE_URL; {mend}"
        return fail(f"The database does not answer ({database.reason(error)}): {mend}")
    if read_only:
        return fail("The database server is read-only: name its primary in DATABASE_URL.")
    return ok(f"The database answers ({db.engine.dialect.name}).")


def schema() -> Finding:
    """Check that the tables are those of this version."""
    if problem := versions.trouble():
        return fail(problem)
    missing = _missing_columns()
    if missing:
        return fail(
            f"The database lacks {', '.join(missing[:3])}{' and more' if missing[3:] else ''}: {versions.mend()}"
        )
    return ok("The schema is the one of this version.")


def charset() -> Finding:
    """Check that every text can be stored, and that rows are in an engine with transactions."""
    if _is_sqlite():
        return ok("SQLite stores every text.")
    with db.engine.connect() as connection:
        spoken, default = connection.execute(text("SELECT @@character_set_client, @@character_set_database")).one()
        columns, engines = _odd_columns(connection), _odd_engines(connection)
    if engines:
        return fail(f"{', '.join(engines)} not in InnoDB: run ALTER TABLE … ENGINE=InnoDB.")
    if columns:
        return fail(f"{', '.join(columns)} not utf8mb4: run ALTER TABLE … CONVERT TO CHARACTER SET utf8mb4.")
    if spoken != "utf8mb4":
        return fail(f"The connection speaks {spoken}: have DATABASE_URL end in ?charset=utf8mb4.")
    if default != "utf8mb4":
        return warning(f"New tables would be {default}: run ALTER DATABASE … CHARACTER SET utf8mb4.")
    return ok("The connection and all tables are utf8mb4, in InnoDB.")


def isolation() -> Finding:
    """Check that a transaction sees the row that won a race against it."""
    if _is_sqlite():
        return ok("SQLite has one writer at a time.")
    with db.engine.connect() as connection:
        level = connection.get_isolation_level()
        logged = _variable(connection, "log_bin", "OFF") in ("ON", "1")
        statements = _variable(connection, "binlog_format", "ROW") == "STATEMENT"
    if level != "READ COMMITTED" and current_app.extensions["sqlalchemy"] is not db:
        return warning(f"Transactions of the host's own engine are {level}, not READ COMMITTED: {_HOSTS_ENGINE}")
    if level != "READ COMMITTED":
        return fail(f"Transactions are {level}: something between overrides READ COMMITTED; take that out.")
    if logged and statements:
        return fail("binlog_format is STATEMENT, with which READ COMMITTED cannot write: set ROW or MIXED.")
    return ok("Transactions are READ COMMITTED.")


def storage() -> Finding:
    """Check SQLite's file: this user can write it and what stands beside it, and no other can read it."""
    if not _is_sqlite():
        return ok("The database server's own affair.")
    if is_in_memory(db.engine.url):
        return warning("The database is in memory, and gone when the process ends: name a file in DATABASE_URL.")
    with db.engine.connect() as connection:
        references = connection.execute(text("PRAGMA foreign_keys")).scalar()
        journal = connection.execute(text("PRAGMA journal_mode")).scalar()
        file = Path(connection.execute(text("SELECT file FROM pragma_database_list WHERE name = 'main'")).scalar_one())
    for path in (file, file.parent):
        if not os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
            return fail(f"{path} cannot be written by this user: give it to the user that runs the service.")
    if not references or journal != "wal":
        return warning(
            f"SQLite has foreign keys {'on' if references else 'off'} and its journal is {journal}, not on and wal: "
            f"use a local disk, and in a host with an engine of its own {_HOSTS_ENGINE}"
        )
    if file.stat().st_mode & _PRIVATE_MODE:
        return warning(f"{file}, with its password hashes, can be read by others: run chmod 600 on it.")
    return ok(f"{file} can be written, by this user only.")


def clock_of_server() -> Finding:
    """Compare our clock with the database server's: several nodes agree no better than with that."""
    if _is_sqlite():
        return ok("SQLite has this machine's clock.")
    with db.engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        before = clock.now()
        theirs = connection.execute(text("SELECT UTC_TIMESTAMP(6)")).scalar_one().replace(tzinfo=UTC)
        after = clock.now()
    # Anything within the time that the answer took is no difference.
    skew = max((theirs - after).total_seconds(), (before - theirs).total_seconds(), 0.0)
    says = f"This machine's clock and the database server's differ by {skew:.0f} s: let NTP set both."
    if skew > tokens.LEEWAY_SECONDS:
        return fail(says)
    return warning(says) if skew > _NOTABLE_SKEW_SECONDS else ok("The clock agrees with the database server's.")


def _is_sqlite() -> bool:
    return db.engine.dialect.name == "sqlite"


def _variable(connection: Connection, name: str, default: str) -> str:
    """Read a variable of the server's, which not every server has."""
    found = connection.execute(text("SHOW GLOBAL VARIABLES LIKE :name"), {"name": name}).first()
    return str(found[1]) if found else default


def _tables() -> Sequence[Table]:
    """Give our tables; a host application's may be in the same metadata."""
    ours = (mapper for mapper in Base.registry.mappers if mapper.class_.__module__.startswith("authapp."))
    return [table for mapper in ours for table in mapper.tables if isinstance(table, Table)]


def _missing_columns() -> Sequence[str]:
    found = inspect(db.engine)
    existing, missing = set(found.get_table_names()), []
    for table in _tables():
        if table.name not in existing:
            missing.append(table.name)
            continue
        columns = {column["name"] for column in found.get_columns(table.name)}
        missing += [f"{table.name}.{column.name}" for column in table.columns if column.name not in columns]
    return sorted(missing)


def _odd_columns(connection: Connection) -> Sequence[str]:
    statement = (
        "SELECT DISTINCT table_name FROM information_schema.columns WHERE table_schema = DATABASE()"
        " AND table_name IN :ours AND character_set_name <> 'utf8mb4' ORDER BY table_name"
    )
    return _names(connection, statement)


def _odd_engines(connection: Connection) -> Sequence[str]:
    statement = (
        "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()"
        " AND table_name IN :ours AND engine <> 'InnoDB' ORDER BY table_name"
    )
    return _names(connection, statement)


def _names(connection: Connection, statement: str) -> Sequence[str]:
    ours: BindParameter[list[str]] = bindparam("ours", [table.name for table in _tables()], expanding=True)
    return connection.execute(text(statement).bindparams(ours)).scalars().all()
