"""A host's own Flask-SQLAlchemy object: authapp uses its engine and its session, and its tables join the host's."""

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import MetaData
from sqlalchemy.types import NullType

from authapp.config import ConfigError
from authapp.extensions import Base, db

_DRIVERS = ("pysqlite", "pymysql")


def database_of(app: Flask) -> SQLAlchemy | None:
    """Give the Flask-SQLAlchemy object that the application has bound itself, if any."""
    bound: SQLAlchemy | None = app.extensions.get("sqlalchemy")
    return bound


def database_url(app: Flask, bound: SQLAlchemy) -> str:
    """Give the address of the host's default database, where our tables live. Raises `ConfigError` without one."""
    with app.app_context():
        engine = bound.engines.get(None)
    if engine is None:
        raise ConfigError("SQLALCHEMY_DATABASE_URI is not set: authapp's tables live in the default database.")
    if engine.driver not in _DRIVERS:
        raise ConfigError(
            f"SQLALCHEMY_DATABASE_URI uses the driver {engine.driver}: only sqlite and mysql+pymysql are supported."
        )
    return engine.url.render_as_string(hide_password=False)


def join(metadata: MetaData) -> None:
    """Put our tables beside the host's: its foreign keys, `create_all()` and migrations then know them.

    They are the very tables that `User` and the others are mapped to, so that a `relationship(User)` works too.
    Raises `ConfigError` where the host has a table of such a name.
    """
    for table in Base.metadata.tables.values():
        if metadata.tables.get(table.key, table) is not table:
            raise ConfigError(f"This application has a table called {table.name} itself: give it another name.")
        # SQLAlchemy has no public word for it: `to_metadata` would make copies that nothing is mapped to.
        metadata._add_table(table.name, table.schema, table)
    _complete_foreign_keys(metadata)


def _complete_foreign_keys(metadata: MetaData) -> None:
    """Give columns that were declared before without a type the type of what they point to."""
    waiting = (key for table in metadata.tables.values() for key in table.foreign_keys)
    for key in waiting:
        if isinstance(key.parent.type, NullType) and key.target_fullname.rpartition(".")[0] in db.metadata.tables:
            key.parent.type = key.column.type
