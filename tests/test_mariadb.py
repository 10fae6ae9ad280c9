"""Connections to MariaDB: what is sent over them, and what is sent once more where one turns out to be cut."""

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Connection, Engine, create_engine, insert, select, text, update
from sqlalchemy.exc import OperationalError

from authapp import database
from authapp.extensions import db
from authapp.models import User
from tests.factories import ALICE, Api, make_user
from tests.statements import sent_to_mariadb

pytestmark = pytest.mark.only_on("mariadb")

CHANGE = update(User).values(name="Another")
LOCK = select(User.name).with_for_update(read=True)


@pytest.fixture
def engine(app: Flask) -> Iterator[Engine]:
    """An engine of our options, on a table with Alice."""
    make_user(app)
    made = create_engine(app.config["DATABASE_URL"], **database.engine_options(app.config["DATABASE_URL"]))
    with made.connect():
        pass
    yield made
    made.dispose()


def names(engine: Engine) -> list[str | None]:
    with engine.connect() as connection:
        return list(connection.scalars(select(User.name)))


def beginnings(sent: list[str]) -> list[str]:
    return [statement.split()[0] for statement in sent]


def cut(engine: Engine, connection: Connection | None = None) -> None:
    """End the connections that wait in the pool, or this one, as an administrator or a restart does."""
    with create_engine(engine.url).connect() as other:
        found = text("SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()")
        mine: Any = connection and connection.connection.driver_connection
        for number in other.scalars(found).all():
            if connection is None or number == mine.thread_id():
                other.execute(text(f"KILL {number}"))
    time.sleep(0.05)


def test_reading_is_one_round_trip(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    with sent_to_mariadb(monkeypatch) as sent:
        assert len(names(engine)) == 1
    assert beginnings(sent) == ["SELECT"]


def test_writing_is_a_transaction(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    with sent_to_mariadb(monkeypatch) as sent:
        with engine.begin() as connection:
            connection.execute(select(User.name))
            connection.execute(CHANGE)
            connection.execute(select(User.name))
        with engine.connect() as connection:
            connection.execute(update(User).values(name="Nobody"))
    assert beginnings(sent) == ["SELECT", "BEGIN", "UPDATE", "SELECT", "COMMIT", "BEGIN", "UPDATE", "ROLLBACK"]
    assert names(engine) == ["Another"]


@pytest.mark.parametrize("statement", [LOCK, text("SAVEPOINT one"), text("select name from auth_user\n for\tupdate")])
def test_whoever_locks_is_in_a_transaction(engine: Engine, monkeypatch: pytest.MonkeyPatch, statement: Any):
    with sent_to_mariadb(monkeypatch) as sent, engine.begin() as connection:
        connection.execute(statement)
    assert (sent[0], sent[-1], len(sent)) == ("BEGIN", "COMMIT", 3)


def test_what_a_value_says_locks_nothing_and_harms_nothing(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    with sent_to_mariadb(monkeypatch) as sent, engine.connect() as connection:
        connection.scalars(select(User.name).where(User.name == "x FOR UPDATE")).all()
    assert beginnings(sent) == ["BEGIN", "SELECT", "ROLLBACK"]


def test_at_another_isolation_a_transaction_sees_one_state(engine: Engine):
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        before = connection.scalars(select(User.name)).all()
        with engine.begin() as other:
            other.execute(CHANGE)
        assert connection.scalars(select(User.name)).all() == before
    assert names(engine) == ["Another"] != before


def test_autocommit_has_no_transaction_and_nothing_is_sent_twice(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        with sent_to_mariadb(monkeypatch) as sent:
            connection.execute(CHANGE)
        assert beginnings(sent) == ["UPDATE"]
        cut(engine, connection)
        connection.commit()
        with pytest.raises(OperationalError):
            connection.execute(CHANGE)
    assert names(engine) == ["Another"]


@pytest.mark.parametrize("act", [lambda c: c.scalars(select(User.name)).all(), lambda c: c.execute(CHANGE)])
def test_connection_that_was_cut_is_made_anew_unseen(engine: Engine, act: Callable[[Connection], Any]):
    settings = text("SELECT @@tx_isolation, @@innodb_lock_wait_timeout, @@sql_mode, @@autocommit")
    with engine.connect() as connection:
        as_set = connection.execute(settings).all()
    assert re.match("READ-COMMITTED", as_set[0][0])
    cut(engine)
    with engine.connect() as connection:
        act(connection)
        assert connection.execute(settings).all() == as_set
    # It begins transactions as the one before did.
    with engine.connect() as connection:
        connection.execute(CHANGE)
    assert names(engine) != ["Another"]


def test_nothing_of_a_transaction_is_sent_twice(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    for first in (CHANGE, select(User.name)):
        with engine.connect() as connection:
            connection.execute(first)
            cut(engine, connection)
            with sent_to_mariadb(monkeypatch) as sent, pytest.raises(OperationalError):
                connection.execute(CHANGE)
            assert len(sent) == 1
    assert names(engine) != ["Another"]


def test_commit_that_is_cut_off_is_an_error(engine: Engine):
    with engine.connect() as connection:
        connection.execute(CHANGE)
        cut(engine, connection)
        with pytest.raises(OperationalError):
            connection.commit()
    assert names(engine) != ["Another"]


def test_silence_is_no_reason_to_ask_again(app: Flask):
    options = database.engine_options(app.config["DATABASE_URL"])
    options["connect_args"] |= {"read_timeout": 0.5}
    engine = create_engine(app.config["DATABASE_URL"], **options)
    with engine.connect():
        pass
    began = time.monotonic()
    with engine.connect() as connection, pytest.raises(OperationalError, match="timed out"):
        connection.execute(text("SELECT SLEEP(5)"))
    assert time.monotonic() - began < 2
    engine.dispose()


def test_requests_do_not_notice_that_every_connection_was_cut(app: Flask, api: Api):
    make_user(app)
    for act in (
        lambda pair: api.get("/me", token=pair["access_token"]),
        lambda pair: api.post("/refresh", {"refresh_token": pair["refresh_token"]}),
        lambda pair: api.patch("/me", {"name": "Alice"}, token=pair["access_token"]),
        lambda pair: api.post("/logout", token=pair["access_token"]),
    ):
        pair = api.log_in(ALICE)
        with app.app_context():
            cut(db.engine)
        assert act(pair).status_code == 200


def test_duplicate_in_a_transaction_leaves_it_usable(engine: Engine):
    with engine.begin() as connection:
        connection.execute(CHANGE)
        row = connection.execute(select(User.__table__)).mappings().one()
        with pytest.raises(Exception, match="1062"), connection.begin_nested():
            connection.execute(insert(User).values(dict(row)))
    assert names(engine) == ["Another"]
