"""No request, command or worker reads a table from end to end, but for what the table of exceptions gives a reason for.

The databases are asked how they would run each statement (EXPLAIN), with thousands of rows in every table.
"""

import re
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import flask_migrate
import pytest
from flask import Flask
from sqlalchemy import delete

from authapp import create_app, database, purge
from authapp.extensions import db
from authapp.mail import delivery
from authapp.mail.models import MailRequest
from authapp.testing import TEST_SETTINGS
from tests import databases
from tests.factories import ALICE, BOB, OTHER_PASSWORD, PASSWORD, Api, data, refusal
from tests.filling import PAST, fill
from tests.leaks import watch
from tests.mail.conftest import MailServer, content
from tests.plans import scans

METRICS_TOKEN = "kq7TzVb2nXw9LrYp4MsHd6FgJc8ZtR3a"  # Of no service.

# What reads a whole table by its nature, by the end of the statement, and why that may be.
ALLOWED = {
    "FROM auth_user ORDER BY auth_user.id$": "`list-users` lists everybody.",
    "FROM auth_mail_request ORDER BY auth_mail_request.id LIMIT": "The first hundred in the order of the key.",
    "FROM auth_mail_request$": "How many wait is counted: they do so for a few seconds.",
}


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    server = MailServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=databases.KINDS)
def full(request: pytest.FixtureRequest, mail_server: MailServer) -> Iterator[Flask]:
    """The service on a database of its own that has been in use for a while."""
    settings = {
        **TEST_SETTINGS,
        "RATELIMIT_ENABLED": True,
        "MAIL_SERVER": "127.0.0.1",
        "MAIL_PORT": mail_server.port,
        "MAIL_SUPPRESS_SEND": False,
        "METRICS_TOKEN": METRICS_TOKEN,
    }
    with databases.empty(request.param, request) as url:
        app = create_app({**settings, "DATABASE_URL": url}, environ={})
        with app.app_context():
            flask_migrate.upgrade()
        fill(app)
        yield app
        with app.app_context():
            db.engine.dispose()


class Walk:
    """Alice and Bob go through everything that there is, with a mail server that delivers."""

    def __init__(self, app: Flask, mail_server: MailServer) -> None:
        self.app, self.api, self.mail_server = app, Api(app), mail_server

    def link(self) -> str:
        """Deliver what is due, and give the token of the newest link."""
        with self.app.app_context():
            delivery.deliver_due()
        texts = "".join(content(mail, "plain") for mail in self.mail_server.taken)
        found: str = re.findall(r"token=([\w.-]+)", texts)[-1]
        return found

    def whole(self) -> None:
        """Go all of the way."""
        api = self.api
        data(api.register(), 201)
        data(api.post("/resend-verification", {"email": ALICE}), 202)
        data(api.post("/verify-email", {"token": self.link()}))
        self._sessions()
        password = self._passwords()
        self._addresses(password)
        for path in ("/healthz", "/readyz", "/.well-known/jwks.json"):
            assert self.app.test_client().get(path).status_code == 200
        metrics = self.app.test_client().get("/metrics", headers={"Authorization": f"Bearer {METRICS_TOKEN}"})
        assert "authapp_database_up 1.0" in metrics.text

    def _sessions(self) -> None:
        api = self.api
        assert refusal(api.post("/login", {"email": ALICE, "password": OTHER_PASSWORD}))[0] == 401
        first, *_ = (api.log_in() for _ in range(3))
        renewed = data(api.refresh(first["refresh_token"]))
        # As after a lost answer, and as by a thief.
        data(api.refresh(first["refresh_token"]))
        token = renewed["access_token"]
        data(api.get("/me", token=token))
        data(api.patch("/me", {"name": "Alice"}, token=token))
        listed = data(api.get("/sessions", token=token))["sessions"]
        others = [one["id"] for one in listed if not one["current"]]
        assert len(others) == 2
        data(api.delete(f"/sessions/{others[0]}", token=token))
        data(api.delete("/sessions", token=token))
        data(api.refresh(renewed["refresh_token"]))
        assert refusal(api.refresh(first["refresh_token"])) == (401, "TOKEN_REUSED")
        pair = api.log_in()
        data(api.post("/logout", {"refresh_token": pair["refresh_token"]}, token=pair["access_token"]))

    def _passwords(self) -> str:
        api, token = self.api, self.api.log_in()["access_token"]
        change = {"current_password": PASSWORD, "new_password": OTHER_PASSWORD}
        data(api.post("/change-password", change, token=token))
        data(api.post("/forgot-password", {"email": ALICE}), 202)
        new = "harbour-granite-7-violet"
        watch.keep(new)
        data(api.post("/reset-password", {"token": self.link(), "new_password": new}))
        return new

    def _addresses(self, password: str) -> None:
        api = self.api
        token = api.log_in(password=password)["access_token"]
        data(api.post("/change-email", {"new_email": BOB, "password": password}, token=token), 202)
        data(api.post("/change-email/confirm", {"token": self.link()}))
        token = api.log_in(BOB, password)["access_token"]
        data(api.delete("/me", json={"password": password}, token=token))

    def commands(self, folder: Path) -> None:
        """Give every command that asks the database for something."""
        people = folder / "people.csv"
        people.write_text(f"email,id\n{BOB},\nx@example.org,{uuid.uuid4()}\n")
        for command in (
            ["create-user", ALICE, "--password-stdin"],
            ["import-users", str(people)],
            ["list-users", "--json"],
            ["verify", ALICE],
            ["set-password", ALICE, "--password-stdin"],
            ["deactivate", ALICE],
            ["activate", ALICE],
            ["sessions", ALICE],
            ["revoke-sessions", ALICE],
            ["delete-user", ALICE, "--yes"],
            ["deliver-mail"],
            ["doctor"],
        ):
            result = self.app.test_cli_runner().invoke(args=["auth", *command], input=f"{OTHER_PASSWORD}\n")
            # The doctor has something to say of an application under test.
            assert result.exit_code == 0 or command == ["doctor"], result.output


def unexpected(found: Mapping[str, set[str]]) -> list[str]:
    """Give the statements that scan a table and may not."""
    return [statement for statement, tables in found.items() if tables and not reasons(statement)]


def reasons(statement: str) -> list[str]:
    """Give the exceptions that a statement falls under."""
    plain = " ".join(statement.split())
    return [pattern for pattern in ALLOWED if re.search(pattern, plain)]


def test_no_request_and_no_command_reads_a_whole_table(full: Flask, mail_server: MailServer, tmp_path: Path):
    walk = Walk(full, mail_server)
    with full.app_context():
        # They would be looked into one by one; the purge has them.
        db.session.execute(delete(MailRequest))
        database.commit()
    with scans(full) as found:
        walk.whole()
        walk.commands(tmp_path)
    assert unexpected(found) == []
    # An exception that nothing needs any more would only hide the next one.
    assert {pattern for statement, tables in found.items() if tables for pattern in reasons(statement)} == set(ALLOWED)
    assert len(found) > 40


def test_purge_finds_by_an_index_what_it_deletes(full: Flask, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(purge, "_BATCH", 7)
    with scans(full) as found, full.app_context():
        deleted = purge.run()
    assert set(deleted.values()) == {PAST, 2 * PAST}
    assert unexpected(found) == []
    assert all("LIMIT" in statement or " IN (" in statement for statement in found)
