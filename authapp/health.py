"""Whether this process is up, and whether it can serve: for load balancers and orchestrators."""

from functools import lru_cache
from pathlib import Path

import flask
from alembic.script import ScriptDirectory
from flask import Flask, Response, jsonify
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from authapp import api
from authapp.errors import ServiceUnavailableError
from authapp.extensions import db

MIGRATIONS = Path(__file__).parent.parent / "migrations"


def init_app(app: Flask) -> None:
    """Add `/healthz` and `/readyz`."""
    blueprint = flask.Blueprint(f"{api.OWN_BLUEPRINT}health", __name__)
    blueprint.add_url_rule("/healthz", "healthz", healthz)
    blueprint.add_url_rule("/readyz", "readyz", readyz)
    api.handle_errors(blueprint)
    app.register_blueprint(blueprint)


def healthz() -> Response:
    """Say that the process is up; it asks nothing of anybody."""
    return jsonify(success=True, data={"status": "ok"})


def readyz() -> Response:
    """Say that the database answers and has the schema that this version wants."""
    if not is_schema_at_head():
        raise ServiceUnavailableError("The database schema is not the one of this version: run flask db upgrade.")
    return jsonify(success=True, data={"status": "ready"})


def is_schema_at_head() -> bool:
    """Compare the database's revision with the newest migration."""
    try:
        with db.engine.connect() as connection:
            connection.execute(text("SELECT 1"))
            found = {version for (version,) in connection.execute(text("SELECT version_num FROM alembic_version"))}
    except SQLAlchemyError as error:
        raise ServiceUnavailableError("The database does not answer, or has no schema yet.") from error
    return found == {_head()}


@lru_cache(maxsize=1)
def _head() -> str | None:
    return ScriptDirectory(str(MIGRATIONS)).get_current_head()
