"""Delivery to a real mail server: nothing is lost, nothing is sent twice, and one bad mail holds up no other."""

import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from flask import Flask
from sqlalchemy import func, select, text, update

from authapp import clock, database, links
from authapp.extensions import db
from authapp.mail import delivery, outbox
from authapp.mail.models import MailRequest, OutboxMessage
from tests.factories import ALICE, BOB, CAROL, Api, data, mails, make_user
from tests.mail.conftest import (
    NOON,
    PRODUCTION,
    MailingApp,
    MailServer,
    content,
    deliver,
    make_certificate,
    queue,
    recipients,
)
from tests.services import free_port
from tests.statements import heard, just_before


class KilledError(BaseException):
    """The end of the process, where no `except` and no rollback would come to pass."""


def test_mail_arrives_whole(mailing_app: MailingApp, mail_server: MailServer):
    app = mailing_app(MAIL_DEFAULT_SENDER="Exämple <no-reply@example.org>")
    data(Api(app).register(), 201)
    assert deliver(app) == 1
    (mail,) = mail_server.taken
    assert mail["To"] == ALICE
    assert mail["From"] == "Exämple <no-reply@example.org>"
    assert mail["Subject"] == "Please verify your e-mail address"
    assert mail["Date"]
    assert mail["Auto-Submitted"] == "auto-generated"
    (kept,) = mails(app)
    assert mail["Message-ID"] == f"<{kept.id}@authapp>"
    (link,) = outbox.links_of(kept)
    for kind in ("plain", "html"):
        assert link in content(mail, kind)


def test_delivered_mail_is_never_due_again(mailing_app: MailingApp, mail_server: MailServer):
    app = mailing_app()
    with time_machine.travel(NOON, tick=False) as clock:
        queue(app, ALICE)
        assert deliver(app) == 1
        (mail,) = mails(app)
        assert (mail.due_at, mail.sent_at, mail.attempts, mail.last_error) == (None, NOON, 1, None)
        clock.shift(timedelta(days=3))
        assert deliver(app) == 0
    assert len(mail_server.taken) == 1


def test_two_workers_send_each_mail_once(mailing_app: MailingApp, mail_server: MailServer):
    workers = [mailing_app(), mailing_app()]
    people = [f"person-{number}@example.org" for number in range(30)]
    queue(workers[0], *people)
    together = threading.Barrier(2)

    def work(app: Flask) -> int:
        with app.app_context():
            together.wait()
            return delivery.deliver_due(limit=30)

    with ThreadPoolExecutor(2) as threads:
        assert sum(threads.map(work, workers)) == 30
    assert Counter(recipients(mail_server.taken)) == Counter(people)
    assert {mail.attempts for mail in mails(workers[0])} == {1}


def test_more_mails_than_a_batch_go_in_several(mailing_app: MailingApp, mail_server: MailServer):
    app = mailing_app()
    people = [f"person-{number}@example.org" for number in range(5)]
    queue(app, *people)
    with app.app_context():
        assert [delivery.deliver_due(limit=2) for _ in range(4)] == [2, 2, 1, 0]
    assert recipients(mail_server.taken) == people


def ask(app: Flask, kind: str, *addresses: str) -> None:
    """Leave requests for mails behind that nobody has answered."""
    with app.app_context():
        for email in addresses:
            db.session.add(MailRequest(kind=kind, email=email))
            # One after the other, as strangers ask.
            db.session.flush()
        database.commit()


def asked(app: Flask) -> int:
    with app.app_context():
        return db.session.scalar(select(func.count()).select_from(MailRequest)) or 0


def test_flood_of_requests_holds_up_no_mail(mailing_app: MailingApp, mail_server: MailServer):
    app = mailing_app()
    ask(app, links.RESET_PASSWORD, *(f"nobody{number}@example.org" for number in range(101)))
    queue(app, ALICE)
    with heard(app) as statements:
        assert deliver(app) == 1
    done = [" ".join(statement.split()[:2]) for statement in statements]
    assert done.index("UPDATE auth_outbox_message") < len(done) - done[::-1].index("DELETE FROM")
    assert asked(app) == 0


def test_requests_that_fail_for_ever_hold_up_no_other(mailing_app: MailingApp, mail_server: MailServer):
    """There is nobody to answer these: a later version wrote them, say."""
    app = mailing_app()
    make_user(app)
    ask(app, "not-known-here", *[BOB] * 100)
    ask(app, links.RESET_PASSWORD, ALICE)
    assert deliver(app) == 0
    assert deliver(app) == 1
    assert recipients(mail_server.taken) == [ALICE]
    assert asked(app) == 100


def test_refused_mail_holds_up_no_other(mailing_app: MailingApp, mail_server: MailServer):
    app = mailing_app()
    mail_server.refused = {BOB}
    with time_machine.travel(NOON, tick=False) as clock:
        for to in (ALICE, BOB, CAROL):
            queue(app, to)
            clock.shift(timedelta(seconds=1))
        assert deliver(app) == 2
    assert recipients(mail_server.taken) == [ALICE, CAROL]
    (_, refused, _) = mails(app)
    assert refused.due_at is not None
    assert refused.due_at > NOON + timedelta(seconds=3)
    assert refused.sent_at is None
    assert refused.last_error is not None
    assert "550" in refused.last_error


def test_refused_mail_is_tried_after_ever_longer_waits(mailing_app: MailingApp, mail_server: MailServer):
    app = mailing_app()
    mail_server.refused = {BOB}
    waits = []
    with time_machine.travel(NOON, tick=False) as clock:
        queue(app, BOB)
        for attempt in range(1, 11):
            assert deliver(app) == 0
            (mail,) = mails(app)
            assert mail.due_at is not None
            waits.append((mail.due_at - datetime.now(UTC)).total_seconds())
            clock.move_to(mail.due_at - timedelta(seconds=1))
            deliver(app)
            assert mails(app)[0].attempts == attempt, "the mail was tried before its time"
            clock.move_to(mail.due_at)
    assert waits == [15, 30, 60, 120, 240, 480, 960, 1800, 1800, 1800]


def test_mail_that_was_refused_for_two_days_is_given_up(mailing_app: MailingApp, mail_server: MailServer):
    app = mailing_app()
    mail_server.refused = {BOB}
    with time_machine.travel(NOON, tick=False) as clock:
        queue(app, BOB)
        with app.app_context():
            # All of its attempts, as above, would take many seconds.
            database.change(update(OutboxMessage).values(attempts=delivery._MOST_ATTEMPTS - 1))
            database.commit()
        assert deliver(app) == 0
        mail_server.refused = set()
        clock.shift(timedelta(days=30))
        assert deliver(app) == 0
    (mail,) = mails(app)
    assert (mail.due_at, mail.sent_at) == (None, None)
    assert (mail.text, mail.html) == ("", "")
    assert mail.last_error is not None
    assert mail_server.seen == []


def test_statement_for_operators_has_refused_mails_tried_now_and_none_that_is_being_sent(
    mailing_app: MailingApp, mail_server: MailServer, root: Path
):
    app = mailing_app()
    queue(app, ALICE, BOB)
    statements = re.findall("^UPDATE auth_outbox_message .*?;", (root / "docs/operate.md").read_text(), re.MULTILINE)
    with app.app_context():
        for to, wait in ((ALICE, timedelta(minutes=30)), (BOB, timedelta(seconds=delivery._CLAIM_SECONDS))):
            database.change(update(OutboxMessage).where(OutboxMessage.to == to).values(due_at=clock.now() + wait))
        database.commit()
        assert delivery.deliver_due() == 0
        db.session.execute(text(statements[db.engine.dialect.name == "sqlite"]))
        database.commit()
        assert delivery.deliver_due() == 1
    assert recipients(mail_server.taken) == [ALICE]


def test_mail_that_was_refused_for_a_while_arrives(mailing_app: MailingApp, mail_server: MailServer):
    app = mailing_app()
    mail_server.refused = {ALICE}
    with time_machine.travel(NOON, tick=False) as clock:
        queue(app, ALICE)
        assert deliver(app) == 0
        mail_server.refused = set()
        clock.shift(timedelta(seconds=15))
        assert deliver(app) == 1
    (mail,) = mails(app)
    assert (mail.due_at, mail.attempts, mail.last_error) == (None, 2, None)


@pytest.mark.parametrize("subject", ["Hello\nBcc: bob@example.org", "Hello\r\n\r\nworld"])
def test_mail_that_could_never_be_sent_holds_up_no_other(
    mailing_app: MailingApp, mail_server: MailServer, subject: str
):
    """A host application may queue mails of its own."""
    app = mailing_app()
    with time_machine.travel(NOON, tick=False) as clock:
        queue(app, BOB, subject=subject)
        clock.shift(timedelta(seconds=1))
        queue(app, ALICE)
        assert deliver(app) == 1
    assert recipients(mail_server.taken) == [ALICE]
    (bad, _) = mails(app)
    assert bad.due_at == NOON + timedelta(seconds=16)
    assert bad.last_error is not None


def test_server_that_is_down_costs_no_attempt(mailing_app: MailingApp, mail_server: MailServer):
    app = mailing_app()
    data(Api(app).register(), 201)
    mail_server.stop()
    before = mails(app)[0].due_at
    for _ in range(3):
        assert deliver(app) == 0
    (mail,) = mails(app)
    assert (mail.due_at, mail.attempts, mail.sent_at) == (before, 0, None)
    mail_server.start()
    assert deliver(app) == 1
    assert recipients(mail_server.taken) == [ALICE]


@pytest.mark.any_database
def test_silent_server_is_left_after_the_time_limit(mailing_app: MailingApp, silent_port: int):
    app = mailing_app(MAIL_PORT=silent_port, MAIL_TIMEOUT=1)
    queue(app, ALICE)
    assert deliver(app) == 0
    assert mails(app)[0].attempts == 0


def test_mail_that_is_cut_off_goes_later_under_the_same_id(mailing_app: MailingApp, mail_server: MailServer):
    app = mailing_app()
    mail_server.cut_off = {ALICE}
    with time_machine.travel(NOON, tick=False) as clock:
        queue(app, ALICE)
        assert deliver(app) == 0
        (mail,) = mails(app)
        assert (mail.due_at, mail.sent_at) == (NOON + timedelta(seconds=15), None)
        mail_server.cut_off = set()
        clock.shift(timedelta(seconds=15))
        assert deliver(app) == 1
    first, second = mail_server.seen
    assert first["Message-ID"] == second["Message-ID"]
    assert len(mail_server.taken) == 1


def test_connection_lost_over_one_mail_costs_the_others_no_attempt(mailing_app: MailingApp, mail_server: MailServer):
    app = mailing_app()
    mail_server.cut_off = {ALICE}
    with time_machine.travel(NOON, tick=False) as clock:
        queue(app, ALICE)
        clock.shift(timedelta(seconds=1))
        queue(app, BOB, CAROL)
        assert deliver(app) == 0
        assert [mail.attempts for mail in mails(app)] == [1, 0, 0]
        assert deliver(app) == 2
    assert sorted(recipients(mail_server.taken)) == [BOB, CAROL]


def test_claim_of_a_worker_that_died_expires(mailing_app: MailingApp, mail_server: MailServer):
    app = mailing_app()
    with time_machine.travel(NOON, tick=False) as clock:
        queue(app, ALICE)
        with (
            just_before(app, "SELECT auth_outbox_message.id, auth_outbox_message.recipient", die),
            pytest.raises(KilledError),
        ):
            deliver(app)
        assert deliver(app) == 0
        assert mails(app)[0].sent_at is None
        clock.shift(timedelta(minutes=5))
        assert deliver(app) == 1
    assert len(mail_server.taken) == 1


def test_mail_is_sent_again_under_the_same_id_when_the_worker_died_after_sending(
    mailing_app: MailingApp, mail_server: MailServer
):
    """At least once: a reader's mailbox may tell by the id that it has this one already."""
    app = mailing_app(**PRODUCTION)
    with time_machine.travel(NOON, tick=False) as clock:
        queue(app, ALICE)
        with just_before(app, "UPDATE auth_outbox_message SET text", die), pytest.raises(KilledError):
            deliver(app)
        assert len(mail_server.taken) == 1
        clock.shift(timedelta(minutes=5))
        assert deliver(app) == 1
        clock.shift(timedelta(minutes=5))
        assert deliver(app) == 0
    first, second = mail_server.taken
    assert first["Message-ID"] == second["Message-ID"]
    assert content(first, "plain") == content(second, "plain")


def die() -> None:
    raise KilledError


def test_link_is_forgotten_once_sent(mailing_app: MailingApp, mail_server: MailServer):
    app = mailing_app(**PRODUCTION)
    data(Api(app).register(), 201)
    assert "token=" in mails(app)[0].text
    assert deliver(app) == 1
    (mail,) = mails(app)
    assert (mail.text, mail.html) == ("", "")
    assert "token=" in content(mail_server.taken[0], "plain")


def test_refused_mail_keeps_its_link(mailing_app: MailingApp, mail_server: MailServer):
    app = mailing_app(**PRODUCTION)
    mail_server.refused = {ALICE}
    data(Api(app).register(), 201)
    assert deliver(app) == 0
    assert "token=" in mails(app)[0].text


def test_development_keeps_what_it_sent(mailing_app: MailingApp):
    app = mailing_app()
    data(Api(app).register(), 201)
    assert deliver(app) == 1
    assert "token=" in mails(app)[0].text


@pytest.mark.any_database
@pytest.mark.parametrize("setting", ["MAIL_USE_TLS", "MAIL_USE_SSL"])
def test_only_a_certificate_that_is_trusted_gets_the_mail(
    mailing_app: MailingApp, mail_server: MailServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str
):
    certificate, context = make_certificate(tmp_path)
    mail_server.stop()
    kind = {"MAIL_USE_TLS": "tls_context", "MAIL_USE_SSL": "ssl_context"}[setting]
    mail_server.start(**{kind: context})
    app = mailing_app(**{setting: True})
    queue(app, ALICE)
    assert deliver(app) == 0
    (mail,) = mails(app)
    assert (mail.attempts, mail.sent_at) == (0, None)
    assert mail.due_at is not None
    assert mail_server.seen == []
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert deliver(app) == 1
    assert recipients(mail_server.taken) == [ALICE]


def test_mail_does_not_go_in_the_open_where_tls_was_asked_for(mailing_app: MailingApp, mail_server: MailServer):
    """Somebody in between can hide that the server knows STARTTLS."""
    app = mailing_app(MAIL_USE_TLS=True)
    queue(app, ALICE)
    assert deliver(app) == 0
    assert mails(app)[0].attempts == 0
    assert mail_server.seen == []


def test_login_that_the_server_refuses_costs_no_attempt(mailing_app: MailingApp, mail_server: MailServer):
    app = mailing_app(MAIL_USERNAME="mailer", MAIL_PASSWORD="wrong")
    queue(app, ALICE)
    assert deliver(app) == 0
    assert mails(app)[0].attempts == 0
    assert mail_server.seen == []


# A process of its own: the thread ends with its process only.
WORKER = """
import os, sys, threading, time
from sqlalchemy.exc import OperationalError
from authapp import create_app
from authapp.extensions import db
from authapp.mail import delivery, worker
from authapp.mail.models import MailRequest
from tests.factories import Api, data, mails
from tests.statements import just_before

def threads():
    return [thread.name for thread in threading.enumerate() if thread.name == "authapp-mail"]

def wait_until_sent(number):
    deadline = time.monotonic() + 20
    while sum(mail.sent_at is not None for mail in mails(app)) < number:
        assert time.monotonic() < deadline, "the mail was not delivered"
        time.sleep(0.02)

def wait_until_idle():
    woken = app.extensions["authapp"].mail_worker._due
    deadline = time.monotonic() + 20
    while woken.is_set() or not woken._cond._waiters:
        assert time.monotonic() < deadline, "the thread found no end"
        time.sleep(0.02)

def fail():
    failed.set()
    raise OperationalError("SELECT", None, Exception("the server has gone away"))

app = create_app(SETTINGS, environ={})
api, failed = Api(app), threading.Event()
assert threads() == []
"""


def in_a_process_of_its_own(app: Flask, root: Path, script: str) -> None:
    """Run a script in a process whose application is like this one, but is no test's."""
    names = ("DATABASE_URL", "MAIL_SERVER", "MAIL_PORT", "MAIL_TIMEOUT", "AUTH_PASSWORD_HASH")
    settings = {**PRODUCTION, **{name: app.config[name] for name in names}}
    code = WORKER.replace("SETTINGS", repr(settings)) + script
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, check=False, capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.any_database
def test_one_thread_delivers_what_was_left_behind_and_what_registering_queues(
    mailing_app: MailingApp, mail_server: MailServer, root: Path
):
    app = mailing_app()
    queue(app, ALICE)
    script = """
with app.app_context():
    worker.wake()
wait_until_sent(1)
data(api.register("bob@example.org"), 201)
data(api.register("carol@example.org"), 201)
wait_until_sent(3)
assert threads() == ["authapp-mail"]
"""
    in_a_process_of_its_own(app, root, script)
    assert sorted(recipients(mail_server.taken)) == [ALICE, BOB, CAROL]


@pytest.mark.any_database
def test_nobody_chooses_when_a_request_for_a_mail_is_answered(
    mailing_app: MailingApp, mail_server: MailServer, root: Path
):
    """The thread, busy with a mail or with none, slows what is sent meanwhile: that would tell who has an account."""
    script = """
worker._POLL_SECONDS = 3600
data(api.register("alice@example.org"), 201)
wait_until_sent(1)
data(api.post("/forgot-password", {"email": "alice@example.org"}), 202)
data(api.register("bob@example.org"), 201)
wait_until_sent(2)
with app.app_context():
    assert db.session.query(MailRequest).count() == 1
    db.session.rollback()
    delivery.deliver_due()
wait_until_sent(3)
"""
    in_a_process_of_its_own(mailing_app(), root, script)
    assert recipients(mail_server.taken) == [ALICE, BOB, ALICE]


@pytest.mark.any_database
def test_request_for_a_mail_is_answered_when_the_thread_looks_by_itself(
    mailing_app: MailingApp, mail_server: MailServer, root: Path
):
    script = """
worker._POLL_SECONDS = 0.5
data(api.register("alice@example.org"), 201)
wait_until_sent(1)
data(api.post("/forgot-password", {"email": "alice@example.org"}), 202)
wait_until_sent(2)
"""
    in_a_process_of_its_own(mailing_app(), root, script)
    assert recipients(mail_server.taken) == [ALICE, ALICE]


@pytest.mark.any_database
def test_thread_survives_an_error(mailing_app: MailingApp, mail_server: MailServer, root: Path):
    script = """
with just_before(app, "SELECT auth_outbox_message", fail):
    data(api.register("alice@example.org"), 201)
    assert failed.wait(20)
data(api.register("bob@example.org"), 201)
wait_until_sent(2)
assert threads() == ["authapp-mail"]
"""
    in_a_process_of_its_own(mailing_app(), root, script)
    assert sorted(recipients(mail_server.taken)) == [ALICE, BOB]


@pytest.mark.any_database
def test_fork_has_a_thread_of_its_own(mailing_app: MailingApp, mail_server: MailServer, root: Path):
    """A server that loads the application before it forks has the thread in the parent only.

    It is idle by then: a process that forks in the midst of what another thread has SQLite do passes SQLite's own locks
    on, and nobody is left to open them.
    """
    script = """
worker._POLL_SECONDS = 3600
data(api.register("alice@example.org"), 201)
wait_until_sent(1)
wait_until_idle()
with app.app_context():
    db.engine.dispose()
child = os.fork()
if child == 0:
    try:
        assert threads() == []
        data(api.register("bob@example.org"), 201)
        assert threads() == ["authapp-mail"]
        wait_until_sent(2)
    except BaseException:
        os._exit(1)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    in_a_process_of_its_own(mailing_app(), root, script)
    assert recipients(mail_server.taken) == [ALICE, BOB]


def test_nothing_is_tried_where_there_is_no_mail_server(mailing_app: MailingApp, make_app: Callable[..., Flask]):
    """A mail that waited for the server may be there still when a developer takes the setting away."""
    waiting = mailing_app(MAIL_PORT=free_port())
    queue(waiting, ALICE)
    assert deliver(make_app(MAIL_SUPPRESS_SEND=False)) == 0
    (mail,) = mails(waiting)
    assert (mail.attempts, mail.sent_at) == (0, None)
