"""What `authapp.testing` gives to a host application's tests."""

import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import Mapped, mapped_column

from authapp import database, init_app, testing, users
from authapp.errors import UserAlreadyExistsError, ValidationError
from authapp.extensions import db
from authapp.models import Session, User
from authapp.passwords import Gate
from authapp.testing import TEST_SETTINGS, LogIn, MailOutbox, MakeUser
from tests.factories import ALICE, BOB, CAROL, PASSWORD, Api, data, refusal


def test_user_is_made_verified_with_a_known_password(api: Api, make_user: MakeUser):
    user = make_user()
    assert (user.email, user.role, user.is_verified) == (ALICE, "user", True)
    assert data(api.post("/login", {"email": ALICE, "password": PASSWORD}))["user"]["id"] == str(user.id)


def test_user_is_made_as_told(app: Flask, api: Api, make_user: MakeUser):
    carol = make_user(CAROL, "granite-7-harbour-lamp", name="Carol", role="admin", is_verified=False)
    assert (carol.name, carol.role, carol.is_verified) == ("Carol", "admin", False)
    assert (
        refusal(api.post("/login", {"email": CAROL, "password": "granite-7-harbour-lamp"}))[1] == "EMAIL_NOT_VERIFIED"
    )


def test_user_is_not_made_where_the_rules_refuse(make_user: MakeUser):
    make_user()
    with pytest.raises(UserAlreadyExistsError):
        make_user()
    with pytest.raises(ValidationError):
        make_user(BOB, "short")


def test_client_that_is_logged_in_has_a_session_of_its_own(app: Flask, make_user: MakeUser, log_in: LogIn):
    alice, bob = make_user(), make_user(BOB)
    clients = [log_in(alice), log_in(alice), log_in(bob)]
    assert [client.get("/api/auth/me").get_json()["data"]["user"]["email"] for client in clients] == [ALICE, ALICE, BOB]
    clients[0].post("/api/auth/logout")
    assert [client.get("/api/auth/me").status_code for client in clients] == [401, 200, 200]
    assert app.test_client().get("/api/auth/me").status_code == 401


def test_client_is_logged_in_as_the_user_is_now(app: Flask, make_user: MakeUser, log_in: LogIn):
    alice = make_user()
    with app.app_context():
        users.end_sign_ins(db.session.get_one(User, alice.id), reason="revoked")
        database.commit()
    assert log_in(alice).get("/api/auth/me").status_code == 200


def test_logging_in_checks_no_password(make_user: MakeUser, log_in: LogIn, monkeypatch: pytest.MonkeyPatch):
    alice = make_user()
    monkeypatch.setattr(Gate, "place", lambda _gate: pytest.fail("a password is checked"))
    assert log_in(alice).get("/api/auth/me").status_code == 200


def test_mails_and_their_tokens_are_found(api: Api, mailoutbox: MailOutbox):
    assert len(mailoutbox) == 0
    data(api.register(), 201)
    data(api.register(BOB), 201)
    assert [mail.to for mail in mailoutbox] == [ALICE, BOB]
    assert "verify" in mailoutbox[-1].subject
    assert mailoutbox[0:1][0].to == ALICE
    for address in (ALICE, BOB):
        data(api.post("/verify-email", {"token": mailoutbox.token(to=address)}))
    assert mailoutbox.token() == mailoutbox.token(to=BOB)


@pytest.mark.any_database
def test_tables_of_a_host_with_a_database_of_its_own_are_emptied(tmp_path: Path):
    own = SQLAlchemy()

    class Shelf(own.Model):  # type: ignore[name-defined,misc]  # Flask-SQLAlchemy makes it as it runs.
        id: Mapped[int] = mapped_column(primary_key=True)

    host = Flask("library", static_folder=None)
    host.config.from_mapping(TEST_SETTINGS | {"SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path / 'own.db'}"})
    own.init_app(host)
    init_app(host, environ={})
    with host.app_context():
        Shelf.__table__.create(own.engine)
    testing.empty_tables(host)
    with host.app_context():
        own.create_all()
        own.session.add(Shelf())
        own.session.commit()
    alice = testing.add_user(host)
    assert isinstance(alice.id, uuid.UUID)
    assert testing.client_of(host, alice).get("/api/auth/me").status_code == 200
    testing.empty_tables(host)
    with host.app_context():
        assert [own.session.query(model).count() for model in (Shelf, User, Session)] == [0, 0, 0]
    # The session has given its connection back now, to be closed with the others.
    with host.app_context():
        own.engine.dispose()


@pytest.mark.any_database
def test_the_service_needs_no_pytest(root: Path):
    program = "import sys, authapp, authapp.cli; sys.exit('pytest' in sys.modules or 'authapp.testing' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=root, check=False, timeout=60).returncode == 0
