"""A user's password: confirmed, changed, reset. A new one ends every sign-in, and its owner is told.

A password is checked and hashed at the gate, before any connection is held, and so before the change: what the
change is based on is looked at again within it.
"""

import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm.exc import StaleDataError

from authapp import clients, database, limits, links, passwords, sessions, signals, users
from authapp.errors import InvalidCredentialsError, LinkInvalidError, TokenInvalidError, TokenRevokedError
from authapp.extensions import db
from authapp.mail import outbox, requests
from authapp.models import User

_WRONG = "The password is wrong."
"""Who is asked here is known: no address was typed that could be wrong too."""


def confirm_password(user_id: uuid.UUID, password: str) -> User:
    """Give the user whose password this is, as a sensitive route asks of a caller who is signed in already.

    Raises `InvalidCredentialsError`, `RateLimitedError`, `ServerBusyError`, `TokenInvalidError` when the user is gone,
    and `TokenRevokedError` when the account is disabled.
    """
    with _trying(user_id), passwords.place(lambda: _load(user_id)) as user:
        _check(user, password)
    return database.take_in(user)


def hold(user: User) -> None:
    """Keep the user's row from changing until the commit, if the password is still the one that was confirmed.

    Else a change under way would outlive a new password, or the end of every sign-in. Raises `InvalidCredentialsError`.
    """
    if not _set(user, updated_at=User.updated_at):
        raise InvalidCredentialsError(_WRONG)


def change_password(user_id: uuid.UUID, *, current_password: str, new_password: str) -> User:
    """Exchange a password for another. Every sign-in is over, the caller's included.

    Raises what `confirm_password` does, and `ValidationError`.
    """
    with _trying(user_id), passwords.place(lambda: _load(user_id)) as user:
        _check(user, current_password)
        password_hash = _hash(user, new_password, field="new_password")
    if not _set(user, password_hash=password_hash, epoch=User.epoch + 1):
        raise InvalidCredentialsError(_WRONG)
    return _end_sign_ins(user_id, how="changed")


def set_password(user: User, password: str) -> User:
    """Give a user a new password, as an operator does. Every sign-in is over, one just being made included.

    Raises `ValidationError`, `ServerBusyError`, and SQLAlchemy's `StaleDataError` for a user deleted meanwhile.
    """
    with passwords.place():
        password_hash = _hash(user, password, field="password")
    _put(user.id, password_hash=password_hash)
    return _end_sign_ins(user.id, how="set")


def delete_account(user_id: uuid.UUID, password: str) -> None:
    """Remove the account of a caller who knows its password. Raises what `confirm_password` does."""
    user = confirm_password(user_id, password)
    hold(user)
    users.delete(user)


def request_reset(email: str, *, client: clients.Client | None = None) -> None:
    """Have a link for a new password mailed to this address, if it has an account. Raises `RateLimitedError`."""
    outbox.ask(links.RESET_PASSWORD, users.normalize_email(email), network=clients.network_of(client))


def reset(token: str, new_password: str, *, client: clients.Client | None = None) -> User:
    """Give the user that a mailed link speaks of a new password; whoever got the mail has verified the address.

    A password that is refused leaves the link as it was. Every sign-in is over. Raises `LinkInvalidError`,
    `LinkExpiredError`, `ValidationError`, `RateLimitedError` and `ServerBusyError`.
    """
    with links.tried_from(clients.network_of(client)):
        return _reset(token, new_password, client)


def _reset(token: str, new_password: str, client: clients.Client | None) -> User:
    user_id = links.check(token, links.RESET_PASSWORD)
    with passwords.place(lambda: _load(user_id)) as before:
        password_hash = _hash(before, new_password, field="new_password")
    redeemed = links.redeem(token, links.RESET_PASSWORD)
    user = db.session.get(User, redeemed.user_id)
    if redeemed.again or user is None or user.email != redeemed.email or not user.is_active:
        raise LinkInvalidError
    if not user.is_verified:
        signals.announce(signals.user_verified, user_id=user.id, email=user.email)
    _put(user_id, password_hash=password_hash, is_verified=True)
    # Whoever had the password may have signed in from anywhere; the owner is here.
    clients.forget(user)
    if client:
        clients.remember(user, client)
    return _end_sign_ins(user_id, how="reset")


@contextmanager
def _trying(user_id: uuid.UUID) -> Iterator[None]:
    """Count the wrong passwords of a caller who is signed in."""
    with limits.attempt(InvalidCredentialsError) as attempt:
        attempt.count(limits.WRONG_PASSWORDS, user_id.hex)
        yield


def _load(user_id: uuid.UUID) -> User:
    with database.reading() as reader:
        user = reader.get(User, user_id)
    if user is None:
        raise TokenInvalidError
    return user


def _check(user: User, password: str) -> None:
    if not passwords.verify(password, user.password_hash):
        raise InvalidCredentialsError(_WRONG)
    if not user.is_active:
        # Disabled since the caller's token was looked at.
        raise TokenRevokedError


def _hash(user: User, password: str, *, field: str) -> str:
    passwords.check_policy(password, email=user.email, name=user.name, field=field)
    return passwords.hash(password)


def _set(user: User, **values: object) -> bool:
    """Change the row, unless the password was changed, or every sign-in ended, since it was read."""
    same = (User.id == user.id, User.password_hash == user.password_hash, User.epoch == user.epoch)
    return bool(database.change(update(User).where(*same).values(values)))


def _put(user_id: uuid.UUID, **values: object) -> None:
    if not database.change(update(User).where(User.id == user_id).values(epoch=User.epoch + 1, **values)):
        # As the session itself says it: run again, the entry point tells why.
        raise StaleDataError("The user is gone.")


def _end_sign_ins(user_id: uuid.UUID, *, how: str) -> User:
    """Do what follows from a new password, whose epoch has begun, and give the user as it is now."""
    sessions.end_all(user_id, reason="password_changed")
    # Whoever had the password may have asked for these.
    links.withdraw(user_id, links.RESET_PASSWORD, links.CHANGE_EMAIL)
    user = db.session.scalars(select(User).where(User.id == user_id).execution_options(populate_existing=True)).one()
    if users.accepts_notice(user, "password-changed"):
        name = users.greeting(user)
        outbox.queue("password_changed", to=user.email, subject="Your password has been changed", name=name)
    signals.announce(signals.password_changed, user_id=user_id, how=how)
    return user


def _answer(email: str, networks: Collection[str]) -> None:
    """Answer a request for a link to a new password."""
    user = users.find(email)
    if user is None or not user.is_active or not users.accepts_mail(user, links.RESET_PASSWORD, networks):
        return
    link = links.url(links.RESET_PASSWORD, links.issue(user, links.RESET_PASSWORD))
    content: dict[str, Any] = {"link": link, "hours": links.hours(links.RESET_PASSWORD), "name": users.greeting(user)}
    outbox.queue("reset_password", to=user.email, subject="A new password for your account", **content)


requests.answered_by(links.RESET_PASSWORD, _answer)
