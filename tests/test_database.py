"""What each kind of database does by itself, and what its driver's errors become."""

import logging
import socket
import sqlite3
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pymysql
import pytest
from flask import Flask
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from authapp import addresses, afterwards, create_app, database, mariadb, users
from authapp.api import Blueprint
from authapp.columns import new_id
from authapp.extensions import db
from authapp.models import User
from authapp.testing import TEST_SETTINGS
from tests.conftest import MakeApp
from tests.factories import ALICE, BOB, PASSWORD, Api, data, make_user, refusal, user_of
from tests.statements import failing, just_before


def engine_of(app: Flask) -> Engine:
    with app.app_context():
        return db.engine


def said_by_the_server(code: int) -> Exception:
    """Make what the MariaDB driver raises for this code."""
    return pymysql.err.OperationalError(code, "said the server")


def test_addresses_compare_byte_for_byte(app: Flask):
    make_user(app)
    for other in ("ALICE@example.org", "alice@example.org ", "alicé@example.org", "alice@example.org\t"):
        with app.app_context():
            assert db.session.query(User).where(User.email == other).first() is None, other


def test_times_keep_their_microseconds_and_their_zone(app: Flask):
    exact = datetime(2026, 11, 21, 12, 30, 15, 123456, tzinfo=UTC)
    make_user(app)
    with app.app_context():
        user = users.find(ALICE)
        assert user is not None
        user.created_at = exact
        database.commit()
    assert user_of(app).created_at == exact


def test_later_ids_sort_later(app: Flask):
    ids = [new_id() for _ in range(200)]
    assert ids == sorted(ids)
    assert {id.version for id in ids} == {7}
    made = [make_user(app, f"user{number}@example.org") for number in range(5)]
    with app.app_context():
        found = db.session.scalars(db.select(User.id).order_by(User.id)).all()
    assert found == [uuid.UUID(id) for id in made]


@pytest.mark.only_on("sqlite")
def test_sqlite_checks_foreign_keys_and_lets_readers_pass_a_writer(app: Flask):
    with engine_of(app).connect() as connection:
        assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 1


@pytest.mark.only_on("mariadb")
def test_mariadb_is_strict_and_shows_what_others_committed(app: Flask):
    with engine_of(app).connect() as connection:
        modes = connection.execute(text("SELECT @@sql_mode, @@tx_isolation, @@character_set_client")).one()
        assert "STRICT_ALL_TABLES" in modes[0]
        assert tuple(modes[1:]) == ("READ-COMMITTED", "utf8mb4")


def test_deleting_a_user_takes_everything_along(app: Flask, api: Api):
    make_user(app)
    api.log_in()
    with app.app_context():
        user = users.find(ALICE)
        assert user is not None
        addresses.send_verification(user)
        users.delete(user)
        database.commit()
        for table in ("auth_session", "auth_link"):
            assert db.session.execute(text(f"SELECT COUNT(*) FROM {table}")).scalar() == 0


def test_error_of_the_database_shows_no_value(app: Flask):
    make_user(app)
    with app.app_context():
        db.session.add(User(email=ALICE, password_hash="scrypt:secret$hash"))
        with pytest.raises(IntegrityError) as caught:
            db.session.flush()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("code", [1213, 1205, 1020])
def test_transaction_that_lost_a_lock_is_run_once_more(app: Flask, api: Api, code: int):
    make_user(app)
    with failing(app, "INSERT INTO auth_session", said_by_the_server(code)):
        pair = api.log_in()
    assert len(data(api.get("/sessions", token=pair["access_token"]))["sessions"]) == 1


@pytest.mark.parametrize("code", [1213, 1205, 1020])
def test_transaction_that_loses_its_locks_again_is_given_up(app: Flask, api: Api, code: int):
    make_user(app)
    with failing(app, "INSERT INTO auth_session", said_by_the_server(code), times=2):
        answer = api.post("/login", {"email": ALICE, "password": PASSWORD})
    assert refusal(answer) == (503, "SERVICE_UNAVAILABLE")
    assert answer.headers["Retry-After"]
    assert data(api.get("/sessions", token=api.log_in()["access_token"]))["sessions"][1:] == []


@pytest.mark.only_on("mariadb")
def test_real_deadlock_is_no_error(app: Flask, make_app: MakeApp):
    for email in (ALICE, BOB):
        make_user(app, email)
    both_hold_one, outcomes = Barrier(2, timeout=10), []
    host = make_app()
    waited = {"first": False, "second": False}

    def change(names: tuple[str, str], which: str) -> dict[str, str]:
        """Take the two rows in an order; the first time round, wait until the other has its first row too."""
        database.change(db.update(User).where(User.email == names[0]).values(name=which))
        if not waited[which]:
            waited[which] = True
            both_hold_one.wait()
        database.change(db.update(User).where(User.email == names[1]).values(name=which))
        database.commit()
        return {}

    blueprint = Blueprint("deadlock", __name__)
    blueprint.add_url_rule("/first", "first", lambda: change((ALICE, BOB), "first"), methods=["POST"])
    blueprint.add_url_rule("/second", "second", lambda: change((BOB, ALICE), "second"), methods=["POST"])
    host.register_blueprint(blueprint)
    threads = [
        Thread(target=lambda path=path: outcomes.append(host.test_client().post(path).status_code))
        for path in ("/first", "/second")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [200, 200]
    assert user_of(app, ALICE).name == user_of(app, BOB).name


@pytest.mark.only_on("mariadb")
def test_connection_that_the_server_dropped_is_replaced(app: Flask, api: Api):
    make_user(app)
    token = api.log_in()["access_token"]
    with engine_of(app).connect() as connection:
        mine = connection.execute(text("SELECT CONNECTION_ID()")).scalar()
        others = connection.execute(text("SELECT id FROM information_schema.processlist WHERE db = DATABASE()")).all()
        for (other,) in others:
            if other != mine:
                connection.execute(text(f"KILL {other}"))
        connection.invalidate()
    assert api.get("/me", token=token).status_code == 200


def test_database_that_is_away_is_not_our_error(app: Flask, make_app: MakeApp):
    away = make_app(DATABASE_URL="mysql+pymysql://root@127.0.0.1:1/nowhere")
    api = Api(away)
    for answer in (
        api.post("/login", {"email": ALICE, "password": PASSWORD}),
        api.register(),
        api.post("/resend-verification", {"email": ALICE}),
    ):
        assert refusal(answer) == (503, "SERVICE_UNAVAILABLE")
        assert answer.headers["Retry-After"]


def test_statement_that_is_wrong_is_our_error_and_stands_in_the_log(
    app: Flask, make_app: MakeApp, caplog: pytest.LogCaptureFixture
):
    host = make_app()
    host.add_url_rule("/<statement>", "run", lambda statement: str(db.session.execute(text(statement)).all()))
    for statement in ("SELECT nothing FROM auth_user", "SELECT 1 FROM nothing", "SELEC 1"):
        with caplog.at_level(logging.ERROR, logger="authapp"):
            answer = host.test_client().get(f"/{statement}")
        assert refusal(answer) == (500, "INTERNAL_ERROR"), statement
        assert caplog.records[-1].message == "internal_error"
        assert caplog.records[-1].exc_info


@pytest.mark.any_database
def test_server_that_hangs_keeps_one_waiting_and_no_connection_long(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch):
    # However long the next request takes to come, on a busy machine.
    monkeypatch.setattr(mariadb, "_PAUSE_SECONDS", 30)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        api = Api(make_app(DATABASE_URL=f"mysql+pymysql://root@127.0.0.1:{silent.getsockname()[1]}/x"))
        took = []
        for _ in range(3):
            began = time.monotonic()
            assert refusal(api.post("/resend-verification", {"email": ALICE})) == (503, "SERVICE_UNAVAILABLE")
            took.append(time.monotonic() - began)
    assert took[0] > mariadb.GREETING_TIMEOUT_SECONDS
    assert max(took[1:]) < mariadb.GREETING_TIMEOUT_SECONDS


@pytest.mark.only_on("mariadb")
def test_rollback_is_given_less_time_than_the_host_gives_a_statement(make_app: MakeApp):
    """That is an attribute that PyMySQL keeps to itself: had it another name, nothing would be shorter."""
    host = make_app(SQLALCHEMY_ENGINE_OPTIONS={"connect_args": {"read_timeout": 2}})
    with engine_of(host).connect() as connection:
        driver: Any = connection.connection.driver_connection
        for act, is_short in (
            (driver.begin, False),
            (driver.rollback, True),
            (lambda: driver.query("SELECT 1"), False),
        ):
            act()
            assert (driver._sock.gettimeout() < 2) is is_short


def _error(kind: type[DBAPIError], original: BaseException) -> DBAPIError:
    return kind("SELECT 1", None, original)


@pytest.mark.parametrize(
    ("error", "is_away"),
    [
        (_error(OperationalError, pymysql.err.OperationalError(2006, "gone away")), True),
        (_error(OperationalError, pymysql.err.OperationalError(1040, "too many connections")), True),
        (_error(OperationalError, pymysql.err.OperationalError(1054, "unknown column")), False),
        (_error(ProgrammingError, pymysql.err.ProgrammingError(1146, "no such table")), False),
        (_error(OperationalError, pymysql.err.OperationalError(4025, "constraint failed")), False),
        (_error(InterfaceError, pymysql.err.InterfaceError(0, "")), True),
        (_error(OperationalError, sqlite3.OperationalError("unable to open database file")), True),
        (PoolTimeoutError("no connection is free"), True),
        (ValueError("something else"), False),
    ],
)
def test_outage_is_told_from_a_mistake(error: Exception, is_away: bool):
    assert database.is_away(error) is is_away


def test_calls_wait_for_the_commit_and_a_rollback_forgets_them(app: Flask):
    called: list[str] = []
    with app.app_context():
        afterwards.on_commit(lambda: called.append("forgotten"))
        database.rollback()
        afterwards.on_commit(lambda: called.append("made"))
        assert called == []
        database.commit()
        database.commit()
    assert called == ["made"]


def test_database_in_memory_serves_development():
    app = create_app({**TEST_SETTINGS, "DATABASE_URL": "sqlite:///:memory:"}, environ={})
    with app.app_context():
        db.create_all()
    make_user(app)
    api = Api(app)
    assert data(api.get("/me", token=api.log_in()["access_token"]))["user"]["email"] == ALICE
    with app.app_context():
        db.engine.dispose()


def test_pool_that_is_used_up_is_an_outage(app: Flask, api: Api):
    make_user(app)
    token = api.log_in()["access_token"]
    engine = engine_of(app)
    taken: list[Connection] = []
    engine.pool._timeout = 0.05  # type: ignore[attr-defined]  # Else the test would wait for seconds.
    try:
        with pytest.raises(PoolTimeoutError):
            taken.extend(engine.connect() for _ in iter(int, 1))
        assert refusal(api.get("/me", token=token)) == (503, "SERVICE_UNAVAILABLE")
    finally:
        for connection in taken:
            connection.close()
    assert api.get("/me", token=token).status_code == 200


def test_duplicate_made_in_a_race_is_a_conflict(app: Flask, api: Api):
    with just_before(app, "INSERT INTO auth_user", Api(app).register):
        assert refusal(api.register()) == (409, "USER_ALREADY_EXISTS")


def test_other_sqlite_databases_of_a_host_are_left_as_they_are(tmp_path: Path):
    create_app({**TEST_SETTINGS, "DATABASE_URL": f"sqlite:///{tmp_path / 'ours.db'}"}, environ={})
    own = create_engine(f"sqlite:///{tmp_path / 'own.db'}")
    with own.connect() as connection:
        assert connection.scalar(text("PRAGMA journal_mode")) == "delete"
        assert connection.scalar(text("PRAGMA foreign_keys")) == 0
    own.dispose()


def test_options_of_a_host_come_beside_ours(app: Flask, make_app: MakeApp):
    engine = engine_of(make_app(SQLALCHEMY_ENGINE_OPTIONS={"pool_size": 1, "connect_args": {}}))
    assert engine.pool.size() == 1  # type: ignore[attr-defined]  # The pool's base class has no size.
    assert engine.hide_parameters
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            assert connection.scalar(text("PRAGMA foreign_keys")) == 1
        else:
            assert connection.get_isolation_level() == "READ COMMITTED"


def test_values_of_a_broken_constraint_stay_out_of_the_log(
    app: Flask, make_app: MakeApp, caplog: pytest.LogCaptureFixture
):
    make_user(app)
    host = make_app()

    def make_alice_again() -> str:
        db.session.add(User(email=ALICE, password_hash="x"))
        db.session.flush()
        return "never"

    host.add_url_rule("/again", "again", make_alice_again)
    with caplog.at_level(logging.ERROR, logger="authapp"):
        assert refusal(host.test_client().get("/again")) == (500, "INTERNAL_ERROR")
    assert "make_alice_again" in caplog.text
    assert ALICE not in caplog.text
