"""The Flask extensions, unbound: `authapp.init_app` binds them to an application."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flask import Flask, current_app
from flask_jwt_extended import JWTManager
from flask_mail import Mail
from flask_migrate import Migrate
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


def app_at_hand() -> Flask:
    """Give the application itself, for whoever keeps it beyond this context: a thread, a listener."""
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]  # Werkzeug's proxy types hide it.
    return app


# Nothing is expired at a commit: a view commits on its last line, and its answer is dumped after that.
db = Database(model_class=Base, session_options={"expire_on_commit": False})
migrate = Migrate()
jwt = _TokenManager()
mail = Mail()

if TYPE_CHECKING:
    Model = Base
else:
    Model = db.Model
