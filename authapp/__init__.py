"""authapp: the authentication backend for Python teams.

`create_app()` makes the service; `init_app(app)` mounts the same thing into an application of your own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from authapp import (
    api,
    auth,
    cli,
    config,
    cookies,
    cors,
    database,
    document,
    extensions,
    health,
    host,
    jwks,
    keys,
    logs,
    mail,
    metrics,
    openapi,
    schema,
    tokens,
)
from authapp.limiter import Limiter, Shared
from authapp.mail.worker import Worker
from authapp.passwords import Gate

__all__ = ["__version__", "create_app", "init_app"]

__version__ = "0.5.0"

PARTS = (auth, cookies, cors, jwks, mail, cli)
"""What both kinds of application have. A new capability is added by its name here."""

SERVICE_PARTS = (health, logs, metrics, openapi)
"""What only the service has; a host application brings its own."""


@dataclass
class State:
    """What one application keeps in `app.extensions["authapp"]`."""

    api: document.Api
    gate: Gate
    keyring: keys.Keyring
    limiter: Limiter
    version: str
    mail_worker: Worker = field(default_factory=Worker)


def create_app(settings: Mapping[str, object] | None = None, *, environ: Mapping[str, str] | None = None) -> Flask:
    """Make the service.

    `settings` come before `environ`, which is the process's environment and `.env` unless given. Raises
    `config.ConfigError` for a setting that cannot work. `.env` and `instance/` are the checkout's own, or stand in the
    working directory where authapp was installed.
    """
    home = config.home(Path(__file__).parent)
    app = Flask(__name__, static_folder=None, instance_path=str(home / "instance"))
    app.session_interface = extensions.Sessions()
    config.load(app, settings or {}, config.environment(home) if environ is None else environ)
    if app.config["TRUSTED_PROXIES"]:
        number = app.config["TRUSTED_PROXIES"]
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=number, x_proto=number)  # type: ignore[method-assign]  # As Flask says to.
    _mount(app, owns_all=True)
    extensions.Migrations(app, directory=str(schema.MIGRATIONS))
    for part in SERVICE_PARTS:
        part.init_app(app)
    return app


def init_app(app: Flask, *, environ: Mapping[str, str] | None = None) -> None:
    """Mount authapp into a host application, below `AUTH_URL_PREFIX`; nothing else of it is touched.

    Settings are what stands in `app.config`, then `environ` as in `create_app`. The database is that of the host's
    own Flask-SQLAlchemy object, where it has bound one before, else `DATABASE_URL`. Raises `config.ConfigError`.
    """
    bound = host.database_of(app)
    given = {"DATABASE_URL": host.database_url(app, bound)} if bound else {}
    config.load(app, given, config.environment() if environ is None else environ)
    _mount(app, owns_all=False)


def _mount(app: Flask, *, owns_all: bool) -> None:
    if "flask-jwt-extended" in app.extensions:
        # A second set of settings for it cannot live in one application.
        raise config.ConfigError(
            "This application has bound Flask-JWT-Extended itself: protect its views with authapp.protect instead."
        )
    if bound := host.database_of(app):
        host.join(bound.metadata)
    else:
        database.configure(app)
        extensions.db.init_app(app)
    keyring = tokens.configure(app)
    extensions.jwt.init_app(app)
    gate = Gate(concurrency=app.config["AUTH_HASH_CONCURRENCY"], queue=app.config["AUTH_HASH_QUEUE"])
    limiter = Limiter(_shared_counts(app.config["REDIS_URL"]))
    app.extensions["authapp"] = State(document.make(app, version=__version__), gate, keyring, limiter, __version__)
    api.init_app(app, owns_all=owns_all)
    for part in PARTS:
        part.init_app(app)


def _shared_counts(redis_url: str | None) -> Shared | None:
    if not redis_url:
        return None
    from authapp.redis_counts import RedisCounts

    return RedisCounts(redis_url)
