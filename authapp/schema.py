"""The schema's version: whether the tables are those that this version of the service wants."""

import re
from functools import lru_cache
from pathlib import Path

from flask import current_app
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from authapp import config, database
from authapp.errors import ServiceUnavailableError
from authapp.extensions import db

# In a checkout a link to `migrations/`; an installation has the files themselves.
MIGRATIONS = Path(__file__).with_name("migrations")
_REVISION = re.compile(r'^revision = "(\w+)"$', re.MULTILINE)
_EARLIER = re.compile(r'^down_revision = (?:"(\w+)"|None)$', re.MULTILINE)


def problem() -> str | None:
    """Say in a sentence how the tables differ from what this version wants, by the revision that is on record.

    Raises `ServiceUnavailableError` where there is no record, or no database that answers.
    """
    try:
        with db.engine.connect() as connection:
            found = set(connection.scalars(text("SELECT version_num FROM alembic_version")))
    except SQLAlchemyError as error:
        # A server that is gone, or a table that is not there.
        if database.is_away(error):
            raise ServiceUnavailableError("The database does not answer.") from error
        raise ServiceUnavailableError(f"The database has no schema yet: {mend()}") from error
    known, head = revisions()
    if found == {head}:
        return None
    if found <= known:
        return f"The database schema is older than this version: {mend()}"
    return "The database schema is not one of this version's, but of a newer one: run that, or go back to a backup."


def trouble() -> str | None:
    """Say in a sentence why the service cannot use the database, if that is so: `problem`, or there is none to ask.

    A host application's revisions are its own, and its tables need none.
    """
    if "authapp_health" not in current_app.blueprints:
        return None
    try:
        return problem()
    except ServiceUnavailableError as error:
        return error.message


def mend() -> str:
    """Say how to get the schema of this version."""
    return f"run {config.flask_command(current_app)} db upgrade."


@lru_cache(maxsize=1)
def revisions() -> tuple[frozenset[str], str]:
    """Read the revisions that there are, and which is the last. Alembic could tell too, for 10 MB of every process."""
    texts = [file.read_text(encoding="utf-8") for file in (MIGRATIONS / "versions").glob("*.py")]
    follows = dict(pair for text in texts for pair in zip(_REVISION.findall(text), _EARLIER.findall(text), strict=True))
    (head,) = set(follows) - set(follows.values())
    return frozenset(follows), head
