"""One application for all tests, on a database file of its own; the fixtures of authapp.testing use `app`."""

from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient
from notes import create_app, db

from authapp.testing import TEST_SETTINGS

pytest_plugins = ["authapp.testing"]


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """The application under test."""
    file = tmp_path_factory.mktemp("notes") / "notes.db"
    app = create_app({**TEST_SETTINGS, "SQLALCHEMY_DATABASE_URI": f"sqlite:///{file}"})
    with app.app_context():
        db.create_all()
    yield app
    with app.app_context():
        db.engine.dispose()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A client that is logged in as nobody."""
    return app.test_client()
