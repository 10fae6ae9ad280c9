"""Mail servers that refuse, hang up or fall silent, at every moment of a conversation: what becomes of the mails."""

import itertools
import smtplib
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from email.parser import BytesParser
from pathlib import Path

import flask_mail
import pytest
import time_machine
from flask import Flask

from authapp import create_app
from authapp.columns import new_id
from authapp.mail import smtp, worker
from authapp.mail.models import OutboxMessage
from authapp.testing import TEST_SETTINGS, empty_tables
from tests.conftest import MakeApp
from tests.factories import ALICE, BOB, CAROL, Api, mails, refusal
from tests.mail.conftest import NOON, MailingApp, MailServer, deliver, make_certificate, queue, recipients
from tests.mail.faulty import (
    ABOUT_A_MAIL,
    DRIP,
    DROP,
    MOMENTS,
    SILENCE,
    TAKE_AND_DROP,
    TO_LET_US_IN,
    FaultyServer,
)

LIMIT_SECONDS = 1
RETRY = timedelta(seconds=15)
REFUSALS = [b"421 closing", b"451 not now", b"554 never"]
LOGIN = {"MAIL_USE_TLS": True, "MAIL_USERNAME": "mailer", "MAIL_PASSWORD": "heron-88-lantern-mails"}


@pytest.fixture
def sending_app(make_app: MakeApp, faulty: FaultyServer) -> MailingApp:
    """Make an application that sends to the misbehaving server, with TLS and a login, so that each moment occurs."""

    def make(**settings: object) -> Flask:
        server = {"MAIL_SERVER": "127.0.0.1", "MAIL_PORT": faulty.port, "MAIL_SUPPRESS_SEND": False, **LOGIN}
        return make_app(**{**server, "MAIL_TIMEOUT": 5, **settings})

    return make


def queue_in_order(app: Flask, clock: time_machine.Traveller) -> None:
    for to in (ALICE, BOB, CAROL):
        queue(app, to)
        clock.shift(timedelta(seconds=1))


def taken(server: FaultyServer) -> list[str]:
    return [to for to, _ in server.taken]


def message_ids(server: FaultyServer, to: str) -> set[str]:
    return {BytesParser().parsebytes(content)["Message-ID"] for address, content in server.taken if address == to}


@pytest.mark.any_database
@pytest.mark.parametrize(
    ("moment", "settings"),
    [*((moment, {}) for moment in TO_LET_US_IN), ("EHLO", {"MAIL_USE_TLS": False, "MAIL_USERNAME": ""})],
)
def test_server_that_does_not_let_us_in_costs_no_attempt_and_gets_all_later(
    sending_app: MailingApp, faulty: FaultyServer, moment: str, settings: dict[str, object]
):
    app = sending_app(**settings)
    with time_machine.travel(NOON, tick=False) as clock:
        queue_in_order(app, clock)
        before = [mail.due_at for mail in mails(app)]
        for fault in (*REFUSALS, DROP):
            faulty.fail(moment, fault)
            assert deliver(app) == 0
            assert [(mail.due_at, mail.attempts) for mail in mails(app)] == [(due_at, 0) for due_at in before]
        assert taken(faulty) == []
        faulty.mend()
        assert deliver(app) == 3
    assert taken(faulty) == [ALICE, BOB, CAROL]


@pytest.mark.parametrize("moment", ABOUT_A_MAIL)
def test_mail_that_fails_at_any_moment_goes_later_and_holds_up_no_other(
    sending_app: MailingApp, faulty: FaultyServer, moment: str
):
    app = sending_app()
    for fault in (*REFUSALS, b"nonsense", DROP, *([TAKE_AND_DROP] if moment == "CONTENT" else [])):
        faulty.taken.clear()
        with time_machine.travel(NOON, tick=False) as clock:
            faulty.fail(moment, fault, times=1)
            check_that_one_mail_fails(app, clock, is_cut_off=fault in (DROP, TAKE_AND_DROP, REFUSALS[0]))
        # Only who hangs up without a word may have the mail already, and tells by its id that it comes again.
        assert Counter(taken(faulty)) == {ALICE: 2 if fault == TAKE_AND_DROP else 1, BOB: 1, CAROL: 1}
        assert len(message_ids(faulty, ALICE)) == 1
        empty_tables(app)


def check_that_one_mail_fails(app: Flask, clock: time_machine.Traveller, *, is_cut_off: bool) -> None:
    queue_in_order(app, clock)
    now = NOON + timedelta(seconds=3)
    assert [deliver(app), deliver(app)] == ([0, 2] if is_cut_off else [2, 0])
    alice, *others = mails(app)
    assert (alice.sent_at, alice.attempts, alice.due_at) == (None, 1, now + RETRY)
    assert alice.last_error
    assert [(mail.sent_at, mail.attempts) for mail in others] == [(now, 1)] * 2
    clock.shift(RETRY)
    assert deliver(app) == 1
    clock.shift(timedelta(days=3))
    assert deliver(app) == 0


@pytest.mark.any_database
def test_inline_mail_that_fails_at_any_moment_saves_nothing(sending_app: MailingApp, faulty: FaultyServer):
    app = sending_app(MAIL_DELIVERY="inline")
    faults = [*itertools.product(MOMENTS, [REFUSALS[1], DROP]), ("CONTENT", TAKE_AND_DROP), ("AUTH", b"334 abc")]
    for moment, fault in faults:
        faulty.fail(moment, fault)
        assert refusal(Api(app).register()) == (503, "EMAIL_NOT_SENT"), moment
        assert mails(app) == []
        faulty.mend()
    assert Api(app).register().status_code == 201
    assert taken(faulty) == [ALICE, ALICE]


def test_connection_that_is_cut_amid_a_batch_loses_and_doubles_nothing(sending_app: MailingApp, faulty: FaultyServer):
    app = sending_app()
    people = [f"person-{number}@example.org" for number in range(9)]
    # Each third mail finds nobody there any more.
    said: list[bytes] = []

    def cut(moment: str, line: bytes) -> None:
        if moment == "MAIL":
            said.append(line)
            if len(said) in (3, 6, 9):
                faulty.fail("MAIL", DROP, times=1)

    faulty.watch = cut
    with time_machine.travel(NOON, tick=False) as clock:
        queue(app, *people)
        assert [deliver(app) for _ in range(4)] == [2, 2, 2, 0]
        clock.shift(RETRY)
        assert deliver(app) == 3
    assert sorted(taken(faulty)) == people


@pytest.mark.any_database
def test_address_that_cannot_be_written_to_holds_up_no_other(mailing_app: MailingApp, mail_server: MailServer):
    """It shows when half is said, and the server would take the next mail for a part of this one."""
    app = mailing_app()
    with time_machine.travel(NOON, tick=False) as clock:
        queue(app, "älice@example.org")
        clock.shift(timedelta(seconds=1))
        queue(app, BOB)
        assert deliver(app) == 1
    assert recipients(mail_server.taken) == [BOB]


def never(*_: object) -> None:
    raise RuntimeError("a host's mistake")


def test_mail_that_was_taken_is_sent_once_whatever_a_hosts_listener_does(sending_app: MailingApp, faulty: FaultyServer):
    app = sending_app()
    with time_machine.travel(NOON, tick=False) as clock, flask_mail.email_dispatched.connected_to(never, app):
        queue(app, ALICE)
        assert deliver(app) == 1
        clock.shift(timedelta(hours=1))
        assert deliver(app) == 0
    assert taken(faulty) == [ALICE]


def test_mail_that_was_taken_is_sent_once_where_the_next_connection_fails(
    sending_app: MailingApp, faulty: FaultyServer
):
    """A host may have Flask-Mail connect anew after so many mails."""
    app = sending_app()
    app.extensions["mail"].max_emails = 1
    faulty.watch = lambda moment, _: faulty.fail("CONNECT", DROP) if moment == "CONTENT" else None
    with time_machine.travel(NOON, tick=False) as clock:
        queue(app, ALICE)
        assert deliver(app) == 1
        clock.shift(timedelta(hours=1))
        faulty.mend()
        assert deliver(app) == 0
    assert taken(faulty) == [ALICE]


def test_server_that_was_away_for_days_is_looked_for_still():
    """The number of failures is an exponent: at some time it was too large for Python's floats."""
    assert worker.pause(1) == 10
    assert {worker.pause(failures) for failures in (4, 100, 5_000, 10**6)} == {60}


# What follows is about time alone, and so about no database.


@pytest.fixture
def servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], FaultyServer]]:
    """Start misbehaving servers whose certificate is trusted."""
    certificate, context = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with ExitStack() as stack:

        def start() -> FaultyServer:
            server = FaultyServer(context)
            stack.callback(server.close)
            return server

        yield start


def seconds_until_it_fails(port: int, **settings: object) -> float:
    """Send one mail from an application of its own, and give the time until that is given up."""
    server = {"MAIL_SERVER": "127.0.0.1", "MAIL_PORT": port, "MAIL_SUPPRESS_SEND": False, "MAIL_TIMEOUT": LIMIT_SECONDS}
    given = {**TEST_SETTINGS, **server, **LOGIN, **settings, "DATABASE_URL": "sqlite:///:memory:"}
    with create_app(given, environ={}).app_context():
        mail = OutboxMessage(id=new_id(), to=ALICE, subject="Hello", text="Hello", html="<p>Hello")
        began = time.monotonic()
        with pytest.raises(smtp.FAILURES), smtp.connect() as connection:
            smtp.send(connection, mail)
        return time.monotonic() - began


def test_server_that_hangs_at_any_moment_is_left_after_the_time_limit(servers: Callable[[], FaultyServer]):
    cases = [*itertools.product(MOMENTS, [SILENCE, DRIP])]
    # A byte that is no part of a handshake ends it at once.
    cases.remove(("HANDSHAKE", DRIP))

    def took(moment: str, fault: bytes) -> float:
        server = servers()
        server.fail(moment, fault)
        return seconds_until_it_fails(server.port)

    with ThreadPoolExecutor(len(cases)) as threads:
        times = threads.map(lambda case: took(*case), cases)
        for case, seconds in zip(cases, times, strict=True):
            assert LIMIT_SECONDS * 0.9 < seconds < LIMIT_SECONDS * 5, case


def test_time_that_is_up_amid_a_handshake_is_up(servers: Callable[[], FaultyServer]):
    """It is a bad moment to hang up: the socket is on its way from plain to encrypted."""
    server = servers()

    def be_slow(moment: str, _said: bytes) -> None:
        if moment in ("CONNECT", "HANDSHAKE"):
            time.sleep(LIMIT_SECONDS * 0.7)

    server.watch = be_slow
    server.fail("AUTH", DRIP)
    assert seconds_until_it_fails(server.port) < LIMIT_SECONDS * 5


def test_addresses_that_answer_nothing_share_the_time(monkeypatch: pytest.MonkeyPatch):
    """A name with many addresses, of which each would get the whole time."""
    with ExitStack() as stack:
        dead = [_full(f"127.0.0.{number}", stack) for number in range(2, 8)]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in dead]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: found)
        assert LIMIT_SECONDS * 0.9 < seconds_until_it_fails(25) < LIMIT_SECONDS * 5


def _full(host: str, stack: ExitStack) -> tuple[str, int]:
    """Give an address that answers no further connection, not even with a refusal, as behind many a firewall."""
    listener = stack.enter_context(socket.create_server((host, 0), backlog=0))
    address: tuple[str, int] = listener.getsockname()
    for _ in range(3):
        waiting = stack.enter_context(socket.socket())
        waiting.setblocking(False)
        waiting.connect_ex(address)
    return address


def test_process_that_was_frozen_does_not_go_on_with_a_mail(servers: Callable[[], FaultyServer]):
    """Its claim may be another's by now, and the clock that would have hung up comes to itself no sooner."""
    server = servers()
    client = smtp._Timed("127.0.0.1", server.port, timeout=LIMIT_SECONDS)
    client.mail("no-reply@example.org")
    client.rcpt(ALICE)
    client._end -= LIMIT_SECONDS
    with pytest.raises(smtplib.SMTPServerDisconnected):
        client.data(b"Hello")
    assert server.taken == []
