"""Changing the e-mail address: a link to the new one, a notice to the old one, and nothing before the link."""

from datetime import timedelta

import pytest
import time_machine
from flask import Flask

from authapp import database, users
from tests.conftest import MakeApp
from tests.factories import ALICE, BOB, OTHER_PASSWORD, PASSWORD, Api, data, mailed_token, mails, make_user, refusal
from tests.factories import user_of as find
from tests.statements import just_before

NEW = "alice@new.example.org"
INVALID = (400, "LINK_INVALID")


def ask(api: Api, new: str = NEW, password: str = PASSWORD, token: str | None = None):
    token = token or api.log_in()["access_token"]
    return api.post("/change-email", {"new_email": new, "password": password}, token=token)


def confirm(api: Api, token: str):
    return api.post("/change-email/confirm", {"token": token})


def test_address_changes_once_the_link_is_confirmed(app: Flask, api: Api):
    make_user(app)
    session = api.log_in()
    data(ask(api, "Alice@NEW.example.org"), 202)
    assert data(api.get("/me", token=session["access_token"]))["user"]["email"] == ALICE
    answer = data(confirm(api, mailed_token(app, 0)))
    assert (answer["user"]["email"], answer["user"]["is_verified"]) == (NEW, True)
    assert data(api.get("/me", token=session["access_token"]))["user"]["email"] == NEW
    api.log_in(NEW)
    assert refusal(api.post("/login", {"email": ALICE, "password": PASSWORD})) == (401, "INVALID_CREDENTIALS")


def test_link_goes_to_the_new_address_and_notices_to_the_old_one(app: Flask, api: Api):
    make_user(app)
    data(ask(api), 202)
    link, notice = mails(app)
    assert (link.to, notice.to) == (NEW, ALICE)
    assert f"{app.config['AUTH_PUBLIC_URL']}/api/auth/change-email?token=" in link.text
    assert NEW in notice.text
    assert "token=" not in notice.text
    data(confirm(api, mailed_token(app, 0)))
    assert [mail.to for mail in mails(app)] == [NEW, ALICE, ALICE]


@pytest.mark.any_database
def test_notice_to_an_address_that_was_never_verified_has_nothing_that_a_stranger_wrote(make_app: MakeApp):
    app = make_app(AUTH_REQUIRE_VERIFIED_EMAIL=False)
    api = Api(app)
    data(api.register(name="You won https://evil.example"), 201)
    data(ask(api), 202)
    data(confirm(api, mailed_token(app, 1)))
    notice = mails(app)[-1]
    assert (notice.to, notice.subject) == (ALICE, "Your e-mail address has been changed")
    assert "evil" not in notice.text + notice.html


def test_old_address_is_free_again(app: Flask, api: Api):
    make_user(app)
    data(ask(api), 202)
    data(confirm(api, mailed_token(app, 0)))
    data(api.register(), 201)


def test_same_link_again_is_no_error(app: Flask, api: Api):
    make_user(app)
    data(ask(api), 202)
    first = data(confirm(api, mailed_token(app, 0)))
    assert data(confirm(api, mailed_token(app, 0))) == first
    assert len(mails(app)) == 3


def test_used_link_does_not_take_back_a_later_change(app: Flask, api: Api):
    make_user(app)
    data(ask(api), 202)
    link = mailed_token(app, 0)
    data(confirm(api, link))
    data(ask(api, "third@example.org", token=api.log_in(NEW)["access_token"]), 202)
    assert refusal(confirm(api, link)) == INVALID
    data(confirm(api, mailed_token(app, -2)))
    assert refusal(confirm(api, link)) == INVALID


def test_wrong_password_sends_nothing(app: Flask, api: Api):
    make_user(app)
    assert refusal(ask(api, password=OTHER_PASSWORD)) == (401, "INVALID_CREDENTIALS")
    assert mails(app) == []


def test_address_that_is_taken_is_refused(app: Flask, api: Api):
    make_user(app)
    make_user(app, BOB)
    assert refusal(ask(api, BOB)) == (409, "USER_ALREADY_EXISTS")
    assert mails(app) == []


def test_address_that_is_taken_meanwhile_is_refused(app: Flask, api: Api):
    make_user(app)
    data(ask(api), 202)
    make_user(app, NEW)
    assert refusal(confirm(api, mailed_token(app, 0))) == (409, "USER_ALREADY_EXISTS")
    assert find(app).email == ALICE


def test_generic_answer_does_not_tell_that_an_address_is_taken(make_app: MakeApp):
    app = make_app(AUTH_GENERIC_RESPONSES=True)
    api = Api(app)
    make_user(app)
    make_user(app, BOB)
    token = api.log_in()["access_token"]
    free, taken = ask(api, token=token), ask(api, BOB, token=token)
    assert (free.status_code, free.data) == (taken.status_code, taken.data) == (202, free.data)
    sent = [(mail.to, "token=" in mail.text) for mail in mails(app)]
    assert sent == [(NEW, True), (ALICE, False), (BOB, False), (ALICE, False)]
    assert find(app, BOB).email == BOB


@pytest.mark.any_database
@pytest.mark.parametrize("probed", [BOB, "nobody@example.org"])
def test_earlier_link_does_not_tell_that_an_address_is_taken(make_app: MakeApp, probed: str):
    app = make_app(AUTH_GENERIC_RESPONSES=True)
    api = Api(app)
    make_user(app)
    make_user(app, BOB)
    data(ask(api), 202)
    data(ask(api, probed), 202)
    assert refusal(confirm(api, mailed_token(app, 0))) == INVALID


@pytest.mark.any_database
@pytest.mark.parametrize("email", [ALICE, "ALICE@example.org", "nobody", "", "a@b@c.org"])
def test_address_that_is_none_or_the_same_is_refused(app: Flask, api: Api, email: str):
    make_user(app)
    answer = ask(api, email)
    assert refusal(answer) == (422, "VALIDATION_ERROR")
    assert answer.json is not None
    assert list(answer.json["error"]["details"]) == ["new_email"]


@pytest.mark.any_database
def test_nobody_changes_an_address_without_being_logged_in(api: Api):
    assert refusal(api.post("/change-email", {"new_email": NEW, "password": PASSWORD})) == (401, "UNAUTHORIZED")


def test_earlier_link_stops_working(app: Flask, api: Api):
    make_user(app)
    data(ask(api), 202)
    data(ask(api, "third@example.org"), 202)
    assert refusal(confirm(api, mailed_token(app, 0))) == INVALID
    assert data(confirm(api, mailed_token(app, 2)))["user"]["email"] == "third@example.org"


def test_link_expires_after_an_hour(app: Flask, api: Api):
    make_user(app)
    with time_machine.travel("2026-11-21T12:00:00Z", tick=False) as clock:
        data(ask(api), 202)
        clock.shift(timedelta(hours=1, seconds=1))
        assert refusal(confirm(api, mailed_token(app, 0))) == (400, "LINK_EXPIRED")


def test_link_of_another_purpose_is_refused(app: Flask, api: Api):
    data(api.register(), 201)
    assert refusal(confirm(api, mailed_token(app))) == INVALID


def test_password_changed_while_the_change_is_asked_for_wins(app: Flask, api: Api):
    make_user(app)
    token, other = api.log_in()["access_token"], api.log_in()["access_token"]
    body = {"current_password": PASSWORD, "new_password": OTHER_PASSWORD}
    with just_before(app, "UPDATE auth_user", lambda: data(api.post("/change-password", body, token=other))):
        assert refusal(ask(api, token=token)) == (401, "INVALID_CREDENTIALS")
    assert [mail.subject for mail in mails(app)] == ["Your password has been changed"]


def disable() -> None:
    user = users.find(ALICE)
    assert user is not None
    users.set_active(user, False)


def test_link_of_an_account_that_was_disabled_since_is_refused(app: Flask, api: Api):
    make_user(app)
    data(ask(api), 202)
    with app.app_context():
        disable()
        database.commit()
    assert refusal(confirm(api, mailed_token(app, 0))) == INVALID


def test_link_of_an_account_that_a_host_disabled_by_the_column_is_refused(app: Flask, api: Api):
    make_user(app)
    data(ask(api), 202)
    with app.app_context():
        user = users.find(ALICE)
        assert user is not None
        user.is_active = False
        database.commit()
    assert refusal(confirm(api, mailed_token(app, 0))) == INVALID


@pytest.mark.parametrize(
    ("beginning", "code"),
    [
        # Between the look at the token and the look at the password, and between that and the change.
        ("SELECT auth_user.id, auth_user.email, auth_user.password_hash", "TOKEN_REVOKED"),
        ("UPDATE auth_user", "INVALID_CREDENTIALS"),
    ],
)
def test_account_disabled_while_a_change_is_asked_for_changes_nothing(app: Flask, api: Api, beginning: str, code: str):
    make_user(app)
    token = api.log_in()["access_token"]

    def disable_it() -> None:
        with app.app_context():
            disable()
            database.commit()

    requests = {
        "/change-email": {"new_email": NEW, "password": PASSWORD},
        "/change-password": {"current_password": PASSWORD, "new_password": OTHER_PASSWORD},
    }
    for path, body in requests.items():
        with just_before(app, beginning, disable_it):
            assert refusal(api.post(path, body, token=token)) == (401, code)
        with app.app_context():
            user = users.find(ALICE)
            assert user is not None
            users.set_active(user, True)
            database.commit()
        token = api.log_in()["access_token"]
    assert mails(app) == []
