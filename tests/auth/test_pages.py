"""The pages that a person lands on from a mail: opening one changes nothing, its button does. No script runs here."""

import html
import re
import time
from pathlib import Path
from urllib.parse import quote, urljoin

import pymysql
import pytest
from flask import Flask
from werkzeug.test import TestResponse

from authapp.errors import ServerBusyError
from authapp.links import CHANGE_EMAIL, RESET_PASSWORD, VERIFY_EMAIL
from tests.conftest import MakeApp
from tests.factories import (
    ALICE,
    BOB,
    OTHER_PASSWORD,
    PASSWORD,
    Api,
    data,
    mailed_token,
    mails,
    make_user,
    refusal,
    user_of,
)
from tests.statements import failing

FORM = "application/x-www-form-urlencoded"
NEW_EMAIL = "alice@example.net"
PURPOSES = [VERIFY_EMAIL, RESET_PASSWORD, CHANGE_EMAIL]
DONE = {
    VERIFY_EMAIL: "Your account has been activated.",
    RESET_PASSWORD: "Your password has been changed. You can log in now.",
    CHANGE_EMAIL: "Your e-mail address has been changed.",
}
TWICE = {"new_password": OTHER_PASSWORD, "new_password_confirm": OTHER_PASSWORD}


def attribute(page: str, tag: str, name: str) -> str:
    """Give an attribute of the first such tag, as a browser would read it."""
    found = re.search(rf'<{tag}\b[^>]*\b{name}="([^"]*)"', page)
    assert found, page
    return html.unescape(found[1])


def visible(page: TestResponse) -> str:
    """Give what a browser without a script shows of the page."""
    shown = re.sub(r"<template\b.*?</template>|<head\b.*?</head>|<[^>]*>", " ", page.text, flags=re.DOTALL)
    return " ".join(html.unescape(shown).split())


def link_for(app: Flask, purpose: str) -> str:
    """Have a link mailed for this purpose, to Alice or to her new address, and give its token."""
    api = Api(app)
    if purpose == VERIFY_EMAIL:
        data(api.register(name="Alice Liddell"), 201)
        return mailed_token(app)
    make_user(app, name="Alice Liddell")
    if purpose == RESET_PASSWORD:
        data(api.post("/forgot-password", {"email": ALICE}), 202)
        return mailed_token(app)
    token = api.log_in()["access_token"]
    data(api.post("/change-email", {"new_email": NEW_EMAIL, "password": PASSWORD}, token=token), 202)
    (number,) = [number for number, mail in enumerate(mails(app)) if mail.to == NEW_EMAIL]
    return mailed_token(app, number)


def is_done(app: Flask, purpose: str) -> bool:
    """Say whether what the link is for has happened, by what can be done from outside."""
    address = NEW_EMAIL if purpose == CHANGE_EMAIL else ALICE
    password = OTHER_PASSWORD if purpose == RESET_PASSWORD else PASSWORD
    return Api(app).post("/login", {"email": address, "password": password}).status_code == 200


def press_the_button(app: Flask, page: TestResponse, **typed: str) -> TestResponse:
    """Send the page's form as a browser would, with what was typed into it."""
    assert attribute(page.text, "form", "method") == "post"
    fields = {attribute(page.text, "input", "name"): attribute(page.text, "input", "value"), **typed}
    if "new_password" in page.text and not typed:
        fields |= TWICE
    action = urljoin(page.request.path, attribute(page.text, "form", "action"))
    return app.test_client(use_cookies=False).post(action, data=fields, content_type=FORM)


def assert_is_page(answer: TestResponse, status: int) -> None:
    assert answer.status_code == status, answer.text
    assert answer.mimetype == "text/html"
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Request-ID"]
    assert re.findall(r"<script\b[^>]*>(.*?)</script>", answer.text, re.DOTALL) == [""]
    assert not re.search(r"<style|\bstyle=|\bon[a-z]+=", re.sub(r'value="[^"]*"', "", answer.text))
    assert "Liddell" not in answer.text


@pytest.mark.parametrize("purpose", PURPOSES)
def test_opening_a_page_changes_nothing(app: Flask, api: Api, purpose: str):
    """Mail scanners open every link before its reader does."""
    token = link_for(app, purpose)
    for method in ("GET", "HEAD", "GET", "OPTIONS"):
        assert api.request(method, f"/{purpose}?token={token}").status_code in (200, 204)
    assert not is_done(app, purpose)
    assert_is_page(api.get(f"/{purpose}?token={token}"), 200)


@pytest.mark.parametrize("purpose", PURPOSES)
def test_button_of_a_page_does_what_the_link_is_for(app: Flask, api: Api, purpose: str):
    page = api.get(f"/{purpose}?token={link_for(app, purpose)}")
    done = press_the_button(app, page)
    assert_is_page(done, 200)
    assert DONE[purpose] in visible(done)
    assert "<form" not in done.text
    assert is_done(app, purpose)


@pytest.mark.parametrize("purpose", [VERIFY_EMAIL, CHANGE_EMAIL])
def test_button_pressed_twice_is_no_error(app: Flask, api: Api, purpose: str):
    page = api.get(f"/{purpose}?token={link_for(app, purpose)}")
    assert press_the_button(app, page).text == press_the_button(app, page).text


def test_password_is_set_once_with_one_link(app: Flask, api: Api):
    token = link_for(app, RESET_PASSWORD)
    page = api.get(f"/reset-password?token={token}")
    assert_is_page(press_the_button(app, page), 200)
    for refused in (press_the_button(app, page), api.get(f"/reset-password?token={token}")):
        assert_is_page(refused, 400)
        assert "Invalid or expired token" in visible(refused)
        assert "<form" not in refused.text


def test_page_for_a_password_says_beforehand_what_one_must_be(make_app: MakeApp):
    app = make_app(AUTH_PASSWORD_MIN_LENGTH=12)
    page = Api(app).get(f"/reset-password?token={link_for(app, RESET_PASSWORD)}")
    assert "At least 12 characters." in visible(page)
    inputs = re.findall(r'<input type="password"[^>]*>', page.text)
    assert len(inputs) == 2
    for field in inputs:
        assert 'autocomplete="new-password"' in field
        assert "required" in field
        assert f'<label for="{attribute(field, "input", "id")}">' in page.text
        described = attribute(field, "input", "aria-describedby").split()
        assert all(f'id="{id}"' in page.text for id in described)


@pytest.mark.parametrize(
    ("typed", "field", "message"),
    [
        ({"new_password": "short", "new_password_confirm": "short"}, "new_password", "Use at least 8 characters."),
        (
            {"new_password": "password1", "new_password_confirm": "password1"},
            "new_password",
            "This password is too easy to guess.",
        ),
        (
            {"new_password": ALICE, "new_password_confirm": ALICE},
            "new_password",
            "This password is too easy to guess.",
        ),
        ({"new_password": "a\x00b" * 9, "new_password_confirm": "a\x00b" * 9}, "new_password", "Not valid text."),
        ({**TWICE, "new_password_confirm": PASSWORD}, "new_password_confirm", "The passwords differ."),
        ({"new_password": OTHER_PASSWORD}, "new_password_confirm", "The passwords differ."),
        ({"new_password": "", "new_password_confirm": ""}, "new_password", "Use at least 8 characters."),
    ],
)
def test_refused_password_is_told_at_its_field_and_the_form_is_there_again(
    app: Flask, api: Api, typed: dict[str, str], field: str, message: str
):
    page = api.get(f"/reset-password?token={link_for(app, RESET_PASSWORD)}")
    again = press_the_button(app, page, **typed)
    assert_is_page(again, 422)
    problems = re.search(rf'<ul id="{field}-problems"[^>]*>(.*?)</ul>', again.text)
    assert problems
    assert f"<li>{message}</li>" in problems[1]
    (faulty,) = re.findall(r'<input[^>]*aria-invalid="true"[^>]*>', again.text)
    assert attribute(faulty, "input", "name") == field
    assert "autofocus" in faulty
    assert attribute(faulty, "input", "aria-describedby").endswith(f"{field}-problems")
    assert "<title>Error: " in again.text
    assert not any(text and text in again.text for text in typed.values())
    assert not is_done(app, RESET_PASSWORD)
    assert_is_page(press_the_button(app, again), 200)
    assert is_done(app, RESET_PASSWORD)


@pytest.mark.any_database
def test_text_too_long_for_a_password_is_refused_before_it_costs_anything(make_app: MakeApp):
    """To sort so many accents takes minutes, in which no other thread runs; JSON never lets them in."""
    app = make_app(MAX_CONTENT_LENGTH=1_000_000)
    page = Api(app).get(f"/reset-password?token={link_for(app, RESET_PASSWORD)}")
    endless = "a" + "\u0345" * 30_000 + "\u0334" * 30_000
    began = time.monotonic()
    again = press_the_button(app, page, new_password=endless, new_password_confirm=endless)
    assert time.monotonic() - began < 3
    assert_is_page(again, 422)
    assert "Use at most 128 characters." in visible(again)


@pytest.mark.parametrize("purpose", PURPOSES)
def test_pages_follow_the_prefix_and_whatever_a_proxy_puts_before_it(make_app: MakeApp, purpose: str):
    """Addresses within a page are relative, the page of a form that was sent included."""
    app = make_app(AUTH_URL_PREFIX="/auth")
    page = Api(app).get(f"/{purpose}?token={link_for(app, purpose)}")
    done = press_the_button(app, page)
    assert_is_page(done, 200)
    for answer in (page, done):
        for address in re.findall(r'(?:href|src|action|data-route)="([^"]*)"', answer.text):
            assert not re.match(r"/|[a-z]+:", address)
            there = urljoin(f"https://example.org/behind/a/proxy{answer.request.path}", address)
            assert there.startswith("https://example.org/behind/a/proxy/auth/")
            path = there.removeprefix("https://example.org/behind/a/proxy")
            # What exists answers to something.
            assert app.test_client().options(path).status_code == 204


@pytest.mark.parametrize("token", ["nonsense", "a.b.c", "tökén", "x" * 5000])
@pytest.mark.parametrize("purpose", [VERIFY_EMAIL, CHANGE_EMAIL])
@pytest.mark.any_database
def test_button_of_a_bad_link_says_so(app: Flask, api: Api, purpose: str, token: str):
    done = press_the_button(app, api.get(f"/{purpose}?token={quote(token)}"))
    assert_is_page(done, 400)
    assert "Invalid or expired token" in visible(done)
    assert "ask for" in visible(done)


@pytest.mark.parametrize("token", ["nonsense", "a.b.c", "tökén", "x" * 5000])
@pytest.mark.any_database
def test_page_of_a_bad_link_asks_for_no_password(api: Api, token: str):
    page = api.get(f"/reset-password?token={quote(token)}")
    assert_is_page(page, 400)
    assert "Invalid or expired token" in visible(page)
    assert "<input" not in page.text
    sent = api.post("/reset-password/page", data={"token": token, **TWICE}, content_type=FORM)
    assert_is_page(sent, 400)
    assert "Invalid or expired token" in visible(sent)


@pytest.mark.parametrize("query", ["", "?token=", "?t=1"])
@pytest.mark.parametrize("purpose", PURPOSES)
@pytest.mark.any_database
def test_page_without_a_token_says_so(api: Api, purpose: str, query: str):
    page = api.get(f"/{purpose}{query}")
    assert_is_page(page, 400)
    assert "Invalid or expired token" in visible(page)
    assert "<form" not in page.text


def test_link_of_one_purpose_is_none_of_another(app: Flask, api: Api):
    token = link_for(app, RESET_PASSWORD)
    for purpose in (VERIFY_EMAIL, CHANGE_EMAIL):
        assert_is_page(api.post(f"/{purpose}/page", data={"token": token}, content_type=FORM), 400)
    assert_is_page(press_the_button(app, api.get(f"/reset-password?token={token}")), 200)


def test_address_that_was_taken_meanwhile_is_refused_as_a_page(app: Flask, api: Api):
    page = api.get(f"/change-email?token={link_for(app, CHANGE_EMAIL)}")
    make_user(app, NEW_EMAIL, OTHER_PASSWORD)
    answer = press_the_button(app, page)
    assert_is_page(answer, 409)
    assert "already exists" in visible(answer)


@pytest.mark.parametrize(
    "token", ['"><script>alert(1)</script>', "'><img src=x onerror=alert(1)>", "{{ 7 * 7 }}", "a&b<c>"]
)
@pytest.mark.any_database
def test_token_cannot_break_out_of_the_page(app: Flask, api: Api, token: str):
    page = api.get("/verify-email", query_string={"token": token})
    assert_is_page(page, 200)
    assert "<img" not in page.text
    assert attribute(page.text, "input", "value") == token
    assert_is_page(press_the_button(app, page), 400)


@pytest.mark.parametrize("query", ["token=%ff", "token=%00", "token=%ed%a0%80", "token=%zz"])
@pytest.mark.any_database
def test_broken_query_is_no_error_of_ours(app: Flask, api: Api, query: str):
    page = api.get(f"/verify-email?{query}")
    assert_is_page(page, 200)
    assert_is_page(press_the_button(app, page), 400)
    assert_is_page(api.get(f"/reset-password?{query}"), 400)


@pytest.mark.parametrize("raw", [b"", b"token=", b"token=a&token=b", b"token=%ff", b"\xff", b"other=1"])
@pytest.mark.parametrize("purpose", [VERIFY_EMAIL, CHANGE_EMAIL])
@pytest.mark.any_database
def test_form_that_the_page_did_not_send_is_refused_as_a_page(api: Api, purpose: str, raw: bytes):
    assert_is_page(api.post(f"/{purpose}/page", data=raw, content_type=FORM), 400)


@pytest.mark.parametrize("raw", [b"", b"token=", b"other=1"])
@pytest.mark.any_database
def test_new_password_without_a_link_is_refused_as_a_page(api: Api, raw: bytes):
    answer = api.post("/reset-password/page", data=raw, content_type=FORM)
    assert_is_page(answer, 400)
    assert "Invalid or expired token" in visible(answer)


@pytest.mark.parametrize("purpose", PURPOSES)
@pytest.mark.any_database
def test_form_too_large_is_refused_as_a_page(api: Api, purpose: str):
    answer = api.post(f"/{purpose}/page", data=b"token=" + b"a" * 20_000, content_type=FORM)
    assert_is_page(answer, 413)
    assert "too large" in visible(answer)


@pytest.mark.parametrize("purpose", PURPOSES)
@pytest.mark.any_database
def test_address_of_a_sent_form_says_where_to_go_when_it_is_opened(api: Api, purpose: str):
    answer = api.get(f"/{purpose}/page")
    assert_is_page(answer, 405)
    assert answer.headers["Allow"] == "POST"
    assert "open the link in your mail once more" in visible(answer)


@pytest.mark.any_database
def test_style_and_script_of_the_page_come_from_this_server(app: Flask, api: Api):
    page = api.get("/verify-email?token=x")
    found = [*re.findall(r'<link rel="[a-z]+" href="([^"]*)"', page.text), attribute(page.text, "script", "src")]
    kinds = []
    for address in found:
        answer = app.test_client().get(urljoin(page.request.path, address))
        assert answer.status_code == 200
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "no-store" not in answer.headers["Cache-Control"]
        kinds.append(answer.mimetype)
        answer.close()
    assert kinds == ["image/svg+xml", "text/css", "text/css", "text/javascript"]


@pytest.mark.any_database
def test_file_that_is_not_there_is_refused_in_the_envelope(api: Api):
    for path in ("/static/nothing.css", "/static/../pages.py", "/static/a/b/c"):
        assert refusal(api.get(path)) == (404, "NOT_FOUND")


@pytest.mark.any_database
def test_name_and_colour_are_the_operators(make_app: MakeApp):
    api = Api(make_app(AUTH_BRAND_NAME="Smith & Sons <Ltd>", AUTH_BRAND_COLOR="#FFD400"))
    page = api.get("/verify-email?token=x")
    assert "<title>Verify your e&#8209;mail address · Smith &amp; Sons &lt;Ltd&gt;</title>" in page.text
    assert visible(page).startswith("Smith & Sons <Ltd> ")
    light, dark = api.get("/brand.css").text.split("@media (prefers-color-scheme: dark)")
    assert "--brand: #ffd400; --on-brand: #000000;" in light
    assert "--accent: #ffd400" not in light
    assert "--brand: #ffd400;" in dark


@pytest.mark.any_database
def test_template_of_the_application_comes_before_ours(make_app: MakeApp, tmp_path: Path):
    (tmp_path / "authapp").mkdir()
    (tmp_path / "authapp" / "verify_email.html").write_text(
        '{% extends "authapp/landing.html" %}{% block heading %}Ahoy {{ brand }}{% endblock %}'
    )
    app = make_app()
    app.template_folder = str(tmp_path)
    page = Api(app).get("/verify-email?token=x")
    assert_is_page(page, 200)
    assert "Ahoy authapp" in visible(page)
    assert "Choose a new password" not in visible(page)


@pytest.mark.any_database
def test_address_of_the_page_answers_to_both_methods(api: Api):
    answer = api.request("PUT", "/verify-email")
    assert refusal(answer) == (405, "METHOD_NOT_ALLOWED")
    assert {"GET", "POST"} <= set(answer.headers["Allow"].split(", "))


@pytest.mark.parametrize("purpose", PURPOSES)
def test_pages_show_nothing_of_the_account(app: Flask, api: Api, purpose: str):
    page = api.get(f"/{purpose}?token={link_for(app, purpose)}")
    for answer in (page, press_the_button(app, page)):
        assert_is_page(answer, 200)
        assert not any(text in answer.text for text in (ALICE, NEW_EMAIL, "Liddell"))


@pytest.mark.parametrize("purpose", PURPOSES)
def test_page_says_that_the_database_is_away_and_can_be_sent_again(app: Flask, api: Api, purpose: str):
    page = api.get(f"/{purpose}?token={link_for(app, purpose)}")
    with failing(app, "UPDATE auth_link", Exception("the server has gone away")):
        answer = press_the_button(app, page)
    assert_is_page(answer, 503)
    assert answer.headers["Retry-After"]
    assert "not available right now" in visible(answer)
    assert not is_done(app, purpose)
    assert_is_page(press_the_button(app, answer), 200)
    assert is_done(app, purpose)


def test_page_that_lost_a_lock_is_run_once_more(app: Flask, api: Api):
    page = api.get(f"/verify-email?token={link_for(app, VERIFY_EMAIL)}")
    with failing(app, "UPDATE auth_link", pymysql.err.OperationalError(1213, "deadlock")):
        assert_is_page(press_the_button(app, page), 200)
    assert user_of(app).is_verified


def test_password_that_finds_the_server_busy_can_be_sent_again(make_app: MakeApp):
    app = make_app(AUTH_HASH_QUEUE=0, AUTH_HASH_CONCURRENCY=1)
    page = Api(app).get(f"/reset-password?token={link_for(app, RESET_PASSWORD)}")
    with app.extensions["authapp"].gate.place():
        answer = press_the_button(app, page)
    assert_is_page(answer, ServerBusyError.status)
    assert "busy" in visible(answer)
    assert_is_page(press_the_button(app, answer), 200)


@pytest.mark.parametrize("purpose", PURPOSES)
def test_pages_need_no_csrf_token_of_a_browser_that_is_signed_in(make_app: MakeApp, purpose: str):
    """The mailed token is the authority, whoever holds it and whatever cookies they have."""
    app = make_app(AUTH_COOKIES=True)
    page = Api(app).get(f"/{purpose}?token={link_for(app, purpose)}")
    make_user(app, BOB)
    browser = app.test_client()
    assert browser.post("/api/auth/login", json={"email": BOB, "password": PASSWORD}).status_code == 200
    form = {"token": attribute(page.text, "input", "value"), **(TWICE if purpose == RESET_PASSWORD else {})}
    answer = browser.post(f"/api/auth/{purpose}/page", data=form, headers={"Origin": "null"})
    assert_is_page(answer, 200)
    assert is_done(app, purpose)
    assert data(browser.get("/api/auth/me"))["user"]["email"] == BOB
