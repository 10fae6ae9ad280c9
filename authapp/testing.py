"""Help for tests, a host application's own included."""

from flask import Flask
from sqlalchemy import delete, inspect

from authapp.extensions import db

# A hash that costs next to nothing, for tests only.
FAST_PASSWORD_HASH = "scrypt:128:1:1"  # noqa: S105  # A method, not a password.
TEST_SETTINGS: dict[str, object] = {
    "APP_ENV": "development",
    "TESTING": True,
    "SECRET_KEY": "a secret for tests that nobody should use anywhere else",
    "AUTH_PASSWORD_HASH": FAST_PASSWORD_HASH,
}


def empty_tables(app: Flask) -> None:
    """Delete every row of every table that exists, children first."""
    with app.app_context():
        existing = inspect(db.engine).get_table_names()
        for table in reversed(db.metadata.sorted_tables):
            if table.name in existing:
                db.session.execute(delete(table))
        db.session.commit()
