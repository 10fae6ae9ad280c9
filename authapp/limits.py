"""Limits: what may be tried how often, by name.

A try is counted before it is made, and given back when it turns out well: of many at once, no more than the limit are
made. What counts them is `limiter`.
"""

import hashlib
import hmac
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from flask import current_app

from authapp import afterwards
from authapp.errors import AuthError, RateLimitedError
from authapp.limiter import Limit, Limiter

_MINUTE = 60
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR

FAILED_LOGINS = Limit("failed-logins", 10, 5 * _MINUTE)
"""By account and client network together."""
FAILED_LOGINS_OF_CLIENT = Limit("failed-logins-of-client", 100, 5 * _MINUTE)
"""By client network, whatever the accounts."""
FAILED_LOGINS_TO_ACCOUNT = Limit("failed-logins-to-account", 100, _HOUR)
"""By account, but for the networks from which it signs in: nobody can lock its owner out."""
REGISTRATIONS = Limit("registrations", 20, _HOUR)
"""By client network."""
MAIL_REQUESTS = Limit("mail-requests", 100, _HOUR)
"""By client network, whatever the addresses: for a new password, or another verification mail. By user: for a change of
address."""
MAILS_A_MINUTE = Limit("mails-a-minute", 1, _MINUTE)
"""By kind and recipient."""
MAILS_A_DAY = Limit("mails-a-day", 5, _DAY)
"""By kind and recipient."""
LINKS_TRIED = Limit("links-tried", 20, 5 * _MINUTE)
"""By client network: tokens of mailed links that are not good."""
WRONG_PASSWORDS = Limit("wrong-passwords", 5, 5 * _MINUTE)
"""By user: of a caller who is signed in, and gives the password once more."""


class Attempt:
    """What is being tried, and as what it is counted so far."""

    def __init__(self) -> None:
        self._counted: list[Callable[[], None]] = []

    def count(self, limit: Limit, *who: str | None) -> None:
        """Count one try of this `who`. Raises `RateLimitedError` where that is one too many.

        Where a part of `who` is not known there is nothing to count by: a command has no client.
        """
        if not current_app.config["RATELIMIT_ENABLED"] or None in who:
            return
        limiter: Limiter = current_app.extensions["authapp"].limiter
        self._counted.append(limiter.take(limit, _key(limit, *who)))

    def give_back(self) -> None:
        """Make it as if nothing had been tried."""
        while self._counted:
            self._counted.pop()()


@contextmanager
def attempt(*counted: type[AuthError], success_counts: bool = False) -> Iterator[Attempt]:
    """Count what is tried within; it is given back unless it ends in one of these refusals, or, so told, well."""
    made = Attempt()
    try:
        yield made
    except counted:
        raise
    except BaseException:
        made.give_back()
        raise
    if not success_counts:
        made.give_back()


def count(limit: Limit, *who: str | None) -> None:
    """Count one try, however it ends. Raises `RateLimitedError`."""
    Attempt().count(limit, *who)


def allows_mail(kind: str, recipient: str, *more: str, by: Sequence[Limit] = (MAILS_A_MINUTE, MAILS_A_DAY)) -> bool:
    """Count a mail of this kind that somebody has asked for; a rollback of what it speaks of gives it back."""
    made = Attempt()
    try:
        for limit in by:
            made.count(limit, kind, recipient, *more)
    except RateLimitedError:
        made.give_back()
        return False
    afterwards.on_rollback(made.give_back)
    return True


def _key(limit: Limit, *who: str | None) -> str:
    """Give the key to count by: no address stands in Redis, and two deployments that share one do not meet."""
    secret: str = current_app.config["SECRET_KEY"]
    digest = hmac.new(secret.encode(), repr(who).encode(), hashlib.sha256).hexdigest()
    return f"{limit.name}:{digest[:32]}"
