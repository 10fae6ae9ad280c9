"""Delivery: takes due mails from the outbox to the mail server, in any number of processes at once."""

import logging
import os
import threading
import time
import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import NoReturn

from flask import Flask, current_app
from flask_mail import Connection
from sqlalchemy import select, update

from authapp import clock, database, extensions
from authapp.extensions import db
from authapp.mail import requests, smtp
from authapp.mail.models import ERROR_LENGTH, OutboxMessage

log = logging.getLogger(__name__)

_BATCH = 20
_POLL_SECONDS = 5.0
_LONGEST_POLL_SECONDS = 60.0
# Longer than `MAIL_TIMEOUT` may be, and so than one mail can take: whoever claimed it has died, another may take it.
_CLAIM_SECONDS = 120
_FIRST_RETRY_SECONDS = 15
_LONGEST_RETRY_SECONDS = 1800
# With the waits above: about two days.
_MOST_ATTEMPTS = 100


class UnreachableError(Exception):
    """The mail server does not answer, or does not let us in."""


def deliver_due(limit: int = _BATCH, *, answer: bool = True) -> int:
    """Answer requests for mails, if told to, and send up to `limit` mails that are due; give the number sent.

    It does so again after every batch of requests: somebody may ask faster than we answer, and whoever waits for a
    mail need not wait for the end of that. A mail that the server refuses is due again later, each time after twice
    as long (up to half an hour); one that found no server just stays due. A mail that the server took right before
    this process died is sent again: at least once, never lost. Raises `UnreachableError`.
    """
    sent, may_be_more = 0, answer
    while True:
        may_be_more = may_be_more and requests.answer_some()
        sent += _send_due(limit)
        if not may_be_more:
            return sent


def _send_due(limit: int) -> int:
    due = _due(limit) if current_app.config["MAIL_SERVER"] else ()
    if not due:
        return 0
    sent = 0
    try:
        with smtp.connect() as connection:
            for id in due:
                if smtp.is_open(connection) and _claim(id):
                    sent += _deliver(connection, id)
    except smtp.FAILURES as error:
        raise UnreachableError(type(error).__name__) from error
    return sent


def wake() -> None:
    """Have this process's delivery thread look now; it is started if there is none (a fork has none)."""
    if not current_app.testing:
        _worker().wake(extensions.app_at_hand())


def answer() -> None:
    """Have requests for mails answered: by the delivery thread, when it next looks by itself.

    It is not woken: busy right after the answer with a mail, or with none, it would tell by how slow it makes what is
    sent next whether there is an account. A developer, who has no thread in tests, need not wait.
    """
    if current_app.testing or current_app.config["APP_ENV"] == "development":
        requests.answer_all()
    else:
        _worker().start(extensions.app_at_hand())


def _worker() -> "Worker":
    worker: Worker = current_app.extensions["authapp"].mail_worker
    return worker


class Worker:
    """The thread of one process that delivers mails."""

    def __init__(self) -> None:
        self._process = 0
        self._lock = threading.Lock()
        self._due = threading.Event()

    def start(self, app: Flask) -> None:
        """Start the thread if this process has none; it looks at the outbox every few seconds."""
        with self._lock:
            if self._process != os.getpid():
                due = threading.Event()
                threading.Thread(target=watch, args=(app, due), name="authapp-mail", daemon=True).start()
                self._process, self._due = os.getpid(), due

    def wake(self, app: Flask) -> None:
        """Make the thread look at the outbox now."""
        self.start(app)
        self._due.set()

    def retire(self) -> None:
        """Start no thread in this process: it ends soon, and would take a mail that it has claimed along with it."""
        with self._lock:
            self._process = os.getpid()


def watch(app: Flask, woken: threading.Event) -> NoReturn:
    """Deliver what is due, now, whenever `woken` is set and every few seconds, whatever goes wrong meanwhile.

    Requests for mails are answered every few seconds only: nobody chooses the moment by waking the thread.
    """
    failures, next_look = 0, 0.0
    while True:
        woken.clear()
        is_time = time.monotonic() >= next_look
        if is_time:
            next_look = time.monotonic() + _POLL_SECONDS
        try:
            with app.app_context():
                sent, failures = deliver_due(answer=is_time), 0
        except UnreachableError as error:
            sent, failures = 0, failures + 1
            where = {"host": app.config["MAIL_SERVER"], "port": app.config["MAIL_PORT"]}
            log.warning("mail_server_unreachable", extra={**where, "error": error})
        except Exception:
            sent = 0
            log.exception("mail_delivery_failed")
        if failures:
            # Not to be woken: a server that refuses our password would soon refuse us for good.
            time.sleep(min(_POLL_SECONDS * 2**failures, _LONGEST_POLL_SECONDS))
        elif not sent:
            woken.wait(max(0.0, next_look - time.monotonic()))


def _due(limit: int) -> Sequence[uuid.UUID]:
    oldest = (
        select(OutboxMessage.id)
        .where(OutboxMessage.due_at <= clock.now())
        .order_by(OutboxMessage.due_at, OutboxMessage.id)
    )
    with database.reading() as reader:
        return reader.scalars(oldest.limit(limit)).all()


def _claim(id: uuid.UUID) -> bool:
    """Make the mail ours for a while: of all who try, one UPDATE finds it still due."""
    now = clock.now()
    still_due = update(OutboxMessage).where(OutboxMessage.id == id, OutboxMessage.due_at <= now)
    taken = {"due_at": now + timedelta(seconds=_CLAIM_SECONDS), "attempts": OutboxMessage.attempts + 1}
    claimed = database.change(still_due.values(taken))
    database.commit()
    return bool(claimed)


def _deliver(connection: Connection, id: uuid.UUID) -> bool:
    message = db.session.get_one(OutboxMessage, id)
    try:
        smtp.send(connection, message)
    except smtp.FAILURES as error:
        _put_off(id, error)
        return False
    message.sent_at, message.due_at, message.last_error = clock.now(), None, None
    if current_app.config["APP_ENV"] != "development":
        message.text = message.html = ""
    database.commit()
    log.info("mail_sent", extra={"mail": id, "attempts": message.attempts})
    return True


def _put_off(id: uuid.UUID, error: Exception) -> None:
    message = db.session.get_one(OutboxMessage, id, populate_existing=True)
    given_up = message.attempts >= _MOST_ATTEMPTS
    wait = min(_FIRST_RETRY_SECONDS * 2 ** min(message.attempts - 1, 16), _LONGEST_RETRY_SECONDS)
    message.due_at = None if given_up else clock.now() + timedelta(seconds=wait)
    if given_up:
        message.text = message.html = ""
    message.last_error = f"{type(error).__name__}: {error}"[:ERROR_LENGTH]
    database.commit()
    event = "mail_given_up" if given_up else "mail_put_off"
    log.warning(event, extra={"mail": id, "error": type(error).__name__})
