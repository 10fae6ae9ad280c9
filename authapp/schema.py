"""The schema's version: whether the tables are those that this version of the service wants."""

from functools import lru_cache
from pathlib import Path

from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from authapp import database
from authapp.errors import ServiceUnavailableError
from authapp.extensions import db

MIGRATIONS = Path(__file__).parent.parent / "migrations"


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
        raise ServiceUnavailableError("The database has no schema yet: run flask db upgrade.") from error
    known, head = _known()
    if found == {head}:
        return None
    if found <= known:
        return "The database schema is older than this version: run flask db upgrade."
    return "The database schema is not one of this version's, but of a newer one: run that, or go back to a backup."


@lru_cache(maxsize=1)
def _known() -> tuple[frozenset[str], str | None]:
    scripts = ScriptDirectory(str(MIGRATIONS))
    return frozenset(script.revision for script in scripts.walk_revisions()), scripts.get_current_head()
