"""Deleting what is past its time, in batches that hold no lock for long."""

import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from flask import current_app
from sqlalchemy import ColumnElement, delete, inspect, or_, select

from authapp import clients, clock, database, tokens
from authapp.extensions import Model, db
from authapp.mail.models import MailRequest, OutboxMessage
from authapp.models import KnownNetwork, Link, RevokedToken, Session

_BATCH = 1000
# An expired link says so for a while, before it is simply unknown; a sent mail can be looked into.
_KEPT = timedelta(days=7)


def run(show: Callable[[int], object] = lambda _: None) -> dict[str, int]:
    """Delete what has expired and give the numbers by kind; every batch is a transaction of its own.

    `show` is told how many rows of the kind at hand are gone by now.
    """
    now = clock.now()
    # A token is read for a little longer than it says, and must not come back to life for that while.
    dead = now - timedelta(seconds=tokens.LEEWAY_SECONDS)
    # Nothing of a session lives longer than this once it has ended. What expires changes with each refresh, and an
    # index of that would cost each of them a write.
    longest = timedelta(days=current_app.config["REFRESH_TOKEN_EXPIRE_DAYS"])
    ended = (Session.ended_at < dead - longest) & (Session.expires_at < dead)
    # What nobody tried to send lies in the development mailbox, and stays there.
    given_up = OutboxMessage.due_at.is_(None) & OutboxMessage.sent_at.is_(None) & (OutboxMessage.attempts > 0)
    old_mail = or_(OutboxMessage.sent_at < now - _KEPT, given_up & (OutboxMessage.created_at < now - _KEPT))
    delete_all = partial(_delete, show)
    return {
        "sessions": delete_all(Session, Session.ends_at < dead, ended),
        "revoked tokens": delete_all(RevokedToken, RevokedToken.expires_at < dead),
        "known networks": delete_all(KnownNetwork, KnownNetwork.seen_at < now - clients.KNOWN_FOR),
        "links": delete_all(Link, Link.expires_at < now - _KEPT),
        "sent mails": delete_all(OutboxMessage, old_mail),
        "mail requests": delete_all(MailRequest, MailRequest.created_at < now - _KEPT),
    }


def _delete(show: Callable[[int], object], model: type[Model], *several: ColumnElement[bool]) -> int:
    """Delete the rows of each of `several` kinds, one kind after the other: each has an index that finds it."""
    # Where the key has two columns, the first is the user: what else of theirs is past its time may go along.
    key, total = inspect(model).primary_key[0], 0
    for which in several:
        while found := db.session.scalars(select(key).where(which).limit(_BATCH)).all():
            began = time.monotonic()
            # A statement a row would take this process twenty times as long.
            total += database.change(delete(model).where(key.in_(found), which))
            database.commit()
            show(total)
            # Half of the time, the database and the processor are for those who are served meanwhile.
            time.sleep(time.monotonic() - began)
    return total
