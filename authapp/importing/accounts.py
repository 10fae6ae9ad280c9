"""What a row has to be like to become an account."""

import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import marshmallow
from marshmallow import validate

from authapp import clock, hashes, users
from authapp.columns import EMAIL_LENGTH
from authapp.errors import ValidationError
from authapp.models import ROLE_LENGTH

_YES, _NO = ("true", "t", "yes", "1"), ("false", "f", "no", "0")
# Nothing that only looks like another role, or like the end of one.
_ROLE = re.compile(rf"[A-Za-z0-9_.:-]{{1,{ROLE_LENGTH}}}")
# How Django marks an account that has no password.
_NO_PASSWORD = "!"  # noqa: S105  # Nobody's.
_OLDEST = datetime(1970, 1, 1, tzinfo=UTC)
_ONE_DAY = timedelta(days=1)

# An address of this kind is right when its domain is, whose check takes as long as all the rest of an import.
# Of ASCII only: there are letters elsewhere that are taken for k, s and i where case is no matter.
_PLAIN_ADDRESS = re.compile(r"([a-z0-9_+-]+(?:\.[a-z0-9_+-]+)*)@((?:(?!xn--)[a-z0-9-]+\.)+[a-z]+)", re.I | re.ASCII)
_LONGEST_LOCAL_PART = 64

# A NUL, and the halves of surrogate pairs, as which bytes that are no UTF-8 come.
_NO_TEXT = re.compile("[\x00\ud800-\udfff]")

_is_https = validate.URL(schemes={"https"})


def values(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Give the values of an account's row; one that was given no id has none yet.

    Raises `ValidationError` with all that is wrong, by field.
    """
    found: dict[str, Any] = {}
    problems: dict[str, Sequence[str]] = {}
    for name, read in _READERS.items():
        try:
            text = _text(fields.get(name))
            found[name] = _DEFAULTS.get(name) if text is None and name != "email" else read(text or "")
        except (ValueError, marshmallow.ValidationError) as error:
            problems[name] = [str(error.args[0])]
        except ValidationError as error:
            problems |= error.details or {}
    if problems:
        raise ValidationError(details=problems)
    now = clock.now()
    return {**found, "created_at": found["created_at"] or now, "updated_at": now, "epoch": 0}


def _text(value: object) -> str | None:
    """Give a field as text; nothing where there is nothing in it."""
    if isinstance(value, int):
        # True and false as well, in JSON.
        return str(value)
    if value is not None and not isinstance(value, str):
        raise ValueError("Not a text.")
    if value and _NO_TEXT.search(value):
        raise ValueError("Not text in UTF-8.")
    return (value or "").strip() or None


def _email(text: str) -> str:
    plain = _PLAIN_ADDRESS.fullmatch(text)
    if not plain or len(plain[1]) > _LONGEST_LOCAL_PART or len(text) > EMAIL_LENGTH or not _is_domain(plain[2]):
        return users.normalize_email(text)
    return text.lower()


@lru_cache(maxsize=4096)
def _is_domain(name: str) -> bool:
    try:
        return users.normalize_email(f"x@{name}") == f"x@{name}".lower()
    except ValidationError:
        return False


def _password_hash(text: str) -> str:
    return "" if text.startswith(_NO_PASSWORD) else hashes.take(text)


def _name(text: str) -> str:
    users.check_profile(name=text)
    return text


def _photo(text: str) -> str:
    users.check_profile(photo=text)
    return _is_https(text)


def _role(text: str) -> str:
    if not _ROLE.fullmatch(text):
        raise ValueError(f"Not a valid role: use at most {ROLE_LENGTH} of A to Z, a to z, 0 to 9 and _ . : -")
    return text


def _flag(text: str) -> bool:
    if text.lower() not in (*_YES, *_NO):
        raise ValueError("Neither true nor false.")
    return text.lower() in _YES


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("Not a time of ISO 8601, such as 2024-05-01T12:30:00Z.") from None
    if not _OLDEST <= found < clock.now() + _ONE_DAY:
        raise ValueError("Not a time between 1970 and now.")
    return found


def _id(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise ValueError("Not a UUID.") from None


_READERS: dict[str, Callable[[str], Any]] = {
    "email": _email,
    "password_hash": _password_hash,
    "name": _name,
    "photo": _photo,
    "role": _role,
    "is_active": _flag,
    "is_verified": _flag,
    "created_at": _moment,
    "id": _id,
}
_DEFAULTS = {"password_hash": "", "role": "user", "is_active": True, "is_verified": False}
