"""The migrations: they make what the models say, on both databases, whatever the server's defaults are."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import alembic.autogenerate
import flask_migrate
import pytest
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import Flask
from sqlalchemy import Table, UniqueConstraint, inspect, text
from sqlalchemy.exc import IntegrityError, OperationalError

from authapp.extensions import db
from tests import databases
from tests.factories import ALICE, Api, data, mailed_token

TABLES = {
    f"auth_{name}"
    for name in ("known_network", "link", "mail_request", "outbox_message", "revoked_token", "session", "user")
}
NAME = "Zoë 漢字 😀"
REMAKES_USERS = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "next", "{head}"


def upgrade():
    with op.batch_alter_table("auth_user", recreate="always") as table:
        table.add_column(sa.Column("nickname", sa.String(50)))


def downgrade():
    with op.batch_alter_table("auth_user") as table:
        table.drop_column("nickname")
"""


@pytest.fixture(params=databases.KINDS)
def own(request: pytest.FixtureRequest) -> Iterator[Flask]:
    """The service on an empty database of the test's own."""
    with databases.empty(request.param, request) as url, databases.serving(url) as app, app.app_context():
        yield app


@pytest.fixture
def own_on_mariadb(request: pytest.FixtureRequest) -> Iterator[Flask]:
    """The service on an empty MariaDB of the test's own: SQLite knows neither charsets nor such collations."""
    with databases.empty("mariadb", request) as url, databases.serving(url) as app, app.app_context():
        yield app


@pytest.fixture
def own_on_sqlite(request: pytest.FixtureRequest) -> Iterator[Flask]:
    """The service on an empty SQLite file of the test's own: MariaDB commits each change of a table by itself."""
    with databases.empty("sqlite", request) as url, databases.serving(url) as app, app.app_context():
        yield app


def tables() -> set[str]:
    return set(inspect(db.engine).get_table_names())


def execute(statement: str) -> None:
    with db.engine.begin() as connection:
        connection.execute(text(statement))


def rows(statement: str) -> list[tuple[object, ...]]:
    with db.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(statement))]


def own_tables() -> list[Table]:
    """Give authapp's tables; a test of host applications may have added its own to the metadata."""
    return [table for table in db.metadata.sorted_tables if table.name.startswith("auth_")]


def is_ours(_object: object, name: str | None, kind: str, _reflected: bool, _other: object) -> bool:
    return kind != "table" or bool(name and name.startswith("auth_"))


def differences() -> list[object]:
    """Say what Alembic would change to come from the database to the models."""
    with db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "include_object": is_ours})
        return list(alembic.autogenerate.compare_metadata(context, db.metadata))


def schema() -> dict[str, object]:
    """Describe every table as the database reports it, with the names of its constraints and indexes."""
    found = inspect(db.engine)
    return {
        table: [
            [(column["name"], str(column["type"]), column["nullable"]) for column in found.get_columns(table)],
            found.get_pk_constraint(table),
            sorted(str(key["name"]) for key in found.get_foreign_keys(table)),
            sorted(str(key["name"]) for key in found.get_unique_constraints(table)),
            sorted(str(index["name"]) for index in found.get_indexes(table)),
        ]
        for table in sorted(tables() - {"alembic_version"})
    }


def sign_in(app: Flask) -> str:
    """Register Alice and give an access token of hers; every table but that of dead tokens has a row then."""
    api = Api(app)
    data(api.register(name=NAME), 201)
    data(api.post("/verify-email", {"token": mailed_token(app)}))
    token: str = api.log_in()["access_token"]
    return token


def test_database_goes_up_down_and_up_again(own: Flask):
    assert tables() == set()
    flask_migrate.upgrade()
    assert tables() == {*TABLES, "alembic_version"}
    first = schema()
    flask_migrate.downgrade(revision="base")
    assert tables() == {"alembic_version"}
    assert rows("SELECT * FROM alembic_version") == []
    flask_migrate.upgrade()
    assert schema() == first


def test_each_migration_can_be_undone_by_itself(own: Flask, root: Path):
    scripts = ScriptDirectory(str(root / "migrations"))
    for script in reversed(list(scripts.walk_revisions())):
        before = schema()
        flask_migrate.upgrade(revision=script.revision)
        after = schema()
        flask_migrate.downgrade(revision="-1")
        assert schema() == before
        flask_migrate.upgrade(revision=script.revision)
        assert schema() == after


def test_schema_can_be_taken_down_with_people_in_it(own: Flask):
    flask_migrate.upgrade()
    data(Api(own).post("/logout", token=sign_in(own)))
    flask_migrate.downgrade(revision="base")
    assert tables() == {"alembic_version"}


def test_models_and_migrations_are_the_same(own: Flask):
    flask_migrate.upgrade()
    assert differences() == []


def test_difference_between_models_and_database_would_be_found(own: Flask):
    flask_migrate.upgrade()
    of_table = "" if db.engine.dialect.name == "sqlite" else " ON auth_session"
    execute(f"DROP INDEX ix_auth_session_ends_at{of_table}")
    execute("ALTER TABLE auth_user ADD COLUMN surprise INTEGER")
    assert len(differences()) == 2


def test_new_database_has_nobody_in_it(own: Flask):
    flask_migrate.upgrade()
    for table in own_tables():
        assert rows(f"SELECT * FROM {table.name}") == [], table.name


def test_upgrading_again_keeps_the_schema_and_the_rows(own: Flask):
    flask_migrate.upgrade()
    before = schema()
    token = sign_in(own)
    flask_migrate.upgrade()
    flask_migrate.upgrade()
    assert schema() == before
    # The name is kept too, on a server whose default could not.
    assert data(Api(own).get("/me", token=token))["user"]["name"] == NAME


def test_migrations_leave_the_tables_of_others_alone(own: Flask):
    execute("CREATE TABLE host_thing (id INTEGER)")
    execute("INSERT INTO host_thing VALUES (7)")
    flask_migrate.upgrade()
    flask_migrate.downgrade(revision="base")
    assert rows("SELECT id FROM host_thing") == [(7,)]


def test_every_constraint_and_index_has_a_name_by_which_a_migration_can_drop_it():
    assert {table.name for table in own_tables()} == TABLES
    for table in own_tables():
        names = [*(key.name for key in table.constraints), *(index.name for index in table.indexes)]
        # MySQL takes none that is longer.
        assert all(isinstance(name, str) and len(name) <= 64 for name in names), table.name


def test_database_gives_the_constraints_the_names_of_the_models(own: Flask):
    flask_migrate.upgrade()
    found = inspect(db.engine)
    for table in own_tables():
        foreign = {key["name"] for key in found.get_foreign_keys(table.name)}
        unique = {key["name"] for key in found.get_unique_constraints(table.name)}
        assert foreign == {key.name for key in table.foreign_key_constraints}
        assert unique == {key.name for key in table.constraints if isinstance(key, UniqueConstraint)}


def test_rows_go_with_their_user(own: Flask):
    flask_migrate.upgrade()
    sign_in(own)
    counts = "SELECT (SELECT COUNT(*) FROM auth_session), (SELECT COUNT(*) FROM auth_link)"
    assert rows(counts) == [(1, 1)]
    execute("DELETE FROM auth_user")
    assert rows(counts) == [(0, 0)]


def test_tables_are_utf8mb4_though_the_default_of_the_database_is_latin1(own_on_mariadb: Flask):
    flask_migrate.upgrade()
    assert rows("SELECT @@character_set_database") == [("latin1",)]
    ours = "WHERE table_schema = DATABASE() AND table_name LIKE 'auth%'"
    kinds = rows(f"SELECT table_name, engine, table_collation FROM information_schema.tables {ours}")
    assert set(kinds) == {(name, "InnoDB", "utf8mb4_bin") for name in TABLES}
    charsets = rows(f"SELECT DISTINCT character_set_name FROM information_schema.columns {ours}")
    assert set(charsets) == {("utf8mb4",), (None,)}
    # An address equals only itself, byte for byte.
    email = f"{ours} AND table_name = 'auth_user' AND column_name = 'email'"
    found = rows(f"SELECT collation_name FROM information_schema.columns {email}")
    is_mariadb = rows("SELECT VERSION() LIKE '%MariaDB%'") == [(1,)]
    assert found == [("utf8mb4_nopad_bin" if is_mariadb else "utf8mb4_0900_bin",)]


def test_sqlite_table_that_is_made_anew_takes_no_rows_along(own_on_sqlite: Flask, tmp_path: Path, root: Path):
    flask_migrate.upgrade()
    api, token = Api(own_on_sqlite), sign_in(own_on_sqlite)
    directory = shutil.copytree(root / "migrations", tmp_path / "migrations")
    head = ScriptDirectory(str(directory)).get_current_head()
    (directory / "versions" / "next.py").write_text(REMAKES_USERS.format(head=head))
    flask_migrate.upgrade(directory=str(directory))
    assert rows("SELECT email, nickname FROM auth_user") == [(ALICE, None)]
    data(api.get("/me", token=token))
    flask_migrate.downgrade(directory=str(directory))
    data(api.get("/me", token=token))
    # The service itself still has the database look after its references.
    with pytest.raises(IntegrityError):
        execute("UPDATE auth_session SET user_id = x'00'")


def test_failed_migration_leaves_nothing_behind_on_sqlite(own_on_sqlite: Flask):
    execute("CREATE TABLE auth_outbox_message (id INTEGER)")
    with pytest.raises(OperationalError, match="auth_outbox_message already exists"):
        flask_migrate.upgrade()
    assert tables() <= {"auth_outbox_message", "alembic_version"}
    execute("DROP TABLE auth_outbox_message")
    flask_migrate.upgrade()
    assert differences() == []
