"""The databases and applications that tests run on: every test that uses `app` runs on each database."""

import logging
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import flask_migrate
import pymysql
import pytest
from flask import Flask
from sqlalchemy.engine import URL, make_url

from authapp import create_app
from authapp.extensions import db
from authapp.testing import TEST_SETTINGS, empty_tables
from tests import overheard, services
from tests.factories import Api
from tests.leaks import Watch, watch

# As a host application's tests have them.
pytest_plugins = ["authapp.testing"]

MYSQL_URL = make_url(os.environ.get("TEST_MYSQL_URL", "mysql+pymysql://root@127.0.0.1:3306"))
MakeApp = Callable[..., Flask]
Figure = Callable[[str, object], None]


def pytest_configure() -> None:
    """Hear whatever is said from here on; see `leaks`."""
    overheard.listen()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the second database where a test says that none decides, and the other where it is about one."""
    left_out = {item for item in items if _is_left_out(item)}
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]


def _is_left_out(item: pytest.Item) -> bool:
    only = item.get_closest_marker("only_on")
    if only:
        return only.args[0] not in item.name.partition("[")[2]
    return item.get_closest_marker("any_database") is not None and "mariadb" in item.name


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what the tests measured, below everything else."""
    ended = [report for reports in terminalreporter.stats.values() for report in reports]
    calls = [report for report in ended if getattr(report, "when", None) == "call"]
    figures = [(report.nodeid, *pair) for report in calls for pair in report.user_properties]
    if figures:
        terminalreporter.section("figures")
    for nodeid, name, value in figures:
        terminalreporter.write_line(f"{nodeid}: {name}: {value}")


@pytest.fixture
def figure(record_property: Figure) -> Figure:
    """Have a measured figure printed at the end of the run: `figure("answers of 5xx", 0)`."""
    return record_property


@pytest.fixture(autouse=True)
def leaks() -> Iterator[Watch]:
    """Fail the test if a secret got out during it, or a whole address where none belongs; `take()` is what got out."""
    logging.getLogger("authapp").setLevel(logging.DEBUG)
    yield watch
    if found := watch.take():
        pytest.fail("a secret got out:\n" + "\n".join(found), pytrace=False)


def _connect(url: URL) -> pymysql.Connection:
    return pymysql.connect(
        host=url.host,
        port=url.port or 3306,
        user=url.username or "root",
        password=url.password or "",
        connect_timeout=3,
    )


@pytest.fixture(scope="session")
def mysql_url() -> Iterator[str]:
    """A database of this run's own on the real server; without one: skipped, or failed where services are required."""
    try:
        server = _connect(MYSQL_URL)
    except pymysql.MySQLError as error:
        services.lacking(f"no MariaDB or MySQL answers at {MYSQL_URL.host}:{MYSQL_URL.port} ({error.args[0]})")
    name = f"authapp_test_{os.getpid()}_{secrets.token_hex(3)}"
    with server, server.cursor() as cursor:
        # A default of latin1, as old servers have: the tables must not depend on it.
        cursor.execute(f"CREATE DATABASE {name} CHARACTER SET latin1")
        yield MYSQL_URL.set(database=name).render_as_string(hide_password=False)
        cursor.execute(f"DROP DATABASE {name}")


@pytest.fixture(scope="session", params=["sqlite", "mariadb"])
def database_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of an empty database that has been migrated, one of each kind."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('sqlite') / 'test.db'}"
    else:
        url = request.getfixturevalue("mysql_url")
    with create_app({**TEST_SETTINGS, "DATABASE_URL": url}, environ={}).app_context():
        flask_migrate.upgrade()
        db.engine.dispose()
    return url


@pytest.fixture(scope="session")
def shared_app(database_url: str) -> Iterator[Flask]:
    """The one application of a database; tests ask for `app`."""
    app = create_app({**TEST_SETTINGS, "DATABASE_URL": database_url}, environ={})
    yield app
    _close(app)


def _close(app: Flask) -> None:
    """Close the pooled connections; a warning about one left open would fail some later test."""
    with app.app_context():
        db.engine.dispose()


@pytest.fixture
def app(shared_app: Flask) -> Iterator[Flask]:
    """The service with its default settings, on an empty database."""
    yield shared_app
    empty_tables(shared_app)


@pytest.fixture
def make_app(app: Flask) -> Iterator[MakeApp]:
    """Make another application, with other settings, on the same database."""
    made: list[Flask] = []

    def make(**settings: object) -> Flask:
        given = {**TEST_SETTINGS, "DATABASE_URL": app.config["DATABASE_URL"], **settings}
        made.append(create_app(given, environ={}))
        return made[-1]

    yield make
    for other in made:
        _close(other)


@pytest.fixture
def api(app: Flask) -> Api:
    """A client of the service that knows its routes."""
    return Api(app)


@pytest.fixture
def root() -> Path:
    """The root of the project."""
    return Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _push_request_context() -> None:
    """Switch off pytest-flask's fixture of this name: one context around a test would join its requests."""
