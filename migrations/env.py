"""Runs the migrations, for `flask db …`, on the application's database."""

from alembic import context
from flask import current_app

from authapp import database
from authapp.extensions import db

connectable = database.migration_engine(db.engine.url)

with connectable.connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=db.metadata,
        # SQLite changes a table by making it anew.
        render_as_batch=True,
        transaction_per_migration=True,
        compare_type=True,
        process_revision_directives=current_app.extensions["migrate"].configure_args.get("process_revision_directives"),
    )
    with context.begin_transaction():
        context.run_migrations()

connectable.dispose()
