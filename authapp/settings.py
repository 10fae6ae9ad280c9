"""Every setting, once: its name, its type, its default, its check, and what it means."""

from dataclasses import dataclass
from typing import Any

from marshmallow import ValidationError, fields, validate
from werkzeug.security import generate_password_hash

MIN_SECRET_BYTES = 32
BODY_LIMIT_BYTES = 16 * 1024


@dataclass(frozen=True)
class Setting:
    """One row of `SETTINGS`: `field` reads and checks a value, whether it is text or already typed."""

    name: str
    field: fields.Field[Any]
    default: Any
    meaning: str


# What later versions will have, and the values that ask for nothing: nobody should believe that the others work.
NOT_BUILT = {
    "AUTH_COOKIES": ("false", "0", "no", "off"),
    "AUTH_GENERIC_RESPONSES": ("false", "0", "no", "off"),
    "JWT_ALGORITHM": ("hs256",),
}


def _whole(least: int, most: int | None = None) -> fields.Integer:
    return fields.Integer(validate=validate.Range(min=least, max=most))


def _one_of(*choices: str) -> fields.String:
    return fields.String(validate=validate.OneOf(choices, error="Use one of: {choices}."))


class _Secrets(fields.Field[list[str]]):
    """A list of secrets, or one text with commas between them."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[str]:
        keys = [key.strip() for key in value.split(",")] if isinstance(value, str) else value
        if not isinstance(keys, list | tuple) or not all(isinstance(key, str) for key in keys):
            raise ValidationError("Give a text with commas, or a list of texts.")
        return [key for key in keys if key]


_TEXT = fields.String()
_ENVIRONMENTS = _one_of("production", "development")
_PAGE_URL = fields.String(validate=validate.Regexp(r"https?://[^\s<>\"]+\Z", error="Start it with https://."))
_NO_QUERY = validate.Regexp(r"[^?#]*\Z", error="Leave out the query and the fragment: the links' own path follows it.")
_PUBLIC_URL = fields.Url(schemes={"http", "https"}, require_tld=False, validate=_NO_QUERY)
_PREFIX = validate.Regexp(r"^(/[A-Za-z0-9._~-]+)+\Z", error="Start it with a slash and end it without one.")
_DEFAULT_HASH = "scrypt:32768:8:3"


def _check_hash(method: str) -> None:
    """Try the method once: its numbers may be such that no password could ever be hashed.

    One without numbers is refused: the hash names Werkzeug's, and would look outdated at every login.
    """
    try:
        works = method == _DEFAULT_HASH or generate_password_hash("trial", method=method).startswith(f"{method}$")
    except (ValueError, OverflowError):
        works = False
    if not works:
        raise ValidationError("Use scrypt:N:r:p or pbkdf2:sha256:iterations, with numbers that work.")


SETTINGS = (
    Setting("APP_ENV", _ENVIRONMENTS, "production", "'development' makes a secret and keeps mails in a mailbox page."),
    Setting("SECRET_KEY", _TEXT, None, f"Signs tokens and mailed links; {MIN_SECRET_BYTES} random bytes or more."),
    Setting("SECRET_KEY_FALLBACKS", _Secrets(), [], "Earlier secrets that are still accepted, separated by commas."),
    Setting("DATABASE_URL", _TEXT, None, "sqlite:///path or mysql+pymysql://user:password@host/name?charset=utf8mb4."),
    Setting("ACCESS_TOKEN_EXPIRE_MINUTES", _whole(1, 525_600), 30, "Minutes that an access token lives."),
    Setting("REFRESH_TOKEN_EXPIRE_DAYS", _whole(1, 3650), 7, "Days that a refresh token lives."),
    Setting("SESSION_MAX_DAYS", _whole(1, 3650), 30, "Days after which a session ends, however often it is refreshed."),
    Setting(
        "REFRESH_REUSE_LEEWAY_SECONDS", _whole(0, 3600), 30, "Seconds in which a rotated token gets its successor."
    ),
    Setting("JWT_ISSUER", _TEXT, None, "The `iss` claim that tokens carry and must carry."),
    Setting("JWT_AUDIENCE", _TEXT, None, "The `aud` claim that tokens carry and must carry."),
    Setting("AUTH_URL_PREFIX", fields.String(validate=_PREFIX), "/api/auth", "The path below which every route lives."),
    Setting("AUTH_PUBLIC_URL", _PUBLIC_URL, None, "Where people reach this service, for the links in mails."),
    Setting("AUTH_VERIFY_URL", _PAGE_URL, None, "Your own verification page; {token} in it is replaced."),
    Setting("AUTH_REQUIRE_VERIFIED_EMAIL", fields.Boolean(), True, "Whether a login needs a verified e-mail address."),
    Setting("AUTH_VERIFY_LINK_HOURS", _whole(1, 8760), 24, "Hours that a verification link lives."),
    Setting("AUTH_PASSWORD_MIN_LENGTH", _whole(1), 8, "The fewest characters of a password."),
    Setting("AUTH_PASSWORD_MAX_LENGTH", _whole(8, 4096), 128, "The most characters of a password."),
    Setting("AUTH_PASSWORD_MIN_SCORE", _whole(0, 4), 2, "The least strength by zxcvbn, 0 to 4; 0 is off."),
    Setting("AUTH_PASSWORD_HASH", fields.String(validate=_check_hash), _DEFAULT_HASH, "Werkzeug's name of the hash."),
    Setting("AUTH_HASH_CONCURRENCY", _whole(1), 1, "Password hashes computed at once by a process."),
    Setting("AUTH_HASH_QUEUE", _whole(0), 20, "Requests that may wait for a hash; those past it get SERVER_BUSY."),
    Setting("MAX_CONTENT_LENGTH", _whole(1024), BODY_LIMIT_BYTES, "The longest body that is read, in bytes."),
    Setting("TRUSTED_PROXIES", _whole(0), 0, "How many proxies in front set X-Forwarded-For."),
    Setting(
        "MAIL_DELIVERY", _one_of("outbox", "inline"), "outbox", "Whether mails wait in the database or go at once."
    ),
    Setting("MAIL_TIMEOUT", _whole(1, 60), 10, "Seconds to wait for the mail server."),
    Setting("MAIL_SERVER", _TEXT, None, "The mail server's host name."),
    Setting("MAIL_PORT", _whole(1, 65535), 25, "The mail server's port."),
    Setting("MAIL_USE_TLS", fields.Boolean(), False, "Whether to upgrade the connection with STARTTLS."),
    Setting("MAIL_USE_SSL", fields.Boolean(), False, "Whether to speak TLS from the first byte."),
    Setting("MAIL_USERNAME", _TEXT, None, "The name to log in to the mail server with."),
    Setting("MAIL_PASSWORD", _TEXT, None, "The password to log in to the mail server with."),
    Setting("MAIL_DEFAULT_SENDER", _TEXT, "authapp <no-reply@localhost>", "The address that mails come from."),
)
