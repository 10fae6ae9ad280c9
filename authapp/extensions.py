"""The Flask extensions, unbound: `authapp.init_app` binds them to an application."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click
from flask import Flask, Request, current_app
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from flask_jwt_extended import JWTManager
from flask_mail import Mail
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Engine, MetaData
from sqlalchemy.orm import DeclarativeBase, scoped_session


class Base(DeclarativeBase):
    """The declarative base; it names every constraint, so that a migration can drop what another made."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class _TokenManager(JWTManager):
    """Flask-JWT-Extended without its error pages: those would answer for the host's own PyJWT errors too."""

    def _set_error_handler_callbacks(self, app: Flask) -> None:
        pass


class Database(SQLAlchemy):
    """The database of the application at hand: a host's own Flask-SQLAlchemy object, where the host has bound one.

    Its engine and its session are used then, so that what the host and authapp change is one transaction.
    """

    @property
    def engines(self) -> Mapping[str | None, Engine]:
        """The engines of the application at hand, by bind key."""
        bound = self._bound()
        return super().engines if bound is self else bound.engines

    @property
    def session(self) -> scoped_session[Any]:
        """The session of the application at hand; outside of an application, our own."""
        bound = self._bound()
        return self._own_session if bound is self else bound.session

    @session.setter
    def session(self, session: scoped_session[Any]) -> None:
        self._own_session = session

    def _bound(self) -> SQLAlchemy:
        bound: SQLAlchemy = current_app.extensions.get("sqlalchemy", self) if current_app else self
        return bound


class Sessions(SecureCookieSessionInterface):
    """Flask's sessions, for who adds views to the service; it has none, and each request would pay for their keys."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        """Give the session of a request; where it has no cookie, an empty one."""
        if self.get_cookie_name(app) in request.cookies:
            return super().open_session(app, request)
        return self.session_class() if app.secret_key else None


class Migrations:
    """Flask-Migrate, bound when a migration is to be run: it brings Alembic, which no request needs."""

    def __init__(self, app: Flask, *, directory: str) -> None:
        self._app, self._directory = app, directory
        app.extensions["migrate"] = self
        app.cli.add_command(_Migrating("db", help="Perform database migrations."))

    def __getattr__(self, name: str) -> Any:
        """Give what `flask db` wants to know, from what takes this one's place."""
        if name.startswith("_"):
            # Who copies this asks before there is an application.
            raise AttributeError(name)
        from flask_migrate import Migrate

        Migrate(self._app, db, directory=self._directory)
        return getattr(self._app.extensions["migrate"], name)


class _Migrating(click.Command):
    """Flask-Migrate's group of commands, in its place until it is called; `flask` itself finds the real one."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Hand over to the real one."""
        from flask_migrate.cli import db as commands  # type: ignore[import-not-found]  # Its stubs leave it out.

        context: click.Context = commands.make_context(*args, **kwargs)
        return context


def app_at_hand() -> Flask:
    """Give the application itself, for whoever keeps it beyond this context: a thread, a listener."""
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]  # Werkzeug's proxy types hide it.
    return app


# Nothing is expired at a commit: a view commits on its last line, and its answer is dumped after that.
db = Database(model_class=Base, session_options={"expire_on_commit": False})
jwt = _TokenManager()
mail = Mail()

if TYPE_CHECKING:
    Model = Base
else:
    Model = db.Model
