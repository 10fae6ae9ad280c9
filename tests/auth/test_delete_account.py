"""Deleting one's account: the password is asked for, and nothing of it is left."""

import pytest
from flask import Flask
from sqlalchemy import func, select

from authapp.extensions import db
from authapp.models import Link, Session, User
from tests.conftest import MakeApp
from tests.factories import ALICE, BOB, OTHER_PASSWORD, PASSWORD, Api, data, make_user, refusal
from tests.statements import just_before


def delete(api: Api, token: str | None, password: str = PASSWORD):
    return api.request("DELETE", "/me", json={"password": password}, token=token)


def test_account_and_all_that_hangs_on_it_is_gone(app: Flask, api: Api):
    make_user(app)
    pair = api.log_in()
    data(api.post("/forgot-password", {"email": ALICE}), 202)
    data(delete(api, pair["access_token"]))
    assert refusal(api.get("/me", token=pair["access_token"])) == (401, "TOKEN_INVALID")
    assert refusal(api.refresh(pair["refresh_token"])) == (401, "TOKEN_INVALID")
    assert refusal(api.post("/login", {"email": ALICE, "password": PASSWORD})) == (401, "INVALID_CREDENTIALS")
    with app.app_context():
        assert [db.session.scalar(select(func.count()).select_from(model)) for model in (User, Session, Link)] == [
            0
        ] * 3


def test_address_is_free_again_and_others_stay(app: Flask, api: Api):
    make_user(app)
    make_user(app, BOB)
    data(delete(api, api.log_in()["access_token"]))
    data(api.register(), 201)
    api.log_in(BOB)


def test_wrong_password_deletes_nothing(app: Flask, api: Api):
    make_user(app)
    token = api.log_in()["access_token"]
    assert refusal(delete(api, token, OTHER_PASSWORD)) == (401, "INVALID_CREDENTIALS")
    data(api.get("/me", token=token))


@pytest.mark.any_database
def test_password_is_needed(app: Flask, api: Api):
    make_user(app)
    token = api.log_in()["access_token"]
    assert refusal(api.delete("/me", token=token)) == (400, "BAD_REQUEST")
    assert refusal(api.request("DELETE", "/me", json={}, token=token)) == (422, "VALIDATION_ERROR")
    assert refusal(delete(api, None)) == (401, "UNAUTHORIZED")


def test_password_changed_meanwhile_keeps_the_account(app: Flask, api: Api):
    make_user(app)
    token, other = api.log_in()["access_token"], api.log_in()["access_token"]
    body = {"current_password": PASSWORD, "new_password": OTHER_PASSWORD}
    with just_before(app, "UPDATE auth_user", lambda: data(api.post("/change-password", body, token=other))):
        assert refusal(delete(api, token)) == (401, "INVALID_CREDENTIALS")
    api.log_in(password=OTHER_PASSWORD)


@pytest.mark.any_database
def test_cookies_are_cleared(make_app: MakeApp):
    app = make_app(AUTH_COOKIES=True)
    make_user(app)
    browser, prefix = app.test_client(), app.config["AUTH_URL_PREFIX"]
    assert browser.post(f"{prefix}/login", json={"email": ALICE, "password": PASSWORD}).status_code == 200
    csrf = browser.get_cookie("csrf_access_token")
    assert csrf is not None
    headers = {"X-CSRF-TOKEN": csrf.value}
    data(browser.delete(f"{prefix}/me", json={"password": PASSWORD}, headers=headers))
    assert browser.get_cookie("access_token") is None
    assert browser.get_cookie("logged_in") is None
