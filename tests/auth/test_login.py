"""Logging in: who is let in, what a refusal tells, and what the tokens say."""

import base64
import json
import unicodedata
import uuid
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from datetime import UTC, datetime

import pytest
import time_machine
from flask import Flask

from authapp import credentials as credentials_rule
from authapp import database, signin, users
from authapp.clients import Client
from authapp.extensions import db
from authapp.models import Session, User
from tests.conftest import MakeApp
from tests.factories import ALICE, BOB, OTHER_PASSWORD, PASSWORD, Api, claims, data, make_user, refusal, user_of
from tests.statements import just_before

USER_FIELDS = {"id", "email", "name", "photo", "role", "is_active", "is_verified", "created_at", "updated_at"}


def credentials(email: str = ALICE, password: str = PASSWORD) -> dict[str, str]:
    return {"email": email, "password": password}


def header(token: str) -> dict[str, str]:
    first = token.partition(".")[0]
    found: dict[str, str] = json.loads(base64.urlsafe_b64decode(first + "=" * (-len(first) % 4)))
    return found


@pytest.mark.parametrize("path", ["/login", "/login/json"])
def test_login_gives_both_tokens_and_the_user(app: Flask, api: Api, path: str):
    user_id = make_user(app, name="Alice")
    response = api.post(path, credentials())
    found = data(response)
    assert set(found) == {"access_token", "refresh_token", "token_type", "expires_in", "user"}
    assert found["token_type"] == "bearer"
    assert found["expires_in"] == 1800
    assert set(found["user"]) == USER_FIELDS
    assert found["user"]["id"] == user_id
    assert response.headers["Cache-Control"] == "no-store"


def test_tokens_say_what_the_contract_lists(app: Flask, api: Api):
    user_id = make_user(app)
    now = datetime(2031, 5, 6, 7, 8, 9, 900_000, tzinfo=UTC)
    with time_machine.travel(now, tick=False):
        pair = api.log_in()
    starts = int(now.timestamp())
    access, refresh = claims(pair["access_token"]), claims(pair["refresh_token"])
    common = {"sub", "sid", "jti", "type", "iat", "nbf", "exp", "fresh"}
    assert set(access) == common | {"email", "role"}
    assert set(refresh) == common
    assert access["sub"] == refresh["sub"] == user_id
    assert access["sid"] == refresh["sid"]
    assert access["jti"] != refresh["jti"]
    assert (access["type"], refresh["type"]) == ("access", "refresh")
    assert (access["email"], access["role"]) == (ALICE, "user")
    assert (access["fresh"], refresh["fresh"]) == (True, False)
    for found in (access, refresh):
        assert found["iat"] == found["nbf"] == starts
        uuid.UUID(found["jti"])
    # The ends are kept to the microsecond and told in whole seconds.
    assert access["exp"] == starts + 30 * 60
    assert refresh["exp"] == starts + 7 * 24 * 3600
    for token in (pair["access_token"], pair["refresh_token"]):
        assert header(token)["alg"] == "HS256"
        assert set(header(token)) == {"alg", "kid", "typ"}


def test_two_logins_are_two_sessions(app: Flask, api: Api):
    make_user(app)
    first, second = api.log_in(), api.log_in()
    assert claims(first["access_token"])["sid"] != claims(second["access_token"])["sid"]
    assert claims(first["access_token"])["jti"] != claims(second["access_token"])["jti"]


def test_wrong_address_and_wrong_password_get_the_same_bytes(app: Flask, api: Api):
    make_user(app)
    same_id = {"X-Request-ID": "one-and-the-same"}
    unknown = api.post("/login", credentials(BOB), headers=same_id)
    wrong = api.post("/login", credentials(password=OTHER_PASSWORD), headers=same_id)
    assert refusal(unknown) == refusal(wrong) == (401, "INVALID_CREDENTIALS")
    assert unknown.data == wrong.data
    assert list(unknown.headers) == list(wrong.headers)
    assert wrong.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"is_verified": False}, "EMAIL_NOT_VERIFIED"),
        ({}, "ACCOUNT_DISABLED"),
        # The worse news first: verifying the address would not help.
        ({"is_verified": False, "disabled": True}, "ACCOUNT_DISABLED"),
    ],
)
def test_state_of_the_account_is_told_only_after_the_right_password(app: Flask, api: Api, more, code: str):
    make_user(app, is_verified=more.get("is_verified", True))
    if code == "ACCOUNT_DISABLED":
        set_active(app, False)
    assert refusal(api.post("/login", credentials())) == (403, code)
    assert refusal(api.post("/login", credentials(password=OTHER_PASSWORD))) == (401, "INVALID_CREDENTIALS")
    assert count(app, Session) == 0


def test_enabled_again_logs_in_and_earlier_tokens_stay_dead(app: Flask, api: Api):
    make_user(app)
    earlier = api.log_in()
    set_active(app, False)
    set_active(app, True)
    assert refusal(api.get("/me", token=earlier["access_token"])) == (401, "TOKEN_REVOKED")
    assert refusal(api.refresh(earlier["refresh_token"])) == (401, "TOKEN_REVOKED")
    data(api.get("/me", token=api.log_in()["access_token"]))


def test_unverified_logs_in_where_no_verified_address_is_needed(app: Flask, make_app: MakeApp):
    make_user(app, is_verified=False)
    lenient = Api(make_app(AUTH_REQUIRE_VERIFIED_EMAIL="false"))
    pair = lenient.log_in()
    assert pair["user"]["is_verified"] is False
    data(lenient.get("/me", token=pair["access_token"]))


@pytest.mark.parametrize("spelling", ["Alice@Example.ORG", "ALICE@EXAMPLE.ORG", "alice@example.org"])
def test_address_logs_in_in_any_case(app: Flask, api: Api, spelling: str):
    make_user(app, "aLiCe@example.org")
    assert api.log_in(spelling)["user"]["email"] == ALICE


def test_password_never_grows_old(app: Flask, api: Api):
    make_user(app)
    with time_machine.travel(datetime(2061, 5, 6, tzinfo=UTC)):
        api.log_in()


def test_password_is_compared_by_case_and_to_its_last_space(app: Flask, api: Api):
    make_user(app)
    for wrong in (PASSWORD.upper(), PASSWORD + " ", " " + PASSWORD, PASSWORD + "\t", PASSWORD[:-1]):
        assert refusal(api.post("/login", credentials(password=wrong))) == (401, "INVALID_CREDENTIALS")


@pytest.mark.parametrize(("kept", "typed"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_both_spellings_of_an_accented_password_log_in(app: Flask, api: Api, kept, typed):
    password = "Übermäßig-schöne-Ångström-Çédille"
    make_user(app, password=unicodedata.normalize(kept, password))
    api.log_in(password=unicodedata.normalize(typed, password))


def test_long_password_counts_to_its_last_character(app: Flask, api: Api):
    password = PASSWORD * 5 + "x"
    make_user(app, password=password)
    api.log_in(password=password)
    assert refusal(api.post("/login", credentials(password=password[:-1]))) == (401, "INVALID_CREDENTIALS")


@pytest.mark.parametrize("field", ["email", "password"])
@pytest.mark.parametrize("value", [0, 1.5, True, None, [], ["a"], {}, {"a": 1}])
def test_only_strings_are_credentials(app: Flask, api: Api, field: str, value: object):
    make_user(app)
    response = api.post("/login", credentials() | {field: value})
    assert refusal(response) == (422, "VALIDATION_ERROR")
    assert list(response.get_json()["error"]["details"]) == [field]


@pytest.mark.parametrize("password", ["\x00", "half \ud800 a pair", "x" * 4097])
def test_what_is_not_text_is_no_password(app: Flask, api: Api, password: str):
    body = json.dumps(credentials(password=password))
    response = api.post("/login", data=body, content_type="application/json")
    assert refusal(response) == (422, "VALIDATION_ERROR")


def test_unknown_and_missing_fields_are_named(api: Api):
    response = api.post("/login", {"email": ALICE, "remember": True})
    assert refusal(response) == (422, "VALIDATION_ERROR")
    assert set(response.get_json()["error"]["details"]) == {"password", "remember"}


def test_hash_of_another_cost_is_renewed_at_login(app: Flask, api: Api, make_app: MakeApp):
    make_user(app)
    before, earlier = user_of(app), api.log_in()
    renewed = Api(make_app(AUTH_PASSWORD_HASH="scrypt:256:1:1"))
    first = renewed.log_in()
    after = user_of(app)
    assert before.password_hash.startswith("scrypt:128:1:1$")
    assert after.password_hash.startswith("scrypt:256:1:1$")
    # It is the same password: nobody is logged out, and nothing that people see of the account has changed.
    assert (after.epoch, after.updated_at) == (before.epoch, before.updated_at)
    for pair in (earlier, first, renewed.log_in()):
        data(renewed.get("/me", token=pair["access_token"]))
    assert user_of(app).password_hash == after.password_hash


def test_wrong_password_renews_nothing(app: Flask, make_app: MakeApp):
    make_user(app)
    before = user_of(app).password_hash
    response = Api(make_app(AUTH_PASSWORD_HASH="scrypt:256:1:1")).post("/login", credentials(password=OTHER_PASSWORD))
    assert refusal(response) == (401, "INVALID_CREDENTIALS")
    assert user_of(app).password_hash == before


def test_login_under_way_while_the_password_changes_is_dead_on_arrival(app: Flask, api: Api):
    make_user(app)
    with app.app_context():
        user = users.authenticate_user(ALICE, PASSWORD)
        set_password(app, OTHER_PASSWORD)
        pair = signin.sign_in(user, Client())
        database.commit()
    assert refusal(api.get("/me", token=pair.access_token)) == (401, "TOKEN_REVOKED")
    assert refusal(api.refresh(pair.refresh_token)) == (401, "TOKEN_REVOKED")
    data(api.get("/me", token=api.log_in(password=OTHER_PASSWORD)["access_token"]))


def test_renewed_hash_never_overwrites_a_password_changed_meanwhile(app: Flask, api: Api, make_app: MakeApp):
    make_user(app)
    renewing = make_app(AUTH_PASSWORD_HASH="scrypt:256:1:1")
    with just_before(renewing, "UPDATE auth_user", lambda: set_password(app, OTHER_PASSWORD)):
        pair = Api(renewing).log_in()
    assert refusal(api.get("/me", token=pair["access_token"])) == (401, "TOKEN_REVOKED")
    api.log_in(password=OTHER_PASSWORD)
    assert refusal(api.post("/login", credentials())) == (401, "INVALID_CREDENTIALS")


def test_password_changed_or_account_gone_between_check_and_session_over_http(app: Flask, api: Api):
    make_user(app)
    with just_before(app, "INSERT INTO auth_session", lambda: delete_user(app)):
        assert refusal(api.post("/login", credentials())) == (401, "INVALID_CREDENTIALS")
    make_user(app)
    with just_before(app, "INSERT INTO auth_session", lambda: set_password(app, OTHER_PASSWORD)):
        pair = api.log_in()
    assert refusal(api.get("/me", token=pair["access_token"])) == (401, "TOKEN_REVOKED")


def test_full_gate_says_busy_and_opens_again(app: Flask, make_app: MakeApp):
    make_user(app)
    busy = make_app(AUTH_HASH_CONCURRENCY=1, AUTH_HASH_QUEUE=1)
    api, gate = Api(busy), busy.extensions["authapp"].gate
    signed_in = api.log_in()
    with ThreadPoolExecutor() as pool:
        with gate.place():
            both = [pool.submit(api.post, "/login", credentials()) for _ in range(2)]
            (first,), (waiting,) = wait(both, timeout=5, return_when=FIRST_COMPLETED)
            refused = first.result()
            assert refusal(refused) == (503, "SERVER_BUSY")
            assert int(refused.headers["Retry-After"]) >= 1
            assert refusal(api.register(BOB)) == (503, "SERVER_BUSY")
            # Whoever is signed in needs no place.
            data(api.get("/me", token=signed_in["access_token"]))
            data(api.refresh(signed_in["refresh_token"]))
            assert not waiting.done()
        data(waiting.result())
    data(api.post("/login", credentials()))


def test_gate_frees_its_places_after_every_refusal(app: Flask, make_app: MakeApp):
    make_user(app)
    make_user(app, BOB, is_verified=False)
    api = Api(make_app(AUTH_HASH_CONCURRENCY=1, AUTH_HASH_QUEUE=0))
    for _ in range(3):
        assert refusal(api.post("/login", credentials(password=OTHER_PASSWORD)))[0] == 401
        assert refusal(api.post("/login", credentials(BOB)))[0] == 403
        assert refusal(api.register("carol@example.org", "short"))[0] == 422
        assert refusal(api.register(ALICE))[0] == 409
    api.log_in()


def test_session_keeps_where_it_was_started(app: Flask, api: Api):
    make_user(app)
    chrome = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"
    api.log_in(headers={"User-Agent": chrome}, environ_overrides={"REMOTE_ADDR": "192.0.2.7"})
    with app.app_context():
        session = db.session.query(Session).one()
        assert (session.ip, session.user_agent) == ("192.0.2.7", chrome)


def set_active(app: Flask, active: bool) -> None:
    with app.app_context():
        user = users.find(ALICE)
        assert user is not None
        users.set_active(user, active)
        database.commit()


def set_password(app: Flask, password: str) -> None:
    with app.app_context():
        user = users.find(ALICE)
        assert user is not None
        credentials_rule.set_password(user, password)
        database.commit()


def delete_user(app: Flask) -> None:
    with app.app_context():
        user = users.find(ALICE)
        assert user is not None
        users.delete(user)
        database.commit()


def count(app: Flask, model: type[User | Session]) -> int:
    with app.app_context():
        return db.session.query(model).count()
