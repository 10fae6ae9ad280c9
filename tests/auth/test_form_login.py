"""Logging in with a form: the OAuth2 password grant (RFC 6749, 4.3), in its own words and not in the envelope."""

import base64
import re
from typing import Any
from urllib.parse import urlencode

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from authapp import database, users
from tests.conftest import MakeApp
from tests.factories import ALICE, BOB, OTHER_PASSWORD, PASSWORD, Api, data, make_user, refusal
from tests.statements import failing, heard

GRANT = {"grant_type": "password", "username": ALICE, "password": PASSWORD}


def log_in(api: Api, **fields: str) -> TestResponse:
    return api.post("/login", data=GRANT | fields)


def refused(response: TestResponse) -> tuple[int, str]:
    """Give the status and the error of a refused grant, after checking its form."""
    assert response.content_type == "application/json"
    assert response.json is not None
    assert set(response.json) == {"error", "error_description"}
    # RFC 6749, 5.2 leaves out quotes, backslashes and what is not ASCII.
    assert re.fullmatch(r"[\x20-\x21\x23-\x5b\x5d-\x7e]+", response.json["error_description"])
    assert_uncached(response)
    assert "WWW-Authenticate" not in response.headers
    assert "X-Request-ID" in response.headers
    return response.status_code, response.json["error"]


def assert_uncached(response: TestResponse) -> None:
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Pragma"] == "no-cache"


def test_grant_gives_both_tokens_at_the_top_level(app: Flask, api: Api):
    make_user(app)
    response = log_in(api)
    assert response.status_code == 200
    assert response.content_type == "application/json"
    assert_uncached(response)
    found: dict[str, Any] = response.get_json()
    assert set(found) == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert (found["token_type"], found["expires_in"]) == ("bearer", 1800)
    assert data(api.get("/me", token=found["access_token"]))["user"]["email"] == ALICE
    data(api.refresh(found["refresh_token"]))


@pytest.mark.any_database
def test_name_alone_is_a_password_grant_too(app: Flask, api: Api):
    make_user(app)
    without_type = {"username": ALICE.upper(), "password": PASSWORD}
    assert api.post("/login", data=without_type).status_code == 200
    assert api.post("/login", data=without_type | {"grant_type": "", "scope": ""}).status_code == 200


@pytest.mark.any_database
def test_what_a_client_says_of_itself_is_not_looked_at(app: Flask, api: Api):
    make_user(app)
    basic = base64.b64encode(b"client:secret").decode()
    response = api.post(
        "/login",
        data=GRANT | {"scope": "read write", "client_id": "x", "client_secret": "y", "more": "z"},
        headers={"Authorization": f"Basic {basic}"},
    )
    assert response.status_code == 200
    assert "scope" not in response.get_json()


def test_unknown_name_and_wrong_password_are_the_same_bytes(app: Flask, api: Api):
    make_user(app)
    make_user(app, BOB, is_verified=False)
    answers = [
        log_in(api, password=OTHER_PASSWORD),
        log_in(api, username="nobody@example.org"),
        log_in(api, username=BOB, password=OTHER_PASSWORD),
    ]
    for answer in answers:
        assert refused(answer) == (400, "invalid_grant")
    assert len({answer.data for answer in answers}) == 1
    assert answers[0].get_json()["error_description"] == "The e-mail address or the password is wrong."


def test_unverified_and_disabled_are_told_after_the_right_password(app: Flask, api: Api):
    make_user(app, is_verified=False)
    response = log_in(api)
    assert refused(response) == (400, "invalid_grant")
    assert response.get_json()["error_description"] == "Please verify your e-mail address first."
    make_user(app, BOB)
    with app.app_context():
        user = users.find(BOB)
        assert user is not None
        users.set_active(user, False)
        database.commit()
    response = log_in(api, username=BOB)
    assert refused(response) == (400, "invalid_grant")
    assert response.get_json()["error_description"] == "This account is disabled."


@pytest.mark.any_database
@pytest.mark.parametrize("missing", ["username", "password"])
def test_missing_and_empty_fields_are_named(app: Flask, api: Api, missing: str):
    make_user(app)
    for fields in ({k: v for k, v in GRANT.items() if k != missing}, GRANT | {missing: ""}):
        response = api.post("/login", data=fields)
        assert refused(response) == (400, "invalid_request")
        assert f"{missing}: Missing data" in response.get_json()["error_description"]


@pytest.mark.any_database
@pytest.mark.parametrize("repeated", ["username", "password", "grant_type", "client_id"])
def test_field_that_stands_twice_is_refused(app: Flask, api: Api, repeated: str):
    make_user(app)
    once = GRANT | {"client_id": "x"}
    raw = urlencode([*once.items(), (repeated, once[repeated])])
    response = api.post("/login", data=raw, content_type="application/x-www-form-urlencoded")
    assert refused(response) == (400, "invalid_request")


@pytest.mark.any_database
@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfe",
        b"username=%GG&password=x",
        b"username=%ff&password=x",
        b"username=a%00b&password=x",
        b'{"email": "a"}',
        b"username=not-an-address&password=x",
        b"username=" + b"a" * 5000 + b"&password=x",
        b"&".join(b"f%d=x" % number for number in range(60)),
    ],
)
def test_broken_form_is_an_invalid_request(api: Api, raw: bytes):
    response = api.post("/login", data=raw, content_type="application/x-www-form-urlencoded")
    assert refused(response) == (400, "invalid_request")


@pytest.mark.any_database
def test_form_in_another_encoding_is_an_invalid_request(api: Api):
    response = api.post(
        "/login", data="username=a&password=b", content_type="application/x-www-form-urlencoded; charset=latin-1"
    )
    assert refused(response) == (400, "invalid_request")


@pytest.mark.any_database
def test_name_that_is_no_address_is_told_by_the_forms_own_field(api: Api):
    found = log_in(api, username="alice").get_json()["error_description"]
    assert "username: Not a valid e-mail address." in found


@pytest.mark.any_database
@pytest.mark.parametrize("grant_type", ["refresh_token", "client_credentials", "Password", "password "])
def test_other_grant_types_are_not_supported(app: Flask, api: Api, grant_type: str):
    make_user(app)
    assert refused(log_in(api, grant_type=grant_type)) == (400, "unsupported_grant_type")
    assert refused(api.post("/login", data={"grant_type": grant_type})) == (400, "unsupported_grant_type")


@pytest.mark.any_database
def test_form_that_is_too_large_is_told_so(api: Api):
    assert refused(log_in(api, more="x" * 20_000)) == (413, "invalid_request")


def test_busy_gate_is_temporarily_unavailable(app: Flask, make_app: MakeApp):
    make_user(app)
    busy = make_app(AUTH_HASH_CONCURRENCY=1, AUTH_HASH_QUEUE=0)
    with busy.extensions["authapp"].gate.place():
        response = log_in(Api(busy))
    assert refused(response) == (503, "temporarily_unavailable")
    assert int(response.headers["Retry-After"]) >= 1
    assert log_in(Api(busy)).status_code == 200


def test_database_that_is_away_is_temporarily_unavailable(app: Flask, api: Api):
    make_user(app)
    with failing(app, "SELECT auth_user.id", Exception("the server has gone away")):
        response = log_in(api)
    assert refused(response) == (503, "temporarily_unavailable")
    assert "Retry-After" in response.headers


def test_bug_is_a_server_error(app: Flask, api: Api, monkeypatch: pytest.MonkeyPatch):
    make_user(app)
    monkeypatch.setitem(app.config, "AUTH_PASSWORD_HASH", "no such method")
    response = log_in(api)
    assert refused(response) == (500, "server_error")
    assert response.get_json()["error_description"] == "Something went wrong on our side."


@pytest.mark.any_database
def test_nobody_is_looked_for_before_the_form_is_understood(app: Flask, api: Api):
    with heard(app) as statements:
        log_in(api, grant_type="implicit")
        api.post("/login", data={"username": ALICE})
        log_in(api, username="alice")
    assert statements == []


def test_json_on_the_same_path_stays_in_the_envelope(app: Flask, api: Api):
    make_user(app)
    credentials = {"email": ALICE, "password": PASSWORD}
    assert "user" in data(api.post("/login", credentials))
    assert refusal(api.post("/login", credentials | {"password": "x"})) == (401, "INVALID_CREDENTIALS")
    assert refusal(api.post("/login", GRANT)) == (422, "VALIDATION_ERROR")
    assert "Pragma" not in api.post("/login", credentials).headers


@pytest.mark.any_database
def test_forms_are_for_the_one_path_and_of_the_one_kind(app: Flask, api: Api):
    make_user(app)
    assert refusal(api.post("/login/json", data=GRANT)) == (415, "UNSUPPORTED_MEDIA_TYPE")
    multipart = api.post("/login", data=GRANT, content_type="multipart/form-data")
    assert refusal(multipart) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert refusal(api.get("/login")) == (405, "METHOD_NOT_ALLOWED")
    assert refusal(api.post("/login")) == (400, "BAD_REQUEST")
