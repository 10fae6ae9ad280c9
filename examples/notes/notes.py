"""Notes: a small application that leaves accounts to authapp. Everybody has their own notes, an admin sees numbers."""

from collections.abc import Mapping
from uuid import UUID

import click
from flask import Blueprint, Flask, abort, jsonify, render_template, request
from flask.typing import ResponseReturnValue
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import ForeignKey, String, func, select
from sqlalchemy.orm import Mapped, mapped_column

from authapp import init_app, signals
from authapp.database import engine_options
from authapp.errors import ForbiddenError, UnauthorizedError
from authapp.models import User
from authapp.protect import current_user, login_required, optional_login, roles_required

MOST_CHARACTERS = 500

db = SQLAlchemy()
pages = Blueprint("pages", __name__)
notes = Blueprint("notes", __name__)


class Note(db.Model):
    """What somebody wrote down; it goes when its owner does."""

    id: Mapped[int] = mapped_column(primary_key=True)
    owner_id = mapped_column(ForeignKey("auth_user.id", ondelete="CASCADE"), index=True)
    text: Mapped[str] = mapped_column(String(MOST_CHARACTERS))


def create_app(settings: Mapping[str, object] | None = None) -> Flask:
    """Make the application; authapp finds the database in `db`, and its own settings in the environment too."""
    app = Flask(__name__)
    app.config.from_mapping(
        {
            "SQLALCHEMY_DATABASE_URI": "sqlite:///notes.db",
            "AUTH_BRAND_NAME": "Notes",
            # The page logs in, and its browser keeps the tokens.
            "AUTH_COOKIES": True,
            **(settings or {}),
        }
    )
    # SQLite leaves foreign keys alone unless it is told to mind them.
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = engine_options(app.config["SQLALCHEMY_DATABASE_URI"])
    db.init_app(app)
    init_app(app)
    app.register_blueprint(pages)
    app.register_blueprint(notes)
    app.register_error_handler(404, lambda _error: (render_template("404.html"), 404))
    app.cli.add_command(init_db)
    signals.user_registered.connect(welcome, app)
    signals.user_deleted.connect(say_goodbye, app)
    return app


@click.command("init-db")
def init_db() -> None:
    """Make the tables, authapp's too."""
    db.create_all()


@pages.get("/")
@optional_login
def index() -> str:
    """Show the caller's notes, or how to log in."""
    return render_template("index.html", user=current_user, notes=_notes() if current_user else [])


@notes.get("/notes")
@login_required
def list_notes() -> ResponseReturnValue:
    """List the caller's notes."""
    return jsonify(notes=[{"id": note.id, "text": note.text} for note in _notes()])


@notes.post("/notes")
@login_required
def add_note() -> ResponseReturnValue:
    """Write a note down."""
    content = request.get_json()
    text = content.get("text") if isinstance(content, dict) else None
    if not isinstance(text, str) or not 0 < len(text) <= MOST_CHARACTERS:
        abort(400)
    note = Note(owner_id=current_user.id, text=text)
    db.session.add(note)
    db.session.commit()
    return jsonify(id=note.id, text=note.text), 201


@notes.delete("/notes/<int:id>")
@login_required
def delete_note(id: int) -> ResponseReturnValue:
    """Delete one of the caller's notes; anybody else's is not found."""
    note = db.session.scalar(select(Note).where(Note.id == id, Note.owner_id == current_user.id))
    if note is None:
        abort(404)
    db.session.delete(note)
    db.session.commit()
    return "", 204


@pages.get("/admin")
@roles_required("admin")
def admin() -> str:
    """Show how much there is."""
    numbers = [db.session.scalar(select(func.count()).select_from(table)) for table in (User, Note)]
    return render_template("admin.html", numbers=numbers)


@pages.errorhandler(ForbiddenError)
def refuse(error: ForbiddenError) -> ResponseReturnValue:
    """Show a page to whoever may not see the one they asked for."""
    return render_template("403.html", message=error.message), error.status


@pages.errorhandler(UnauthorizedError)
def refresh(error: UnauthorizedError) -> ResponseReturnValue:
    """Show a page whose script refreshes, where the access token of a browser is over; else it leads to the login."""
    return render_template("refresh.html"), error.status


def welcome(app: Flask, *, user_id: UUID, **_fact: object) -> None:
    """Give whoever registers a first note."""
    db.session.add(Note(owner_id=user_id, text="Welcome! This is your first note."))
    db.session.commit()


def say_goodbye(app: Flask, *, user_id: UUID, **_fact: object) -> None:
    """Tell the log that an account is gone; its notes went with it, by their foreign key."""
    app.logger.warning("account_deleted %s", user_id)


def _notes() -> list[Note]:
    return list(db.session.scalars(select(Note).where(Note.owner_id == current_user.id).order_by(Note.id)))
