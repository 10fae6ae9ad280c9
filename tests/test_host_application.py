"""An application of somebody else's that mounts authapp: what it gets, and what stays as it was."""

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import flask_mail
import flask_migrate
import pytest
from flask import Blueprint, Flask, g
from flask.cli import AppGroup
from flask_jwt_extended import JWTManager
from sqlalchemy import ForeignKey, NullPool, String, select
from sqlalchemy.orm import Mapped, mapped_column

from authapp import init_app, signals, users
from authapp.columns import Identifier
from authapp.config import ConfigError
from authapp.extensions import Model, db
from authapp.models import User
from authapp.protect import current_user, login_required, roles_required
from authapp.testing import TEST_SETTINGS
from tests.factories import ALICE, BOB, CAROL, OTHER_PASSWORD, PASSWORD, Api, data, make_user, refusal, user_of
from tests.statements import failing


class Note(Model):
    """A table of the host's, beside ours."""

    __tablename__ = "host_note"

    id: Mapped[int] = mapped_column(primary_key=True)
    owner_id: Mapped[UUID] = mapped_column(Identifier, ForeignKey("auth_user.id", ondelete="CASCADE"))
    text: Mapped[str] = mapped_column(String(100))


@pytest.fixture
def host(app: Flask) -> Iterator[Flask]:
    """A host on the test's database, with a table and protected views of its own."""
    host = bare_host(DATABASE_URL=app.config["DATABASE_URL"])
    init_app(host, environ={})
    host.add_url_rule("/notes", "add", add_note, methods=["POST"])
    host.add_url_rule("/notes", "list", list_notes)
    host.add_url_rule("/admin", "admin", roles_required("admin")(lambda: "for admins"))
    host.add_url_rule("/open", "open", lambda: f"nobody: {not current_user}")
    with host.app_context():
        db.metadata.tables["host_note"].create(db.engine)
    yield host
    with host.app_context():
        db.metadata.tables["host_note"].drop(db.engine)
        db.engine.dispose()


def bare_host(**settings: object) -> Flask:
    host = Flask("host", static_folder=None)
    host.config.from_mapping(TEST_SETTINGS | settings)
    return host


@login_required
def add_note() -> str:
    db.session.add(Note(owner_id=current_user.id, text="a note"))
    db.session.commit()
    return "added"


@login_required
def list_notes() -> str:
    notes = db.session.scalars(db.select(Note).where(Note.owner_id == current_user.id))
    return ", ".join(note.text for note in notes)


def test_views_of_the_host_know_who_is_calling(host: Flask):
    make_user(host)
    make_user(host, BOB)
    alice, bob = (Api(host).log_in(email)["access_token"] for email in (ALICE, BOB))
    http = host.test_client()
    assert http.post("/notes", headers=bearer(alice)).text == "added"
    assert http.get("/notes", headers=bearer(alice)).text == "a note"
    assert http.get("/notes", headers=bearer(bob)).text == ""
    assert http.get("/open", headers=bearer(alice)).text == "nobody: True"


def test_refusals_in_views_of_the_host_are_in_the_envelope(host: Flask):
    make_user(host)
    make_user(host, CAROL, role="admin")
    alice, carol = (Api(host).log_in(email)["access_token"] for email in (ALICE, CAROL))
    http = host.test_client()
    assert refusal(http.get("/notes")) == (401, "UNAUTHORIZED")
    assert refusal(http.get("/notes", headers=bearer("x"))) == (401, "TOKEN_INVALID")
    assert refusal(http.get("/admin", headers=bearer(alice))) == (403, "FORBIDDEN")
    assert http.get("/admin", headers=bearer(carol)).text == "for admins"


def test_logging_out_ends_access_to_views_of_the_host(host: Flask):
    make_user(host)
    pair = Api(host).log_in()
    data(Api(host).post("/logout", {"refresh_token": pair["refresh_token"]}))
    assert refusal(host.test_client().get("/notes", headers=bearer(pair["access_token"]))) == (401, "TOKEN_REVOKED")


def test_deleting_a_user_takes_the_hosts_rows_along(host: Flask):
    make_user(host)
    http, token = host.test_client(), Api(host).log_in()["access_token"]
    http.post("/notes", headers=bearer(token))
    assert host.test_cli_runner().invoke(args=["auth", "delete-user", ALICE, "--yes"]).exit_code == 0
    with host.app_context():
        assert db.session.query(Note).count() == 0
        assert db.session.query(User).count() == 0


def test_host_keeps_its_own_mail_and_migrations():
    host = bare_host(DATABASE_URL="sqlite://", MAIL_SERVER="mail.example.org")
    mail = flask_mail.Mail(host).state
    migrate = flask_migrate.Migrate(host, db, directory="its/own/migrations")
    init_app(host, environ={})
    assert host.extensions["mail"] is mail
    assert host.extensions["migrate"].migrate is migrate
    assert host.extensions["migrate"].directory == "its/own/migrations"


def test_host_gets_no_health_pages_of_ours(host: Flask):
    assert host.test_client().get("/healthz").status_code == 404
    assert "X-Request-ID" not in host.test_client().get("/healthz").headers


def test_host_with_tokens_of_its_own_is_told_what_to_do():
    host = bare_host(DATABASE_URL="sqlite://", JWT_SECRET_KEY="x" * 32)
    JWTManager(host)
    with pytest.raises(ConfigError, match=r"Flask-JWT-Extended itself: protect its views with authapp\.protect"):
        init_app(host, environ={})


def test_host_may_use_the_names_that_we_would_have_taken(tmp_path: Path):
    (tmp_path / "auth").mkdir()
    (tmp_path / "auth" / "base.html").write_text("a page of the host's")
    host = Flask("host", static_folder=None, template_folder=str(tmp_path))
    host.config.from_mapping(TEST_SETTINGS | {"DATABASE_URL": "sqlite://"})
    host.register_blueprint(Blueprint("auth", "host"))
    init_app(host, environ={})
    page = Api(host).get("/verify-email?token=x").text
    assert "<button" in page
    assert "a page of the host's" not in page


def test_host_with_commands_of_our_name_is_told_what_to_do():
    host = bare_host(DATABASE_URL="sqlite://")
    host.cli.add_command(AppGroup("auth"))
    with pytest.raises(ConfigError, match="commands called 'auth' itself"):
        init_app(host, environ={})


def test_host_may_choose_its_pool_but_not_give_up_what_we_need(app: Flask):
    host = bare_host(
        DATABASE_URL=app.config["DATABASE_URL"],
        SQLALCHEMY_ENGINE_OPTIONS={"poolclass": NullPool, "hide_parameters": False},
    )
    init_app(host, environ={})
    with host.app_context():
        assert isinstance(db.engine.pool, NullPool)
        assert db.engine.hide_parameters


def test_commit_of_the_hosts_own_announces_and_its_rollback_forgets(host: Flask):
    heard: list[str] = []
    with host.app_context(), signals.user_registered.connected_to(lambda _app, **fact: heard.append(fact["email"])):
        users.create_user(BOB, PASSWORD)
        db.session.rollback()
        users.create_user(ALICE, PASSWORD)
        assert heard == []
        db.session.commit()
    assert heard == [ALICE]


def test_listener_may_write_to_the_database(host: Flask):
    def note(_app: Flask, *, user_id: UUID, **_fact: object) -> None:
        db.session.add(Note(owner_id=user_id, text="welcome"))
        db.session.commit()

    with signals.user_registered.connected_to(note):
        data(Api(host).register(), 201)
    with host.app_context():
        assert [found.text for found in db.session.scalars(db.select(Note))] == ["welcome"]


def test_outage_is_told_in_views_of_the_host_too(host: Flask):
    make_user(host)
    token = Api(host).log_in()["access_token"]
    with failing(host, "SELECT auth_user.id", Exception("the server has gone away")):
        assert refusal(host.test_client().get("/notes", headers=bearer(token))) == (503, "SERVICE_UNAVAILABLE")


def test_host_may_have_loaded_the_user_before_our_views_do(host: Flask):
    """Many hosts look up who is calling before every request, with means of their own."""
    make_user(host)

    @host.before_request
    def remember() -> None:
        g.users = db.session.scalars(select(User)).all()

    api = Api(host)
    token = api.log_in()["access_token"]
    changed = api.post("/change-password", {"current_password": PASSWORD, "new_password": OTHER_PASSWORD}, token=token)
    token = data(changed)["access_token"]
    asked = api.post("/change-email", {"new_email": BOB, "password": OTHER_PASSWORD}, token=token)
    data(asked, 202)
    data(api.delete("/me", json={"password": OTHER_PASSWORD}, token=token))
    assert refusal(api.post("/login", {"email": ALICE, "password": OTHER_PASSWORD})) == (401, "INVALID_CREDENTIALS")


def test_change_of_the_hosts_own_outlives_authenticating_the_same_user(host: Flask):
    make_user(host)
    with host.app_context():
        user = db.session.scalars(select(User)).one()
        user.name = "Alice"
        assert users.authenticate_user(ALICE, PASSWORD) is user
        assert user.name == "Alice"
        db.session.commit()
    assert user_of(host).name == "Alice"


def test_two_applications_in_one_process_share_nothing(app: Flask, host: Flask):
    other = bare_host(
        DATABASE_URL=app.config["DATABASE_URL"],
        SECRET_KEY="another secret that nobody should use anywhere else",
        AUTH_URL_PREFIX="/other",
    )
    init_app(other, environ={})
    make_user(host)
    token = Api(host).log_in()["access_token"]
    assert Api(host).get("/me", token=token).status_code == 200
    assert refusal(Api(other).get("/me", token=token)) == (401, "TOKEN_INVALID")
    assert other.test_client().get("/api/auth/me").status_code == 404
    with other.app_context():
        db.engine.dispose()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
