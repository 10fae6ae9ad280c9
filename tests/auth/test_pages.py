"""The page that a person lands on from the mail: opening it changes nothing, its button does."""

import html
import re
from urllib.parse import quote

import pymysql
import pytest
from flask import Flask
from werkzeug.test import TestResponse

from tests.conftest import MakeApp
from tests.factories import ALICE, Api, data, mailed_token, refusal, user_of
from tests.statements import failing

FORM = "application/x-www-form-urlencoded"


def attribute(page: str, tag: str, name: str) -> str:
    """Give an attribute of the first such tag, as a browser would read it."""
    found = re.search(rf'<{tag}\b[^>]*\b{name}="([^"]*)"', page)
    assert found, page
    return html.unescape(found[1])


def press_the_button(app: Flask, page: TestResponse) -> TestResponse:
    """Send the page's form as a browser would."""
    assert attribute(page.text, "form", "method") == "post"
    fields = {attribute(page.text, "input", "name"): attribute(page.text, "input", "value")}
    action = attribute(page.text, "form", "action")
    return app.test_client(use_cookies=False).post(action, data=fields, content_type=FORM)


def assert_is_page(answer: TestResponse, status: int) -> None:
    assert answer.status_code == status
    assert answer.mimetype == "text/html"
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Request-ID"]
    assert "<script" not in answer.text
    assert "style=" not in answer.text


def test_opening_the_page_verifies_nothing(app: Flask, api: Api):
    """Mail scanners open every link before its reader does."""
    api.register()
    token = mailed_token(app)
    for method in ("GET", "HEAD", "GET", "OPTIONS"):
        assert api.request(method, f"/verify-email?token={token}").status_code == 200
    assert user_of(app).is_verified is False
    assert_is_page(api.get(f"/verify-email?token={token}"), 200)


def test_button_of_the_page_verifies(app: Flask, api: Api):
    api.register()
    page = api.get(f"/verify-email?token={mailed_token(app)}")
    done = press_the_button(app, page)
    assert_is_page(done, 200)
    assert "Your account has been activated." in done.text
    assert user_of(app).is_verified is True
    api.log_in()


def test_button_pressed_twice_is_no_error(app: Flask, api: Api):
    api.register()
    page = api.get(f"/verify-email?token={mailed_token(app)}")
    assert press_the_button(app, page).text == press_the_button(app, page).text


def test_page_follows_the_prefix(make_app: MakeApp):
    app = make_app(AUTH_URL_PREFIX="/auth")
    api = Api(app)
    api.register()
    page = api.get(f"/verify-email?token={mailed_token(app)}")
    assert attribute(page.text, "form", "action").startswith("/auth/")
    assert attribute(page.text, "link", "href").startswith("/auth/")
    assert_is_page(press_the_button(app, page), 200)


@pytest.mark.parametrize("token", ["nonsense", "a.b.c", "tökén", "x" * 5000])
def test_button_of_a_bad_link_says_so(app: Flask, api: Api, token: str):
    done = press_the_button(app, api.get(f"/verify-email?token={quote(token)}"))
    assert_is_page(done, 400)
    assert "Invalid or expired token" in done.text


@pytest.mark.parametrize("query", ["", "?token=", "?t=1"])
def test_page_without_a_token_says_so(api: Api, query: str):
    page = api.get(f"/verify-email{query}")
    assert_is_page(page, 400)
    assert "Invalid or expired token" in page.text
    assert "<form" not in page.text


@pytest.mark.parametrize(
    "token", ['"><script>alert(1)</script>', "'><img src=x onerror=alert(1)>", "{{ 7 * 7 }}", "a&b<c>"]
)
def test_token_cannot_break_out_of_the_page(app: Flask, api: Api, token: str):
    page = api.get("/verify-email", query_string={"token": token})
    assert_is_page(page, 200)
    assert "<img" not in page.text
    assert attribute(page.text, "input", "value") == token
    assert_is_page(press_the_button(app, page), 400)


@pytest.mark.parametrize("query", ["token=%ff", "token=%00", "token=%ed%a0%80", "token=%zz"])
def test_broken_query_is_no_error_of_ours(app: Flask, api: Api, query: str):
    page = api.get(f"/verify-email?{query}")
    assert_is_page(page, 200)
    assert_is_page(press_the_button(app, page), 400)


@pytest.mark.parametrize("raw", [b"", b"token=", b"token=a&token=b", b"token=%ff", b"\xff", b"other=1"])
def test_form_that_the_page_did_not_send_is_refused_as_a_page(api: Api, raw: bytes):
    assert_is_page(api.post("/verify-email/page", data=raw, content_type=FORM), 400)


def test_form_too_large_is_refused_as_a_page(api: Api):
    assert_is_page(api.post("/verify-email/page", data=b"token=" + b"a" * 20_000, content_type=FORM), 413)


def test_style_of_the_page_comes_from_this_server(app: Flask, api: Api):
    page = api.get("/verify-email?token=x")
    address = attribute(page.text, "link", "href")
    style = app.test_client().get(address)
    assert (style.status_code, style.mimetype) == (200, "text/css")
    assert style.headers["X-Content-Type-Options"] == "nosniff"
    style.close()


def test_address_of_the_page_answers_to_both_methods(api: Api):
    answer = api.request("PUT", "/verify-email")
    assert refusal(answer) == (405, "METHOD_NOT_ALLOWED")
    assert {"GET", "POST"} <= set(answer.headers["Allow"].split(", "))


def test_page_shows_nothing_of_the_account(app: Flask, api: Api):
    api.register(name="Alice Liddell")
    token = mailed_token(app)
    page = api.get(f"/verify-email?token={token}")
    assert ALICE not in page.text
    assert "Liddell" not in page.text + press_the_button(app, page).text
    data(api.post("/verify-email", {"token": token}))


def test_page_says_that_the_database_is_away(app: Flask, api: Api):
    data(api.register(), 201)
    button = api.get(f"/verify-email?token={mailed_token(app)}")
    with failing(app, "UPDATE auth_link", Exception("the server has gone away")):
        answer = press_the_button(app, button)
    assert_is_page(answer, 503)
    assert answer.headers["Retry-After"]
    assert "not available right now" in answer.text
    assert not user_of(app).is_verified


def test_page_that_lost_a_lock_is_run_once_more(app: Flask, api: Api):
    data(api.register(), 201)
    button = api.get(f"/verify-email?token={mailed_token(app)}")
    with failing(app, "UPDATE auth_link", pymysql.err.OperationalError(1213, "deadlock")):
        assert_is_page(press_the_button(app, button), 200)
    assert user_of(app).is_verified
