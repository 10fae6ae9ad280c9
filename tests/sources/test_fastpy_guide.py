"""What the guide of Fastpy describes: its routes below `/api/auth`, its envelopes, its tokens, its settings by name.

Its form login is the OAuth2 password grant; that one answers at the top level, as RFC 6749 has it, not in the envelope.
"""

import secrets
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from flask import Flask
from flask.testing import FlaskClient

from authapp import clock, create_app
from authapp.extensions import db
from authapp.testing import TEST_SETTINGS
from tests.auth.test_login import header
from tests.conftest import MakeApp
from tests.factories import claims, data, key_pair, mailed_token, make_user, refusal

# A walk through all of it; what one kind of database may answer otherwise has its tests elsewhere.
pytestmark = pytest.mark.any_database

FORM = "application/x-www-form-urlencoded"
# As the guide prints them.
EMAIL = "user@example.com"
PASSWORD = "securepassword123"
ACCOUNT = {"email": EMAIL, "password": PASSWORD, "name": "John Doe"}
LOGIN = {"email": EMAIL, "password": PASSWORD}
FORM_LOGIN = "username=user@example.com&password=securepassword123"
NEW_PASSWORD = "newpassword456"


@pytest.fixture
def service(make_app: MakeApp) -> Flask:
    """The service as the guide has it: registering signs in."""
    return make_app(AUTH_REQUIRE_VERIFIED_EMAIL=False)


@pytest.fixture
def http(service: Flask) -> FlaskClient:
    """A plain client; paths are whole."""
    return service.test_client(use_cookies=False)


@pytest.fixture
def tokens(http: FlaskClient) -> dict[str, Any]:
    """What registering has answered."""
    answer: dict[str, Any] = data(http.post("/api/auth/register", json=ACCOUNT), 201)
    return answer


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_registering_gives_the_user_and_tokens(tokens: dict[str, Any]):
    assert (tokens["user"]["email"], tokens["user"]["name"]) == (EMAIL, "John Doe")
    assert tokens["token_type"] == "bearer"
    assert claims(tokens["access_token"])["type"] == "access"
    assert claims(tokens["refresh_token"])["type"] == "refresh"


def test_registering_gives_no_tokens_where_addresses_are_verified_first(app: Flask):
    answer = data(app.test_client().post("/api/auth/register", json=ACCOUNT), 201)
    assert set(answer) == {"user"}


def test_login_takes_a_form(http: FlaskClient, tokens: dict[str, Any]):
    answer = http.post("/api/auth/login", data=FORM_LOGIN, content_type=FORM)
    assert answer.status_code == 200
    found = answer.get_json()
    assert set(found) == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert (found["token_type"], found["expires_in"]) == ("bearer", 1800)
    data(http.get("/api/auth/me", headers=bearer(found["access_token"])))


def test_form_login_refuses_as_oauth2_does(http: FlaskClient, tokens: dict[str, Any]):
    refused = http.post("/api/auth/login", data=FORM_LOGIN + "4", content_type=FORM)
    assert refused.status_code == 400
    assert refused.get_json()["error"] == "invalid_grant"


def test_login_takes_json_at_a_route_of_its_own(http: FlaskClient, tokens: dict[str, Any]):
    answer = data(http.post("/api/auth/login/json", json=LOGIN))
    assert set(answer) == {"access_token", "refresh_token", "token_type", "expires_in", "user"}
    assert (answer["token_type"], answer["expires_in"]) == ("bearer", 1800)


def test_refresh_token_gives_a_new_access_token(http: FlaskClient, tokens: dict[str, Any]):
    answer = data(http.post("/api/auth/refresh", json={"refresh_token": tokens["refresh_token"]}))
    assert (answer["token_type"], answer["expires_in"]) == ("bearer", 1800)
    data(http.get("/api/auth/me", headers=bearer(answer["access_token"])))


def test_me_shows_the_current_user(http: FlaskClient, tokens: dict[str, Any]):
    seen = data(http.get("/api/auth/me", headers=bearer(tokens["access_token"])))
    assert seen["user"] == tokens["user"]


def test_password_is_changed_by_who_knows_the_present_one(http: FlaskClient, tokens: dict[str, Any]):
    change = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
    changed = data(http.post("/api/auth/change-password", json=change, headers=bearer(tokens["access_token"])))
    assert refusal(http.post("/api/auth/login/json", json=LOGIN)) == (401, "INVALID_CREDENTIALS")
    data(http.post("/api/auth/login/json", json={"email": EMAIL, "password": NEW_PASSWORD}))
    data(http.get("/api/auth/me", headers=bearer(changed["access_token"])))
    again = http.post("/api/auth/change-password", json=change, headers=bearer(changed["access_token"]))
    assert refusal(again) == (401, "INVALID_CREDENTIALS")


def test_forgotten_password_is_reset_by_mail(service: Flask, http: FlaskClient, tokens: dict[str, Any]):
    known = http.post("/api/auth/forgot-password", json={"email": EMAIL})
    data(known, 202)
    assert known.data == http.post("/api/auth/forgot-password", json={"email": "nobody@example.com"}).data
    reset = {"token": mailed_token(service), "new_password": NEW_PASSWORD}
    data(http.post("/api/auth/reset-password", json=reset))
    assert refusal(http.post("/api/auth/login/json", json=LOGIN)) == (401, "INVALID_CREDENTIALS")
    data(http.post("/api/auth/login/json", json={"email": EMAIL, "password": NEW_PASSWORD}))


def test_address_is_verified_with_the_token_of_the_mail(service: Flask, http: FlaskClient, tokens: dict[str, Any]):
    assert tokens["user"]["is_verified"] is False
    answer = data(http.post("/api/auth/verify-email", json={"token": mailed_token(service)}))
    assert answer["user"]["is_verified"] is True


@pytest.mark.parametrize("named", ["access_token", "refresh_token"])
def test_both_tokens_are_dead_after_a_logout(http: FlaskClient, tokens: dict[str, Any], named: str):
    if named == "access_token":
        data(http.post("/api/auth/logout", headers=bearer(tokens["access_token"])))
    else:
        data(http.post("/api/auth/logout", json={"refresh_token": tokens["refresh_token"]}))
    revoked = (401, "TOKEN_REVOKED")
    assert refusal(http.get("/api/auth/me", headers=bearer(tokens["access_token"]))) == revoked
    assert refusal(http.post("/api/auth/refresh", json={"refresh_token": tokens["refresh_token"]})) == revoked


def test_success_is_in_its_envelope(http: FlaskClient, tokens: dict[str, Any]):
    answer = http.get("/api/auth/me", headers=bearer(tokens["access_token"])).get_json()
    assert answer == {"success": True, "data": {"user": tokens["user"]}}


@pytest.mark.any_database
def test_failure_is_in_its_envelope(http: FlaskClient):
    answer = http.get("/api/auth/nothing")
    assert answer.status_code == 404
    assert answer.get_json() == {"success": False, "error": {"code": "NOT_FOUND", "message": "There is nothing here."}}


@pytest.mark.any_database
def test_failure_names_its_fields(http: FlaskClient):
    answer = http.post("/api/auth/register", json={"email": "not an address", "password": 8})
    assert refusal(answer) == (422, "VALIDATION_ERROR")
    details = answer.get_json()["error"]["details"]
    assert all(isinstance(message, str) for messages in details.values() for message in messages)
    assert "password" in details


def test_access_token_claims_who_until_when_and_what_for(tokens: dict[str, Any]):
    said = claims(tokens["access_token"])
    assert said["sub"] == tokens["user"]["id"]
    assert (said["email"], said["type"]) == (EMAIL, "access")
    assert said["exp"] - said["iat"] == 1800
    refresh = claims(tokens["refresh_token"])
    assert (refresh["sub"], refresh["type"]) == (said["sub"], "refresh")
    assert refresh["exp"] - refresh["iat"] == 7 * 24 * 3600


def test_settings_keep_their_names(app: Flask):
    """`ALGORITHM` is taken for `JWT_ALGORITHM`, whose other values want a key pair beside them."""
    environ = {
        "SECRET_KEY": secrets.token_urlsafe(48),
        "ALGORITHM": "RS256",
        "JWT_PRIVATE_KEY": key_pair("RS256")[0],
        "ACCESS_TOKEN_EXPIRE_MINUTES": "5",
        "REFRESH_TOKEN_EXPIRE_DAYS": "1",
        "DATABASE_URL": app.config["DATABASE_URL"],
    }
    unsaid = {name: value for name, value in TEST_SETTINGS.items() if name != "SECRET_KEY"}
    service = create_app({**unsaid, "AUTH_REQUIRE_VERIFIED_EMAIL": False}, environ=environ)
    assert service.config["SECRET_KEY"] == environ["SECRET_KEY"]
    answer = data(service.test_client().post("/api/auth/register", json=ACCOUNT), 201)
    assert answer["expires_in"] == 300
    assert header(answer["access_token"])["alg"] == "RS256"
    refresh = claims(answer["refresh_token"])
    assert refresh["exp"] - refresh["iat"] == 24 * 3600
    with service.app_context():
        db.engine.dispose()


@pytest.mark.any_database
@pytest.mark.parametrize("password", ["short-7", "k9#vQx2"])
def test_password_has_at_least_eight_characters(http: FlaskClient, password: str):
    refused = http.post("/api/auth/register", json={**ACCOUNT, "password": password})
    assert refusal(refused) == (422, "VALIDATION_ERROR")
    assert "Use at least 8 characters." in refused.get_json()["error"]["details"]["password"]
    data(http.post("/api/auth/register", json={**ACCOUNT, "password": "k9#vQx2Z"}), 201)


def test_access_token_lives_half_an_hour_and_refresh_token_a_week(http: FlaskClient, tokens: dict[str, Any]):
    with time_machine.travel(clock.now() + timedelta(minutes=31), tick=False):
        refused = http.get("/api/auth/me", headers=bearer(tokens["access_token"]))
        assert refusal(refused) == (401, "TOKEN_EXPIRED")
    with time_machine.travel(clock.now() + timedelta(days=6, hours=23), tick=False):
        later = data(http.post("/api/auth/refresh", json={"refresh_token": tokens["refresh_token"]}))
    with time_machine.travel(clock.now() + timedelta(days=14), tick=False):
        refused = http.post("/api/auth/refresh", json={"refresh_token": later["refresh_token"]})
        assert refusal(refused) == (401, "TOKEN_EXPIRED")


def test_refresh_token_may_live_in_a_cookie_that_no_script_reads(make_app: MakeApp):
    """The cookie is good beside the CSRF token that goes with it."""
    service = make_app(AUTH_COOKIES=True)
    make_user(service, EMAIL, PASSWORD)
    browser = service.test_client()
    data(browser.post("/api/auth/login/json", json=LOGIN))
    cookie = browser.get_cookie("refresh_token", path="/api/auth/refresh")
    assert cookie is not None
    assert cookie.http_only
    assert refusal(browser.post("/api/auth/refresh")) == (403, "CSRF_FAILED")
    csrf = browser.get_cookie("csrf_refresh_token")
    assert csrf is not None
    data(browser.post("/api/auth/refresh", headers={"X-CSRF-TOKEN": csrf.value}))
