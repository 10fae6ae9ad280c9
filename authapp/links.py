"""Mailed links: a signed token that works once, for one purpose, for the latest mail only.

The token (itsdangerous; the purpose is its salt) names a user, an e-mail address and a nonce; the `Link` row
holds the nonce. Issuing a link replaces the nonce, so earlier mails stop working; redeeming marks it used.
"""

import secrets
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from flask import current_app
from itsdangerous import BadData, URLSafeTimedSerializer
from itsdangerous.encoding import base64_decode, base64_encode
from sqlalchemy import delete, select, update

from authapp import clock, database, limits
from authapp.errors import LinkExpiredError, LinkInvalidError
from authapp.extensions import db
from authapp.models import Link, User

VERIFY_EMAIL = "verify-email"
RESET_PASSWORD = "reset-password"  # noqa: S105  # A purpose, not a password.
CHANGE_EMAIL = "change-email"

# By purpose: the operator's own page, and the hours that a link lives.
_OWN_PAGE_SETTING = {
    VERIFY_EMAIL: "AUTH_VERIFY_URL",
    RESET_PASSWORD: "AUTH_RESET_URL",
    CHANGE_EMAIL: "AUTH_CHANGE_EMAIL_URL",
}
_HOURS_SETTING = {
    VERIFY_EMAIL: "AUTH_VERIFY_LINK_HOURS",
    RESET_PASSWORD: "AUTH_RESET_LINK_HOURS",
    CHANGE_EMAIL: "AUTH_CHANGE_EMAIL_LINK_HOURS",
}

# Longer than any link that we make; what is longer was not made by us and is not worth parsing.
_LONGEST_TOKEN = 1024


@dataclass(frozen=True)
class Redeemed:
    """What a good link says; `again` when this very link was redeemed before."""

    user_id: uuid.UUID
    email: str
    again: bool


def issue(user: User, purpose: str, *, email: str | None = None) -> str:
    """Make the token of a new link for this purpose; every earlier one stops working.

    It speaks of the user's address, or of `email`, which is to become it.
    """
    nonce, expires_at = secrets.token_urlsafe(16), clock.now() + timedelta(hours=hours(purpose))
    fresh = {"nonce": nonce, "expires_at": expires_at, "used_at": None}
    replaced = database.change(update(Link).where(Link.user_id == user.id, Link.purpose == purpose).values(fresh))
    if not replaced:
        db.session.add(Link(user_id=user.id, purpose=purpose, nonce=nonce, expires_at=expires_at))
        db.session.flush()
    return _serializer(purpose).dumps([user.id.hex, email or user.email, nonce])


def url(purpose: str, token: str) -> str:
    """Give the address to mail: the operator's own page, or ours below `AUTH_PUBLIC_URL`, never the Host header's."""
    config = current_app.config
    own_page: str | None = config[_OWN_PAGE_SETTING[purpose]]
    if own_page:
        return own_page.replace("{token}", token)
    return f"{config['AUTH_PUBLIC_URL'].rstrip('/')}{config['AUTH_URL_PREFIX']}/{purpose}?token={token}"


def hours(purpose: str) -> int:
    """Say how many hours a link lives."""
    found: int = current_app.config[_HOURS_SETTING[purpose]]
    return found


def check(token: str, purpose: str) -> uuid.UUID:
    """Give the user of a link that could be redeemed now; nothing is changed, and no connection is held.

    Raises `LinkInvalidError` (tampered with, other purpose, superseded, used, the address has changed since) and
    `LinkExpiredError`.
    """
    user_id, email, nonce = _read(token, purpose)
    unused = (Link.user_id == user_id, Link.purpose == purpose, Link.nonce == nonce, Link.used_at.is_(None))
    if database.row(select(User.id).join(Link).where(*unused, User.email == email)) is None:
        raise LinkInvalidError
    return user_id


@contextmanager
def tried_from(network: str | None) -> Iterator[None]:
    """Count by network the links that somebody tries, and that are not good. Raises `RateLimitedError`."""
    with limits.attempt(LinkInvalidError, LinkExpiredError) as attempt:
        attempt.count(limits.LINKS_TRIED, network)
        yield


def redeem(token: str, purpose: str) -> Redeemed:
    """Use a link up.

    A link that was used before is given back with `again`, for the caller to accept or refuse.
    Raises `LinkInvalidError` (tampered with, other purpose, superseded) and `LinkExpiredError`.
    """
    user_id, email, nonce = _read(token, purpose)
    this = (Link.user_id == user_id, Link.purpose == purpose, Link.nonce == nonce)
    if database.change(update(Link).where(*this, Link.used_at.is_(None)).values(used_at=clock.now())):
        return Redeemed(user_id, email, again=False)
    if db.session.query(Link.user_id).where(*this).first() is None:
        raise LinkInvalidError
    return Redeemed(user_id, email, again=True)


def withdraw(user_id: uuid.UUID, *purposes: str) -> None:
    """Make the user's links of these purposes stop working."""
    database.change(delete(Link).where(Link.user_id == user_id, Link.purpose.in_(purposes)))


def _read(token: str, purpose: str) -> tuple[uuid.UUID, str, str]:
    if len(token) > _LONGEST_TOKEN or not token.isascii():
        raise LinkInvalidError
    try:
        _check_spelling(token)
        # The age is checked here and not by itsdangerous, which refuses a token from a clock that runs ahead of ours.
        content, signed_at = _serializer(purpose).loads(token, return_timestamp=True)
        user_id, email, nonce = content
        found = uuid.UUID(hex=user_id), str(email), str(nonce)
    except (BadData, ValueError, TypeError, AttributeError, OverflowError, OSError, RecursionError):
        raise LinkInvalidError from None
    if clock.now() - signed_at > timedelta(hours=hours(purpose)):
        raise LinkExpiredError
    return found


def _check_spelling(token: str) -> None:
    """Refuse another text for the same signature, which itsdangerous takes: a link has one spelling only."""
    signature = token.rpartition(".")[2].encode()
    if base64_encode(base64_decode(signature)) != signature:
        raise LinkInvalidError


def _serializer(purpose: str) -> URLSafeTimedSerializer:
    config = current_app.config
    keys = [*config["SECRET_KEY_FALLBACKS"], config["SECRET_KEY"]]
    return URLSafeTimedSerializer(keys, salt=f"authapp.link.{purpose}")
