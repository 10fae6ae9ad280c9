"""`flask auth …`: the operator's commands. A refusal is one line on standard error and exit code 1."""

import json
import sys
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import click
from flask import Flask, current_app
from flask.cli import AppGroup
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm.exc import StaleDataError

from authapp import addresses, credentials, database, devices, purge, sessions, users
from authapp.config import ConfigError
from authapp.errors import AuthError
from authapp.extensions import db
from authapp.mail import delivery
from authapp.models import User

P = ParamSpec("P")
R = TypeVar("R")

group = AppGroup("auth", help="Accounts, sessions and mails.")


def init_app(app: Flask) -> None:
    """Add the commands. Raises `ConfigError` where the host has a group of that name."""
    if group.name in app.cli.commands:
        raise ConfigError("This application has commands called 'auth' itself: give its group another name.")
    app.cli.add_command(group)


def _told(command: Callable[P, R]) -> Callable[P, R]:
    """Say a refusal in one line instead of a trace."""

    @wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except AuthError as error:
            details = [message for messages in (error.details or {}).values() for message in messages]
            raise click.ClickException(" ".join(details) or error.message) from None
        except DBAPIError as error:
            reason = error.orig.args[-1] if error.orig and database.is_away(error) else type(error).__name__
            raise click.ClickException(f"The database refused: {reason}") from None
        except StaleDataError:
            raise click.ClickException("The account was changed or deleted meanwhile: run the command again.") from None
        except UnicodeError:
            raise click.ClickException("What was given is not text in UTF-8.") from None

    return wrapper


def _password(from_stdin: bool) -> str:
    if from_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    # A login takes none with a NUL, so nobody should get one.
    if "\x00" in password:
        raise click.ClickException("The password has a character in it that no login takes.")
    return password


def _find(email: str) -> User:
    user = users.find(email)
    if user is None:
        raise click.ClickException(f"There is no account with the address {email}.")
    return user


_stdin = click.option("--password-stdin", is_flag=True, help="Read the password from standard input's first line.")


@group.command("create-user")
@click.argument("email")
@_stdin
@click.option("--name", help="The user's name.")
@click.option("--admin", is_flag=True, help="Give the role 'admin'.")
@click.option("--verified", is_flag=True, help="Count the address as verified.")
@_told
def create_user(email: str, password_stdin: bool, name: str | None, admin: bool, verified: bool) -> None:
    """Make an account.

    Example: flask auth create-user alice@example.com --admin --verified
    """
    role = "admin" if admin else "user"
    user = users.create_user(email, _password(password_stdin), name=name or None, role=role, is_verified=verified)
    database.commit()
    click.echo(f"Made {user.email} ({user.id}).")


@group.command("list-users")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@_told
def list_users(as_json: bool) -> None:
    """List the accounts, oldest first."""
    for user in db.session.scalars(select(User).order_by(User.id).execution_options(yield_per=500)):
        if as_json:
            shown = ("email", "name", "role", "is_active", "is_verified")
            click.echo(json.dumps({"id": str(user.id), **{field: getattr(user, field) for field in shown}}))
        else:
            flags = [
                word
                for word, shown in (("unverified", not user.is_verified), ("disabled", not user.is_active))
                if shown
            ]
            click.echo(f"{user.id}  {user.email}  {user.role}  {' '.join(flags)}".rstrip())


@group.command("set-password")
@click.argument("email")
@_stdin
@_told
def set_password(email: str, password_stdin: bool) -> None:
    """Give a user a new password; it ends every session."""
    password = _password(password_stdin)
    user = _find(email)
    credentials.set_password(user, password)
    database.commit()
    click.echo(f"The password of {user.email} is set; every session is over.")


@group.command("verify")
@click.argument("email")
@_told
def verify(email: str) -> None:
    """Count a user's address as verified."""
    user = _find(email)
    addresses.verify(user)
    database.commit()
    click.echo(f"{user.email} is verified.")


@group.command("deactivate")
@click.argument("email")
@_told
def deactivate(email: str) -> None:
    """Disable an account; it ends every session at once."""
    user = _find(email)
    users.set_active(user, False)
    database.commit()
    click.echo(f"{user.email} is disabled; every session is over.")


@group.command("activate")
@click.argument("email")
@_told
def activate(email: str) -> None:
    """Enable an account again."""
    user = _find(email)
    users.set_active(user, True)
    database.commit()
    click.echo(f"{user.email} is active.")


@group.command("sessions")
@click.argument("email")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@_told
def list_sessions(email: str, as_json: bool) -> None:
    """List a user's sessions, newest first."""
    for session in sessions.list_alive(_find(email).id):
        row: dict[str, Any] = {
            "id": str(session.id),
            "created_at": session.created_at.isoformat(timespec="seconds"),
            "last_used_at": session.rotated_at.isoformat(timespec="seconds"),
            "ip": session.ip,
            "device": devices.describe(session.user_agent),
        }
        click.echo(json.dumps(row) if as_json else "  ".join(str(value or "-") for value in row.values()))


@group.command("revoke-sessions")
@click.argument("email")
@_told
def revoke_sessions(email: str) -> None:
    """End every session of a user."""
    user = _find(email)
    number = users.end_sign_ins(user, reason="revoked")
    database.commit()
    click.echo(f"Ended {number} session{'' if number == 1 else 's'} of {user.email}.")


@group.command("delete-user")
@click.argument("email")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_told
def delete_user(email: str, yes: bool) -> None:
    """Remove an account and all that hangs on it."""
    user = _find(email)
    if not yes:
        click.confirm(f"Delete {user.email} and all that hangs on it?", abort=True)
    users.delete(user)
    database.commit()
    click.echo(f"{user.email} is gone.")


@group.command("purge")
@_told
def purge_expired() -> None:
    """Delete what is past its time: sessions, revoked tokens, links, sent mails. Meant for cron."""
    for what, number in purge.run().items():
        click.echo(f"{what}: {number}")


@group.command("deliver-mail")
@click.option("--watch", is_flag=True, help="Go on until stopped.")
@_told
def deliver_mail(watch: bool) -> None:
    """Send the mails that are due."""
    if watch:
        app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]  # Werkzeug's proxy types hide it.
        delivery.watch(app, threading.Event())
    sent = 0
    try:
        while now := delivery.deliver_due():
            sent += now
    except delivery.UnreachableError as error:
        raise click.ClickException(f"The mail server cannot be reached ({error}); sent {sent}.") from None
    click.echo(f"Sent {sent} mail{'' if sent == 1 else 's'}.")
