"""A forgotten password: the mail, the link, the new password."""

from datetime import timedelta

import pytest
import time_machine
from flask import Flask
from sqlalchemy import func, select

from authapp import credentials, database, users
from authapp.extensions import db
from authapp.mail.models import MailRequest
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
from tests.statements import failing, heard, just_before

FORGOT = ["/forgot-password", "/password-reset/request"]
RESET = ["/reset-password", "/password-reset/confirm"]
ACCEPTED = {"message": "If this address has an account, a mail is on its way."}
INVALID = (400, "LINK_INVALID")


def forget(api: Api, email: str = ALICE, path: str = "/forgot-password"):
    return api.post(path, {"email": email})


def reset(api: Api, token: str, password: str = OTHER_PASSWORD, path: str = "/reset-password"):
    return api.post(path, {"token": token, "new_password": password})


def asked(app: Flask) -> int:
    with app.app_context():
        return db.session.scalar(select(func.count()).select_from(MailRequest)) or 0


@pytest.mark.parametrize("path", FORGOT)
def test_link_is_mailed(app: Flask, api: Api, path: str):
    make_user(app)
    assert data(forget(api, path=path), 202) == ACCEPTED
    (mail,) = mails(app)
    assert mail.to == ALICE
    assert f"{app.config['AUTH_PUBLIC_URL']}/api/auth/reset-password?token=" in mail.text
    assert asked(app) == 0


@pytest.mark.parametrize("path", RESET)
def test_link_sets_a_new_password_and_hands_out_no_tokens(app: Flask, api: Api, path: str):
    make_user(app)
    forget(api)
    assert set(data(reset(api, mailed_token(app), path=path))) == {"message"}
    api.log_in(password=OTHER_PASSWORD)
    assert refusal(api.post("/login", {"email": ALICE, "password": PASSWORD})) == (401, "INVALID_CREDENTIALS")


def test_every_session_is_over_and_the_owner_is_told(app: Flask, api: Api):
    make_user(app)
    pair = api.log_in()
    forget(api)
    data(reset(api, mailed_token(app)))
    assert refusal(api.get("/me", token=pair["access_token"])) == (401, "TOKEN_REVOKED")
    assert refusal(api.refresh(pair["refresh_token"])) == (401, "TOKEN_REVOKED")
    assert mails(app)[-1].subject == "Your password has been changed"


def test_address_counts_as_verified(app: Flask, api: Api):
    data(api.register(), 201)
    forget(api)
    data(reset(api, mailed_token(app)))
    assert api.log_in(password=OTHER_PASSWORD)["user"]["is_verified"] is True


@pytest.mark.parametrize("state", ["unknown", "disabled"])
def test_nobody_without_a_living_account_gets_a_mail(app: Flask, api: Api, state: str):
    if state == "disabled":
        make_user(app)
        deactivate(app)
    assert data(forget(api), 202) == ACCEPTED
    assert (mails(app), asked(app)) == ([], 0)


def deactivate(app: Flask) -> None:
    with app.app_context():
        user = users.find(ALICE)
        assert user is not None
        users.set_active(user, False)
        database.commit()


def test_request_is_written_before_anything_is_looked_up(app: Flask, api: Api):
    make_user(app)
    for email in (ALICE, "nobody@example.org"):
        with heard(app) as statements:
            data(forget(api, email), 202)
        assert statements[0].startswith("INSERT INTO auth_mail_request")
        assert not any("auth_user" in statement for statement in statements[:2])


@pytest.mark.any_database
def test_what_is_no_address_is_refused(api: Api):
    assert refusal(forget(api, "root@localhost")) == (422, "VALIDATION_ERROR")


def test_link_works_once(app: Flask, api: Api):
    make_user(app)
    forget(api)
    data(reset(api, mailed_token(app, 0)))
    assert refusal(reset(api, mailed_token(app, 0), "a-third-harbour-81")) == INVALID
    api.log_in(password=OTHER_PASSWORD)


def test_earlier_link_stops_working(app: Flask, api: Api):
    make_user(app)
    forget(api)
    forget(api)
    assert refusal(reset(api, mailed_token(app, 0))) == INVALID
    data(reset(api, mailed_token(app, 1)))


def test_link_expires_after_an_hour(app: Flask, api: Api):
    make_user(app)
    with time_machine.travel("2026-11-21T12:00:00Z", tick=False) as clock:
        forget(api)
        clock.shift(timedelta(hours=1))
        assert links_still_work(app, api)
        clock.shift(timedelta(seconds=1))
        assert refusal(reset(api, mailed_token(app, 0))) == (400, "LINK_EXPIRED")


def links_still_work(app: Flask, api: Api) -> bool:
    return refusal(reset(api, mailed_token(app, 0), "weak")) == (422, "VALIDATION_ERROR")


def test_lifetime_is_a_setting(make_app: MakeApp):
    app = make_app(AUTH_RESET_LINK_HOURS=48)
    make_user(app)
    with time_machine.travel("2026-11-21T12:00:00Z", tick=False) as clock:
        forget(Api(app))
        clock.shift(timedelta(hours=47))
        data(reset(Api(app), mailed_token(app)))


def test_refused_password_leaves_the_link_as_it_was(app: Flask, api: Api):
    make_user(app)
    forget(api)
    answer = reset(api, mailed_token(app), "password")
    assert refusal(answer) == (422, "VALIDATION_ERROR")
    assert answer.json is not None
    assert list(answer.json["error"]["details"]) == ["new_password"]
    data(reset(api, mailed_token(app)))


def test_link_of_another_purpose_is_refused(app: Flask, api: Api):
    data(api.register(), 201)
    assert refusal(reset(api, mailed_token(app))) == INVALID
    forget(api)
    assert refusal(api.post("/verify-email", {"token": mailed_token(app)})) == INVALID


@pytest.mark.any_database
@pytest.mark.parametrize("token", ["", "nonsense", "a.b.c", "é", "x" * 2000])
def test_token_that_is_none_is_refused(api: Api, token: str):
    assert refusal(reset(api, token)) == INVALID


def test_link_dies_with_a_change_of_the_address(app: Flask, api: Api):
    make_user(app)
    forget(api)
    link = mailed_token(app)
    with app.app_context():
        user = users.find(ALICE)
        assert user is not None
        user.email = "elsewhere@example.org"
        database.commit()
    assert refusal(reset(api, link)) == INVALID


def test_link_stays_dead_when_the_address_is_changed_back(app: Flask, api: Api):
    make_user(app)
    token = api.log_in()["access_token"]
    forget(api)
    link = mailed_token(app)
    for address in ("elsewhere@example.org", ALICE):
        data(api.post("/change-email", {"new_email": address, "password": PASSWORD}, token=token), 202)
        data(api.post("/change-email/confirm", {"token": mailed_token(app, -2)}))
    assert refusal(reset(api, link)) == INVALID


def test_link_of_an_account_that_was_disabled_since_is_refused(app: Flask, api: Api):
    make_user(app)
    forget(api)
    deactivate(app)
    assert refusal(reset(api, mailed_token(app))) == INVALID


def test_of_two_resets_with_one_link_one_wins(app: Flask, api: Api):
    make_user(app)
    forget(api)
    link, won = mailed_token(app), []
    with just_before(app, "UPDATE auth_link", lambda: won.append(reset(api, link, "a-third-harbour-81"))):
        assert refusal(reset(api, link)) == INVALID
    data(won[0])
    api.log_in(password="a-third-harbour-81")


def test_account_deleted_while_its_password_is_reset_is_gone(app: Flask, api: Api):
    make_user(app)
    forget(api)

    def delete() -> None:
        with app.app_context():
            users.delete(user_of(app))
            database.commit()

    with just_before(app, "UPDATE auth_link", delete):
        assert refusal(reset(api, mailed_token(app))) == INVALID


def test_request_that_fails_is_answered_the_next_time(app: Flask, api: Api, caplog: pytest.LogCaptureFixture):
    make_user(app)
    with failing(app, "INSERT INTO auth_outbox_message", Exception("no space left")):
        data(forget(api), 202)
    assert (mails(app), asked(app)) == ([], 1)
    assert "mail_request_failed" in caplog.text
    data(forget(api, "nobody@example.org"), 202)
    assert ([mail.to for mail in mails(app)], asked(app)) == ([ALICE], 0)


def test_who_asks_often_before_the_answer_gets_one_mail(app: Flask):
    """Only the link in the latest would work."""
    make_user(app)
    make_user(app, BOB)
    with app.app_context():
        for email in (ALICE, BOB, ALICE, "nobody@example.org", ALICE):
            credentials.request_reset(email)
        database.commit()
    assert ([mail.to for mail in mails(app)], asked(app)) == ([ALICE, BOB], 0)
