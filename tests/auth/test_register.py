"""Registering, on each database."""

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event, select
from sqlalchemy.exc import OperationalError

from authapp.extensions import db
from authapp.mail import outbox
from authapp.models import Session, User
from tests.conftest import MakeApp
from tests.factories import ALICE, BOB, PASSWORD, Api, claims, data, mailed_token, mails, make_user, refusal, user_of

EXISTS = (409, "USER_ALREADY_EXISTS")
NOT_VALID = (422, "VALIDATION_ERROR")
USER_FIELDS = {"id", "email", "name", "photo", "role", "is_active", "is_verified", "created_at", "updated_at"}


def people(app: Flask) -> list[User]:
    with app.app_context():
        return list(db.session.scalars(select(User)))


def details(answer: Any) -> dict[str, list[str]]:
    """Give what a `VALIDATION_ERROR` says of each field."""
    assert refusal(answer) == NOT_VALID
    found: dict[str, list[str]] = answer.json["error"]["details"]
    return found


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


def test_registered_verified_and_logged_in(app: Flask, api: Api):
    user = data(api.register(name="Alice"), 201)["user"]
    assert user["email"] == ALICE
    assert refusal(api.post("/login", {"email": ALICE, "password": PASSWORD})) == (403, "EMAIL_NOT_VERIFIED")
    verified = data(api.post("/verify-email", {"token": mailed_token(app)}))
    assert verified["message"] == "Your account has been activated."
    pair = api.log_in()
    assert data(api.get("/me", token=pair["access_token"]))["user"] == verified["user"] | {"is_verified": True}
    again = data(api.refresh(pair["refresh_token"]))
    assert again["access_token"] != pair["access_token"]
    data(api.post("/logout", {"refresh_token": again["refresh_token"]}))
    assert refusal(api.get("/me", token=again["access_token"])) == (401, "TOKEN_REVOKED")


def test_answer_has_the_public_fields_and_nothing_else(api: Api):
    answer = data(api.register(name="Alice", photo="https://example.org/alice.png", password_confirm=PASSWORD), 201)
    assert set(answer) == {"user"}
    user = answer["user"]
    assert set(user) == USER_FIELDS
    assert uuid.UUID(user["id"]).version == 7
    assert user["id"] == str(uuid.UUID(user["id"]))
    assert (user["name"], user["photo"], user["role"]) == ("Alice", "https://example.org/alice.png", "user")
    assert (user["is_active"], user["is_verified"]) == (True, False)
    for field in ("created_at", "updated_at"):
        assert user[field].endswith("Z")
        assert datetime.fromisoformat(user[field]).utcoffset() is not None


def test_password_is_kept_only_as_a_hash(app: Flask, api: Api):
    assert PASSWORD not in api.register().text
    assert PASSWORD not in user_of(app).password_hash


def test_name_and_photo_may_be_left_out(api: Api):
    user = data(api.register(), 201)["user"]
    assert (user["name"], user["photo"]) == (None, None)


def test_tokens_come_with_the_answer_where_no_verified_address_is_needed(make_app: MakeApp):
    api = Api(make_app(AUTH_REQUIRE_VERIFIED_EMAIL=False))
    answer = data(api.register(), 201)
    assert set(answer) == {"user", "access_token", "refresh_token", "token_type", "expires_in"}
    assert (answer["token_type"], answer["expires_in"]) == ("bearer", 1800)
    assert claims(answer["access_token"])["fresh"] is True
    assert data(api.get("/me", token=answer["access_token"]))["user"] == answer["user"]
    data(api.refresh(answer["refresh_token"]))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (ALICE, ALICE),
        (ALICE, "ALICE@Example.ORG"),
        ("Alice@Example.org", ALICE),
        ("alice@bücher.example", "alice@xn--bcher-kva.example"),
        ("alice@xn--bcher-kva.example", "alice@BÜCHER.example"),
        ("alice@bu\u0308cher.example", "alice@b\u00fccher.example"),
    ],
)
def test_one_address_in_two_spellings_is_one_account(api: Api, first: str, second: str):
    kept = data(api.register(first), 201)["user"]["email"]
    assert kept == kept.lower()
    assert kept.isascii()
    assert refusal(api.register(second)) == EXISTS


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("jose@example.org", "jos_@example.org"),
        ("jose@example.org", "jos%@example.org"),
        ("strasse@example.org", "strase@example.org"),
        ("alice@fass.example", "alice@faß.example"),
        ("alice@bucher.example", "alice@bücher.example"),
        ("alice@example.org", "alice@example.com"),
        ("alice@example.org", "a.lice@example.org"),
        ("alice@example.org", "alice+news@example.org"),
    ],
)
def test_two_addresses_are_two_people(app: Flask, api: Api, first: str, second: str):
    data(api.register(first), 201)
    data(api.register(second), 201)
    assert len(people(app)) == 2


@pytest.mark.parametrize(
    "address",
    [
        "",
        " ",
        "alice",
        "@example.org",
        "alice@",
        "root@localhost",
        "alice@[127.0.0.1]",
        "alice@127.0.0.1",
        "a" * 290 + "@example.org",
        "a" * 65 + "@example.org",
        "alice@" + "b" * 64 + ".org",
        '"alice bob"@example.org',
        '"alice"@example.org',
        "Alice <alice@example.org>",
        "alice@example.org.",
        ".alice@example.org",
        "alice..bob@example.org",
        " alice@example.org",
        "alice@example.org ",
        "alice@ example.org",
        "alice@example.org\n",
        "alice@example.org\r\nBcc: bob@example.org",
        "alice@example.org,bob@example.org",
        "alice@bob@example.org",
        "josé@example.org",
        "alice\u0131@example.org",
        "alice@xn--.org",
        "alice@-example.org",
        "alice@exam\u00adple..org",
        "alice@example",
        "alice'--@",
        # Some mail servers decode these, and deliver to whom they name within.
        "=?utf-8?q?bob=40example.net=3e?=@example.org",
        "x=?utf-8?b?Ym9iQGV4YW1wbGUubmV0?=@example.org",
    ],
)
def test_address_that_no_mail_would_reach_is_refused(app: Flask, api: Api, address: str):
    assert list(details(api.register(address))) == ["email"]
    assert people(app) == []


@pytest.mark.parametrize(
    "name",
    [
        "🎉 Alice 👩‍💻",
        "Łódź Ünïcödé",
        "李小龍",
        "می‌خواهم",
        "O'Brien-Smith",
        "x" * 100,
        "🎉" * 100,
        "Robert'); --",
        "<b>",
    ],
)
def test_name_comes_back_as_it_was_written(app: Flask, api: Api, name: str):
    """The database's default character set is latin1, in which half of these cannot be kept."""
    assert data(api.register(name=name), 201)["user"]["name"] == name
    assert user_of(app).name == name


def test_spaces_around_a_name_are_dropped(api: Api):
    assert data(api.register(name="  Alice  "), 201)["user"]["name"] == "Alice"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "   ",
        "\u200b",
        "\u00a0",
        "x" * 101,
        "🎉" * 101,
        "Alice\nBob",
        "Alice\tBob",
        "\x1b[31mAlice",
        "Alice\u2028Bob",
        "\u202eecilA",
    ],
)
def test_name_that_nobody_has_is_refused(api: Api, name: str):
    assert list(details(api.register(name=name))) == ["name"]


def test_photo_of_the_longest_allowed_address_is_kept(app: Flask, api: Api):
    photo = "https://example.org/" + "a" * 2028
    assert data(api.register(photo=photo), 201)["user"]["photo"] == photo


@pytest.mark.parametrize(
    "photo",
    [
        "",
        "http://example.org/alice.png",
        "//example.org/alice.png",
        "/alice.png",
        "javascript:alert(1)",
        "data:image/png;base64,AAAA",
        "ftp://example.org/alice.png",
        "https://",
        "https://example.org/a b",
        "https://example.org/\n",
        "https://example.org/" + "a" * 2029,
    ],
)
def test_photo_that_is_no_https_address_is_refused(api: Api, photo: str):
    assert list(details(api.register(photo=photo))) == ["photo"]


@pytest.mark.parametrize("field", ["password_confirm", "passwordConfirm"])
def test_password_given_twice_must_be_the_same(app: Flask, api: Api, field: str):
    assert list(details(api.register(**{field: PASSWORD + "x"}))) == [field]
    assert list(details(api.register(**{field: ""}))) == [field]
    assert people(app) == []
    data(api.register(**{field: PASSWORD}), 201)


@pytest.mark.parametrize(
    ("password", "expected"),
    [
        ("", "at least 8"),
        ("xK9#mQ2", "at least 8"),
        ("xK9#mQ2vL!" * 13, "at most 128"),
        ("password", "too easy"),
        ("aaaaaaaaaaaa", "too easy"),
        ("alice@example.org", "too easy"),
        ("wonderland", "too easy"),
    ],
)
def test_weak_password_is_refused_with_all_that_is_wrong_with_it(app: Flask, api: Api, password: str, expected: str):
    found = details(api.register(password=password, name="Wonderland"))
    assert list(found) == ["password"]
    assert expected in " ".join(found["password"])
    assert people(app) == []
    assert mails(app) == []


def test_strength_is_not_rated_where_the_operator_switched_that_off(make_app: MakeApp):
    api = Api(make_app(AUTH_PASSWORD_MIN_SCORE=0, AUTH_PASSWORD_MIN_LENGTH=10))
    data(api.register(password="aaaaaaaaaa"), 201)
    assert list(details(api.register(BOB, "aaaaaaaaa"))) == ["password"]


def test_role_cannot_be_chosen(app: Flask, api: Api):
    assert set(details(api.register(role="admin", is_superuser=True, verified=True, is_verified=True))) == {
        "role",
        "is_superuser",
        "verified",
        "is_verified",
    }
    assert people(app) == []


def test_one_mail_is_queued_with_the_account(app: Flask, api: Api):
    data(api.register(), 201)
    (mail,) = mails(app)
    assert mail.to == ALICE
    assert outbox.links_of(mail)[0] in mail.html
    assert refusal(api.register()) == EXISTS
    assert len(mails(app)) == 1


def test_nothing_is_kept_when_the_commit_fails(app: Flask, api: Api):
    with failing_commits():
        answer = api.register()
    assert refusal(answer) == (503, "SERVICE_UNAVAILABLE")
    assert int(answer.headers["Retry-After"]) > 0
    assert people(app) == []
    assert mails(app) == []
    data(api.register(), 201)


def test_address_of_a_deleted_account_is_free_again(app: Flask, api: Api):
    first = make_user(app)
    with app.app_context():
        db.session.delete(db.session.get_one(User, uuid.UUID(first)))
        db.session.commit()
    assert data(api.register(), 201)["user"]["id"] != first


def test_of_eight_who_register_one_address_at_once_one_does(app: Flask, api: Api):
    answers, together = [], threading.Barrier(8)

    def register(email: str) -> None:
        together.wait()
        answers.append(refusal_or_status(api.register(email)))

    spellings = [ALICE, ALICE.upper(), "Alice@Example.org", ALICE] * 2
    threads = [threading.Thread(target=register, args=(email,)) for email in spellings]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [201] + [409] * 7
    assert len(people(app)) == len(mails(app)) == 1


def refusal_or_status(answer: Any) -> int:
    """Give the status, after checking that the answer is a success or the one refusal of a taken address."""
    assert answer.status_code == 201 or refusal(answer) == EXISTS
    return int(answer.status_code)


def test_no_session_is_started_for_an_address_that_is_not_verified(app: Flask, api: Api):
    data(api.register(), 201)
    with app.app_context():
        assert db.session.scalars(select(Session)).all() == []


@pytest.mark.parametrize("other", [ALICE.upper(), f"{ALICE} ", "álice@example.org", "alice@example.org\t"])
def test_database_itself_compares_addresses_byte_for_byte(app: Flask, other: str):
    """Were a rule to forget the normal form, two people would still not become one."""
    make_user(app)
    with app.app_context():
        assert db.session.scalar(select(User.id).where(User.email == other)) is None
        db.session.add(User(email=other, password_hash="none"))
        db.session.commit()
    assert len(people(app)) == 2


def test_blank_fields_of_a_form_are_not_given(app: Flask, api: Api):
    form = {"email": ALICE, "password": PASSWORD, "name": "", "photo": ""}
    user = data(api.post("/register", data=form), 201)["user"]
    assert (user["name"], user["photo"]) == (None, None)
    form = {"email": BOB, "password": PASSWORD, "password_confirm": ""}
    assert refusal(api.post("/register", data=form)) == (422, "VALIDATION_ERROR")


@pytest.mark.parametrize("photo", ["https://example.org/a\x7fb", "https://example.org/\u202egnp.exe"])
def test_photo_with_hidden_characters_is_refused(api: Api, photo: str):
    assert refusal(api.register(photo=photo)) == (422, "VALIDATION_ERROR")
