"""A user's e-mail address: registered, verified, changed. Who has an account shows to nobody but its owner.

Links to an address that is not verified yet greet nobody by name: whoever registers writes the name and chooses who
gets the mail, which would carry anybody's message.
"""

import uuid
from collections.abc import Collection
from typing import Any

from flask import current_app

from authapp import clients, clock, columns, credentials, database, limits, links, signals, users
from authapp.errors import LinkInvalidError, UserAlreadyExistsError, ValidationError
from authapp.extensions import db
from authapp.mail import outbox, requests
from authapp.models import User


def register(
    email: str,
    password: str,
    *,
    name: str | None = None,
    photo: str | None = None,
    client: clients.Client | None = None,
) -> User:
    """Make an account and mail its owner a verification link.

    Raises what `users.create_user` does, `RateLimitedError` and `EmailNotSentError`. With `AUTH_GENERIC_RESPONSES` an
    address that is taken looks like a free one: its owner gets a mail, the caller a user that is nobody's.
    """
    try:
        with limits.attempt(UserAlreadyExistsError, success_counts=True) as attempt:
            attempt.count(limits.REGISTRATIONS, clients.network_of(client))
            user = users.create_user(email, password, name=name, photo=photo)
    except UserAlreadyExistsError:
        if not current_app.config["AUTH_GENERIC_RESPONSES"]:
            raise
        return _pretend(users.normalize_email(email), name=name, photo=photo)
    # As for an address that is taken, and also for who deletes an account only to register the address again.
    if _may_mail(user.email):
        send_verification(user, needed=True)
    return user


def send_verification(user: User, *, needed: bool = False) -> None:
    """Mail the user a new verification link; earlier ones stop working. For `needed` see `outbox.queue`."""
    subject = "Please verify your e-mail address"
    outbox.queue("verify_email", to=user.email, subject=subject, needed=needed, **_link(user, links.VERIFY_EMAIL))


def request_verification(email: str, *, client: clients.Client | None = None) -> None:
    """Have a new verification link mailed to this address, if an account waits for one. Raises `RateLimitedError`."""
    outbox.ask(links.VERIFY_EMAIL, users.normalize_email(email), network=clients.network_of(client))


def confirm(token: str, *, client: clients.Client | None = None) -> User:
    """Verify the address that a mailed link speaks of; the same link again is no error.

    Raises `LinkInvalidError`, `LinkExpiredError` and `RateLimitedError`.
    """
    with links.tried_from(clients.network_of(client)):
        redeemed = links.redeem(token, links.VERIFY_EMAIL)
        user = db.session.get(User, redeemed.user_id)
        if user is None or user.email != redeemed.email or (redeemed.again and not user.is_verified):
            raise LinkInvalidError
    verify(user)
    return user


def verify(user: User) -> None:
    """Mark the user's address as verified; once is enough."""
    if user.is_verified:
        return
    user.is_verified = True
    signals.announce(signals.user_verified, user_id=user.id, email=user.email)


def request_change(user_id: uuid.UUID, *, new_email: str, password: str) -> None:
    """Mail a link to the new address, and a notice to the present one; nothing changes until the link is confirmed.

    Raises what `credentials.confirm_password` does, `RateLimitedError`, `ValidationError`, `EmailNotSentError`, and
    `UserAlreadyExistsError`: with `AUTH_GENERIC_RESPONSES` the owner of that address gets a mail instead.
    """
    address = users.normalize_email(new_email, field="new_email")
    user = credentials.confirm_password(user_id, password)
    limits.count(limits.MAIL_REQUESTS, user_id.hex)
    if address == user.email:
        raise ValidationError(details={"new_email": ["This is your address already."]})
    credentials.hold(user)
    is_taken = users.find(address) is not None
    if is_taken and not current_app.config["AUTH_GENERIC_RESPONSES"]:
        raise UserAlreadyExistsError
    if not limits.allows_mail(links.CHANGE_EMAIL, address):
        # The link of the mail before this one goes on working.
        return
    # For an address that is taken too: that the link of an earlier change goes on working would tell so.
    content = _link(user, links.CHANGE_EMAIL, email=address)
    if is_taken:
        _tell_owner(address)
    else:
        outbox.queue(
            "change_email", to=address, subject="Please confirm your new e-mail address", needed=True, **content
        )
    if users.accepts_notice(user, "email-change-requested"):
        notice: dict[str, Any] = {"new_email": address, "name": users.greeting(user)}
        outbox.queue("email_change_requested", to=user.email, subject="A change of your e-mail address", **notice)


def confirm_change(token: str, *, client: clients.Client | None = None) -> User:
    """Give a user the address that a mailed link was sent to; the same link again is no error.

    Raises `LinkInvalidError`, `LinkExpiredError`, `RateLimitedError`, and `UserAlreadyExistsError` for an address taken
    meanwhile.
    """
    with links.tried_from(clients.network_of(client)):
        redeemed = links.redeem(token, links.CHANGE_EMAIL)
        user = db.session.get(User, redeemed.user_id)
        if user is None or not user.is_active or (redeemed.again and user.email != redeemed.email):
            raise LinkInvalidError
    if not redeemed.again:
        _move(user, redeemed.email)
    return user


def _move(user: User, email: str) -> None:
    # Before the new address is verified: the earlier one may be a stranger's.
    name, is_told = users.greeting(user), users.accepts_notice(user, "email-changed")
    earlier, user.email, user.is_verified = user.email, email, True
    users.take_address()
    # Whoever reads the earlier mailbox may have one, perhaps in use this very moment.
    links.withdraw(user.id, links.RESET_PASSWORD)
    if is_told:
        notice: dict[str, Any] = {"new_email": email, "name": name}
        outbox.queue("email_changed", to=earlier, subject="Your e-mail address has been changed", **notice)
    signals.announce(signals.email_changed, user_id=user.id, email=email, earlier=earlier)


def _answer(email: str, networks: Collection[str]) -> None:
    """Answer a request for a verification mail."""
    user = users.find(email)
    if user is None or not user.is_active or user.is_verified:
        return
    if users.accepts_mail(user, links.VERIFY_EMAIL, networks):
        send_verification(user)


def _link(user: User, purpose: str, *, email: str | None = None) -> dict[str, Any]:
    return {"link": links.url(purpose, links.issue(user, purpose, email=email)), "hours": links.hours(purpose)}


def _tell_owner(address: str) -> None:
    # As needed as the mail that a free address gets: how long it takes to send, and whether it can be, would tell.
    outbox.queue("already_registered", to=address, subject="You have an account already", needed=True)


def _may_mail(address: str) -> bool:
    """Count a mail about a registration: by the day only, since who begins anew waits for the mail at once."""
    return limits.allows_mail("registration", address, by=(limits.MAILS_A_DAY,))


def _pretend(address: str, *, name: str | None, photo: str | None) -> User:
    """Do for an address that is taken what looks like a registration; the INSERT that failed is all there was."""
    database.start_over()
    if _may_mail(address):
        _tell_owner(address)
    return _nobody(address, name=name, photo=photo)


def _nobody(email: str, *, name: str | None, photo: str | None) -> User:
    """Make a user to show to somebody who must not learn that the address is taken; it is never saved."""
    unset = {"role": "user", "is_active": True, "is_verified": False}
    return User.create(clock.now(), id=columns.new_id(), email=email, name=name, photo=photo, **unset)


requests.answered_by(links.VERIFY_EMAIL, _answer)
