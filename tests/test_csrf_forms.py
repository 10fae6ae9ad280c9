"""Cookie mode: the forms of a host application, which have no script to send a header, and what may not pass as one."""

import re
from pathlib import Path

import pytest
from flask import Flask, render_template_string, request
from werkzeug.test import TestResponse

from authapp import init_app
from authapp.protect import csrf_token, login_required, optional_login
from authapp.testing import TEST_SETTINGS
from tests.factories import BOB, Api, Browser, data, make_user, refusal

FAILED = (403, "CSRF_FAILED")
MULTIPART = "multipart/form-data"
URLENCODED = "application/x-www-form-urlencoded"

pytestmark = pytest.mark.any_database


@pytest.fixture
def browser(app: Flask) -> Browser:
    """A browser at a host application in cookie mode, where Alice is logged in."""
    make_user(app)
    make_user(app, BOB)
    browser = Browser(make_host(app))
    data(browser.log_in())
    return browser


def make_host(app: Flask) -> Flask:
    host = Flask("host", static_folder=None)
    host.config.from_mapping({**TEST_SETTINGS, "DATABASE_URL": app.config["DATABASE_URL"], "AUTH_COOKIES": True})
    init_app(host, environ={})
    host.add_url_rule("/notes", "add", login_required(lambda: request.form["text"]), methods=["POST"])
    host.add_url_rule("/form", "form", show_form)
    host.add_url_rule("/open", "open", optional_login(show_form))
    return host


def show_form() -> str:
    return render_template_string('<input name="csrf_token" value="{{ token }}">', token=csrf_token())


def token_in(answer: TestResponse) -> str:
    """Give the token that a form of the page would send."""
    (token,) = re.findall(r'name="csrf_token" value="(\w*)"', answer.text)
    return str(token)


def token_of(browser: Browser) -> str:
    return token_in(browser.http.get("/form"))


def post(browser: Browser, *, kind: str = URLENCODED, header: str | None = None, **fields: str) -> TestResponse:
    headers = {} if header is None else {"X-CSRF-TOKEN": header}
    return browser.http.post("/notes", data={"text": "a note", **fields}, content_type=kind, headers=headers)


@pytest.mark.parametrize("kind", [URLENCODED, MULTIPART])
def test_form_posts_with_the_token_as_a_field_and_not_without(browser: Browser, kind: str):
    assert refusal(post(browser, kind=kind)) == FAILED
    assert post(browser, kind=kind, csrf_token=token_of(browser)).text == "a note"


def test_field_must_be_this_sessions_token_to_the_letter(browser: Browser):
    good, stranger = token_of(browser), Browser(browser.app)
    data(stranger.log_in(BOB))
    others = [stranger.cookie("csrf_access_token") or "", browser.cookie("csrf_refresh_token") or ""]
    for wrong in ("", "null", good[:-1], good + "0", good.upper(), f" {good}", "\xe9", *others):
        for kind in (URLENCODED, MULTIPART):
            assert refusal(post(browser, kind=kind, csrf_token=wrong)) == FAILED
    half_a_pair = f"csrf_token={good}%ED%A0%80"
    assert refusal(browser.http.post("/notes", data=half_a_pair, content_type=URLENCODED)) == FAILED


def test_no_other_place_and_no_other_body_is_read_for_it(browser: Browser):
    good = token_of(browser)
    browser.http.set_cookie("csrf_token", good)
    assert refusal(browser.http.post(f"/notes?csrf_token={good}", json={"csrf_token": good})) == FAILED
    body = f"csrf_token={good}"
    assert refusal(browser.http.post("/notes", data=body, content_type="text/plain")) == FAILED


def test_header_is_judged_first(browser: Browser):
    good = token_of(browser)
    for wrong in ("", "x"):
        assert refusal(post(browser, header=wrong, csrf_token=good)) == FAILED
    assert post(browser, header=good, csrf_token="x").text == "a note"


def test_our_own_routes_take_the_header_only(browser: Browser):
    fields = {"csrf_token": token_of(browser)}
    assert refusal(browser.send("DELETE", "/sessions", csrf=None, data=fields)) == FAILED
    data(browser.send("DELETE", "/sessions"))


def test_page_gets_the_token_of_its_reader_only(browser: Browser):
    answer = browser.http.get("/open")
    assert token_in(answer) == browser.cookie("csrf_access_token")
    assert "Cookie" in answer.vary
    assert token_in(browser.app.test_client().get("/open")) == ""
    bearer = {"Authorization": f"Bearer {Api(browser.app).log_in()['access_token']}"}
    assert token_in(browser.http.get("/open", headers=bearer)) == ""


def test_form_of_the_page_about_protecting_posts(browser: Browser, root: Path):
    page = (root / "docs/protect.md").read_text().partition("\n## Forms without a script\n")[2]
    host = make_host(browser.app)
    exec(page.partition("```python\n")[2].partition("```")[0], {"app": host})
    browser = Browser(host)
    data(browser.log_in())
    fields = {"csrf_token": token_in(browser.http.get("/greetings")), "whom": "Bob"}
    assert "Hello, Bob!" in browser.http.post("/greetings", data=fields).text
    assert refusal(browser.http.post("/greetings", data={"whom": "Bob"})) == FAILED
