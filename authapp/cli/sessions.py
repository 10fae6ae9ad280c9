"""Commands about sessions."""

import click

from authapp import database, devices, sessions, users
from authapp.cli import base


@base.command("sessions", example="sessions alice@example.com --json", refused="no such account")
@click.argument("email")
@base.as_json
def list_sessions(email: str, as_json: bool) -> None:
    """List a user's sessions, newest first."""
    for session in sessions.list_alive(base.find(email).id):
        row = {
            "id": str(session.id),
            "created_at": base.moment(session.created_at),
            "last_used_at": base.moment(session.rotated_at),
            "expires_at": base.moment(session.expires_at),
            "ip": session.ip,
            "device": devices.describe(session.user_agent),
        }
        if as_json:
            base.show(row)
        else:
            click.echo("  ".join(value or "-" for value in row.values()))


@base.command("revoke-sessions", example="revoke-sessions alice@example.com", refused="no such account")
@click.argument("email")
def revoke_sessions(email: str) -> None:
    """End every session of a user."""
    user = base.find(email)
    number = users.end_sign_ins(user, reason="revoked")
    database.commit()
    click.echo(f"Ended {base.plural(number, 'session')} of {user.email}.")
