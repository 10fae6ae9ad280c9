"""Facts that others may listen to (blinker): each is sent once what it speaks of is committed.

The sender is the application; every signal carries `user_id`, and what its line says.
"""

from functools import partial
from typing import Any

from blinker import NamedSignal, Namespace
from flask import current_app

from authapp import database

_facts = Namespace()

user_registered = _facts.signal("user-registered", doc="An account was made: email.")
user_verified = _facts.signal("user-verified", doc="The e-mail address was verified: email.")
user_logged_in = _facts.signal("user-logged-in", doc="A session was started: sid.")
password_changed = _facts.signal("password-changed", doc="There is a new password: how (changed, reset or set).")
email_changed = _facts.signal("email-changed", doc="The account has another address: email, earlier.")
user_changed = _facts.signal("user-changed", doc="An operator changed the account: what.")
user_deleted = _facts.signal("user-deleted", doc="The account and all that hung on it is gone: email.")
session_ended = _facts.signal("session-ended", doc="A session is over: sid, reason.")
token_reused = _facts.signal("token-reused", doc="A rotated refresh token came back: sid.")


def announce(signal: NamedSignal, **fact: Any) -> None:
    """Send the signal after the commit of the change under way; a rollback drops it."""
    app = current_app._get_current_object()  # type: ignore[attr-defined]  # Werkzeug's proxy types hide it.
    database.after_commit(partial(signal.send, app, **fact))
