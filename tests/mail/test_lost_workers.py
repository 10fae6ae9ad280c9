"""Workers that are frozen, and databases that go away, amid a delivery: no mail is lost, none is sent without end."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import pymysql
import pytest
import time_machine
from flask import Flask
from sqlalchemy import Connection, event
from sqlalchemy.exc import DBAPIError, OperationalError

from authapp import database, links
from authapp.extensions import db
from authapp.mail import delivery
from authapp.mail.models import MailRequest
from tests.conftest import MYSQL_URL
from tests.factories import ALICE, BOB, CAROL, mails, make_user
from tests.mail.conftest import NOON, PRODUCTION, MailingApp, MailServer, content, deliver, queue, recipients
from tests.mail.faulty import FaultyServer
from tests.statements import failing, just_before

LONGER_THAN_A_CLAIM = timedelta(seconds=130)
GONE = Exception("the server has gone away")
READING = "SELECT auth_outbox_message.id, auth_outbox_message.recipient"

Apps = tuple[Flask, Flask]


@pytest.fixture
def workers(mailing_app: MailingApp, faulty: FaultyServer) -> Apps:
    """Two workers on one outbox, where a mail that was sent is emptied, and a mail to Alice that is due."""
    first, second = (mailing_app(**PRODUCTION, MAIL_PORT=faulty.port) for _ in range(2))
    queue(first, ALICE)
    return first, second


def taken_over(workers: Apps, clock: time_machine.Traveller) -> Callable[[], None]:
    """Have the first worker sleep for longer than its claim, and the second send the mail meanwhile."""

    def take_over() -> None:
        clock.shift(LONGER_THAN_A_CLAIM)
        assert deliver(workers[1]) == 1

    return take_over


def check_taken(workers: Apps, clock: time_machine.Traveller, faulty: FaultyServer, times: int) -> None:
    """Check how often the mail was sent, that it was whole each time, and that it goes no other time."""
    for _ in range(3):
        clock.shift(LONGER_THAN_A_CLAIM)
        assert [deliver(worker) for worker in workers] == [0, 0]
    (mail,) = mails(workers[0])
    assert (mail.due_at, mail.sent_at is None) == (None, False)
    assert [to for to, _ in faulty.taken] == [ALICE] * times
    assert all(b"token=3Dabc" in text or b"token=abc" in text for _, text in faulty.taken)


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(NOON, tick=False) as traveller:
        yield traveller


def test_worker_that_was_frozen_before_it_read_the_mail_leaves_it_to_who_took_over(
    clock: time_machine.Traveller, workers: Apps, faulty: FaultyServer
):
    with just_before(workers[0], READING, taken_over(workers, clock)):
        assert deliver(workers[0]) == 0
    check_taken(workers, clock, faulty, times=1)


def test_worker_that_was_frozen_before_it_read_the_mail_leaves_it_to_who_is_about_to_send_it(
    clock: time_machine.Traveller, workers: Apps, faulty: FaultyServer
):
    def claim() -> None:
        clock.shift(LONGER_THAN_A_CLAIM)
        with workers[1].app_context():
            ((id, attempts),) = delivery._due(1)
            assert delivery._claim(id, attempts)

    with just_before(workers[0], READING, claim):
        assert deliver(workers[0]) == 0
    assert faulty.taken == []


def test_worker_that_was_frozen_for_less_than_its_claim_leaves_the_mail_that_it_has_no_time_for(
    clock: time_machine.Traveller, workers: Apps, faulty: FaultyServer
):
    with just_before(workers[0], READING, lambda: clock.shift(timedelta(seconds=118))):
        assert deliver(workers[0]) == 0
    clock.shift(LONGER_THAN_A_CLAIM)
    assert deliver(workers[1]) == 1
    check_taken(workers, clock, faulty, times=1)


def test_worker_that_was_frozen_amid_a_mail_that_is_refused_then_does_not_put_it_off(
    clock: time_machine.Traveller, workers: Apps, faulty: FaultyServer
):
    """It was sent, and emptied, by another: put off, it would go again as a blank sheet."""
    take_over, moments = taken_over(workers, clock), []

    def freeze(moment: str, _said: bytes) -> None:
        moments.append(moment)
        if moments.count("RCPT") == 1 and moment == "RCPT":
            take_over()
            faulty.fail("RCPT", b"451 you took too long", times=1)

    faulty.watch = freeze
    assert deliver(workers[0]) == 0
    check_taken(workers, clock, faulty, times=1)


def test_worker_that_was_frozen_after_the_mail_was_taken_sends_it_twice_at_most(
    clock: time_machine.Traveller, workers: Apps, faulty: FaultyServer
):
    with just_before(workers[0], "UPDATE auth_outbox_message SET text", taken_over(workers, clock)):
        assert deliver(workers[0]) == 1
    check_taken(workers, clock, faulty, times=2)


def test_mail_that_a_host_deleted_meanwhile_holds_up_no_other(
    clock: time_machine.Traveller, workers: Apps, faulty: FaultyServer
):
    clock.shift(timedelta(seconds=1))
    queue(workers[0], BOB)

    def delete() -> None:
        with workers[1].app_context():
            db.session.delete(mails(workers[1])[0])
            database.commit()

    with just_before(workers[0], READING, delete):
        assert deliver(workers[0]) == 1
    assert [to for to, _ in faulty.taken] == [BOB]


@contextmanager
def database_lost_at(app: Flask, number: int) -> Iterator[list[str]]:
    """Have the database hang up at the statement of this number, commits counted; give what was sent until then."""
    sent: list[str] = []

    def listener(connection: Connection, *rest: Any) -> None:
        sent.append(rest[1] if rest else "COMMIT")
        if len(sent) == number:
            _hang_up(connection)

    with app.app_context():
        engine = db.engine
    for name in ("before_cursor_execute", "commit"):
        event.listen(engine, name, listener)
    try:
        yield sent
    finally:
        for name in ("before_cursor_execute", "commit"):
            event.remove(engine, name, listener)


def _hang_up(connection: Connection) -> None:
    """End the connection at the server; SQLite has none, but its disk may fail."""
    if connection.dialect.name == "sqlite":
        raise OperationalError("", None, Exception("disk I/O error"))
    opened = connection.connection.dbapi_connection
    assert opened is not None
    with pymysql.connect(host=MYSQL_URL.host, port=MYSQL_URL.port or 3306, user="root", autocommit=True) as killer:
        killer.cursor().execute(f"KILL {opened.thread_id()}")


@pytest.mark.long
def test_database_that_goes_away_at_any_statement_loses_no_mail_and_doubles_none(
    clock: time_machine.Traveller, mailing_app: MailingApp, mail_server: MailServer
):
    """What a request for a mail needs is among the statements."""
    app = mailing_app(**PRODUCTION)
    make_user(app, CAROL)
    lost_at = 0
    while True:
        lost_at += 1
        mail_server.taken.clear()
        with app.app_context():
            db.session.add(MailRequest(kind=links.RESET_PASSWORD, email=CAROL))
            database.commit()
        queue(app, ALICE, BOB)
        with database_lost_at(app, lost_at) as statements, suppress(DBAPIError):
            deliver(app)
        # As the worker would do it, which goes on whatever happens.
        for _ in range(3):
            clock.shift(LONGER_THAN_A_CLAIM)
            deliver(app)
        assert Counter(recipients(mail_server.taken)) == {ALICE: 1, BOB: 1, CAROL: 1}, statements
        assert all("token=" in content(mail, "plain") for mail in mail_server.taken)
        if len(statements) < lost_at:
            break
    assert lost_at > 15
    assert any(statement.startswith("UPDATE auth_outbox_message SET text") for statement in statements)


def test_mail_is_sent_once_where_the_database_is_away_for_a_moment_after_it_was_taken(
    clock: time_machine.Traveller, mailing_app: MailingApp, mail_server: MailServer
):
    app = mailing_app(**PRODUCTION)
    queue(app, ALICE)
    with failing(app, "UPDATE auth_outbox_message SET text", GONE):
        assert deliver(app) == 1
    clock.shift(LONGER_THAN_A_CLAIM)
    assert deliver(app) == 0
    assert recipients(mail_server.taken) == [ALICE]


def test_mail_is_sent_twice_at_most_where_the_database_stays_away_after_it_was_taken(
    clock: time_machine.Traveller, mailing_app: MailingApp, mail_server: MailServer, monkeypatch: pytest.MonkeyPatch
):
    app = mailing_app(**PRODUCTION)
    queue(app, ALICE)
    monkeypatch.setattr(delivery, "_WAITS_SECONDS", (0.0, 0.0))
    with failing(app, "UPDATE auth_outbox_message SET text", GONE, times=3), pytest.raises(OperationalError):
        deliver(app)
    assert deliver(app) == 0
    clock.shift(LONGER_THAN_A_CLAIM)
    assert [deliver(app), deliver(app)] == [1, 0]
    assert recipients(mail_server.taken) == [ALICE, ALICE]
    assert len({mail["Message-ID"] for mail in mail_server.taken}) == 1
