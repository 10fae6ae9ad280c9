"""Cookie mode: what a cookie alone may not do, and which token must come with it."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from flask import Flask
from werkzeug.test import TestResponse

from authapp import cookies, tokens
from authapp.extensions import db
from authapp.models import Session
from tests.conftest import MakeApp
from tests.factories import ALICE, BOB, PASSWORD, Api, Browser, data, make_user, refusal, user_of

FAILED = (403, "CSRF_FAILED")


@pytest.fixture
def in_cookie_mode(app: Flask, make_app: MakeApp) -> Flask:
    """A service in cookie mode, where Alice has an account."""
    make_user(app)
    return make_app(AUTH_COOKIES=True)


@pytest.fixture
def browser(in_cookie_mode: Flask) -> Browser:
    """A browser in which Alice is logged in."""
    browser = Browser(in_cookie_mode)
    data(browser.log_in())
    return browser


def rename(browser: Browser, value: str | None) -> TestResponse:
    headers = {} if value is None else {"X-CSRF-TOKEN": value}
    return browser.send("PATCH", "/me", csrf=None, json={"name": "Mallory"}, headers=headers)


def assert_refused(response: TestResponse) -> None:
    assert refusal(response) == FAILED
    assert "WWW-Authenticate" not in response.headers
    assert "Set-Cookie" not in response.headers


def test_unsafe_method_needs_the_token(browser: Browser):
    assert_refused(rename(browser, None))
    assert user_of(browser.app).name is None
    token = browser.cookie("csrf_access_token")
    assert data(rename(browser, token))["user"]["name"] == "Mallory"


@pytest.mark.any_database
def test_token_must_be_this_one_to_the_letter(browser: Browser):
    good = browser.cookie("csrf_access_token") or ""
    wrong = [
        "",
        "null",
        "undefined",
        good[:-1],
        good + "0",
        good.upper(),
        f'"{good}"',
        f"{good},{good}",
        "0" * 64,
        "\xe9",
    ]
    for value in (*wrong, browser.cookie("csrf_refresh_token"), browser.cookie("access_token")):
        assert_refused(rename(browser, value))
    assert user_of(browser.app).name is None


@pytest.mark.any_database
def test_cookie_or_body_or_address_are_no_place_for_it(browser: Browser):
    good = browser.cookie("csrf_access_token")
    browser.http.set_cookie("X-CSRF-TOKEN", good or "")
    assert_refused(browser.send("PATCH", f"/me?csrf_token={good}", csrf=None, json={"csrf_token": good}))


@pytest.mark.any_database
def test_every_unsafe_route_asks_for_it(browser: Browser):
    with browser.app.app_context():
        sid = db.session.query(Session).one().id
    for method, path in (
        ("PATCH", "/me"),
        ("DELETE", "/me"),
        ("POST", "/change-password"),
        ("POST", "/change-email"),
        ("DELETE", "/sessions"),
        ("DELETE", f"/sessions/{sid}"),
        ("POST", "/refresh"),
        ("POST", "/logout"),
    ):
        assert_refused(browser.send(method, path, csrf=None))
    data(browser.send("GET", "/me"))


@pytest.mark.any_database
def test_safe_methods_need_none(browser: Browser):
    for method in ("GET", "HEAD", "OPTIONS"):
        assert browser.send(method, "/me", csrf=None).status_code in (200, 204)
    data(browser.send("GET", "/sessions", csrf=None))


@pytest.mark.any_database
def test_header_needs_none(browser: Browser):
    pair = Api(browser.app).log_in()
    headers = {"Authorization": f"Bearer {pair['access_token']}"}
    data(browser.send("PATCH", "/me", csrf=None, json={"name": "Alice"}, headers=headers))
    data(Api(browser.app).post("/logout", token=pair["access_token"]))


@pytest.mark.any_database
def test_logging_in_needs_none(browser: Browser):
    data(browser.log_in(csrf=None))


def test_refresh_needs_its_own_token_and_else_rotates_nothing(browser: Browser):
    for csrf in (None, "access"):
        assert_refused(browser.refresh(csrf))
    with browser.app.app_context():
        assert db.session.query(Session).one().generation == 1
    data(browser.refresh("refresh"))
    with browser.app.app_context():
        db.session.expire_all()
        assert db.session.query(Session).one().generation == 2


def test_reused_cookie_without_the_token_ends_no_session(browser: Browser):
    earlier = browser.cookie("refresh_token", "/api/auth/refresh") or ""
    data(browser.refresh())
    data(browser.refresh())
    response = Api(browser.app).post("/refresh", headers={"Cookie": f"refresh_token={earlier}"})
    assert_refused(response)
    data(browser.send("GET", "/me"))


def test_logout_needs_one_of_both_and_else_ends_nothing(browser: Browser):
    for value in (None, "x"):
        headers = {} if value is None else {"X-CSRF-TOKEN": value}
        assert_refused(browser.send("POST", "/logout", csrf=None, headers=headers))
    data(browser.send("GET", "/me"))
    assert browser.cookie("logged_in") == "true"
    data(browser.log_out("refresh"))


@pytest.mark.any_database
def test_cookie_that_its_token_does_not_go_with_is_not_ended(in_cookie_mode: Flask):
    credentials = {"email": ALICE, "password": PASSWORD}
    first, second = (Api(in_cookie_mode).post("/login", credentials) for _ in range(2))
    cookie = f"access_token={data(first)['access_token']}; refresh_token={data(second)['refresh_token']}"
    headers = {"Cookie": cookie, "X-CSRF-TOKEN": first.headers["X-CSRF-TOKEN"]}
    data(Api(in_cookie_mode).post("/logout", headers=headers))
    assert refusal(Api(in_cookie_mode).get("/me", token=data(first)["access_token"])) == (401, "TOKEN_REVOKED")
    data(Api(in_cookie_mode).get("/me", token=data(second)["access_token"]))


@pytest.mark.any_database
def test_expired_cookie_logs_out_with_its_token_only(browser: Browser):
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=2)):
        assert_refused(browser.log_out(None))
        data(browser.log_out())


@pytest.mark.any_database
def test_it_stays_the_same_as_long_as_the_session(browser: Browser):
    before = [browser.cookie(f"csrf_{kind}_token") for kind in ("access", "refresh")]
    data(browser.refresh())
    assert [browser.cookie(f"csrf_{kind}_token") for kind in ("access", "refresh")] == before
    assert len(set(before)) == 2
    data(browser.log_in())
    assert not set(before) & {browser.cookie(f"csrf_{kind}_token") for kind in ("access", "refresh")}


@pytest.mark.any_database
def test_it_is_worth_nothing_in_another_session(in_cookie_mode: Flask, browser: Browser):
    make_user(in_cookie_mode, BOB)
    own, stranger = Browser(in_cookie_mode), Browser(in_cookie_mode)
    data(own.log_in())
    data(stranger.log_in(BOB))
    for other in (own, stranger):
        value = other.cookie("csrf_access_token") or ""
        # Bob, or whoever owns a subdomain, has planted his own.
        browser.http.set_cookie("csrf_access_token", value)
        assert_refused(rename(browser, value))
        refresh = other.cookie("csrf_refresh_token") or ""
        assert_refused(browser.refresh(None, headers={"X-CSRF-TOKEN": refresh}))


@pytest.mark.any_database
def test_it_cannot_be_made_with_another_secret(app: Flask, make_app: MakeApp, browser: Browser):
    with browser.app.app_context():
        sid = db.session.query(Session).one().id
    with make_app(SECRET_KEY="a secret of somebody else's, long enough to be one").app_context():
        forged = cookies.csrf_token(tokens.ACCESS, sid)
    assert_refused(rename(browser, forged))


def test_what_is_wrong_with_the_token_comes_first(app: Flask, browser: Browser):
    api = Api(browser.app)
    pair = api.log_in()
    cookie = {"Cookie": f"access_token={pair['access_token']}; refresh_token={pair['refresh_token']}"}
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=1)):
        assert refusal(api.patch("/me", {}, headers=cookie)) == (401, "TOKEN_EXPIRED")
    with time_machine.travel(datetime.now(UTC) + timedelta(days=8)):
        assert refusal(api.post("/refresh", headers=cookie)) == (401, "TOKEN_EXPIRED")
    data(api.post("/logout", token=pair["access_token"]))
    assert refusal(api.patch("/me", {}, headers=cookie)) == (401, "TOKEN_REVOKED")
    assert refusal(api.patch("/me", {}, headers={"Cookie": "access_token=x"})) == (401, "TOKEN_INVALID")
    assert refusal(api.post("/refresh", headers={"Cookie": "refresh_token=x"})) == (401, "TOKEN_INVALID")
    assert refusal(api.patch("/me", {})) == (401, "UNAUTHORIZED")
    assert refusal(api.patch("/me", {}, headers={"X-CSRF-TOKEN": "x"})) == (401, "UNAUTHORIZED")
