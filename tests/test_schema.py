"""A service whose database has the schema of another version: it says so, serves what it can, and never crashes."""

import itertools
import threading
from collections.abc import Iterator

import flask_migrate
import pytest
from alembic.script import ScriptDirectory
from flask import Flask
from werkzeug.test import TestResponse

from authapp import schema
from authapp.mail import worker
from tests import databases
from tests.factories import ALICE, BOB, OTHER_PASSWORD, PASSWORD, Api, data, refusal
from tests.test_migrating import revisions
from tests.test_migrations import execute

UNAVAILABLE = (503, "SERVICE_UNAVAILABLE")


@pytest.fixture(params=databases.KINDS)
def app(request: pytest.FixtureRequest) -> Iterator[Flask]:
    """The service on a database of the test's own, at head."""
    with databases.empty(request.param, request) as url, databases.serving(url) as app, app.app_context():
        flask_migrate.upgrade()
        # A request has its own context, as in a server.
        yield app


def answers(api: Api, token: str) -> dict[str, TestResponse]:
    """Ask everything that needs the database."""
    return {
        "register": api.register(BOB),
        "login": api.post("/login", {"email": ALICE, "password": PASSWORD}),
        "refresh": api.refresh(token),
        "me": api.get("/me", token=token),
        "sessions": api.get("/sessions", token=token),
        "patch": api.patch("/me", {"name": "Alice"}, token=token),
        "change": api.post(
            "/change-password", {"current_password": PASSWORD, "new_password": OTHER_PASSWORD}, token=token
        ),
        "forgot": api.post("/forgot-password", {"email": ALICE}),
        "resend": api.post("/resend-verification", {"email": ALICE}),
        "logout": api.post("/logout", token=token),
    }


def assert_told(app: Flask, token: str, log: pytest.LogCaptureFixture, mend: str = "flask db upgrade") -> set[str]:
    """Check that whatever fails is told as what it is, and give the names of it."""
    log.clear()
    found = answers(Api(app), token)
    failed = {name for name, answer in found.items() if answer.status_code >= 500}
    for name in failed:
        assert refusal(found[name]) == UNAVAILABLE, name
        assert found[name].headers["Retry-After"]
    problems = [vars(record)["problem"] for record in log.records if record.msg == "schema_of_another_version"]
    assert len(problems) == len(failed)
    assert all(mend in problem for problem in problems)
    assert "internal_error" not in log.text
    return failed


def assert_thread_says_it_once(app: Flask, log: pytest.LogCaptureFixture) -> None:
    """Check what the thread for mails logs without a schema, however often it looks."""
    app.config["MAIL_SERVER"] = "127.0.0.1"
    log.clear()
    looks, over = itertools.count(1), threading.Event()

    class Woken(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            if next(looks) == 3:
                over.set()
            return True

    worker.watch(app, Woken(), over)
    assert next(looks) == 4
    (line,) = [record for record in log.records if record.name.startswith("authapp.")]
    assert (line.msg, vars(line)["problem"]) == (
        "schema_of_another_version",
        "The database has no schema yet: run flask db upgrade.",
    )


def signed_in(app: Flask) -> str:
    api = Api(app)
    data(api.register(), 201)
    execute("UPDATE auth_user SET is_verified = 1")
    token: str = api.log_in()["access_token"]
    return token


def test_older_schema_is_told_and_crashes_nothing(app: Flask, caplog: pytest.LogCaptureFixture):
    token = signed_in(app)
    http = app.test_client()
    for revision in [*reversed(revisions()[:-1]), "base"]:
        flask_migrate.downgrade(revision=revision)
        answer = http.get("/readyz")
        assert refusal(answer) == UNAVAILABLE
        assert "older than this version: run flask db upgrade" in answer.text
        failed = assert_told(app, token, caplog)
        assert data(http.get("/healthz")) == {"status": "ok"}
    assert "login" in failed
    flask_migrate.upgrade()
    assert http.get("/readyz").status_code == 200
    assert assert_told(app, token, caplog) == set()


def test_database_that_was_never_migrated_is_told(app: Flask, caplog: pytest.LogCaptureFixture):
    token = signed_in(app)
    flask_migrate.downgrade(revision="base")
    execute("DROP TABLE alembic_version")
    answer = app.test_client().get("/readyz")
    assert "has no schema yet: run flask db upgrade" in answer.text
    assert "login" in assert_told(app, token, caplog)
    listed = app.test_cli_runner().invoke(args=["auth", "list-users"])
    assert listed.output == "Error: The database has no schema yet: run flask db upgrade.\n"
    assert_thread_says_it_once(app, caplog)


@pytest.mark.parametrize(
    "change",
    ["ALTER TABLE auth_user DROP COLUMN photo", "ALTER TABLE auth_user RENAME TO auth_account"],
)
def test_newer_schema_is_told_and_crashes_nothing(app: Flask, caplog: pytest.LogCaptureFixture, change: str):
    token = signed_in(app)
    execute(change)
    execute("UPDATE alembic_version SET version_num = '9999'")
    answer = app.test_client().get("/readyz")
    assert refusal(answer) == UNAVAILABLE
    assert "not one of this version's" in answer.text
    assert {"login", "me"} <= assert_told(app, token, caplog, "run that")


def test_column_that_a_newer_version_wants_is_told(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture):
    with databases.empty("mariadb", request) as url, databases.serving(url) as app, app.app_context():
        flask_migrate.upgrade()
        token = signed_in(app)
        execute("ALTER TABLE auth_user ADD COLUMN tenant VARCHAR(10) NOT NULL")
        execute("UPDATE alembic_version SET version_num = '9999'")
        assert "register" in assert_told(app, token, caplog, "run that")


def test_revisions_are_read_as_alembic_reads_them():
    scripts = ScriptDirectory(str(schema.MIGRATIONS))
    found = frozenset(script.revision for script in scripts.walk_revisions())
    assert schema.revisions() == (found, scripts.get_current_head())
