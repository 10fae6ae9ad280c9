"""Mails that a stranger asks for: the request is kept as it came, and looked into where nobody can watch.

Whoever asks for a new password, or for another verification mail, gets one answer, after the same work, whatever
address they name: one row is written. Whether there is an account, and a mail to send, is found out by the delivery
worker, so neither the answer nor the time it took can tell.
"""

import logging
import uuid
from collections.abc import Callable, Sequence

from sqlalchemy import delete, select, update

from authapp import columns, database, extensions
from authapp.mail.models import MailRequest

log = logging.getLogger(__name__)

_BATCH = 100
_writers: dict[str, Callable[[str], None]] = {}


def answered_by(kind: str, write: Callable[[str], None]) -> None:
    """Have requests of this kind answered by `write`, which gets the address and queues a mail, or none."""
    _writers[kind] = write


def answer_all() -> None:
    """Answer what has been asked for; each request is gone in the transaction that queues its mail, so never lost.

    Who asks again before the answer gets one mail: only the link in the latest would work.
    """
    while answer_some():
        pass


def answer_some() -> bool:
    """Answer a batch of the oldest requests and say whether there were any, so that there may be more."""
    return sum(_answer(ids, kind, email) for (kind, email), ids in _oldest().items()) > 0


def _oldest() -> dict[tuple[str, str], list[uuid.UUID]]:
    """Give the oldest requests, those for the same mail together."""
    found: dict[tuple[str, str], list[uuid.UUID]] = {}
    with database.reading() as reader:
        for request in reader.scalars(select(MailRequest).order_by(MailRequest.id).limit(_BATCH)):
            found.setdefault((request.kind, request.email), []).append(request.id)
    return found


def _answer(ids: Sequence[uuid.UUID], kind: str, email: str) -> bool:
    """Answer requests for one mail, unless another worker has; if that fails they go behind all others."""
    app = extensions.app_at_hand()
    for is_last in (False, True):
        # In a session of its own: nothing that was loaded before may be stale, nothing of the caller's is committed.
        with app.app_context():
            try:
                ours = bool(database.change(delete(MailRequest).where(MailRequest.id.in_(ids))))
                if ours:
                    _writers[kind](email)
                database.commit()
                return ours
            except Exception as error:
                database.rollback()
                if is_last or not database.is_transient(error):
                    log.exception("mail_request_failed", extra={"mail_request": ids[0]})
                    _move_back(ids)
                    break
    return False


def _move_back(ids: Sequence[uuid.UUID]) -> None:
    """Let the others go first: a batch of requests that fail for ever would keep them waiting as long."""
    for id in ids:
        database.change(update(MailRequest).where(MailRequest.id == id).values(id=columns.new_id()))
    database.commit()
