"""Calls that wait for the end of the transaction under way, whoever ends it: authapp or the host."""

import logging
from collections.abc import Callable

from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction

from authapp import traces
from authapp.extensions import db

log = logging.getLogger(__name__)

_WAITING = "authapp.waiting_for_commit"
_DUE = "authapp.due"
_TO_UNDO = "authapp.to_undo"


def on_commit(call: Callable[[], object]) -> None:
    """Have `call` made once the change under way is committed; a rollback forgets it. What it raises is logged only."""
    _listened_to().info.setdefault(_WAITING, []).append(call)


def on_rollback(call: Callable[[], object]) -> None:
    """Have `call` made if the change under way is rolled back; a commit forgets it. What it raises is logged only."""
    _listened_to().info.setdefault(_TO_UNDO, []).append(call)


def on_end(call: Callable[[], object]) -> None:
    """Have `call` made once the transaction is over, be it committed or rolled back. What it raises is logged only."""
    _listened_to().info[_DUE].append(call)


def _listened_to() -> Session:
    """Give the session at hand, in a transaction: without one nothing would end, and no word come of it."""
    session: Session = db.session()
    session.info.setdefault(_DUE, [])
    # To listen to each session by itself would cost each of them a tenth of a millisecond.
    kind = type(session)
    if not event.contains(kind, "after_transaction_end", _make_calls):
        event.listen(kind, "after_commit", _release_calls)
        event.listen(kind, "after_rollback", _forget_calls)
        event.listen(kind, "after_transaction_end", _make_calls)
    if not session.in_transaction():
        session.begin()
    return session


def _release_calls(session: Session) -> None:
    if _DUE in session.info:
        session.info[_DUE] += session.info.pop(_WAITING, [])
        session.info.pop(_TO_UNDO, None)


def _forget_calls(session: Session) -> None:
    if _DUE in session.info:
        session.info.pop(_WAITING, None)
        session.info[_DUE] += session.info.pop(_TO_UNDO, [])


def _make_calls(session: Session, transaction: SessionTransaction) -> None:
    """Make the calls once the session can be used again: a listener may want to write."""
    if transaction.parent is not None or _DUE not in session.info:
        return
    calls, session.info[_DUE] = session.info[_DUE], []
    for call in calls:
        try:
            call()
        except Exception as error:
            log.error("afterwards_failed", exc_info=traces.to_log(error))
