"""The fields that the blueprint's shapes are made of: what is taken, and what the API's document says of it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from marshmallow import ValidationError, fields, validate

from authapp import users
from authapp.models import NAME_LENGTH, URL_LENGTH

_LONGEST_TEXT = 4096

# The examples of the document, which can be sent as they stand.
EMAIL = "alice@example.org"
PASSWORD = "violet-tractor-19"  # noqa: S105  # Nobody's.
NEW_PASSWORD = "copper-lantern-42"  # noqa: S105  # Nobody's.
PHOTO = "https://images.example.org/alice.png"


class Text(fields.String):
    """A string that every database and every encoder takes: no NUL, no half of a surrogate pair."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text: str = super()._deserialize(value, attr, data, **kwargs)
        if "\x00" in text or any("\ud800" <= char <= "\udfff" for char in text):
            raise ValidationError("Not valid text.")
        if len(text) > _LONGEST_TEXT:
            raise ValidationError(f"Longer than maximum length {_LONGEST_TEXT}.")
        return text

    def describe(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Tell the document how long it may be."""
        return {"maxLength": _LONGEST_TEXT}


class NewPassword(Text):
    """A password that somebody chooses; `passwords.check_policy` has the rules."""

    def describe(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Tell the document what the settings ask of it."""
        shortest, longest = config["AUTH_PASSWORD_MIN_LENGTH"], config["AUTH_PASSWORD_MAX_LENGTH"]
        strength = "One that is easy to guess is refused." if config["AUTH_PASSWORD_MIN_SCORE"] else "Any will do."
        about = f"{shortest} to {longest} characters. {strength}"
        return {"format": "password", "minLength": shortest, "maxLength": longest, "description": about}


class PersonName(Text):
    """A name as a person writes it: in any script and with emoji, as long as it can be seen."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        name = super()._deserialize(value, attr, data, **kwargs).strip()
        if not users.is_visible(name):
            raise ValidationError("Not a valid name.")
        if len(name) > NAME_LENGTH:
            raise ValidationError(f"Longer than maximum length {NAME_LENGTH}.")
        return name

    def describe(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Tell the document how long it may be."""
        return {"minLength": 1, "maxLength": NAME_LENGTH, "examples": ["Alice"]}


class PhotoURL(Text):
    """The address of a picture, https only."""

    _check = validate.And(validate.Length(max=URL_LENGTH), validate.URL(schemes={"https"}))

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        url = super()._deserialize(value, attr, data, **kwargs)
        if not users.is_visible(url):
            raise ValidationError("Not a valid URL.")
        self._check(url)
        return url

    def describe(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Tell the document what it is."""
        about = "The address of a picture; https only."
        return {"format": "uri", "maxLength": URL_LENGTH, "description": about}


class Time(fields.Field[datetime]):
    """A time as RFC 3339 in UTC, to the millisecond, with Z."""

    def _serialize(self, value: datetime | None, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        return None if value is None else value.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def describe(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Tell the document what it is."""
        return {"type": "string", "format": "date-time", "examples": ["2026-11-21T09:30:00.000Z"]}
