"""A host with a Flask-SQLAlchemy object of its own: authapp lives in its database, its session and its migrations."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from flask import Flask, g, request
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import ForeignKey, String, Table, event, inspect, select
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Mapped, mapped_column, relationship

from authapp import database, extensions, init_app, signals, users
from authapp.config import ConfigError
from authapp.models import Session, User
from authapp.protect import current_user, login_required
from authapp.testing import TEST_SETTINGS
from authapp.testing import mailed_token as mailed_token_of
from tests import databases
from tests.factories import ALICE, BOB, OTHER_PASSWORD, PASSWORD, Api, data, mailed_token, mails, make_user, refusal

db = SQLAlchemy()


class Basket(db.Model):  # type: ignore[name-defined,misc]  # Flask-SQLAlchemy makes it as it runs.
    """A table of the host's that was declared before authapp was mounted, its foreign key without a type."""

    __tablename__ = "a_basket"

    id: Mapped[int] = mapped_column(primary_key=True)
    owner_id = mapped_column(ForeignKey("auth_user.id", ondelete="CASCADE"))
    text: Mapped[str] = mapped_column(String(100))
    owner: Mapped[User] = relationship(User)


def bare_host(db: SQLAlchemy, url: str, **settings: object) -> Flask:
    host = Flask("shop", static_folder=None)
    host.config.from_mapping(TEST_SETTINGS | {"SQLALCHEMY_DATABASE_URI": url} | settings)
    db.init_app(host)
    return host


def look_around() -> None:
    for user in db.session.scalars(select(User)):
        # The session keeps what is asked for meanwhile only.
        g.setdefault("users", []).append(user)


def add_basket() -> str:
    db.session.add(Basket(owner_id=current_user.id, text=request.args["text"]))
    db.session.commit()
    return "added"


def sign_up() -> str:
    """Make an account and a row that points to it, in one transaction."""
    user = users.create_user(request.args["email"], PASSWORD, is_verified=True)
    db.session.add(Basket(owner=user, text="the first"))
    if "fail" in request.args:
        raise ZeroDivisionError
    db.session.commit()
    return "signed up"


@pytest.fixture
def host(app: Flask) -> Iterator[Flask]:
    """A host whose own database object, with its own ideas of a session and an engine, is bound already."""
    host = bare_host(db, app.config["DATABASE_URL"])
    # It reads in its session before any view runs, our users included, as one does that looks for its tenant.
    host.before_request(look_around)
    init_app(host, environ={})
    host.add_url_rule("/baskets", "add", login_required(add_basket), methods=["POST"])
    host.add_url_rule("/sign-up", "sign_up", sign_up, methods=["POST"])
    host.register_error_handler(ZeroDivisionError, lambda _error: ("the host's own page", 500))
    with host.app_context():
        Basket.__table__.create(db.engine)
    yield host
    with host.app_context():
        Basket.__table__.drop(db.engine)
        db.engine.dispose()


def baskets(host: Flask) -> list[tuple[str, str]]:
    with host.app_context():
        found = db.session.scalars(select(Basket).join(Basket.owner).order_by(Basket.id))
        return [(basket.owner.email, basket.text) for basket in found]


def test_the_whole_way_of_an_account_in_the_hosts_database(host: Flask):
    api = Api(host)
    data(api.register(), 201)
    data(api.post("/verify-email", {"token": mailed_token(host)}))
    pair = data(api.refresh(api.log_in()["refresh_token"]))
    headers = {"Authorization": f"Bearer {pair['access_token']}"}
    assert host.test_client().post("/baskets?text=apples", headers=headers).text == "added"
    assert baskets(host) == [(ALICE, "apples")]
    changed = data(api.patch("/me", {"name": "Alice"}, token=pair["access_token"]))["user"]
    assert (changed["name"], changed["email"]) == ("Alice", ALICE)
    data(api.post("/logout", {"refresh_token": pair["refresh_token"]}))
    assert refusal(api.get("/me", token=pair["access_token"])) == (401, "TOKEN_REVOKED")
    assert host.test_cli_runner().invoke(args=["auth", "deactivate", ALICE]).exit_code == 0
    assert refusal(api.post("/login", {"email": ALICE, "password": PASSWORD})) == (403, "ACCOUNT_DISABLED")


def test_account_is_changed_and_deleted_in_the_hosts_database(host: Flask):
    make_user(host)
    api = Api(host)
    changed = api.post(
        "/change-password",
        {"current_password": PASSWORD, "new_password": OTHER_PASSWORD},
        token=api.log_in()["access_token"],
    )
    token = data(changed)["access_token"]
    data(api.post("/change-email", {"new_email": BOB, "password": OTHER_PASSWORD}, token=token), 202)
    link = next(mail for mail in mails(host) if mail.to == BOB)
    assert data(api.post("/change-email/confirm", {"token": mailed_token_of(link)}))["user"]["email"] == BOB
    data(api.post("/forgot-password", {"email": BOB}), 202)
    data(api.post("/reset-password", {"token": mailed_token(host), "new_password": PASSWORD}))
    token = api.log_in(BOB)["access_token"]
    data(api.delete("/me", json={"password": PASSWORD}, token=token))
    with host.app_context():
        assert db.session.query(User).count() == 0


def test_cookies_are_set_in_the_hosts_database(app: Flask):
    host = bare_host(db, app.config["DATABASE_URL"], AUTH_COOKIES=True)
    init_app(host, environ={})
    make_user(host)
    browser = host.test_client()
    data(browser.post("/api/auth/login", json={"email": ALICE, "password": PASSWORD}))
    assert data(browser.get("/api/auth/me"))["user"]["email"] == ALICE
    with host.app_context():
        db.engine.dispose()


def test_account_and_row_of_the_host_are_one_transaction(host: Flask):
    http = host.test_client()
    assert http.post(f"/sign-up?email={BOB}&fail=yes").text == "the host's own page"
    assert http.post(f"/sign-up?email={ALICE}").text == "signed up"
    assert baskets(host) == [(ALICE, "the first")]
    with host.app_context():
        assert users.find(BOB) is None


def test_hosts_database_object_stays_as_it_was(app: Flask):
    own = SQLAlchemy(session_options={"info": {"of": "the host"}})
    host = bare_host(own, app.config["DATABASE_URL"], SQLALCHEMY_ENGINE_OPTIONS={"hide_parameters": False})
    with host.app_context():
        engine, session, options = own.engine, own.session, dict(host.config["SQLALCHEMY_ENGINE_OPTIONS"])
    init_app(host, environ={"DATABASE_URL": "sqlite:///another.db"})
    with host.app_context():
        assert host.extensions["sqlalchemy"] is own
        assert (own.engine, own.session) == (engine, session)
        assert host.config["SQLALCHEMY_ENGINE_OPTIONS"] == options
        assert host.config["SQLALCHEMY_DATABASE_URI"] == app.config["DATABASE_URL"]
        assert host.config["DATABASE_URL"] == engine.url.render_as_string(hide_password=False)
        assert extensions.db.engine is engine
        assert extensions.db.session is session
        engine.dispose()


def test_session_is_over_with_its_request(host: Flask):
    with host.app_context():
        db.session.add(Basket(text="never committed"))
        kept = db.session()
        assert kept.new
    assert not kept.new


@pytest.mark.parametrize("kind", databases.KINDS)
def test_tables_of_the_host_and_ours_are_made_together(kind: str, request: pytest.FixtureRequest):
    with databases.empty(kind, request) as url:
        host = bare_host(db, url)
        init_app(host, environ={})
        with host.app_context():
            db.create_all()
            ours = set(extensions.db.metadata.tables)
            assert set(inspect(db.engine).get_table_names()) == {"a_basket", *ours}
            with db.engine.connect() as connection:
                there = MigrationContext.configure(connection, opts={"compare_type": True})
                assert compare_metadata(there, db.metadata) == [], "nor has Alembic anything to add"
        make_user(host)
        assert Api(host).log_in()["user"]["email"] == ALICE
        with host.app_context():
            db.drop_all()
            assert inspect(db.engine).get_table_names() == []
            db.engine.dispose()


def test_commit_of_ours_leaves_our_objects_as_they_were_saved_and_lets_the_hosts_expire(host: Flask):
    with host.app_context():
        user = users.create_user(ALICE, PASSWORD)
        basket = Basket(owner=user, text="the first")
        db.session.add(basket)
        database.commit()
        assert not inspect(user).expired_attributes
        assert "text" in inspect(basket).expired_attributes
        db.session.commit()
        assert "email" in inspect(user).expired_attributes


def test_racing_refreshes_get_one_successor_at_the_hosts_isolation(host: Flask):
    make_user(host)
    token = Api(host).log_in()["refresh_token"]
    start = Barrier(6)

    def refresh(_number: int) -> str:
        start.wait()
        found: str = data(Api(host).refresh(token))["refresh_token"]
        return found

    with ThreadPoolExecutor(6) as threads:
        successors = set(threads.map(refresh, range(6)))
    assert len(successors) == 1
    assert Api(host).refresh(successors.pop()).status_code == 200


def test_signals_follow_the_hosts_own_commit(host: Flask):
    heard: list[str] = []
    with host.app_context(), signals.user_registered.connected_to(lambda _app, **fact: heard.append(fact["email"])):
        users.create_user(BOB, PASSWORD)
        db.session.rollback()
        users.create_user(ALICE, PASSWORD)
        assert heard == []
        db.session.commit()
        db.session.commit()
    assert heard == [ALICE]


def test_deleting_a_user_through_the_hosts_session_works(host: Flask):
    make_user(host)
    Api(host).log_in()
    with host.app_context():
        users.delete(users.find(ALICE) or User())
        db.session.commit()
        assert users.find(ALICE) is None
        assert db.session.query(Session).count() == 0, "though on SQLite its foreign keys do nothing"


def test_values_are_not_in_the_log_though_the_hosts_engine_shows_them(host: Flask, caplog: pytest.LogCaptureFixture):
    def fail(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if statement.startswith("INSERT INTO auth_user"):
            raise ProgrammingError(statement, parameters, Exception("no such column"))

    with host.app_context():
        event.listen(db.engine, "before_cursor_execute", fail)
    assert refusal(Api(host).register()) == (500, "INTERNAL_ERROR")
    assert "no such column" in caplog.text
    assert ALICE not in caplog.text
    assert "scrypt" not in caplog.text


def test_an_application_without_its_own_keeps_ours_beside_it(app: Flask, host: Flask):
    make_user(host)
    with app.app_context():
        assert extensions.db.engine is not None
        assert extensions.db.session is not db.session
        assert users.find(ALICE) is not None


@pytest.mark.any_database
def test_table_of_our_name_is_told(app: Flask):
    own = SQLAlchemy()
    Table("auth_user", own.metadata)
    with pytest.raises(ConfigError, match="table called auth_user itself: give it another name"):
        init_app(bare_host(own, app.config["DATABASE_URL"]), environ={})


@pytest.mark.any_database
def test_host_without_a_default_database_is_told(app: Flask):
    own = SQLAlchemy()
    host = Flask("shop", static_folder=None)
    host.config.from_mapping(TEST_SETTINGS | {"SQLALCHEMY_BINDS": {"other": app.config["DATABASE_URL"]}})
    own.init_app(host)
    with pytest.raises(ConfigError, match="SQLALCHEMY_DATABASE_URI is not set"):
        init_app(host, environ={})


@pytest.mark.any_database
def test_host_may_have_bound_ours_before(app: Flask):
    host = bare_host(extensions.db, app.config["DATABASE_URL"])
    init_app(host, environ={})
    make_user(host)
    assert Api(host).log_in()["user"]["email"] == ALICE
    with host.app_context():
        extensions.db.engine.dispose()
