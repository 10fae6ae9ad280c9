"""Every setting, once: its name, its type, its default, its check, and what it means.

A value comes from what the host application passes, else from the environment, else from `.env`, else from
the default; after `load` it stands, typed, in `app.config` under its own name.
"""

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from dotenv import dotenv_values
from flask import Flask
from marshmallow import ValidationError, fields, validate
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from werkzeug.security import generate_password_hash

MIN_SECRET_BYTES = 32
_MIN_DISTINCT_CHARACTERS = 8

# What has been printed in a README, ours included, is known to everybody.
_EXAMPLE_SECRETS = ("change-me", "changeme", "your-secret", "your_secret", "secret-key-here", "example", "placeholder")


class ConfigError(click.ClickException):
    """A setting that cannot work: one line with its name and the mend. No server should start with it."""


@dataclass(frozen=True)
class Setting:
    """One row of `SETTINGS`: `field` reads and checks a value, whether it is text or already typed."""

    name: str
    field: fields.Field[Any]
    default: Any
    meaning: str


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
_BODY_LIMIT_BYTES = 16 * 1024


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
    Setting("MAX_CONTENT_LENGTH", _whole(1024), _BODY_LIMIT_BYTES, "The longest body that is read, in bytes."),
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


def environment(app: Flask) -> dict[str, str]:
    """Read the process environment over the `.env` beside `wsgi.py`, or else the one in the working directory."""
    beside, here = Path(app.root_path).parent / ".env", Path.cwd() / ".env"
    try:
        file = dotenv_values(beside if beside.is_file() else here)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f".env cannot be read ({type(error).__name__}): make it a text file in UTF-8.") from None
    return {name: value for name, value in file.items() if value is not None} | dict(os.environ)


def load(app: Flask, given: Mapping[str, object], environ: Mapping[str, str]) -> None:
    """Put every setting into `app.config`, checked.

    Raises `ConfigError` for the first value that cannot work. An empty value counts as not set.
    """
    known, body_limit = {setting.name for setting in SETTINGS}, app.config["MAX_CONTENT_LENGTH"]
    app.config.from_mapping({name: value for name, value in given.items() if name not in known})
    for setting in SETTINGS:
        sources = (given, app.config, environ) if setting.name not in given else (given,)
        app.config[setting.name] = _value(setting, *sources)
    _complete(app)
    # Flask's own key would bound the host's uploads too; `authapp.api` applies ours below the prefix. A host that
    # takes large uploads has said nothing about what a login may be.
    ours = app.config["MAX_CONTENT_LENGTH"]
    app.config["AUTH_MAX_CONTENT_LENGTH"] = ours if body_limit is None else min(ours, _BODY_LIMIT_BYTES)
    app.config["MAX_CONTENT_LENGTH"] = body_limit


def _value(setting: Setting, *sources: Mapping[str, object]) -> Any:
    for source in sources:
        raw = source.get(setting.name)
        if raw is not None and raw != "":
            return _parse(setting, raw)
    return setting.default


def _parse(setting: Setting, raw: object) -> Any:
    try:
        return setting.field.deserialize(raw)
    except ValidationError as error:
        raise ConfigError(f"{setting.name} is not valid: {error.messages[0]} {setting.meaning}") from None


def _complete(app: Flask) -> None:
    """Work out what depends on more than one setting, and refuse what does not go together."""
    config, development = app.config, app.config["APP_ENV"] == "development"
    if development:
        config["SECRET_KEY"] = config["SECRET_KEY"] or _development_secret(Path(app.instance_path))
        config["AUTH_PUBLIC_URL"] = config["AUTH_PUBLIC_URL"] or "http://127.0.0.1:8000"
    else:
        config["MAIL_SERVER"] = config["MAIL_SERVER"] or "localhost"
    _check_secrets(config, strict=not development)
    _check_links(config)
    _check_pairs(config)
    database = _database_url(app)
    if not development and database.get_backend_name() == "sqlite" and _in_memory(database):
        raise ConfigError(
            "DATABASE_URL names an SQLite database in memory, which is lost at every restart: name a file."
        )
    config["DATABASE_URL"] = database.render_as_string(hide_password=False)


def _check_secrets(config: Mapping[str, Any], *, strict: bool) -> None:
    """Refuse a secret that can be guessed; an earlier one that is still accepted counts as much as today's."""
    mend = 'make one with: python3 -c "import secrets; print(secrets.token_urlsafe(48))"'
    if not config["SECRET_KEY"]:
        raise ConfigError(f"SECRET_KEY is not set: {mend}")
    earlier = [("SECRET_KEY_FALLBACKS", secret) for secret in config["SECRET_KEY_FALLBACKS"]]
    for name, secret in [("SECRET_KEY", config["SECRET_KEY"]), *earlier] if strict else ():
        if len(secret.encode()) < MIN_SECRET_BYTES:
            raise ConfigError(f"{name} is shorter than {MIN_SECRET_BYTES} bytes: {mend}")
        if any(word in secret.lower() for word in _EXAMPLE_SECRETS) or len(set(secret)) < _MIN_DISTINCT_CHARACTERS:
            raise ConfigError(f"{name} is an example that others know: {mend}")


def _check_links(config: Mapping[str, Any]) -> None:
    if not config["AUTH_PUBLIC_URL"]:
        raise ConfigError(
            "AUTH_PUBLIC_URL is not set: give the address people use, for example https://auth.example.com"
        )
    if config["AUTH_VERIFY_URL"] and "{token}" not in config["AUTH_VERIFY_URL"]:
        raise ConfigError(
            "AUTH_VERIFY_URL has no {token} in it: give for example https://app.example.com/verify?t={token}"
        )


def _check_pairs(config: Mapping[str, Any]) -> None:
    if config["AUTH_PASSWORD_MIN_LENGTH"] > config["AUTH_PASSWORD_MAX_LENGTH"]:
        raise ConfigError(
            "AUTH_PASSWORD_MIN_LENGTH is above AUTH_PASSWORD_MAX_LENGTH: lower the one or raise the other."
        )
    if config["MAIL_USE_TLS"] and config["MAIL_USE_SSL"]:
        raise ConfigError("MAIL_USE_TLS and MAIL_USE_SSL are both on: keep the one that your mail server speaks.")


def _development_secret(instance: Path) -> str:
    """Make a secret once and keep it; two processes that start together end up with the same one."""
    instance.mkdir(parents=True, exist_ok=True)
    kept, fresh = instance / "development-secret", instance / f".secret-{os.getpid()}-{secrets.token_hex(4)}"
    fresh.touch(mode=0o600)
    fresh.write_text(secrets.token_urlsafe(48))
    try:
        os.link(fresh, kept)
    except FileExistsError:
        pass
    finally:
        fresh.unlink()
    return kept.read_text()


def _database_url(app: Flask) -> URL:
    given = app.config["DATABASE_URL"] or app.config.get("SQLALCHEMY_DATABASE_URI")
    try:
        url = make_url(given or f"sqlite:///{Path(app.instance_path) / 'authapp.db'}")
    except (ArgumentError, ValueError):
        raise ConfigError("DATABASE_URL is not a database address: use sqlite:///path or mysql+pymysql://…") from None
    if url.get_backend_name() in ("mysql", "mariadb") and url.database:
        return url.set(drivername="mysql+pymysql").update_query_dict({"charset": "utf8mb4"})
    if url.get_backend_name() in ("mysql", "mariadb"):
        raise ConfigError("DATABASE_URL names no database: end it with one, mysql+pymysql://user:password@host/name.")
    if url.get_backend_name() == "sqlite":
        return url.set(drivername="sqlite")
    raise ConfigError(f"DATABASE_URL names {url.get_backend_name()}: only sqlite and mysql+pymysql are supported.")


def _in_memory(url: URL) -> bool:
    return not url.database or ":memory:" in url.database or url.query.get("mode") == "memory"
