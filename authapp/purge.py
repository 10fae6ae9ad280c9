"""Deleting what is past its time, in batches that hold no lock for long."""

from datetime import timedelta

from sqlalchemy import ColumnElement, delete, inspect, or_, select

from authapp import clients, clock, database, tokens
from authapp.extensions import Model, db
from authapp.mail.models import MailRequest, OutboxMessage
from authapp.models import KnownNetwork, Link, RevokedToken, Session

_BATCH = 1000
# An expired link says so for a while, before it is simply unknown; a sent mail can be looked into.
_KEPT = timedelta(days=7)


def run() -> dict[str, int]:
    """Delete what has expired and give the numbers by kind; every batch is a transaction of its own."""
    now = clock.now()
    # A token is read for a little longer than it says, and must not come back to life for that while.
    dead = now - timedelta(seconds=tokens.LEEWAY_SECONDS)
    ended = Session.ended_at.is_not(None) & (Session.expires_at < dead)
    # What nobody tried to send lies in the development mailbox, and stays there.
    given_up = OutboxMessage.due_at.is_(None) & OutboxMessage.sent_at.is_(None) & (OutboxMessage.attempts > 0)
    old_mail = or_(OutboxMessage.sent_at < now - _KEPT, given_up & (OutboxMessage.created_at < now - _KEPT))
    return {
        "sessions": _delete(Session, or_(Session.ends_at < dead, ended)),
        "revoked tokens": _delete(RevokedToken, RevokedToken.expires_at < dead),
        "known networks": _delete(KnownNetwork, KnownNetwork.seen_at < now - clients.KNOWN_FOR),
        "links": _delete(Link, Link.expires_at < now - _KEPT),
        "sent mails": _delete(OutboxMessage, old_mail),
        "mail requests": _delete(MailRequest, MailRequest.created_at < now - _KEPT),
    }


def _delete(model: type[Model], which: ColumnElement[bool]) -> int:
    keys, total = inspect(model).primary_key, 0
    while found := db.session.execute(select(*keys).where(which).limit(_BATCH)).all():
        for key in found:
            same = (column == value for column, value in zip(keys, key, strict=True))
            total += database.change(delete(model).where(*same, which))
        database.commit()
    return total
