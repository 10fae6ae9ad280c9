"""Facts that others may listen to (blinker): each is sent once what it speaks of is committed.

The sender is the application; every signal carries `user_id`, and what its line says. A listener may use the database,
and commit; what it raises is logged, and changes nothing for whoever asked. Each is one line of the log, too.
"""

import logging
from functools import partial
from typing import Any

from blinker import NamedSignal, Namespace
from flask import Flask

from authapp import afterwards
from authapp.extensions import app_at_hand

log = logging.getLogger(__name__)

_facts = Namespace()
# Of what a listener gets, what no log may show.
_ADDRESSES = ("email", "earlier")

user_registered = _facts.signal("user-registered", doc="An account was made: email.")
user_verified = _facts.signal("user-verified", doc="The e-mail address was verified: email.")
user_logged_in = _facts.signal("user-logged-in", doc="A session was started: sid.")
login_failed = _facts.signal(
    "login-failed", doc="A login was refused: email, code; user_id is None where nobody has it."
)
session_refreshed = _facts.signal("session-refreshed", doc="A session got its next tokens: sid.")
password_changed = _facts.signal("password-changed", doc="There is a new password: how (changed, reset or set).")
email_changed = _facts.signal("email-changed", doc="The account has another address: email, earlier.")
user_changed = _facts.signal("user-changed", doc="The account was changed: what (profile, is_active).")
user_deleted = _facts.signal("user-deleted", doc="The account and all that hung on it is gone: email.")
session_ended = _facts.signal("session-ended", doc="A session is over, by a logout for example: sid, reason.")
token_reused = _facts.signal("token-reused", doc="A rotated refresh token came back: sid.")


def announce(signal: NamedSignal, **fact: Any) -> None:
    """Send the signal after the commit of the change under way; a rollback drops it."""
    afterwards.on_commit(partial(_tell, signal, app_at_hand(), fact))


def announce_refusal(signal: NamedSignal, **fact: Any) -> None:
    """Send the signal after the rollback that the refusal brings: nothing of the request is under way any more."""
    afterwards.on_end(partial(_tell, signal, app_at_hand(), fact))


def _tell(signal: NamedSignal, app: Flask, fact: dict[str, Any]) -> None:
    """Log the fact, by the name of the signal, and send it."""
    level = logging.WARNING if signal is token_reused else logging.INFO
    shown = {name: value for name, value in fact.items() if name not in _ADDRESSES}
    log.log(level, signal.name.replace("-", "_"), extra=shown)
    signal.send(app, **fact)
