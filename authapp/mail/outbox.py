"""Queueing a mail: a row in the same transaction as the change it speaks of."""

import logging
import re
from functools import partial

from flask import current_app

from authapp import afterwards, clock, columns, limits
from authapp.errors import EmailNotSentError
from authapp.extensions import db
from authapp.mail import letters, smtp, worker
from authapp.mail.models import MailRequest, OutboxMessage

log = logging.getLogger(__name__)

_URL = re.compile(r"(https?://[^\s<>\"]+)")


def queue(template: str, *, to: str, subject: str, needed: bool = False, **content: object) -> None:
    """Write a mail from `authapp/mail/<template>.txt` and `.html`; it goes out once the change under way is committed.

    One without which the change is worth nothing is `needed`: with `MAIL_DELIVERY=inline` it is sent here and now.
    Raises `EmailNotSentError`, inline only.
    """
    text, html = letters.write(template, content)
    message = OutboxMessage(
        # One that is sent at once never meets the database, which would give it an id.
        id=columns.new_id(),
        to=to,
        subject=subject,
        text=text,
        html=html,
    )
    if stays_here():
        _show(message)
    elif needed and current_app.config["MAIL_DELIVERY"] == "inline":
        _send_now(message)
        return
    else:
        message.due_at = clock.now()
        afterwards.on_commit(worker.wake)
    db.session.add(message)


def ask(kind: str, email: str, *, network: str | None = None) -> None:
    """Write down that a mail of this kind is wanted; `mail.requests` answers once that is committed.

    `network` is where it is asked from. Raises `RateLimitedError`.
    """
    limits.count(limits.MAIL_REQUESTS, network)
    db.session.add(MailRequest(kind=kind, email=email, network=network))
    afterwards.on_commit(worker.answer)


def stays_here() -> bool:
    """Say whether mails stay in the development mailbox, there being no mail server to give them to."""
    return current_app.config["APP_ENV"] == "development" and not current_app.config["MAIL_SERVER"]


def links_of(message: OutboxMessage) -> list[str]:
    """Find the links in a mail."""
    return list(dict.fromkeys(_URL.findall(message.text)))


def split(message: OutboxMessage) -> list[str]:
    """Split a mail's text at its links: text, link, text and so on, each text perhaps an empty one."""
    return _URL.split(message.text)


def _show(message: OutboxMessage) -> None:
    """Show the links to whoever watches the log; the mail itself is never due."""
    for link in links_of(message):
        afterwards.on_commit(partial(log.info, "development_mail", extra={"link": link}))


def _send_now(message: OutboxMessage) -> None:
    try:
        with smtp.connect() as connection:
            smtp.send(connection, message)
    except smtp.FAILURES as error:
        log.warning("email_not_sent", extra={"error": type(error).__name__})
        raise EmailNotSentError from None
