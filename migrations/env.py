"""Runs the migrations, for `flask db …`, on the application's database."""

from typing import Any

import click
from alembic import context
from flask import current_app
from sqlalchemy import Connection, event
from sqlalchemy.exc import DBAPIError

from authapp import database
from authapp.extensions import db

connectable = database.migration_engine(db.engine.url)
is_sqlite = connectable.dialect.name == "sqlite"

if is_sqlite:
    # The driver opens a transaction before a row is written, but not before a table is made: a migration that
    # fails half-way would leave its first half, and two at once would run into each other.
    @event.listens_for(connectable, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    # A table is changed by making it anew and dropping the old one, which would take along all rows that point to it.
    @event.listens_for(connectable, "connect")
    def leave_references(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA foreign_keys = OFF")


try:
    connection = connectable.connect()
except DBAPIError as error:
    mend = database.absent(error) or "check DATABASE_URL, and see flask auth doctor"
    raise click.ClickException(f"The database does not answer ({database.reason(error)}): {mend}.") from None

with connection:
    context.configure(
        connection=connection,
        target_metadata=db.metadata,
        # SQLite changes a table by making it anew.
        render_as_batch=True,
        transactional_ddl=is_sqlite,
        transaction_per_migration=True,
        compare_type=True,
        process_revision_directives=current_app.extensions["migrate"].configure_args.get("process_revision_directives"),
    )
    with context.begin_transaction():
        context.run_migrations()

connectable.dispose()
