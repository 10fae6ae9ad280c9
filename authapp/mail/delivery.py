"""Delivery: takes due mails from the outbox to the mail server, in any number of processes at once."""

import logging
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta

from flask import current_app
from flask_mail import Connection
from sqlalchemy import Row, Update, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from authapp import clock, database
from authapp.mail import requests, smtp
from authapp.mail.models import ERROR_LENGTH, OutboxMessage

log = logging.getLogger(__name__)

_BATCH = 20
# Longer than `MAIL_TIMEOUT` may be, and so than one mail can take: whoever claimed it has died, another may take it.
_CLAIM_SECONDS = 120
_FIRST_RETRY_SECONDS = 15
_LONGEST_RETRY_SECONDS = 1800
# With the waits above: about two days.
_MOST_ATTEMPTS = 100
# Between attempts to mark a mail as sent; far less, all together, than what a claim leaves.
_WAITS_SECONDS = (0.2, 1.0, 3.0, 9.0, 20.0)


class UnreachableError(Exception):
    """The mail server does not answer, or does not let us in."""


def deliver_due(limit: int = _BATCH, *, answer: bool = True, over: threading.Event | None = None) -> int:
    """Answer requests for mails, if told to, and send up to `limit` mails that are due; give the number sent.

    It does so again after every batch of requests: somebody may ask faster than we answer, and whoever waits for a
    mail need not wait for the end of that. A mail that the server refuses is due again later, each time after twice
    as long (up to half an hour); one that found no server just stays due. A mail that the server took right before
    this process died is sent again: at least once, never lost. Once `over` is set no other mail is begun. Raises
    `UnreachableError`.
    """
    over = over or threading.Event()
    sent, may_be_more = 0, answer
    while True:
        may_be_more = may_be_more and requests.answer_some()
        sent += _send_due(limit, over)
        if not may_be_more or over.is_set():
            return sent


def _send_due(limit: int, over: threading.Event) -> int:
    due = _due(limit) if current_app.config["MAIL_SERVER"] else ()
    if not due:
        return 0
    sent = 0
    with _connected() as connection:
        for id, attempts in due:
            if over.is_set() or not smtp.is_open(connection):
                break
            message = _claim(id, attempts)
            sent += message is not None and _deliver(connection, message)
    return sent


@contextmanager
def _connected() -> Iterator[Connection]:
    """Connect; what is raised later is about a mail, or about the database."""
    with ExitStack() as stack:
        try:
            connection = stack.enter_context(smtp.connect())
        except smtp.FAILURES as error:
            raise UnreachableError(type(error).__name__) from error
        yield connection


def _due(limit: int) -> Sequence[Row[uuid.UUID, int]]:
    oldest = (
        select(OutboxMessage.id, OutboxMessage.attempts)
        .where(OutboxMessage.due_at <= clock.now())
        .order_by(OutboxMessage.due_at, OutboxMessage.id)
    )
    with database.reading() as reader:
        return reader.execute(oldest.limit(limit)).all()


def _claim(id: uuid.UUID, attempts: int) -> OutboxMessage | None:
    """Make the mail ours for a while and give it: of all who try, one UPDATE finds it still due.

    The number of attempts is the claim's own. It tells a worker that was frozen until its claim was another's, who has
    sent the mail perhaps, and emptied it. No connection is held: the mail server takes its time.
    """
    now = clock.now()
    still_due = update(OutboxMessage).where(
        OutboxMessage.id == id, OutboxMessage.attempts == attempts, OutboxMessage.due_at <= now
    )
    taken = {"due_at": now + timedelta(seconds=_CLAIM_SECONDS), "attempts": attempts + 1}
    claimed = database.change(still_due.values(taken))
    database.commit()
    if not claimed:
        return None
    ours = select(OutboxMessage).where(OutboxMessage.id == id, OutboxMessage.attempts == attempts + 1)
    with database.reading() as reader:
        message: OutboxMessage | None = reader.scalar(ours)
    needed = timedelta(seconds=current_app.config["MAIL_TIMEOUT"])
    is_time_left = message and message.due_at and message.due_at > clock.now() + needed
    return message if is_time_left else None


def _deliver(connection: Connection, message: OutboxMessage) -> bool:
    try:
        smtp.send(connection, message)
    except smtp.FAILURES as error:
        _put_off(message, error)
        return False
    sent: dict[str, object] = {"sent_at": clock.now(), "due_at": None, "last_error": None}
    if current_app.config["APP_ENV"] != "development":
        sent |= {"text": "", "html": ""}
    _insist(update(OutboxMessage).where(OutboxMessage.id == message.id).values(sent))
    log.info("mail_sent", extra={"mail": message.id, "attempts": message.attempts})
    return True


def _insist(change: Update) -> None:
    """Make a change, and try again where the database is away for a moment: what is not marked as sent is sent again.

    The mail stays claimed meanwhile.
    """
    for wait in (*_WAITS_SECONDS, None):
        try:
            database.change(change)
            database.commit()
        except (DBAPIError, PoolTimeoutError) as error:
            database.rollback()
            if wait is None or not database.is_away(error):
                raise
            time.sleep(wait)
        else:
            return


def _put_off(message: OutboxMessage, error: Exception) -> None:
    given_up = message.attempts >= _MOST_ATTEMPTS
    wait = min(_FIRST_RETRY_SECONDS * 2 ** min(message.attempts - 1, 16), _LONGEST_RETRY_SECONDS)
    later: dict[str, object] = {
        "due_at": None if given_up else clock.now() + timedelta(seconds=wait),
        "last_error": f"{type(error).__name__}: {error}"[:ERROR_LENGTH],
    }
    if given_up:
        later |= {"text": "", "html": ""}
    still_ours = update(OutboxMessage).where(
        OutboxMessage.id == message.id, OutboxMessage.attempts == message.attempts, OutboxMessage.sent_at.is_(None)
    )
    database.change(still_ours.values(later))
    database.commit()
    event = "mail_given_up" if given_up else "mail_put_off"
    log.warning(event, extra={"mail": message.id, "error": type(error).__name__})
