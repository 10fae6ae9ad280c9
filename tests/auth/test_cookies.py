"""Cookie mode: which cookies are set and cleared, for whom, with which attributes, and what they open."""

import secrets
from datetime import UTC, datetime, timedelta
from http.cookies import SimpleCookie

import pymysql
import pytest
import time_machine
from flask import Flask
from werkzeug.test import TestResponse

from authapp import cookies, database, signin, users
from authapp.clients import Client
from authapp.errors import ForbiddenError
from authapp.extensions import db
from authapp.models import User
from authapp.testing import TEST_SETTINGS
from tests.conftest import MakeApp
from tests.factories import ALICE, BOB, OTHER_PASSWORD, PASSWORD, Api, Browser, data, make_user, refusal
from tests.statements import failing

# Name, path, whether scripts are kept from reading it.
PLACES = [
    ("access_token", "/", True),
    ("refresh_token", "/api/auth/refresh", True),
    ("refresh_token", "/api/auth/logout", True),
    ("logged_in", "/", False),
    ("csrf_access_token", "/", False),
    ("csrf_refresh_token", "/", False),
]
PRODUCTION = {
    "APP_ENV": "production",
    "SECRET_KEY": secrets.token_urlsafe(48),
    "AUTH_PUBLIC_URL": "https://auth.example.com",
}
FRONT_END = "https://app.example.com"
EVIL = "https://evil.example.net"
NOW = datetime(2031, 5, 6, 7, 8, 9, 900_000, tzinfo=UTC)
CREDENTIALS = {"email": ALICE, "password": PASSWORD}


@pytest.fixture
def browser(app: Flask, make_app: MakeApp) -> Browser:
    """A browser at a service in cookie mode, where Alice has an account."""
    make_user(app)
    return Browser(make_app(AUTH_COOKIES=True))


def attributes(response: TestResponse) -> list[tuple[str, str, dict[str, str]]]:
    """Give each cookie that is set: its name, its value, and every attribute that it has."""
    found = []
    for line in response.headers.getlist("Set-Cookie"):
        ((name, morsel),) = SimpleCookie(line).items()
        found.append((name, morsel.value, {key: value for key, value in morsel.items() if value}))
    return found


def assert_set(response: TestResponse, *, seconds: int, secure: bool = False) -> None:
    found = attributes(response)
    assert len(found) == len(PLACES)
    for (name, value, given), (expected, path, hidden) in zip(found, PLACES, strict=True):
        assert name == expected
        assert value
        expires = given.pop("expires")
        assert datetime.strptime(expires, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC) <= datetime.now(
            UTC
        ) + timedelta(seconds=seconds)
        flags = ({"httponly": True} if hidden else {}) | ({"secure": True} if secure else {})
        assert given == {"path": path, "samesite": "Lax", "max-age": str(seconds)} | flags
    assert ("logged_in", "true") in [(name, value) for name, value, _ in found]


def assert_cleared(response: TestResponse, *, secure: bool = False) -> None:
    found = attributes(response)
    assert [(name, value, given["path"]) for name, value, given in found] == [
        (name, "", path) for name, path, _ in PLACES
    ]
    for (_, _, given), (_, path, hidden) in zip(found, PLACES, strict=True):
        flags = ({"httponly": True} if hidden else {}) | ({"secure": True} if secure else {})
        gone = {"max-age": "0", "expires": "Thu, 01 Jan 1970 00:00:00 GMT"}
        assert given == {"path": path, "samesite": "Lax"} | gone | flags


def assert_untouched(response: TestResponse) -> None:
    assert "Set-Cookie" not in response.headers
    assert "X-CSRF-TOKEN" not in response.headers


@pytest.mark.any_database
@pytest.mark.parametrize("settings", [{}, PRODUCTION], ids=["development", "production"])
def test_every_answer_with_tokens_sets_the_cookies(app: Flask, make_app: MakeApp, settings: dict[str, str]):
    made = make_app(AUTH_COOKIES=True, AUTH_REQUIRE_VERIFIED_EMAIL=False, **settings)
    with time_machine.travel(NOW, tick=False):
        answers = [
            Browser(made).http.post("/api/auth/register", json=CREDENTIALS),
            Browser(made).log_in(),
            Browser(made).http.post("/api/auth/login/json", json=CREDENTIALS),
            Browser(made).http.post("/api/auth/login", data={"username": ALICE, "password": PASSWORD}),
        ]
        refreshed = Browser(made)
        refreshed.log_in()
        answers.append(refreshed.refresh())
        changed = {"current_password": PASSWORD, "new_password": OTHER_PASSWORD}
        answers.append(refreshed.send("POST", "/change-password", json=changed))
        for answer in answers:
            assert answer.status_code in (200, 201), answer.text
            assert_set(answer, seconds=7 * 24 * 3600, secure=bool(settings))
            body = answer.get_json().get("data") or answer.get_json()
            values = {name: value for name, value, _ in attributes(answer)}
            assert values["access_token"] == body["access_token"]
            assert values["refresh_token"] == body["refresh_token"]
            assert answer.headers["X-CSRF-TOKEN"] == values["csrf_access_token"]
            assert answer.headers["X-CSRF-REFRESH-TOKEN"] == values["csrf_refresh_token"]


def test_browser_gets_along_with_its_cookies_alone(browser: Browser):
    data(browser.log_in())
    assert data(browser.send("GET", "/me"))["user"]["email"] == ALICE
    assert data(browser.send("PATCH", "/me", json={"name": "Alice"}))["user"]["name"] == "Alice"
    first = browser.cookie("access_token")
    data(browser.refresh())
    assert browser.cookie("access_token") != first
    (session,) = data(browser.send("GET", "/sessions"))["sessions"]
    assert session["current"] is True
    data(browser.log_out())
    assert refusal(browser.send("GET", "/me")) == (401, "UNAUTHORIZED")
    assert refusal(browser.refresh()) == (401, "UNAUTHORIZED")


def test_expired_access_token_is_told_so_and_refreshed(browser: Browser):
    with time_machine.travel(NOW, tick=False) as clock:
        data(browser.log_in())
        clock.shift(timedelta(minutes=31))
        for method in ("GET", "PATCH"):
            assert refusal(browser.send(method, "/me", csrf=None)) == (401, "TOKEN_EXPIRED")
        data(browser.refresh())
        data(browser.send("GET", "/me"))


@pytest.mark.any_database
def test_cookies_end_with_the_session(app: Flask, make_app: MakeApp):
    make_user(app)
    browser = Browser(make_app(AUTH_COOKIES=True, SESSION_MAX_DAYS=8))
    with time_machine.travel(NOW, tick=False) as clock:
        assert_set(browser.log_in(), seconds=7 * 24 * 3600)
        clock.shift(timedelta(days=2, milliseconds=100))
        # Whole seconds, and never one too many.
        assert_set(browser.refresh(), seconds=6 * 24 * 3600 - 1)


def test_refresh_cookie_used_twice_ends_the_session(browser: Browser):
    data(browser.log_in())
    earlier = browser.cookie("refresh_token", "/api/auth/refresh")
    assert earlier is not None
    data(browser.refresh())
    data(browser.refresh())
    browser.http.set_cookie("refresh_token", earlier, path="/api/auth/refresh")
    response = browser.refresh()
    assert refusal(response) == (401, "TOKEN_REUSED")
    assert_untouched(response)
    assert refusal(browser.send("GET", "/me")) == (401, "TOKEN_REVOKED")


def test_login_ends_the_session_whose_cookies_it_replaces(app: Flask, browser: Browser):
    earlier = data(browser.log_in())
    elsewhere = Api(app).log_in()
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=1)):
        # By then the access token has expired, as it mostly has for whoever is asked to log in again.
        now = data(browser.log_in())
        assert refusal(Api(app).refresh(earlier["refresh_token"])) == (401, "TOKEN_REVOKED")
        data(Api(app).refresh(elsewhere["refresh_token"]))
        data(Api(app).get("/me", token=now["access_token"]))


def test_login_of_somebody_else_in_the_same_browser_ends_the_session_there(app: Flask, browser: Browser):
    make_user(app, BOB)
    alices = data(browser.log_in())
    data(browser.log_in(BOB))
    assert refusal(Api(app).get("/me", token=alices["access_token"])) == (401, "TOKEN_REVOKED")


def test_registering_ends_the_session_whose_cookies_it_replaces(app: Flask, make_app: MakeApp):
    make_user(app)
    browser = Browser(make_app(AUTH_COOKIES=True, AUTH_REQUIRE_VERIFIED_EMAIL=False))
    alices = data(browser.log_in())
    data(browser.send("POST", "/register", json={"email": BOB, "password": PASSWORD}), 201)
    assert refusal(Api(app).get("/me", token=alices["access_token"])) == (401, "TOKEN_REVOKED")


def test_login_that_replaces_no_cookies_ends_nothing(app: Flask, browser: Browser):
    earlier = data(browser.log_in())
    wrong = browser.send("POST", "/login", json={"email": ALICE, "password": OTHER_PASSWORD})
    assert refusal(wrong) == (401, "INVALID_CREDENTIALS")
    data(browser.log_in(headers={"Origin": EVIL}))
    data(browser.log_in(headers={"Authorization": "Basic Og=="}))
    # Without the setting nobody reads a cookie of that name, which may be anything's.
    Api(app).log_in(headers={"Cookie": f"access_token={earlier['access_token']}"})
    data(Api(app).get("/me", token=earlier["access_token"]))


def test_lost_answer_of_a_refresh_is_given_again(browser: Browser):
    data(browser.log_in())
    earlier = browser.cookie("refresh_token", "/api/auth/refresh")
    assert earlier is not None
    first = browser.refresh()
    browser.http.set_cookie("refresh_token", earlier, path="/api/auth/refresh")
    second = browser.refresh()
    assert data(first)["refresh_token"] == data(second)["refresh_token"]
    assert [name for name, *_ in attributes(second)] == [name for name, *_ in PLACES]


@pytest.mark.parametrize("header", ["Bearer nonsense", "Bearer ", "Basic YWxpY2U6eA==", "Token x", ""])
@pytest.mark.any_database
def test_authorization_header_is_judged_alone(browser: Browser, header: str):
    data(browser.log_in())
    told = "TOKEN_INVALID" if header == "Bearer nonsense" else "UNAUTHORIZED"
    for method, path in (("GET", "/me"), ("PATCH", "/me"), ("POST", "/refresh"), ("POST", "/logout")):
        csrf = "refresh" if path == "/refresh" else "access"
        response = browser.send(method, path, csrf=csrf, headers={"Authorization": header})
        assert refusal(response) == (401, told), path
    data(browser.send("GET", "/me"))


@pytest.mark.any_database
def test_header_comes_before_the_cookie_and_the_body_before_both(app: Flask, browser: Browser):
    make_user(app, BOB)
    bob = Api(browser.app).log_in(BOB)
    data(browser.log_in())
    found = browser.send("GET", "/me", headers={"Authorization": f"Bearer {bob['access_token']}"})
    assert data(found)["user"]["email"] == BOB
    by_header = browser.send("POST", "/refresh", csrf=None, headers={"Authorization": f"Bearer {bob['refresh_token']}"})
    assert data(by_header)["user"]["email"] == BOB
    alice = Api(browser.app).log_in()
    by_body = browser.send(
        "POST",
        "/refresh",
        csrf=None,
        json={"refresh_token": alice["refresh_token"]},
        headers={"Authorization": "Bearer nonsense"},
    )
    assert data(by_body)["user"]["email"] == ALICE


@pytest.mark.any_database
def test_without_the_setting_cookies_are_neither_set_nor_read(app: Flask):
    make_user(app)
    browser = Browser(app)
    pair = data(browser.log_in())
    assert_untouched(browser.log_in())
    browser.http.set_cookie("access_token", pair["access_token"])
    browser.http.set_cookie("refresh_token", pair["refresh_token"])
    for method, path in (("GET", "/me"), ("POST", "/refresh"), ("POST", "/logout")):
        response = browser.send(method, path)
        assert refusal(response) == (401, "UNAUTHORIZED")
        assert_untouched(response)
    response = browser.send("POST", "/logout", json={"refresh_token": pair["refresh_token"]})
    data(response)
    assert_untouched(response)


@pytest.mark.any_database
@pytest.mark.parametrize("value", ["", "x", "a.b.c", "\xe9", "eyJhbGciOiJub25lIn0.e30."])
def test_cookie_that_is_no_token_is_invalid(browser: Browser, value: str):
    cookie = f"access_token={value}; refresh_token={value}"
    for method, path in (("GET", "/me"), ("PATCH", "/me"), ("POST", "/refresh")):
        response = Api(browser.app).request(method, path, headers={"Cookie": cookie.encode().decode("latin-1")})
        assert refusal(response) == (401, "TOKEN_INVALID" if value else "UNAUTHORIZED")


@pytest.mark.any_database
def test_cookies_in_each_others_place_are_invalid(browser: Browser):
    pair = data(browser.log_in())
    swapped = f"access_token={pair['refresh_token']}; refresh_token={pair['access_token']}"
    for method, path in (("GET", "/me"), ("POST", "/refresh"), ("POST", "/logout")):
        response = Api(browser.app).request(method, path, headers={"Cookie": swapped})
        assert refusal(response) == (401, "TOKEN_INVALID")


@pytest.mark.any_database
def test_refusals_set_no_cookies(app: Flask, browser: Browser):
    make_user(app, BOB, is_verified=False)
    wrong = {"email": ALICE, "password": OTHER_PASSWORD}
    unverified = {"email": BOB, "password": PASSWORD}
    for response in (
        browser.send("POST", "/login", json=wrong),
        browser.send("POST", "/login", json=unverified),
        browser.send("POST", "/login", data={"username": ALICE, "password": "x"}),
        browser.send("POST", "/register", json=CREDENTIALS),
        # Verification is on: no tokens, no cookies.
        browser.send("POST", "/register", json={"email": "carol@example.org", "password": PASSWORD}),
        browser.refresh(),
    ):
        assert_untouched(response)


@pytest.mark.any_database
def test_error_after_tokens_were_handed_over_sets_no_cookies(browser: Browser):
    def fail() -> str:
        pair = signin.sign_in(users.authenticate_user(ALICE, PASSWORD), Client())
        database.commit()
        cookies.hand_over(pair)
        raise ForbiddenError

    browser.app.add_url_rule("/fail", view_func=fail)
    response = browser.http.get("/fail")
    assert refusal(response) == (403, "FORBIDDEN")
    assert_untouched(response)


def test_view_that_is_run_again_sets_each_cookie_once(browser: Browser):
    deadlock = pymysql.err.OperationalError(1213, "Deadlock found when trying to get lock")
    with failing(browser.app, "INSERT INTO auth_session", deadlock):
        response = browser.log_in()
    data(response)
    assert [name for name, *_ in attributes(response)] == [name for name, *_ in PLACES]
    with failing(browser.app, "UPDATE auth_session", deadlock):
        response = browser.refresh()
    data(response)
    assert [name for name, *_ in attributes(response)] == [name for name, *_ in PLACES]
    data(browser.send("GET", "/me"))


ELSEWHERE = [
    EVIL,
    "null",
    "",
    "http://app.example.com",
    "https://app.example.com:8443",
    "https://app.example.com.evil.net",
    "http://localhost:81",
    "https://localhost",
    "http://[",
    "http://a:b",
    "file://",
]


@pytest.mark.any_database
@pytest.mark.parametrize("origin", ELSEWHERE)
def test_page_of_another_site_cannot_sign_its_visitor_in_or_out(app: Flask, make_app: MakeApp, origin: str):
    make_user(app)
    made = make_app(AUTH_COOKIES=True, CLIENT_ORIGIN=FRONT_END, AUTH_PUBLIC_URL="https://auth.example.com")
    there = {"Origin": origin}
    for response in (
        Browser(made).log_in(headers=there),
        Browser(made).http.post("/api/auth/login", data={"username": ALICE, "password": PASSWORD}, headers=there),
        Api(made).post("/refresh", {"refresh_token": Api(made).log_in()["refresh_token"]}, headers=there),
        Api(made).post("/logout", {"refresh_token": Api(made).log_in()["refresh_token"]}, headers=there),
        Api(made).post("/logout", headers=there),
    ):
        assert_untouched(response)
        assert response.status_code in (200, 401)


@pytest.mark.any_database
@pytest.mark.parametrize(
    "origin", [FRONT_END, "http://localhost", "https://auth.example.com", "https://AUTH.example.com:443", None]
)
def test_own_pages_and_front_ends_get_cookies(app: Flask, make_app: MakeApp, origin: str | None):
    make_user(app)
    made = make_app(AUTH_COOKIES=True, CLIENT_ORIGIN=FRONT_END, AUTH_PUBLIC_URL="https://auth.example.com/")
    browser = Browser(made)
    here = {} if origin is None else {"Origin": origin}
    assert len(attributes(browser.log_in(headers=here))) == len(PLACES)
    assert_cleared(browser.log_out(headers=here))


@pytest.mark.parametrize("csrf", ["access", "refresh"])
def test_logout_ends_the_session_and_clears_every_cookie(browser: Browser, csrf: str):
    pair = data(browser.log_in())
    response = browser.log_out(csrf)
    assert data(response) == {"message": "You are logged out."}
    assert_cleared(response)
    for name, path, _ in PLACES:
        assert browser.cookie(name, path) is None
    assert refusal(Api(browser.app).get("/me", token=pair["access_token"])) == (401, "TOKEN_REVOKED")
    assert refusal(Api(browser.app).refresh(pair["refresh_token"])) == (401, "TOKEN_REVOKED")


@pytest.mark.any_database
def test_cookies_are_cleared_with_the_attributes_that_they_were_set_with(app: Flask, make_app: MakeApp):
    make_user(app)
    browser = Browser(make_app(AUTH_COOKIES=True, **PRODUCTION))
    data(browser.log_in())
    assert_cleared(browser.log_out(), secure=True)


@pytest.mark.parametrize("left", ["access_token", "refresh_token"])
def test_either_cookie_logs_out(browser: Browser, left: str):
    pair = data(browser.log_in())
    headers = {"Cookie": f"{left}={pair[left]}", "X-CSRF-TOKEN": browser.cookie(f"csrf_{left}") or ""}
    response = Api(browser.app).post("/logout", headers=headers)
    data(response)
    assert_cleared(response)
    assert refusal(browser.send("GET", "/me")) == (401, "TOKEN_REVOKED")


@pytest.mark.any_database
def test_logout_by_header_or_body_clears_cookies_too(browser: Browser):
    pair = Api(browser.app).log_in()
    assert_cleared(Api(browser.app).post("/logout", token=pair["access_token"]))
    pair = Api(browser.app).log_in()
    assert_cleared(Api(browser.app).post("/logout", {"refresh_token": pair["refresh_token"]}))


@pytest.mark.any_database
def test_cookies_that_are_good_for_nothing_are_cleared_by_a_logout(browser: Browser):
    data(browser.log_in())
    with time_machine.travel(datetime.now(UTC) + timedelta(days=60)):
        # The browser would have dropped them; whoever has kept them is rid of them.
        cookie = f"access_token={browser.cookie('access_token')}"
        csrf = {"X-CSRF-TOKEN": browser.cookie("csrf_access_token") or ""}
        assert_cleared(Api(browser.app).post("/logout", headers={"Cookie": cookie, **csrf}))
    response = Api(browser.app).post("/logout", headers={"Cookie": "access_token=x; refresh_token=y"})
    assert refusal(response) == (401, "TOKEN_INVALID")
    assert_cleared(response)
    response = Api(browser.app).post("/logout", headers={"Cookie": "logged_in=true"})
    assert refusal(response) == (401, "UNAUTHORIZED")
    assert_cleared(response)


@pytest.mark.any_database
def test_logout_that_names_a_bad_token_itself_leaves_the_cookies(browser: Browser):
    data(browser.log_in())
    response = browser.send("POST", "/logout", json={"refresh_token": "junk"})
    assert refusal(response) == (401, "TOKEN_INVALID")
    assert_untouched(response)
    data(browser.send("GET", "/me"))


def test_second_logout_is_no_error_where_the_cookies_are_still_there(browser: Browser):
    pair = data(browser.log_in())
    cookie = "; ".join(f"{name}={pair[name]}" for name in ("access_token", "refresh_token"))
    headers = {"Cookie": cookie, "X-CSRF-TOKEN": browser.cookie("csrf_refresh_token") or ""}
    for _ in range(2):
        data(Api(browser.app).post("/logout", headers=headers))


def test_logout_that_failed_leaves_the_cookies(browser: Browser):
    data(browser.log_in())
    with failing(browser.app, "UPDATE auth_session", Exception("the server has gone away")):
        response = browser.log_out()
    assert refusal(response) == (503, "SERVICE_UNAVAILABLE")
    assert_untouched(response)
    data(browser.send("GET", "/me"))


def test_deleting_the_account_clears_the_cookies(browser: Browser):
    data(browser.log_in())
    assert_untouched(browser.send("DELETE", "/me", json={"password": "wrong"}))
    response = browser.send("DELETE", "/me", json={"password": PASSWORD})
    data(response)
    assert_cleared(response)
    with browser.app.app_context():
        assert db.session.query(User).count() == 0


@pytest.mark.any_database
def test_refresh_cookie_follows_the_prefix_and_the_public_path(app: Flask, make_app: MakeApp):
    make_user(app)

    def paths(base: str = "http://localhost", **settings: object) -> list[str]:
        made = make_app(AUTH_COOKIES=True, **settings)
        client, path = made.test_client(), made.config["AUTH_URL_PREFIX"] + "/login"
        response = client.post(path, json=CREDENTIALS, base_url=base)
        return [given["path"] for name, _, given in attributes(response) if name == "refresh_token"]

    assert paths(AUTH_URL_PREFIX="/auth") == ["/auth/refresh", "/auth/logout"]
    # A proxy cuts the beginning off, or the server says what it is.
    behind = paths(AUTH_PUBLIC_URL="https://example.com/accounts/")
    assert behind == ["/accounts/api/auth/refresh", "/accounts/api/auth/logout"]
    assert paths("http://localhost/mounted") == ["/mounted/api/auth/refresh", "/mounted/api/auth/logout"]


@pytest.mark.any_database
def test_session_of_an_earlier_secret_goes_on(app: Flask, make_app: MakeApp):
    make_user(app)
    before = Browser(make_app(AUTH_COOKIES=True))
    data(before.log_in())
    after = make_app(
        AUTH_COOKIES=True,
        SECRET_KEY="the next secret for tests that nobody should use",
        SECRET_KEY_FALLBACKS=str(TEST_SETTINGS["SECRET_KEY"]),
    )
    before.http.application = after
    before.app = after
    data(before.send("PATCH", "/me", json={"name": "Alice"}))
    earlier = before.cookie("csrf_access_token")
    data(before.refresh())
    assert before.cookie("csrf_access_token") != earlier
    data(before.send("PATCH", "/me", json={"name": None}))
