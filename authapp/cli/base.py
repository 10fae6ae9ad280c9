"""What all commands share: the group, how one is refused, what it asks for, and how times are written."""

import json
import os
import sys
from collections.abc import Callable
from datetime import datetime
from functools import wraps
from io import UnsupportedOperation
from typing import Any, ParamSpec, TypeVar

import click
from flask import current_app
from flask.cli import AppGroup
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm.exc import StaleDataError

from authapp import config, database, schema, users
from authapp.errors import AuthError, ValidationError
from authapp.models import User

P = ParamSpec("P")
R = TypeVar("R")

_ASKED = "authapp.asked"

group = AppGroup("auth", help="Accounts, sessions, mails and keys, for whoever runs the service.")

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")
password_stdin = click.option(
    "--password-stdin", "from_stdin", is_flag=True, help="Read the password from standard input's first line."
)


def command(
    name: str, *, example: str, refused: str, notes: str = "", once_only: bool = False
) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Add a command to the group; its help ends in an example and in what its exit status means.

    A refusal is one line on standard error, and status 1. What the database undid for another's sake (a deadlock,
    a lost race) is tried once more, as the views do; so a command must ask with `once`, or be run `once_only`.
    """
    paragraphs = [notes, f"Example: flask auth {example}", f"Exit status: 0 done; 1 {refused}; 2 wrong usage."]
    # The mark keeps click from breaking a line, an example above all.
    epilog = "\n\n".join(f"\b\n{paragraph}" for paragraph in paragraphs if paragraph)

    def add(function: Callable[P, None]) -> Callable[P, None]:
        group.command(name, epilog=epilog)(_told(function if once_only else _tried_again(function)))
        return function

    return add


def password(from_stdin: bool, check: Callable[[str], None]) -> str:
    """Give the password that is typed twice, or stands in standard input's first line; never one from an argument.

    At a terminal it is asked for until `check` raises no `ValidationError`; elsewhere that is left to what follows.
    """
    return once(lambda: _read_password(from_stdin, check))


def confirm(question: str) -> None:
    """Ask whether to go on, and end the command unless that is so."""
    if _is_nobody_there():
        raise click.ClickException("There is no terminal to ask at: use --yes.")
    once(lambda: click.confirm(question, abort=True))


def once(ask: Callable[[], R]) -> R:
    """Ask, but only once in a command, however often that is tried."""
    asked = click.get_current_context().meta.setdefault(_ASKED, [])
    if not asked:
        # Nobody should wait for a person with a transaction open.
        database.rollback()
        asked.append(ask())
    answer: R = asked[0]
    return answer


def find(email: str) -> User:
    """Give the account with this address, in any spelling. Raises `ClickException` where there is none."""
    user = users.find(email)
    if user is None:
        raise click.ClickException(f"There is no account with the address {users.normalize_email(email)}.")
    return user


def moment(time: datetime | None) -> str | None:
    """Write a time as RFC 3339 in UTC, to the second."""
    return None if time is None else time.isoformat(timespec="seconds").replace("+00:00", "Z")


def plural(number: int, noun: str) -> str:
    """Write a number of things."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def show(row: dict[str, Any]) -> None:
    """Print an object as one line of JSON."""
    click.echo(json.dumps(row))


def _tried_again(function: Callable[P, R]) -> Callable[P, R]:
    @wraps(function)
    def twice(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except (DBAPIError, StaleDataError) as error:
            if not database.is_transient(error):
                raise
            database.start_over()
            return function(*args, **kwargs)

    return twice


def _told(function: Callable[P, R]) -> Callable[P, R]:
    @wraps(function)
    def telling(*args: P.args, **kwargs: P.kwargs) -> R:
        # What a command queues is for the service to deliver, or for the command that does nothing else.
        current_app.extensions["authapp"].mail_worker.retire()
        try:
            return function(*args, **kwargs)
        except AuthError as error:
            raise click.ClickException(_sentences(error)) from None
        except (DBAPIError, PoolTimeoutError) as error:
            raise click.ClickException(_refused_by_database(error)) from None
        except StaleDataError:
            raise click.ClickException("The account was changed or deleted meanwhile: run the command again.") from None
        except UnicodeError:
            raise click.ClickException("What was given is not text in UTF-8.") from None

    return telling


def _sentences(error: AuthError) -> str:
    details = [message for messages in (error.details or {}).values() for message in messages]
    return " ".join(details) or error.message


def _refused_by_database(error: DBAPIError | PoolTimeoutError) -> str:
    database.rollback()
    if not database.is_away(error) and (trouble := schema.trouble()):
        return trouble
    mend = database.absent(error) or f"see {config.flask_command(current_app)} auth doctor"
    return f"The database refused: {_reason(error)}; {mend}."


def _reason(error: DBAPIError | PoolTimeoutError) -> str:
    """Say why, as far as that is about the server: what is about a statement may quote a row."""
    return database.reason(error) if database.is_away(error) else type(error).__name__


def _is_nobody_there() -> bool:
    """Say whether there is no terminal. An input that the system knows nothing of, as in tests, is somebody's."""
    try:
        if os.isatty(sys.stdin.fileno()):
            return False
    except UnsupportedOperation:
        return False
    try:
        os.close(os.open(os.ctermid(), os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return True
    return False


def _read_password(from_stdin: bool, check: Callable[[str], None]) -> str:
    if from_stdin:
        text = sys.stdin.readline().rstrip("\r\n")
    elif _is_nobody_there():
        raise click.ClickException("There is no terminal to ask for the password at: use --password-stdin.")
    else:
        text = _ask(check)
    # A login takes none with a NUL, so nobody should get one.
    if "\x00" in text:
        raise click.ClickException("The password has a character in it that no login takes.")
    return text


def _ask(check: Callable[[str], None]) -> str:
    """Ask for a password, twice; a person at a terminal hears first what is wrong with it, and is asked again."""
    while True:
        text: str = click.prompt("Password", hide_input=True)
        if sys.stdin.isatty() and not _is_good(text, check):
            continue
        if click.prompt("Repeat for confirmation", hide_input=True) == text:
            return text
        click.echo("Error: The two entered values do not match.", err=True)


def _is_good(text: str, check: Callable[[str], None]) -> bool:
    try:
        check(text)
    except ValidationError as error:
        click.echo(_sentences(error), err=True)
        return False
    return True
