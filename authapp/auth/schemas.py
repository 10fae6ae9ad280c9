"""The shapes of the blueprint's bodies and answers."""

from typing import Any

from marshmallow import Schema, ValidationError, fields, post_load, validates_schema

from authapp import devices
from authapp.auth.fields import EMAIL, NEW_PASSWORD, PASSWORD, PHOTO, NewPassword, PersonName, PhotoURL, Text, Time
from authapp.body import MAY_BE_BLANK
from authapp.columns import EMAIL_LENGTH
from authapp.document import Body
from authapp.protect import current_user

# What the document says of fields that mean the same in several shapes.
_EMAIL: dict[str, Any] = {"format": "email", "maxLength": EMAIL_LENGTH, "examples": [EMAIL]}
_NEW_EMAIL: dict[str, Any] = {**_EMAIL, "examples": ["alice.new@example.org"]}
_PASSWORD: dict[str, Any] = {"format": "password", "examples": [PASSWORD]}
_NEW_PASSWORD: dict[str, Any] = {"examples": [NEW_PASSWORD]}
_CONFIRMATION: dict[str, Any] = {**_PASSWORD, "description": "If given, it must equal `password`."}
_LINK_TOKEN: dict[str, Any] = {
    "description": "What stands behind `token=` in the mailed link.",
    "examples": ["what-stands-behind-token-in-the-mailed-link"],
}
_ACCESS_TOKEN: dict[str, Any] = {
    "description": "A JWT, for the Authorization header.",
    "examples": ["eyJhbGci.eyJzdWIi.c2ln"],
}
_REFRESH_TOKEN: dict[str, Any] = {"description": "A JWT, good for one refresh.", "examples": ["eyJhbGci.eyJqdGki.c2ln"]}
_NAME: dict[str, Any] = {"examples": ["Alice"]}
_PHOTO: dict[str, Any] = {"examples": [PHOTO]}
_MESSAGE: dict[str, Any] = {"examples": ["A sentence for people."]}
_USER_AGENT: dict[str, Any] = {"examples": ["Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"]}
_EXPIRES_IN: dict[str, Any] = {"description": "Seconds that the access token lives.", "examples": [1800]}


class RegisterSchema(Body):
    """A new account."""

    not_shown = ("photo", "password_confirm", "passwordConfirm")

    email = Text(required=True, metadata=_EMAIL)
    password = NewPassword(required=True, metadata=_PASSWORD)
    name = PersonName(metadata={MAY_BE_BLANK: True})
    photo = PhotoURL(metadata={MAY_BE_BLANK: True, **_PHOTO})
    password_confirm = Text(metadata=_CONFIRMATION)
    passwordConfirm = Text(metadata=_CONFIRMATION)  # noqa: N815  # The spelling of many front ends; the contract takes both.

    @validates_schema(skip_on_field_errors=True)
    def _check_confirmation(self, data: dict[str, Any], **_: Any) -> None:
        for field in ("password_confirm", "passwordConfirm"):
            if data.get(field, data["password"]) != data["password"]:
                raise ValidationError("The passwords differ.", field)

    @post_load
    def _drop_confirmation(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {name: value for name, value in data.items() if name not in ("password_confirm", "passwordConfirm")}


class LoginSchema(Body):
    """An e-mail address and a password."""

    email = Text(required=True, metadata=_EMAIL)
    password = Text(required=True, metadata=_PASSWORD)


class PasswordSchema(Body):
    """The caller's password, for what a stolen token alone must not do."""

    password = Text(required=True, metadata=_PASSWORD)


class ChangePasswordSchema(Body):
    """The present password and the one that is to replace it."""

    current_password = Text(required=True, metadata=_PASSWORD)
    new_password = NewPassword(required=True, metadata=_NEW_PASSWORD)


class ResetPasswordSchema(Body):
    """The token of a mailed link and the new password."""

    token = Text(required=True, metadata=_LINK_TOKEN)
    new_password = NewPassword(required=True, metadata=_NEW_PASSWORD)


class ChangeEmailSchema(Body):
    """The new address and the caller's password."""

    new_email = Text(required=True, metadata=_NEW_EMAIL)
    password = Text(required=True, metadata=_PASSWORD)


class ProfileSchema(Body):
    """What users may change of themselves; `null` empties a field."""

    name = PersonName(allow_none=True)
    photo = PhotoURL(allow_none=True, metadata=_PHOTO)


class EmailSchema(Body):
    """An e-mail address."""

    email = Text(required=True, metadata=_EMAIL)


class LinkTokenSchema(Body):
    """The token of a mailed link."""

    token = Text(required=True, metadata=_LINK_TOKEN)


class RefreshTokenSchema(Body):
    """A refresh token, unless it is in the Authorization header or in its cookie."""

    refresh_token = Text(metadata=_REFRESH_TOKEN)


class UserSchema(Schema):
    """An account, as its owner sees it."""

    id = fields.UUID(required=True)
    email = fields.String(required=True, metadata=_EMAIL)
    name = fields.String(required=True, allow_none=True, metadata=_NAME)
    photo = fields.String(required=True, allow_none=True, metadata={**_PHOTO, "format": "uri"})
    role = fields.String(required=True, metadata={"examples": ["user", "admin"]})
    is_active = fields.Boolean(required=True)
    is_verified = fields.Boolean(required=True)
    created_at = Time(required=True)
    updated_at = Time(required=True)


class UserDataSchema(Schema):
    """An account."""

    user = fields.Nested(UserSchema, required=True)


class ConfirmedSchema(UserDataSchema):
    """An account whose address has been verified or changed."""

    message = fields.String(required=True, metadata=_MESSAGE)


class TokensSchema(UserDataSchema):
    """A signed-in user: an access token, a refresh token, and the seconds that the access token lives."""

    access_token = fields.String(required=True, metadata=_ACCESS_TOKEN)
    refresh_token = fields.String(required=True, metadata=_REFRESH_TOKEN)
    token_type = fields.Constant("bearer", required=True)
    expires_in = fields.Integer(required=True, metadata=_EXPIRES_IN)


class RegisteredSchema(UserDataSchema):
    """A new account, signed in already where no verified address is needed."""

    access_token = fields.String(metadata=_ACCESS_TOKEN)
    refresh_token = fields.String(metadata=_REFRESH_TOKEN)
    token_type = fields.String(metadata={"enum": ["bearer"]})
    expires_in = fields.Integer(metadata=_EXPIRES_IN)


class MessageSchema(Schema):
    """One sentence for people."""

    message = fields.String(required=True, metadata=_MESSAGE)


class SessionSchema(Schema):
    """A sign-in; `last_used_at` is when it was started or last refreshed."""

    id = fields.UUID(required=True)
    created_at = Time(required=True)
    last_used_at = Time(required=True, attribute="rotated_at")
    expires_at = Time(required=True)
    ip = fields.String(required=True, allow_none=True, metadata={"examples": ["198.51.100.7"]})
    user_agent = fields.String(required=True, allow_none=True, metadata=_USER_AGENT)
    device = fields.Function(
        lambda session: devices.describe(session.user_agent),
        required=True,
        metadata={"type": ["string", "null"], "examples": ["Firefox on Ubuntu"]},
    )
    current = fields.Function(
        lambda session: session.id == current_user.sid,
        required=True,
        metadata={"type": "boolean", "description": "Whether it is the one that asks."},
    )


class SessionsSchema(Schema):
    """The caller's sign-ins, newest first."""

    sessions = fields.List(fields.Nested(SessionSchema), required=True)


class RevokedSchema(Schema):
    """How many sessions were ended."""

    revoked = fields.Integer(required=True, metadata={"minimum": 0})
