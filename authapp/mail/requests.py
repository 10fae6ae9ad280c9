"""Mails that a stranger asks for: the request is kept as it came, and looked into where nobody can watch.

Whoever asks for a new password, or for another verification mail, gets one answer, after the same work, whatever
address they name: one row is written. Whether there is an account, and a mail to send, is found out by the delivery
worker, so neither the answer nor the time it took can tell.
"""

import logging
from collections.abc import Callable

from flask import Flask, current_app
from sqlalchemy import delete, select

from authapp import database
from authapp.mail.models import MailRequest

log = logging.getLogger(__name__)

_BATCH = 20
_writers: dict[str, Callable[[str], None]] = {}


def answered_by(kind: str, write: Callable[[str], None]) -> None:
    """Have requests of this kind answered by `write`, which gets the address and queues a mail, or none."""
    _writers[kind] = write


def answer_all() -> None:
    """Answer what has been asked for; each request is gone in the transaction that queues its mail, so never lost."""
    while sum(_answer(request) for request in _oldest()):
        pass


def _oldest() -> list[MailRequest]:
    with database.reading() as reader:
        return list(reader.scalars(select(MailRequest).order_by(MailRequest.id).limit(_BATCH)))


def _answer(request: MailRequest) -> bool:
    """Answer one request, unless another worker has; one that fails is left for the next time."""
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]  # Werkzeug's proxy types hide it.
    for is_last in (False, True):
        # In a session of its own: nothing that was loaded before may be stale, nothing of the caller's is committed.
        with app.app_context():
            try:
                ours = bool(database.change(delete(MailRequest).where(MailRequest.id == request.id)))
                if ours:
                    _writers[request.kind](request.email)
                database.commit()
                return ours
            except Exception as error:
                database.rollback()
                if is_last or not database.is_transient(error):
                    log.exception("mail_request_failed", extra={"mail_request": request.id})
                    break
    return False
