"""The shapes of the blueprint's bodies and answers."""

from datetime import datetime
from typing import Any

from marshmallow import Schema, ValidationError, fields, post_load, validate, validates_schema

from authapp import devices, users
from authapp.body import MAY_BE_BLANK
from authapp.models import NAME_LENGTH, URL_LENGTH
from authapp.protect import current_user

_LONGEST_TEXT = 4096


class Text(fields.String):
    """A string that every database and every encoder takes: no NUL, no half of a surrogate pair."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text: str = super()._deserialize(value, attr, data, **kwargs)
        if "\x00" in text or any("\ud800" <= char <= "\udfff" for char in text):
            raise ValidationError("Not valid text.")
        if len(text) > _LONGEST_TEXT:
            raise ValidationError(f"Longer than maximum length {_LONGEST_TEXT}.")
        return text


class PersonName(Text):
    """A name as a person writes it: in any script and with emoji, as long as it can be seen."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        name = super()._deserialize(value, attr, data, **kwargs).strip()
        if not users.is_visible(name):
            raise ValidationError("Not a valid name.")
        if len(name) > NAME_LENGTH:
            raise ValidationError(f"Longer than maximum length {NAME_LENGTH}.")
        return name


class PhotoURL(Text):
    """The address of a picture, https only."""

    _check = validate.And(validate.Length(max=URL_LENGTH), validate.URL(schemes={"https"}))

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        url = super()._deserialize(value, attr, data, **kwargs)
        if not users.is_visible(url):
            raise ValidationError("Not a valid URL.")
        self._check(url)
        return url


class Time(fields.Field[datetime]):
    """A time as RFC 3339 in UTC, to the millisecond, with Z."""

    def _serialize(self, value: datetime | None, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        return None if value is None else value.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class RegisterSchema(Schema):
    """A new account."""

    email = Text(required=True)
    password = Text(required=True)
    name = PersonName(metadata={MAY_BE_BLANK: True})
    photo = PhotoURL(metadata={MAY_BE_BLANK: True})
    password_confirm = Text()
    passwordConfirm = Text()  # noqa: N815  # The spelling of many front ends; the contract takes both.

    @validates_schema(skip_on_field_errors=True)
    def _check_confirmation(self, data: dict[str, Any], **_: Any) -> None:
        for field in ("password_confirm", "passwordConfirm"):
            if data.get(field, data["password"]) != data["password"]:
                raise ValidationError("The passwords differ.", field)

    @post_load
    def _drop_confirmation(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {name: value for name, value in data.items() if name not in ("password_confirm", "passwordConfirm")}


class LoginSchema(Schema):
    """An e-mail address and a password."""

    email = Text(required=True)
    password = Text(required=True)


class PasswordSchema(Schema):
    """The caller's password, for what a stolen token alone must not do."""

    password = Text(required=True)


class ChangePasswordSchema(Schema):
    """The present password and the one that is to replace it."""

    current_password = Text(required=True)
    new_password = Text(required=True)


class ResetPasswordSchema(Schema):
    """The token of a mailed link and the new password."""

    token = Text(required=True)
    new_password = Text(required=True)


class ChangeEmailSchema(Schema):
    """The new address and the caller's password."""

    new_email = Text(required=True)
    password = Text(required=True)


class ProfileSchema(Schema):
    """What users may change of themselves; `null` empties a field."""

    name = PersonName(allow_none=True)
    photo = PhotoURL(allow_none=True)


class EmailSchema(Schema):
    """An e-mail address."""

    email = Text(required=True)


class LinkTokenSchema(Schema):
    """The token of a mailed link."""

    token = Text(required=True)


class RefreshTokenSchema(Schema):
    """A refresh token, unless it is in the Authorization header."""

    refresh_token = Text()


class UserSchema(Schema):
    """An account, as its owner sees it."""

    id = fields.UUID(required=True)
    email = fields.String(required=True)
    name = fields.String(required=True, allow_none=True)
    photo = fields.String(required=True, allow_none=True)
    role = fields.String(required=True)
    is_active = fields.Boolean(required=True)
    is_verified = fields.Boolean(required=True)
    created_at = Time(required=True)
    updated_at = Time(required=True)


class UserDataSchema(Schema):
    """An account."""

    user = fields.Nested(UserSchema, required=True)


class ConfirmedSchema(UserDataSchema):
    """An account whose address has been verified or changed."""

    message = fields.String(required=True)


class TokensSchema(UserDataSchema):
    """A signed-in user: an access token, a refresh token, and the seconds that the access token lives."""

    access_token = fields.String(required=True)
    refresh_token = fields.String(required=True)
    token_type = fields.Constant("bearer", required=True)
    expires_in = fields.Integer(required=True)


class RegisteredSchema(UserDataSchema):
    """A new account, signed in already where no verified address is needed."""

    access_token = fields.String()
    refresh_token = fields.String()
    token_type = fields.String()
    expires_in = fields.Integer()


class MessageSchema(Schema):
    """One sentence for people."""

    message = fields.String(required=True)


class SessionSchema(Schema):
    """A sign-in; `last_used_at` is when it was started or last refreshed."""

    id = fields.UUID(required=True)
    created_at = Time(required=True)
    last_used_at = Time(required=True, attribute="rotated_at")
    expires_at = Time(required=True)
    ip = fields.String(required=True, allow_none=True)
    user_agent = fields.String(required=True, allow_none=True)
    device = fields.Function(lambda session: devices.describe(session.user_agent), required=True)
    current = fields.Function(lambda session: session.id == current_user.sid, required=True)


class SessionsSchema(Schema):
    """The caller's sign-ins, newest first."""

    sessions = fields.List(fields.Nested(SessionSchema), required=True)


class RevokedSchema(Schema):
    """How many sessions were ended."""

    revoked = fields.Integer(required=True)
