"""Verifying an address by the mailed link, and asking for another mail."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from flask import Flask
from itsdangerous import URLSafeTimedSerializer

from authapp import database, users
from authapp.models import User
from tests.conftest import MakeApp
from tests.factories import ALICE, BOB, Api, data, mailed_token, mails, make_user, refusal, user_of

INVALID = (400, "LINK_INVALID")
EXPIRED = (400, "LINK_EXPIRED")
ACCEPTED = {"message": "If this address waits for verification, a mail is on its way."}
CONFIRM = ["/verify-email", "/email-verification/confirm"]
RESEND = ["/resend-verification", "/email-verification/resend"]


def verify(api: Api, token: str, path: str = "/verify-email"):
    return api.post(path, {"token": token})


def resend(api: Api, email: str = ALICE, path: str = "/resend-verification"):
    return api.post(path, {"email": email})


def signed(app: Flask, content: object, *, salt: str = "authapp.link.verify-email", key: str | None = None) -> str:
    """Sign a link's content as the application would, or nearly so."""
    return str(URLSafeTimedSerializer(key or app.config["SECRET_KEY"], salt=salt).dumps(content))


def content_of(app: Flask, token: str) -> list[str]:
    found: list[str] = URLSafeTimedSerializer(app.config["SECRET_KEY"], salt="authapp.link.verify-email").loads(token)
    return found


@pytest.mark.parametrize("path", CONFIRM)
def test_link_verifies_the_address(app: Flask, api: Api, path: str):
    registered = data(api.register(), 201)["user"]
    answer = data(verify(api, mailed_token(app), path))
    assert answer["message"] == "Your account has been activated."
    assert answer["user"]["id"] == registered["id"]
    assert answer["user"]["is_verified"] is True
    api.log_in()


def test_same_link_again_is_no_error(app: Flask, api: Api):
    api.register()
    first = data(verify(api, mailed_token(app)))
    assert data(verify(api, mailed_token(app))) == first


def test_link_that_was_tampered_with_is_refused(app: Flask, api: Api):
    api.register()
    token = mailed_token(app)
    payload, time, signature = token.split(".")
    other = signed(app, ["0" * 32, ALICE, "nonce"]).split(".")[0]
    for forged in (
        f"{other}.{time}.{signature}",
        f"{payload}.{time}.{signature[::-1]}",
        f"{payload}.{time}",
        f"{payload}..{signature}",
        token[:-5],
        f"{token}x",
        f".{token}",
        token.swapcase(),
    ):
        assert refusal(verify(api, forged)) == INVALID, forged
    assert user_of(app).is_verified is False


def test_link_for_another_purpose_or_of_another_secret_is_refused(app: Flask, api: Api):
    api.register()
    content = content_of(app, mailed_token(app))
    assert refusal(verify(api, signed(app, content, salt="authapp.link.reset-password"))) == INVALID
    assert refusal(verify(api, signed(app, content, salt="itsdangerous"))) == INVALID
    assert refusal(verify(api, signed(app, content, key="another secret that is long enough"))) == INVALID
    data(verify(api, signed(app, content)))


@pytest.mark.parametrize(
    "content",
    [None, 1, "text", [], {}, [1, 2, 3], ["no id", ALICE, "n"], ["0" * 32, None, None], ["0" * 32, ALICE], [[]] * 3],
)
def test_signed_nonsense_is_refused(app: Flask, api: Api, content: object):
    assert refusal(verify(api, signed(app, content))) == INVALID


@pytest.mark.parametrize(
    "token", ["", " ", ".", "..", "tökén", "🎉", "%00", "a" * 1025, "a" * 4096, ".eJw." * 20, "null", "-" * 64, "é.é.é"]
)
def test_text_that_is_no_token_is_refused(api: Api, token: str):
    assert refusal(verify(api, token)) == INVALID


def test_lone_surrogate_in_a_token_is_not_valid_text(api: Api):
    assert refusal(verify(api, "\ud800")) == (422, "VALIDATION_ERROR")


def test_compressed_token_is_not_unpacked_beyond_reason(app: Flask, api: Api):
    """The serializer unpacks a payload that begins with a dot, but only behind a good signature."""
    assert refusal(verify(api, signed(app, ["0" * 32, ALICE, "n" * 100_000]))) == INVALID


@pytest.mark.parametrize("path", RESEND)
def test_only_the_newest_link_works(app: Flask, api: Api, path: str):
    api.register()
    older = mailed_token(app)
    data(resend(api, path=path), 202)
    assert len(mails(app)) == 2
    assert refusal(verify(api, older)) == INVALID
    data(verify(api, mailed_token(app)))
    assert refusal(verify(api, older)) == INVALID


def test_link_of_a_deleted_account_is_refused(app: Flask, api: Api):
    api.register()
    token = mailed_token(app)
    with app.app_context():
        users.delete(users.find(ALICE) or User())
        database.commit()
    assert refusal(verify(api, token)) == INVALID
    api.register()
    assert refusal(verify(api, token)) == INVALID, "nor does it verify who has the address now"
    assert user_of(app).is_verified is False


def test_link_of_an_address_that_was_changed_since_is_refused(app: Flask, api: Api):
    api.register()
    token = mailed_token(app)
    with app.app_context():
        user = users.find(ALICE)
        assert user is not None
        user.email = BOB
        database.commit()
    assert refusal(verify(api, token)) == INVALID
    assert user_of(app, BOB).is_verified is False


def test_used_link_does_not_verify_an_account_that_was_unverified_since(app: Flask, api: Api):
    api.register()
    token = mailed_token(app)
    data(verify(api, token))
    with app.app_context():
        user = users.find(ALICE)
        assert user is not None
        user.is_verified = False
        database.commit()
    assert refusal(verify(api, token)) == INVALID


def test_expired_link_is_refused(app: Flask, api: Api):
    with time_machine.travel(datetime(2026, 3, 1, 12, tzinfo=UTC), tick=False) as clock:
        api.register()
        clock.shift(timedelta(hours=24))
        token = mailed_token(app)
        clock.shift(timedelta(hours=1))
        assert refusal(verify(api, token)) == EXPIRED
        data(resend(api), 202)
        data(verify(api, mailed_token(app)))
        assert refusal(verify(api, token)) == EXPIRED


def test_link_works_to_the_end_of_its_day(app: Flask, api: Api):
    with time_machine.travel(datetime(2026, 3, 1, 12, tzinfo=UTC), tick=False) as clock:
        api.register()
        clock.shift(timedelta(hours=24))
        data(verify(api, mailed_token(app)))


def test_lifetime_of_a_link_is_a_setting(make_app: MakeApp):
    app = make_app(AUTH_VERIFY_LINK_HOURS=2)
    api = Api(app)
    with time_machine.travel(datetime(2026, 3, 1, 12, tzinfo=UTC), tick=False) as clock:
        api.register()
        assert "It works for 2 hours." in mails(app)[0].text
        clock.shift(timedelta(hours=3))
        assert refusal(verify(api, mailed_token(app))) == EXPIRED


def test_link_of_a_machine_whose_clock_is_ahead_works(app: Flask, api: Api):
    with time_machine.travel(datetime(2026, 3, 1, 12, 0, 5, tzinfo=UTC), tick=False):
        api.register()
    with time_machine.travel(datetime(2026, 3, 1, 12, tzinfo=UTC), tick=False):
        data(verify(api, mailed_token(app)))


def test_link_that_an_earlier_secret_signed_works(app: Flask, api: Api, make_app: MakeApp):
    api.register()
    token = mailed_token(app)
    fresh = "another secret of the tests, in use from today on"
    rotated = make_app(SECRET_KEY=fresh, SECRET_KEY_FALLBACKS=[app.config["SECRET_KEY"]])
    assert refusal(verify(Api(make_app(SECRET_KEY=fresh)), token)) == INVALID
    data(verify(Api(rotated), token))


def test_another_mail_is_the_same_answer_for_everybody(app: Flask, api: Api):
    api.register()
    make_user(app, "verified@example.org")
    disabled = make_user(app, "disabled@example.org", is_verified=False)
    with app.app_context():
        users.set_active(users.find("disabled@example.org") or User(), False)
        database.commit()
    assert disabled
    before = len(mails(app))
    answers = [
        resend(api, email)
        for email in ("nobody@example.org", "verified@example.org", "disabled@example.org", ALICE, ALICE.upper())
    ]
    assert [data(answer, 202) for answer in answers] == [ACCEPTED] * 5
    assert len({answer.data for answer in answers}) == 1
    assert len({tuple(sorted(name for name, _ in answer.headers)) for answer in answers}) == 1
    assert [mail.to for mail in mails(app)][before:] == [ALICE, ALICE]


@pytest.mark.parametrize("path", RESEND)
def test_another_mail_to_what_is_no_address_is_refused(api: Api, path: str):
    assert refusal(resend(api, "root@localhost", path)) == (422, "VALIDATION_ERROR")


def test_address_may_be_verified_while_the_account_is_disabled(app: Flask, api: Api):
    """Only an operator enables it again."""
    api.register()
    with app.app_context():
        users.set_active(users.find(ALICE) or User(), False)
        database.commit()
    assert data(verify(api, mailed_token(app)))["user"]["is_active"] is False
    assert refusal(api.post("/login", {"email": ALICE, "password": "violet-tractor-19-sings"})) == (
        403,
        "ACCOUNT_DISABLED",
    )
