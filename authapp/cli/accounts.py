"""Commands about accounts."""

from contextlib import closing
from functools import partial
from itertools import chain

import click
from flask import current_app
from sqlalchemy import select

from authapp import addresses, config, credentials, database, passwords, users
from authapp.cli import base, tables
from authapp.errors import UserAlreadyExistsError
from authapp.extensions import db
from authapp.models import User

_SHOWN = ("email", "name", "role", "is_active", "is_verified")
_HEADER = ("EMAIL", "ROLE", "STATE", "CREATED", "ID")
_READ_AT_ONCE = 500


@base.command(
    "create-user", example="create-user alice@example.com --admin --verified", refused="refused, and nobody was made"
)
@click.argument("email")
@base.password_stdin
@click.option("--name", help="The user's name.")
@click.option("--admin", is_flag=True, help="Give the role 'admin'.")
@click.option("--verified", is_flag=True, help="Count the address as verified; no mail is sent either way.")
def create_user(email: str, from_stdin: bool, name: str | None, admin: bool, verified: bool) -> None:
    """Make an account. The password is asked for, twice, unless it comes from standard input."""
    name = (name or "").strip() or None
    users.check_profile(name=name)
    if users.find(email):
        raise UserAlreadyExistsError
    password = base.password(from_stdin, partial(_check, email=email, name=name))
    role = "admin" if admin else "user"
    user = users.create_user(email, password, name=name, role=role, is_verified=verified)
    database.commit()
    click.echo(f"Made {user.email} ({user.id}).")
    if current_app.config["AUTH_REQUIRE_VERIFIED_EMAIL"] and not verified:
        mend = f"{config.flask_command(current_app)} auth verify {user.email}"
        click.echo(f"Nobody logs in with an address that is not verified: {mend}")


def _check(password: str, *, email: str, name: str | None) -> None:
    with passwords.place():
        passwords.check_policy(password, email=email, name=name)


@base.command("list-users", example="list-users --json", refused="refused")
@base.as_json
def list_users(as_json: bool) -> None:
    """List the accounts, oldest first."""
    oldest_first = select(User).order_by(User.id).execution_options(yield_per=_READ_AT_ONCE)
    # Closed also where whoever reads the list leaves early.
    with closing(db.session.scalars(oldest_first)) as users_read:
        pages = users_read.partitions(_READ_AT_ONCE)
        if as_json:
            for user in chain.from_iterable(pages):
                fields = {field: getattr(user, field) for field in _SHOWN}
                base.show({"id": str(user.id), **fields, "created_at": base.moment(user.created_at)})
        else:
            for line in tables.lines(_HEADER, ([_row(user) for user in page] for page in pages)):
                click.echo(line)


def _row(user: User) -> tuple[str, ...]:
    states = [*([] if user.is_verified else ["unverified"]), *([] if user.is_active else ["disabled"])]
    state = ", ".join(states) or "active"
    return user.email, user.role, state, str(base.moment(user.created_at)), str(user.id)


@base.command(
    "set-password", example="set-password alice@example.com", refused="refused or no such account; nothing changed"
)
@click.argument("email")
@base.password_stdin
def set_password(email: str, from_stdin: bool) -> None:
    """Give a user a new password; it ends every session. It is asked for as in create-user."""
    user = base.find(email)
    password = base.password(from_stdin, partial(_check, email=user.email, name=user.name))
    user = base.find(email)
    credentials.set_password(user, password)
    database.commit()
    click.echo(f"The password of {user.email} is set; every session is over.")


@base.command("verify", example="verify alice@example.com", refused="no such account")
@click.argument("email")
def verify(email: str) -> None:
    """Count a user's address as verified."""
    user = base.find(email)
    addresses.verify(user)
    database.commit()
    click.echo(f"{user.email} is verified.")


@base.command("deactivate", example="deactivate alice@example.com", refused="no such account")
@click.argument("email")
def deactivate(email: str) -> None:
    """Disable an account; it ends every session at once."""
    user = base.find(email)
    users.set_active(user, False)
    database.commit()
    click.echo(f"{user.email} is disabled; every session is over.")


@base.command("activate", example="activate alice@example.com", refused="no such account")
@click.argument("email")
def activate(email: str) -> None:
    """Enable an account again."""
    user = base.find(email)
    users.set_active(user, True)
    database.commit()
    click.echo(f"{user.email} is active.")


@base.command(
    "delete-user",
    example="delete-user alice@example.com --yes",
    refused="not confirmed or no such account; nobody is gone",
)
@click.argument("email")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete_user(email: str, yes: bool) -> None:
    """Remove an account and all that hangs on it."""
    address = base.find(email).email
    if not yes:
        base.confirm(f"Delete {address} and all that hangs on it?")
    users.delete(base.find(email))
    database.commit()
    click.echo(f"{address} is gone.")
