"""Accounts: make, authenticate, find, change, disable, delete."""

import re
import uuid
from collections.abc import Collection
from typing import NoReturn

from email_validator import EmailNotValidError, validate_email
from flask import current_app
from sqlalchemy import delete as delete_from
from sqlalchemy import false, select, update
from sqlalchemy.exc import IntegrityError

from authapp import clients, clock, database, limits, links, passwords, sessions, signals
from authapp.errors import (
    USER_GONE,
    AccountDisabledError,
    AuthError,
    EmailNotVerifiedError,
    InvalidCredentialsError,
    TokenInvalidError,
    UserAlreadyExistsError,
    ValidationError,
)
from authapp.extensions import db
from authapp.models import NAME_LENGTH, URL_LENGTH, KnownNetwork, Link, Session, User

# Control characters, halves of surrogate pairs, line separators, and the marks that override the direction of a text.
_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u202a-\u202e\u2066-\u2069]")

_ENCODED_WORD = re.compile(r"=\?.*\?=")


def normalize_email(address: str, *, field: str = "email") -> str:
    """Give the one form in which an address is kept and compared: lower case, its domain in ASCII (IDNA).

    Raises `ValidationError` with its message under `field`. An address whose local part is not ASCII is refused:
    many mail servers cannot take it; so is an encoded word (RFC 2047), in which some read another address.
    """
    try:
        found = validate_email(address, check_deliverability=False, allow_smtputf8=False, strict=True)
        if _ENCODED_WORD.search(found.local_part):
            raise EmailNotValidError
    except (EmailNotValidError, UnicodeError):
        raise ValidationError(details={field: ["Not a valid e-mail address."]}) from None
    return str(found.ascii_email).lower()


def is_visible(text: str) -> bool:
    """Say whether a text shows what it is: something to see in it, and no characters that hide or turn what follows.

    Characters that join letters are part of many names, and of emoji.
    """
    return not _HIDDEN.search(text) and any(char.isprintable() and not char.isspace() for char in text)


def check_profile(*, name: str | None = None, photo: str | None = None) -> None:
    """Refuse a name or a photo's address that is too long or not to be seen. Raises `ValidationError`."""
    problems = {}
    for field, value, most in (("name", name, NAME_LENGTH), ("photo", photo, URL_LENGTH)):
        if value is not None and len(value) > most:
            problems[field] = [f"Longer than maximum length {most}."]
        elif value is not None and not is_visible(value):
            problems[field] = [f"Not a valid {field}."]
    if problems:
        raise ValidationError(details=problems)


def create_user(
    email: str,
    password: str,
    *,
    name: str | None = None,
    photo: str | None = None,
    role: str = "user",
    is_verified: bool = False,
) -> User:
    """Make an account; the caller commits, or rolls back after a refusal.

    Raises `ValidationError` (address, password or name), `UserAlreadyExistsError` and `ServerBusyError`.
    """
    address = normalize_email(email)
    check_profile(name=name, photo=photo)
    with passwords.place():
        passwords.check_policy(password, email=address, name=name)
        password_hash = passwords.hash(password)
    values = {"email": address, "password_hash": password_hash, "name": name, "photo": photo, "role": role}
    user = User.create(clock.now(), is_verified=is_verified, **values)
    db.session.add(user)
    take_address()
    signals.announce(signals.user_registered, user_id=user.id, email=address)
    return user


def authenticate_user(email: str, password: str, *, client: clients.Client | None = None) -> User:
    """Give the user whose address and password these are.

    Tries that fail are counted, by account and by `client`, whom the request is from. Raises `RateLimitedError`.

    A wrong address and a wrong password cost the same time and raise the same `InvalidCredentialsError`; only
    after the right password: `AccountDisabledError`, `EmailNotVerifiedError`. Raises `ServerBusyError`.
    With `AUTH_GENERIC_RESPONSES` an address that is not verified is refused as a wrong password is.
    A hash made at another cost than configured is renewed; the caller commits.
    """
    address, network = normalize_email(email), clients.network_of(client)
    with limits.attempt(InvalidCredentialsError) as attempt:
        attempt.count(limits.FAILED_LOGINS, address, network)
        attempt.count(limits.FAILED_LOGINS_OF_CLIENT, network)
        with passwords.place(lambda: _load_to_try(attempt, address, network)) as user:
            if not passwords.verify(password, user.password_hash if user else None) or user is None:
                _refuse_login(_wrong_credentials(), address, user)
            renewed = passwords.hash(password) if passwords.is_outdated(user.password_hash) else None
        return _let_in(user, renewed)


def _let_in(user: User, renewed: str | None) -> User:
    """Give a user whose password was right to the session, its hash renewed, unless the account may not sign in."""
    address = user.email
    if not user.is_active:
        _refuse_login(AccountDisabledError(), address, user)
    if current_app.config["AUTH_REQUIRE_VERIFIED_EMAIL"] and not user.is_verified:
        is_told = not current_app.config["AUTH_GENERIC_RESPONSES"]
        _refuse_login(EmailNotVerifiedError() if is_told else _wrong_credentials(), address, user)
    user = database.take_in(user)
    if renewed:
        _renew_hash(user, renewed)
    return user


def _load_to_try(attempt: limits.Attempt, address: str, network: str | None) -> User | None:
    """Load the user with this address, and count the try. Who is refused has not waited among those who hash."""
    user, is_at_home = _load(address, network)
    if not is_at_home:
        attempt.count(limits.FAILED_LOGINS_TO_ACCOUNT, address)
    return user


def _load(address: str, network: str | None) -> tuple[User | None, bool]:
    """Load the user with this address, and whether the account signs in from this network."""
    is_at_home = clients.knows([network]) if network else false()
    with database.reading() as reader:
        found = reader.execute(select(User, is_at_home).where(User.email == address)).first()
    return (found[0], bool(found[1])) if found else (None, False)


def accepts_mail(user: User, kind: str, networks: Collection[str]) -> bool:
    """Count a mail that somebody in one of these networks has asked for, and say whether it may be sent.

    Those that the account signs in from have a count of their own: a stranger cannot use up its owner's.
    """
    is_known = select(clients.knows(networks)).where(User.id == user.id)
    who = ("owner",) if networks and db.session.scalar(is_known) else ()
    return limits.allows_mail(kind, user.email, *who)


def accepts_notice(user: User, kind: str) -> bool:
    """Say whether to tell the user of a change by mail: who has not verified the address may have it from a stranger.

    Such an owner gets no more mails than may be asked for; a verified one is told of everything.
    """
    return user.is_verified or limits.allows_mail(kind, user.email)


def take_address() -> None:
    """Write the change under way, by which a user gets an address. Raises `UserAlreadyExistsError` if it is taken."""
    try:
        db.session.flush()
    except IntegrityError as error:
        if database.is_duplicate(error):
            raise UserAlreadyExistsError from None
        raise


def find(email: str) -> User | None:
    """Find an account by its address, in any spelling."""
    return db.session.scalar(select(User).where(User.email == normalize_email(email)))


def greeting(user: User) -> str | None:
    """Give the name for mails to the user; none where whoever registered may be somebody else, and wrote it."""
    return user.name if user.is_verified else None


def change_profile(user_id: uuid.UUID, **changes: str | None) -> User:
    """Change a user's name or photo. Raises `TokenInvalidError` when the user is gone."""
    check_profile(name=changes.get("name"), photo=changes.get("photo"))
    user = db.session.get(User, user_id)
    if user is None:
        raise TokenInvalidError(USER_GONE)
    for field, value in changes.items():
        setattr(user, field, value)
    signals.announce(signals.user_changed, user_id=user.id, what="profile")
    return user


def set_active(user: User, active: bool) -> None:
    """Disable an account, which ends its sign-ins at once, or enable it again."""
    user.is_active = active
    if not active:
        end_sign_ins(user, reason="deactivated")
    signals.announce(signals.user_changed, user_id=user.id, what="is_active")


def end_sign_ins(user: User, *, reason: str) -> int:
    """End every session of the user and give their number; one that is just being made is dead on arrival.

    That is what the epoch is for: a session remembers in which one its password was checked. Links that could bring
    a new password or another address stop working too.
    """
    user.epoch = User.epoch + 1
    db.session.flush()
    links.withdraw(user.id, links.RESET_PASSWORD, links.CHANGE_EMAIL)
    return sessions.end_all(user.id, reason=reason)


def delete(user: User) -> None:
    """Remove the account and all that hangs on it; its address is free again."""
    db.session.delete(user)
    db.session.flush()
    # The foreign keys have done this, but on the SQLite of a host that has not switched them on.
    for hanging in (Session, Link, KnownNetwork):
        database.change(delete_from(hanging).where(hanging.user_id == user.id))
    signals.announce(signals.user_deleted, user_id=user.id, email=user.email)


def _wrong_credentials() -> InvalidCredentialsError:
    """Make the refusal of a login. With `AUTH_GENERIC_RESPONSES` it covers an unverified address as well.

    Else whoever registers an address, and then logs in, learns whether it was free.
    """
    if current_app.config["AUTH_GENERIC_RESPONSES"]:
        return InvalidCredentialsError(
            "The e-mail address or the password is wrong, or the address is not verified yet."
        )
    return InvalidCredentialsError()


def _refuse_login(refusal: AuthError, address: str, user: User | None) -> NoReturn:
    user_id = user.id if user else None
    signals.announce_refusal(signals.login_failed, user_id=user_id, email=address, code=refusal.code)
    raise refusal


def _renew_hash(user: User, password_hash: str) -> None:
    """Replace the hash unless the password was changed while it was being checked."""
    unchanged = (User.id == user.id, User.password_hash == user.password_hash)
    database.change(update(User).where(*unchanged).values(password_hash=password_hash, updated_at=User.updated_at))
