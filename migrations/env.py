"""Runs the migrations, for `flask db …`, on the application's database."""

import click
from alembic import context
from flask import current_app
from sqlalchemy.exc import DBAPIError

from authapp import database, migrating
from authapp.extensions import db

connectable = migrating.engine(db.engine.url)
is_sqlite = connectable.dialect.name == "sqlite"

try:
    connection = connectable.connect()
except DBAPIError as error:
    mend = database.absent(error) or "check DATABASE_URL, and see flask auth doctor"
    raise click.ClickException(f"The database does not answer ({database.reason(error)}): {mend}.") from None

with connection, migrating.alone(connection):
    # SQLite undoes an interrupted run by itself.
    progress = None if is_sqlite else migrating.Progress(connection)
    context.configure(
        connection=connection,
        target_metadata=db.metadata,
        # SQLite changes a table by making it anew.
        render_as_batch=True,
        transactional_ddl=is_sqlite,
        transaction_per_migration=not is_sqlite,
        compare_type=True,
        process_revision_directives=current_app.extensions["migrate"].configure_args.get("process_revision_directives"),
        on_version_apply=progress.over if progress else None,
    )
    if progress:
        # Alembic tells when a step is over, but not when it begins.
        run = context.get_context()
        find_steps = run._migrations_fn
        run._migrations_fn = lambda heads, run: progress.along(find_steps(heads, run))
    with context.begin_transaction():
        context.run_migrations()
