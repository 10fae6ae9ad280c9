"""The Flask extensions, unbound: `authapp.init_app` binds them to an application."""

from typing import TYPE_CHECKING

from flask import Flask
from flask_jwt_extended import JWTManager
from flask_mail import Mail
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import MetaData
from sqlalchemy.orm import DeclarativeBase


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


# Nothing is expired at a commit: a view commits on its last line, and its answer is dumped after that.
db = SQLAlchemy(model_class=Base, session_options={"expire_on_commit": False})
migrate = Migrate()
jwt = _TokenManager()
mail = Mail()

if TYPE_CHECKING:
    Model = Base
else:
    Model = db.Model
