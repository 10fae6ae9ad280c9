"""Mails that a stranger asks for: the request is kept as it came, and looked into where nobody can watch.

Whoever asks for a new password, or for another verification mail, gets one answer, after the same work, whatever
address they name: one row is written. Whether there is an account, and a mail to send, is found out by the delivery
worker, so neither the answer nor the time it took can tell.
"""

import logging
import uuid
from collections.abc import Callable, Collection, Sequence

from sqlalchemy import delete, select, update

from authapp import columns, database, extensions, traces
from authapp.mail.models import MailRequest

log = logging.getLogger(__name__)

_BATCH = 100
_Writer = Callable[[str, Collection[str]], None]
_writers: dict[str, _Writer] = {}


def answered_by(kind: str, write: _Writer) -> None:
    """Have requests of this kind answered by `write`, which queues a mail, or none.

    It gets the address and the networks from which that was asked for.
    """
    _writers[kind] = write


def answer_all() -> None:
    """Answer what has been asked for; each request is gone in the transaction that queues its mail, so never lost.

    Who asks again before the answer gets one mail: only the link in the latest would work.
    """
    while answer_some():
        pass


def answer_some() -> bool:
    """Answer a batch of the oldest requests and say whether there were any, so that there may be more."""
    return sum([_answer(same) for same in _oldest()]) > 0


def _oldest() -> Collection[Sequence[MailRequest]]:
    """Give the oldest requests, those for the same mail together."""
    found: dict[tuple[str, str], list[MailRequest]] = {}
    with database.reading() as reader:
        for request in reader.scalars(select(MailRequest).order_by(MailRequest.id).limit(_BATCH)):
            found.setdefault((request.kind, request.email), []).append(request)
    return found.values()


def _answer(same: Sequence[MailRequest]) -> bool:
    """Answer requests for one mail, unless another worker has; if that fails they go behind all others."""
    app, kind, email = extensions.app_at_hand(), same[0].kind, same[0].email
    ids, networks = [request.id for request in same], {request.network for request in same if request.network}
    for is_last in (False, True):
        # In a session of its own: nothing that was loaded before may be stale, nothing of the caller's is committed.
        with app.app_context():
            try:
                ours = bool(database.change(delete(MailRequest).where(MailRequest.id.in_(ids))))
                if ours:
                    _writers[kind](email, networks)
                database.commit()
                return ours
            except Exception as error:
                database.rollback()
                if is_last or not database.is_transient(error):
                    told = {"mail_request": ids[0]}
                    log.error("mail_request_failed", exc_info=traces.to_log(error), extra=told)
                    _move_back(ids)
                    break
    return False


def _move_back(ids: Sequence[uuid.UUID]) -> None:
    """Let the others go first: a batch of requests that fail for ever would keep them waiting as long."""
    for id in ids:
        database.change(update(MailRequest).where(MailRequest.id == id).values(id=columns.new_id()))
    database.commit()
