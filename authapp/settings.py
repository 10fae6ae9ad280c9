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


# Other names that people bring along; ours comes first where both are set. They are read from what `create_app` is
# given and from the environment, not from a host's `app.config`, where they may mean something else.
ALIASES = {"JWT_ALGORITHM": "ALGORITHM"}


def _whole(least: int, most: int | None = None) -> fields.Integer:
    return fields.Integer(validate=validate.Range(min=least, max=most))


def _one_of(*choices: str) -> fields.String:
    return fields.String(validate=validate.OneOf(choices, error="Use one of: {choices}."))


class _List(fields.Field[list[str]]):
    """A list of texts, or one text with commas between them."""

    def __init__(self, each: fields.Field[str] | None = None) -> None:
        super().__init__()
        self._each = each or fields.String()

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[str]:
        texts = [text.strip() for text in value.split(",")] if isinstance(value, str) else value
        if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
            raise ValidationError("Give a text with commas, or a list of texts.")
        return [str(self._each.deserialize(text)) for text in texts if text]


_TEXT = fields.String()
_ENVIRONMENTS = _one_of("production", "development")
_PAGE_URL = fields.String(validate=validate.Regexp(r"https?://[^\s<>\"]+\Z", error="Start it with https://."))
_NO_QUERY = validate.Regexp(r"[^?#]*\Z", error="Leave out the query and the fragment: the links' own path follows it.")
_PUBLIC_URL = fields.Url(schemes={"http", "https"}, require_tld=False, validate=_NO_QUERY)
_ORIGIN = validate.Regexp(
    r"https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?\Z",
    error="Give origins as browsers send them, https://app.example.com, without a path; * is not possible.",
)
_COLOR = validate.Regexp(r"#[0-9A-Fa-f]{6}\Z", error="Give it as # and six hexadecimal digits.")
_PREFIX = validate.Regexp(r"^(/[A-Za-z0-9._~-]+)+\Z", error="Start it with a slash and end it without one.")
DEFAULT_HASH = "scrypt:32768:8:3"


def _check_hash(method: str) -> None:
    """Try the method once: its numbers may be such that no password could ever be hashed.

    One without numbers is refused: the hash names Werkzeug's, and would look outdated at every login.
    """
    try:
        works = method == DEFAULT_HASH or generate_password_hash("trial", method=method).startswith(f"{method}$")
    except (ValueError, OverflowError):
        works = False
    if not works:
        raise ValidationError("Use scrypt:N:r:p or pbkdf2:sha256:iterations, with numbers that work.")


def _check_redis(url: str) -> None:
    from redis.connection import parse_url

    try:
        parse_url(url)  # type: ignore[no-untyped-call]  # It has no types.
        works = not any(char.isspace() for char in url)
    except ValueError:
        works = False
    if not works:
        raise ValidationError("Use redis://, rediss:// or unix://.")


SETTINGS = (
    Setting("APP_ENV", _ENVIRONMENTS, "production", "'development' makes a secret and keeps mails in a mailbox page."),
    Setting("SECRET_KEY", _TEXT, None, f"Signs tokens and mailed links; {MIN_SECRET_BYTES} random bytes or more."),
    Setting("SECRET_KEY_FALLBACKS", _List(), [], "Earlier secrets that are still accepted, separated by commas."),
    Setting("DATABASE_URL", _TEXT, None, "sqlite:///path or mysql+pymysql://user:password@host/name?charset=utf8mb4."),
    Setting("ACCESS_TOKEN_EXPIRE_MINUTES", _whole(1, 525_600), 30, "Minutes that an access token lives."),
    Setting("REFRESH_TOKEN_EXPIRE_DAYS", _whole(1, 3650), 7, "Days that a refresh token lives."),
    Setting("SESSION_MAX_DAYS", _whole(1, 3650), 30, "Days after which a session ends, however often it is refreshed."),
    Setting(
        "REFRESH_REUSE_LEEWAY_SECONDS", _whole(0, 3600), 30, "Seconds in which a rotated token gets its successor."
    ),
    Setting(
        "AUTH_FRESH_LOGIN_MINUTES", _whole(0, 1440), 15, "Minutes after a login in which a refresh gives fresh tokens."
    ),
    Setting(
        "JWT_ALGORITHM",
        _one_of("HS256", "RS256", "ES256", "EdDSA"),
        "HS256",
        "How tokens are signed; no other is taken.",
    ),
    Setting("JWT_PRIVATE_KEY", _TEXT, None, "The key that signs tokens, unless HS256: PEM, or base64 of PEM."),
    Setting("JWT_PUBLIC_KEY", _TEXT, None, "Its public half, PEM or base64 of PEM; derived from it unless set."),
    Setting("JWT_PREVIOUS_PUBLIC_KEYS", _List(), [], "Earlier public keys that are still accepted, between commas."),
    Setting("JWT_ISSUER", _TEXT, None, "The `iss` claim that tokens carry and must carry."),
    Setting("JWT_AUDIENCE", _TEXT, None, "The `aud` claim that tokens carry and must carry."),
    Setting("AUTH_URL_PREFIX", fields.String(validate=_PREFIX), "/api/auth", "The path below which every route lives."),
    Setting("AUTH_PUBLIC_URL", _PUBLIC_URL, None, "Where people reach this service, for the links in mails."),
    Setting("AUTH_VERIFY_URL", _PAGE_URL, None, "Your own verification page; {token} in it is replaced."),
    Setting("AUTH_RESET_URL", _PAGE_URL, None, "Your own page for a new password; {token} in it is replaced."),
    Setting(
        "AUTH_CHANGE_EMAIL_URL", _PAGE_URL, None, "Your own page for a changed address; {token} in it is replaced."
    ),
    Setting(
        "AUTH_BRAND_NAME", fields.String(validate=validate.Length(1, 60)), "authapp", "Your name on pages and mails."
    ),
    Setting(
        "AUTH_BRAND_COLOR", fields.String(validate=_COLOR), "#1f4fd8", "The colour of buttons on pages and in mails."
    ),
    Setting("AUTH_COOKIES", fields.Boolean(), False, "Whether tokens are set as cookies too, for browsers."),
    Setting("CLIENT_ORIGIN", _List(fields.String(validate=_ORIGIN)), [], "The origins of your front ends, for CORS."),
    Setting("AUTH_GENERIC_RESPONSES", fields.Boolean(), False, "Whether no answer tells if an address has an account."),
    Setting("AUTH_REQUIRE_VERIFIED_EMAIL", fields.Boolean(), True, "Whether a login needs a verified e-mail address."),
    Setting("AUTH_VERIFY_LINK_HOURS", _whole(1, 8760), 24, "Hours that a verification link lives."),
    Setting("AUTH_RESET_LINK_HOURS", _whole(1, 8760), 1, "Hours that a password reset link lives."),
    Setting("AUTH_CHANGE_EMAIL_LINK_HOURS", _whole(1, 8760), 1, "Hours that an e-mail change link lives."),
    Setting("AUTH_PASSWORD_MIN_LENGTH", _whole(1), 8, "The fewest characters of a password."),
    Setting("AUTH_PASSWORD_MAX_LENGTH", _whole(8, 4096), 128, "The most characters of a password."),
    Setting("AUTH_PASSWORD_MIN_SCORE", _whole(0, 4), 2, "The least strength by zxcvbn, 0 to 4; 0 is off."),
    Setting("AUTH_PASSWORD_HASH", fields.String(validate=_check_hash), DEFAULT_HASH, "Werkzeug's name of the hash."),
    Setting("AUTH_HASH_CONCURRENCY", _whole(1), 1, "Password hashes computed at once by a process."),
    Setting("AUTH_HASH_QUEUE", _whole(0), 20, "Requests that may wait for a hash; those past it get SERVER_BUSY."),
    Setting("RATELIMIT_ENABLED", fields.Boolean(), True, "Whether tries are limited; off is for tests only."),
    Setting("REDIS_URL", fields.String(validate=_check_redis), None, "redis://host:6379/0, to share limits by."),
    Setting("MAX_CONTENT_LENGTH", _whole(1024), BODY_LIMIT_BYTES, "The longest body that is read, in bytes."),
    Setting("LOG_FORMAT", _one_of("json", "text"), None, "How the log is written; json, but text in development."),
    Setting(
        "METRICS_TOKEN",
        fields.String(validate=validate.Regexp(r"[!-~]{32,}\Z", error="Use 32 characters or more, of ASCII.")),
        None,
        "The bearer token that /metrics asks for; without one there is no /metrics.",
    ),
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
