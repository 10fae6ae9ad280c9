"""Checks of what runs beside the requests: delivery and purging. Where they stand still, rows pile up."""

from datetime import timedelta

from sqlalchemy import ColumnElement, func, or_, select

from authapp import clock, database
from authapp.doctor.finding import Finding, fail, ok, warning
from authapp.extensions import Model
from authapp.mail.models import MailRequest, OutboxMessage
from authapp.models import Link, RevokedToken, Session

_LONGEST_WAIT = timedelta(hours=1)
# `purge` itself keeps links and mails for a week.
_LONGEST_KEPT = timedelta(days=14)


def outbox() -> Finding:
    """Check that mails leave the outbox."""
    late = clock.now() - _LONGEST_WAIT
    # A request that nobody has looked into yet may become a mail.
    untried = _count(OutboxMessage, OutboxMessage.due_at < late) + _count(MailRequest, MailRequest.created_at < late)
    # What was not sent is found by its index; of what was, there may be millions.
    unsent = (OutboxMessage.sent_at.is_(None), OutboxMessage.due_at.is_not(None))
    waiting = _count(OutboxMessage, *unsent, OutboxMessage.created_at < late)
    if untried:
        return fail(
            f"{untried} of the outbox's mails have been due for over an hour, and nobody sent them: "
            "see that the service, or flask auth deliver-mail --watch, runs and reaches the mail server."
        )
    if waiting:
        return warning(
            f"{waiting} of the outbox's mails have waited for over an hour, because the mail server refuses them: "
            "see last_error in auth_outbox_message."
        )
    now = _count(OutboxMessage, *unsent) + _count(MailRequest)
    return ok(f"Mails that wait in the outbox: {now}, none for over an hour.")


def purge() -> Finding:
    """Check that what is past its time is deleted."""
    old = clock.now() - _LONGEST_KEPT
    kept = [
        select(Session.id).where(Session.ends_at < old),
        select(RevokedToken.jti).where(RevokedToken.expires_at < old),
        select(Link.user_id).where(Link.expires_at < old),
        select(OutboxMessage.id).where(OutboxMessage.sent_at < old),
    ]
    with database.reading() as reader:
        found = reader.scalar(select(or_(*(which.exists() for which in kept))))
    if found:
        return warning("Rows two weeks past their time are still there: run flask auth purge daily, from cron.")
    return ok("What is past its time has been purged.")


def _count(model: type[Model], *which: ColumnElement[bool]) -> int:
    with database.reading() as reader:
        return reader.scalar(select(func.count()).select_from(model).where(*which)) or 0
