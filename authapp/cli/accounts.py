"""Commands about accounts."""

import click
from sqlalchemy import select

from authapp import addresses, credentials, database, users
from authapp.cli import base
from authapp.errors import UserAlreadyExistsError
from authapp.extensions import db
from authapp.models import User

_SHOWN = ("email", "name", "role", "is_active", "is_verified")
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
    password = base.password(from_stdin)
    role = "admin" if admin else "user"
    user = users.create_user(email, password, name=name, role=role, is_verified=verified)
    database.commit()
    click.echo(f"Made {user.email} ({user.id}).")


@base.command("list-users", example="list-users --json", refused="refused")
@base.as_json
def list_users(as_json: bool) -> None:
    """List the accounts, oldest first."""
    oldest_first = select(User).order_by(User.id).execution_options(yield_per=_READ_AT_ONCE)
    for user in db.session.scalars(oldest_first):
        if as_json:
            fields = {field: getattr(user, field) for field in _SHOWN}
            base.show({"id": str(user.id), **fields, "created_at": base.moment(user.created_at)})
        else:
            flags = [*([] if user.is_verified else ["unverified"]), *([] if user.is_active else ["disabled"])]
            click.echo("  ".join([str(user.id), str(base.moment(user.created_at)), user.email, user.role, *flags]))


@base.command(
    "set-password", example="set-password alice@example.com", refused="refused or no such account; nothing changed"
)
@click.argument("email")
@base.password_stdin
def set_password(email: str, from_stdin: bool) -> None:
    """Give a user a new password; it ends every session. It is asked for as in create-user."""
    base.find(email)
    password = base.password(from_stdin)
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
        base.once(lambda: click.confirm(f"Delete {address} and all that hangs on it?", abort=True))
    users.delete(base.find(email))
    database.commit()
    click.echo(f"{address} is gone.")
