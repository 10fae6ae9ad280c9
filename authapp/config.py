"""Reading the settings that `authapp.settings` lists, and refusing those that cannot work.

A value comes from what the host application passes, else from the environment, else from `.env`, else from
the default; after `load` it stands, typed, in `app.config` under its own name.
"""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from dotenv import dotenv_values
from dotenv.parser import parse_stream
from flask import Flask
from marshmallow import ValidationError
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from authapp.settings import ALIASES, BODY_LIMIT_BYTES, MIN_SECRET_BYTES, SETTINGS, Setting

_MIN_DISTINCT_CHARACTERS = 8

# How the names of our settings begin that no other program has by chance.
_OURS = ("AUTH_", "JWT_", "MAIL_")

# What has been printed in a README or a test, ours included, is known to everybody; nothing made at random has words.
_EXAMPLE_SECRETS = (
    "secret", "password", "change-me", "change_me", "changeme", "example", "placeholder", "nobody", "development",
    "abcdefgh", "12345678",
)  # fmt: skip


class ConfigError(click.ClickException):
    """A setting that cannot work: one line with its name and the mend. No server should start with it."""


def home(package: Path) -> Path:
    """Give the directory of `.env` and `instance/`: the checkout, else the working directory. An installation has none.

    Nothing of an operator's belongs among installed packages, which the next version replaces.
    """
    is_checkout = all((package.parent / name).is_file() for name in ("wsgi.py", "gunicorn.conf.py"))
    return package.parent if is_checkout else Path.cwd()


def flask_command(app: Flask) -> str:
    """Give how a command that runs where this process does begins; without a hint, flask finds `wsgi.py` and `app.py`.

    A host's commands are its own: it knows where they are.
    """
    finds = os.environ.get("FLASK_APP") or any(Path(name).is_file() for name in ("wsgi.py", "app.py"))
    return "flask" if finds or app.import_name != "authapp" else "flask --app authapp"


def environment(directory: Path | None = None) -> dict[str, str]:
    """Read the process environment over the `.env` of this directory, by default the working directory.

    Of one alone: in a checkout, what somebody else put where a command is called must not count. A file that is asked
    for is the service's own, and a line of it that is no setting is refused.
    """
    found = (directory or Path.cwd()) / ".env"
    try:
        if directory and found.is_file():
            _check_lines(found)
        # Asked without a file, python-dotenv would look for one in every folder above this very module.
        file = dotenv_values(found) if found.is_file() else {}
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f".env cannot be read ({type(error).__name__}): "
            "make it a text file in UTF-8 that the service's user may read."
        ) from None
    return {name: value for name, value in file.items() if value is not None} | dict(os.environ)


def _check_lines(file: Path) -> None:
    """Refuse what python-dotenv would pass over: somebody meant something by it."""
    with file.open(encoding="utf-8") as text:
        broken = next((found.original.line for found in parse_stream(text) if found.error), None)
    if broken:
        raise ConfigError(f"{file} has no setting in line {broken}: write NAME=value, or # before a remark.")


def load(app: Flask, given: Mapping[str, object], environ: Mapping[str, str]) -> None:
    """Put every setting into `app.config`, checked.

    Raises `ConfigError` for the first value that cannot work. An empty value counts as not set.
    """
    given, environ = _without_aliases(given), _without_aliases(environ)
    known, body_limit = {setting.name for setting in SETTINGS}, app.config["MAX_CONTENT_LENGTH"]
    app.config.from_mapping({name: value for name, value in given.items() if name not in known})
    for setting in SETTINGS:
        sources = (given, app.config, environ) if setting.name not in given else (given,)
        app.config[setting.name] = _value(setting, *sources)
    # For the doctor: one that is misspelt is as good as not set.
    app.config["AUTH_UNKNOWN_SETTINGS"] = sorted(
        name for name in environ if name.startswith(_OURS) and name not in known and environ[name]
    )
    _complete(app, bind=environ.get("BIND") or "127.0.0.1:8000")
    # Flask's own key would bound the host's uploads too; `authapp.api` applies ours below the prefix. A host that
    # takes large uploads has said nothing about what a login may be.
    ours = app.config["MAX_CONTENT_LENGTH"]
    app.config["AUTH_MAX_CONTENT_LENGTH"] = ours if body_limit is None else min(ours, BODY_LIMIT_BYTES)
    app.config["MAX_CONTENT_LENGTH"] = body_limit


def _without_aliases(source: Mapping[str, Any]) -> Mapping[str, Any]:
    meant = {name: source[alias] for name, alias in ALIASES.items() if alias in source}
    return {name: value for name, value in {**meant, **source}.items() if name not in ALIASES.values()}


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


def _complete(app: Flask, *, bind: str) -> None:
    """Work out what depends on more than one setting, and refuse what does not go together."""
    config, development = app.config, app.config["APP_ENV"] == "development"
    config["LOG_FORMAT"] = config["LOG_FORMAT"] or ("text" if development else "json")
    if development:
        config["SECRET_KEY"] = config["SECRET_KEY"] or _development_secret(Path(app.instance_path))
        config["AUTH_PUBLIC_URL"] = config["AUTH_PUBLIC_URL"] or f"http://{bind}"
    else:
        config["MAIL_SERVER"] = config["MAIL_SERVER"] or "localhost"
    _check_secrets(config, strict=not development)
    _check_links(config)
    _check_pairs(config)
    database = _database_url(app)
    if not development and database.get_backend_name() == "sqlite" and is_in_memory(database):
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
    for name in ("AUTH_VERIFY_URL", "AUTH_RESET_URL", "AUTH_CHANGE_EMAIL_URL"):
        if config[name] and "{token}" not in config[name]:
            raise ConfigError(
                f"{name} has no {{token}} in it: give for example https://app.example.com/page?t={{token}}"
            )


def _check_pairs(config: Mapping[str, Any]) -> None:
    if config["AUTH_PASSWORD_MIN_LENGTH"] > config["AUTH_PASSWORD_MAX_LENGTH"]:
        raise ConfigError(
            "AUTH_PASSWORD_MIN_LENGTH is above AUTH_PASSWORD_MAX_LENGTH: lower the one or raise the other."
        )
    if config["AUTH_GENERIC_RESPONSES"] and not config["AUTH_REQUIRE_VERIFIED_EMAIL"]:
        raise ConfigError(
            "AUTH_GENERIC_RESPONSES needs AUTH_REQUIRE_VERIFIED_EMAIL: tokens at registration tell who is new."
        )
    if config["MAIL_USE_TLS"] and config["MAIL_USE_SSL"]:
        raise ConfigError("MAIL_USE_TLS and MAIL_USE_SSL are both on: keep the one that your mail server speaks.")


def _development_secret(instance: Path) -> str:
    """Make a secret once and keep it; two processes that start together end up with the same one."""
    try:
        return _kept_secret(instance)
    except OSError as error:
        raise ConfigError(
            f"{error.filename} cannot be used ({error.strerror}), and the secret of development is kept there: "
            "give it to the user that runs the service, or set SECRET_KEY."
        ) from None


def _kept_secret(instance: Path) -> str:
    instance.mkdir(mode=0o700, parents=True, exist_ok=True)
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
    if url.get_backend_name() == "sqlite" and url.host:
        raise ConfigError("DATABASE_URL has two slashes where SQLite needs three: sqlite:///path, or sqlite:////path.")
    if url.get_backend_name() == "sqlite":
        return url.set(drivername="sqlite")
    raise ConfigError(f"DATABASE_URL names {url.get_backend_name()}: only sqlite and mysql+pymysql are supported.")


def is_in_memory(url: URL) -> bool:
    """Say whether the address is that of an SQLite database without a file."""
    name = url.database or ""
    return not name or ":memory:" in name or url.query.get("mode") == "memory"
