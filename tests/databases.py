"""Databases of one test's own, for what cannot be done to the one that all share."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from flask import Flask
from sqlalchemy import NullPool, create_engine, make_url, text

from authapp import create_app
from authapp.extensions import db
from authapp.testing import TEST_SETTINGS

KINDS = ["sqlite", "mariadb"]


@contextmanager
def empty(kind: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """Make an empty database of this kind, give its address, and remove it afterwards."""
    if kind == "sqlite":
        yield f"sqlite:///{request.getfixturevalue('tmp_path') / 'own.db'}"
        return
    server = make_url(request.getfixturevalue("mysql_url"))
    name = f"authapp_test_{secrets.token_hex(6)}"
    engine = create_engine(server, poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} CHARACTER SET latin1"))
    try:
        yield server.set(database=name).render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name}"))


@contextmanager
def serving(url: str) -> Iterator[Flask]:
    """Make the service on this database, and close its connections afterwards."""
    app = create_app({**TEST_SETTINGS, "DATABASE_URL": url}, environ={})
    yield app
    with app.app_context():
        db.engine.dispose()
