"""Signals: each is sent once what it speaks of is committed, with its fields, and not otherwise."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from blinker import NamedSignal
from flask import Flask
from sqlalchemy import event, func, select
from sqlalchemy.exc import OperationalError

from authapp import clock, credentials, database, signals, users
from authapp.errors import InvalidCredentialsError
from authapp.extensions import db
from authapp.models import Session, User
from tests.conftest import MakeApp
from tests.factories import (
    ALICE,
    BOB,
    CAROL,
    OTHER_PASSWORD,
    PASSWORD,
    Api,
    claims,
    data,
    mailed_token,
    make_user,
    refusal,
)

ALL = [
    signals.user_registered,
    signals.user_verified,
    signals.user_logged_in,
    signals.password_changed,
    signals.email_changed,
    signals.user_changed,
    signals.user_deleted,
    signals.session_ended,
    signals.login_failed,
    signals.session_refreshed,
    signals.token_reused,
]


class Heard(list[tuple[str, dict[str, Any]]]):
    """What was announced, in order: the signal's name and its fields."""

    def of(self, signal: NamedSignal) -> list[dict[str, Any]]:
        return [fields for name, fields in self if name == signal.name]


@pytest.fixture
def heard() -> Iterator[Heard]:
    """Listen to every signal."""
    found, listeners = Heard(), []
    for signal in ALL:

        def listen(sender: object, _name: str = signal.name, **fields: Any) -> None:
            found.append((_name, {**fields, "sender": sender}))

        signal.connect(listen)
        listeners.append((signal, listen))
    yield found
    for signal, listener in listeners:
        signal.disconnect(listener)


@contextmanager
def listening(signal: NamedSignal, listener: Any) -> Iterator[None]:
    signal.connect(listener)
    try:
        yield
    finally:
        signal.disconnect(listener)


@contextmanager
def failing_commits() -> Iterator[None]:
    """Have the database go away right before every commit."""

    def fail(_session: object) -> None:
        raise OperationalError("COMMIT", None, Exception("the server has gone away"))

    event.listen(db.session, "before_commit", fail)
    try:
        yield
    finally:
        event.remove(db.session, "before_commit", fail)


def test_every_signal_is_tried_here():
    assert {id(value) for value in vars(signals).values() if isinstance(value, NamedSignal)} == {id(one) for one in ALL}


def test_registration_is_announced(app: Flask, api: Api, heard: Heard):
    user = data(api.register(), 201)["user"]
    fields = {"sender": app, "user_id": uuid.UUID(user["id"]), "email": ALICE}
    assert heard == [("user-registered", fields)]


def test_registration_that_signs_in_announces_both(make_app: MakeApp, heard: Heard):
    data(Api(make_app(AUTH_REQUIRE_VERIFIED_EMAIL=False)).register(), 201)
    assert [name for name, _ in heard] == ["user-registered", "user-logged-in"]


def test_verification_is_announced_once(app: Flask, api: Api, heard: Heard):
    user = data(api.register(), 201)["user"]
    for _ in range(2):
        data(api.post("/verify-email", {"token": mailed_token(app)}))
    fields = {"sender": app, "user_id": uuid.UUID(user["id"]), "email": ALICE}
    assert heard.of(signals.user_verified) == [fields]


def test_login_and_the_end_of_its_session_are_announced(app: Flask, api: Api, heard: Heard):
    user_id = uuid.UUID(make_user(app))
    heard.clear()
    pair = api.log_in()
    sid = uuid.UUID(claims(pair["access_token"])["sid"])
    for _ in range(2):
        data(api.post("/logout", {"refresh_token": pair["refresh_token"]}))
    assert heard == [
        ("user-logged-in", {"sender": app, "user_id": user_id, "sid": sid}),
        ("session-ended", {"sender": app, "user_id": user_id, "sid": sid, "reason": "logged_out"}),
    ]


def test_refresh_is_no_login_but_announced(app: Flask, api: Api, heard: Heard):
    user_id = uuid.UUID(make_user(app))
    pair = api.log_in()
    for _ in range(2):
        data(api.refresh(pair["refresh_token"]))
    assert len(heard.of(signals.user_logged_in)) == 1
    sid = uuid.UUID(claims(pair["access_token"])["sid"])
    assert heard.of(signals.session_refreshed) == [{"sender": app, "user_id": user_id, "sid": sid}], "once a successor"


def test_login_that_fails_is_announced_though_its_request_is_refused(app: Flask, api: Api, heard: Heard):
    verified, unverified = uuid.UUID(make_user(app)), uuid.UUID(make_user(app, BOB, is_verified=False))
    disabled = uuid.UUID(make_user(app, CAROL))
    with app.app_context():
        users.set_active(users.find(CAROL) or User(), False)
        database.commit()
    heard.clear()
    tries = [("nobody@example.org", PASSWORD), (ALICE, OTHER_PASSWORD), (BOB, PASSWORD), (CAROL, PASSWORD)]
    codes = [refusal(api.post("/login", {"email": email, "password": password}))[1] for email, password in tries]
    assert heard == [
        ("login-failed", {"sender": app, "user_id": user_id, "email": email, "code": code})
        for user_id, (email, _), code in zip((None, verified, unverified, disabled), tries, codes, strict=True)
    ]
    assert codes == ["INVALID_CREDENTIALS", "INVALID_CREDENTIALS", "EMAIL_NOT_VERIFIED", "ACCOUNT_DISABLED"]


def test_listener_may_write_down_a_login_that_failed(app: Flask, api: Api):
    user_id = make_user(app)

    def lock(sender: object, user_id: uuid.UUID, **_: Any) -> None:
        users.set_active(db.session.get_one(User, user_id), False)
        database.commit()

    with listening(signals.login_failed, lock):
        assert refusal(api.post("/login", {"email": ALICE, "password": OTHER_PASSWORD}))[0] == 401
    with app.app_context():
        assert not db.session.get_one(User, uuid.UUID(user_id)).is_active


def test_login_that_fails_in_a_script_is_announced_too(app: Flask, heard: Heard):
    with app.app_context(), pytest.raises(InvalidCredentialsError):
        users.authenticate_user(ALICE, PASSWORD)
    assert [fields["code"] for fields in heard.of(signals.login_failed)] == ["INVALID_CREDENTIALS"]


def test_changed_profile_is_announced(app: Flask, api: Api, heard: Heard):
    user_id = uuid.UUID(make_user(app))
    data(api.patch("/me", {"name": "Alice"}, token=api.log_in()["access_token"]))
    assert heard.of(signals.user_changed) == [{"sender": app, "user_id": user_id, "what": "profile"}]


def test_reuse_is_announced_though_its_request_is_refused(app: Flask, api: Api, heard: Heard):
    user_id = uuid.UUID(make_user(app))
    pair = api.log_in()
    data(api.refresh(pair["refresh_token"]))
    with time_machine.travel(clock.now() + timedelta(minutes=5)):
        assert refusal(api.refresh(pair["refresh_token"])) == (401, "TOKEN_REUSED")
    sid = uuid.UUID(claims(pair["access_token"])["sid"])
    assert heard.of(signals.token_reused) == [{"sender": app, "user_id": user_id, "sid": sid}]
    (ended,) = heard.of(signals.session_ended)
    assert (ended["sid"], ended["reason"]) == (sid, "token_reused")


def test_every_session_that_is_ended_is_announced(app: Flask, api: Api, heard: Heard):
    make_user(app)
    pairs = [api.log_in() for _ in range(3)]
    data(api.delete("/sessions", token=pairs[0]["access_token"]))
    assert {str(fields["sid"]) for fields in heard.of(signals.session_ended)} == {
        claims(pair["access_token"])["sid"] for pair in pairs[1:]
    }
    assert {fields["reason"] for fields in heard.of(signals.session_ended)} == {"revoked"}


def test_what_an_operator_changes_is_announced(app: Flask, heard: Heard):
    user_id = uuid.UUID(make_user(app))
    heard.clear()
    with app.app_context():
        user = users.find(ALICE) or User()
        credentials.set_password(user, OTHER_PASSWORD)
        users.set_active(user, False)
        assert heard == [], "nothing is committed yet"
        database.commit()
        users.delete(user)
        database.commit()
    assert [fields["how"] for fields in heard.of(signals.password_changed)] == ["set"]
    assert [fields["what"] for fields in heard.of(signals.user_changed)] == ["is_active"]
    assert heard.of(signals.user_deleted) == [{"sender": app, "user_id": user_id, "email": ALICE}]


def test_listener_finds_what_it_was_told_of(app: Flask, api: Api):
    """It is sent after the commit: another connection sees the account."""
    seen = []

    def look(sender: Flask, user_id: uuid.UUID, **_: Any) -> None:
        with db.engine.connect() as connection:
            seen.append(connection.scalar(select(func.count()).where(User.id == user_id)))

    with listening(signals.user_registered, look):
        data(api.register(), 201)
    assert seen == [1]


def test_listener_that_raises_does_not_break_the_answer(
    app: Flask, api: Api, heard: Heard, caplog: pytest.LogCaptureFixture
):
    def fail(sender: object, **_: Any) -> None:
        raise RuntimeError("the listener's bug")

    with listening(signals.user_registered, fail):
        data(api.register(), 201)
    assert "afterwards_failed" in caplog.text
    assert "the listener's bug" in caplog.text
    data(api.post("/verify-email", {"token": mailed_token(app)}))
    assert len(heard.of(signals.user_verified)) == 1


def test_listener_may_write_to_the_database_and_commit(app: Flask, api: Api):
    def rename(sender: object, user_id: uuid.UUID, **_: Any) -> None:
        users.change_profile(user_id, name="Named by the host")
        database.commit()

    with listening(signals.user_registered, rename):
        data(api.register(), 201)
    with app.app_context():
        assert (users.find(ALICE) or User()).name == "Named by the host"


def test_refused_request_announces_nothing(app: Flask, api: Api, heard: Heard):
    make_user(app, BOB)
    heard.clear()
    assert refusal(api.register(BOB))[0] == 409
    assert refusal(api.register(password="password"))[0] == 422
    assert refusal(api.post("/verify-email", {"token": "nonsense"}))[0] == 400
    assert heard == []


def test_commit_that_fails_announces_nothing(app: Flask, api: Api, heard: Heard):
    make_user(app, BOB)
    pair = api.log_in(BOB)
    heard.clear()
    with failing_commits():
        assert refusal(api.register())[0] == 503
        assert refusal(api.post("/login", {"email": BOB, "password": "violet-tractor-19-sings"}))[0] == 503
        assert refusal(api.post("/logout", {"refresh_token": pair["refresh_token"]}))[0] == 503
    assert heard == []
    api.get("/nothing")
    assert heard == [], "nor does a later request of the same thread"
    with app.app_context():
        assert db.session.scalar(select(func.count()).select_from(Session)) == 1


def test_rollback_forgets_what_was_to_be_announced(app: Flask, heard: Heard):
    with app.app_context():
        signals.announce(signals.user_changed, user_id=uuid.uuid4(), what="password")
        database.rollback()
        database.commit()
    assert heard == []
