"""Changing one's password: the present one is asked for, and every token from before is dead."""

import pytest
import time_machine
from flask import Flask

from authapp import credentials, database, users
from tests.conftest import MakeApp
from tests.factories import (
    ALICE,
    OTHER_PASSWORD,
    PASSWORD,
    Api,
    claims,
    data,
    mailed_token,
    mails,
    make_user,
    refusal,
    user_of,
)
from tests.statements import heard, just_before


def change(api: Api, token: str | None, current: str = PASSWORD, new: str = OTHER_PASSWORD):
    return api.post("/change-password", {"current_password": current, "new_password": new}, token=token)


def test_new_password_takes_the_place_of_the_present_one(app: Flask, api: Api):
    make_user(app)
    answer = data(change(api, api.log_in()["access_token"]))
    assert set(answer) == {"access_token", "refresh_token", "token_type", "expires_in", "user"}
    assert answer["user"]["email"] == ALICE
    assert refusal(api.post("/login", {"email": ALICE, "password": PASSWORD})) == (401, "INVALID_CREDENTIALS")
    api.log_in(password=OTHER_PASSWORD)


def test_new_tokens_work_and_every_token_from_before_is_dead(app: Flask, api: Api):
    make_user(app)
    earlier = [api.log_in(), api.log_in()]
    earlier.append(data(api.refresh(earlier[0]["refresh_token"])))
    new = data(change(api, earlier[0]["access_token"]))
    for pair in earlier:
        assert refusal(api.get("/me", token=pair["access_token"])) == (401, "TOKEN_REVOKED")
        assert refusal(api.refresh(pair["refresh_token"])) == (401, "TOKEN_REVOKED")
    data(api.get("/me", token=new["access_token"]))
    new = data(api.refresh(new["refresh_token"]))
    (session,) = data(api.get("/sessions", token=new["access_token"]))["sessions"]
    assert session["current"] is True


def test_new_access_token_is_fresh(app: Flask, api: Api):
    make_user(app)
    with time_machine.travel("2026-11-21T12:00:00Z", tick=False) as clock:
        pair = api.log_in()
        clock.shift(3600)
        pair = data(api.refresh(pair["refresh_token"]))
        assert claims(data(change(api, pair["access_token"]))["access_token"])["fresh"] is True


def test_owner_is_told_by_mail(app: Flask, api: Api):
    make_user(app, name="Alice")
    data(change(api, api.log_in()["access_token"]))
    (mail,) = mails(app)
    assert (mail.to, mail.subject) == (ALICE, "Your password has been changed")


def test_wrong_present_password_changes_nothing(app: Flask, api: Api):
    make_user(app)
    token = api.log_in()["access_token"]
    answer = change(api, token, current=OTHER_PASSWORD)
    assert refusal(answer) == (401, "INVALID_CREDENTIALS")
    assert answer.json["error"]["message"] == "The password is wrong.", "nobody typed an address"
    data(api.get("/me", token=token))
    api.log_in()
    assert mails(app) == []


@pytest.mark.any_database
def test_weak_password_is_refused_with_what_is_wrong_and_changes_nothing(app: Flask, api: Api):
    make_user(app)
    token = api.log_in()["access_token"]
    answer = change(api, token, new="alice")
    assert refusal(answer) == (422, "VALIDATION_ERROR")
    assert answer.json is not None
    assert "Use at least 8 characters." in answer.json["error"]["details"]["new_password"]
    data(api.get("/me", token=token))
    api.log_in()


def test_nobody_changes_a_password_without_being_logged_in(app: Flask, api: Api):
    make_user(app)
    assert refusal(change(api, None)) == (401, "UNAUTHORIZED")
    assert refusal(change(api, api.log_in()["refresh_token"])) == (401, "TOKEN_INVALID")


def test_of_two_changes_at_once_one_wins(app: Flask, api: Api):
    make_user(app)
    tokens = [api.log_in()["access_token"] for _ in range(2)]
    won = []
    with just_before(app, "UPDATE auth_user", lambda: won.append(change(api, tokens[0], new="a-third-harbour-81"))):
        late = change(api, tokens[1])
        assert refusal(late) == (401, "INVALID_CREDENTIALS")
        assert late.json["error"]["message"] == "The password is wrong."
    pair = data(won[0])
    data(api.get("/me", token=pair["access_token"]))
    api.log_in(password="a-third-harbour-81")


def test_login_under_way_with_the_earlier_password_is_dead_on_arrival(app: Flask, api: Api):
    make_user(app)
    token = api.log_in()["access_token"]
    with just_before(app, "INSERT INTO auth_session", lambda: data(change(api, token))):
        late = api.log_in()
    assert refusal(api.get("/me", token=late["access_token"])) == (401, "TOKEN_REVOKED")
    assert refusal(api.refresh(late["refresh_token"])) == (401, "TOKEN_REVOKED")


def test_links_that_somebody_with_the_earlier_password_asked_for_stop_working(app: Flask, api: Api):
    make_user(app)
    token = api.log_in()["access_token"]
    data(api.post("/forgot-password", {"email": ALICE}), 202)
    reset = mailed_token(app)
    data(api.post("/change-email", {"new_email": "thief@example.org", "password": PASSWORD}, token=token), 202)
    moved = mailed_token(app, -2)
    data(change(api, token))
    answer = api.post("/reset-password", {"token": reset, "new_password": "a-third-harbour-81"})
    assert refusal(answer) == (400, "LINK_INVALID")
    assert refusal(api.post("/change-email/confirm", {"token": moved})) == (400, "LINK_INVALID")
    assert user_of(app).email == ALICE


def test_no_connection_is_held_while_passwords_are_hashed(app: Flask, api: Api):
    """The statements come in two groups, and the first is only reads, each on a connection that it gives back."""
    make_user(app)
    token = api.log_in()["access_token"]
    with heard(app) as statements:
        data(change(api, token))
    kinds = [statement.split()[0] for statement in statements]
    assert kinds[:3] == ["SELECT", "SELECT", "UPDATE"]


def test_operators_password_ends_every_session_and_is_told(app: Flask, api: Api):
    make_user(app)
    token = api.log_in()["access_token"]
    with app.app_context():
        user = users.find(ALICE)
        assert user is not None
        credentials.set_password(user, OTHER_PASSWORD)
        database.commit()
    assert refusal(api.get("/me", token=token)) == (401, "TOKEN_REVOKED")
    assert [mail.subject for mail in mails(app)] == ["Your password has been changed"]


@pytest.mark.any_database
def test_cookies_hold_the_new_tokens(make_app: MakeApp):
    app = make_app(AUTH_COOKIES=True)
    make_user(app)
    browser, api = app.test_client(), Api(app)
    signed_in = browser.post(api.prefix + "/login", json={"email": ALICE, "password": PASSWORD})
    assert signed_in.status_code == 200
    csrf = browser.get_cookie("csrf_access_token")
    assert csrf is not None
    body = {"current_password": PASSWORD, "new_password": OTHER_PASSWORD}
    headers = {"X-CSRF-TOKEN": csrf.value}
    answer = data(browser.post(api.prefix + "/change-password", json=body, headers=headers))
    kept = browser.get_cookie("access_token")
    assert kept is not None
    assert kept.value == answer["access_token"]
    assert data(browser.get(api.prefix + "/me"))["user"]["email"] == ALICE
