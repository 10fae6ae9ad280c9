"""What the answer about FastAPI, MySQL and e-mail confirmation describes: nobody logs in before the link was used.

There the routes stand below no prefix of their own; here they are below the default one.
"""

from datetime import timedelta

import pytest
import time_machine
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from authapp import clock
from authapp.mail import outbox
from tests.auth.test_pages import press_the_button, visible
from tests.conftest import MakeApp
from tests.factories import ALICE, OTHER_PASSWORD, PASSWORD, data, mailed_token, mails, make_user, refusal, user_of
from tests.services import free_port

# A walk through all of it; what one kind of database may answer otherwise has its tests elsewhere.
pytestmark = pytest.mark.any_database

FORM = "application/x-www-form-urlencoded"
ACCOUNT = {"email": ALICE, "password": PASSWORD}
NOT_CONFIRMED = (403, "EMAIL_NOT_VERIFIED")


@pytest.fixture
def http(app: Flask) -> FlaskClient:
    """A plain client; paths are whole."""
    return app.test_client(use_cookies=False)


def log_in(http: FlaskClient, password: str = PASSWORD) -> TestResponse:
    return http.post("/api/auth/login", json={"email": ALICE, "password": password})


def open_link(app: Flask, http: FlaskClient, number: int = -1) -> TestResponse:
    """Open the link in a mail as it stands there, code in the URL included."""
    (link,) = outbox.links_of(mails(app)[number])
    public = app.config["AUTH_PUBLIC_URL"]
    assert link.startswith(f"{public}/api/auth/verify-email?token=")
    page = http.get(link.removeprefix(public))
    assert page.status_code == 200
    return page


@pytest.mark.parametrize("content", [{"json": ACCOUNT}, {"data": ACCOUNT, "content_type": FORM}], ids=["json", "form"])
def test_register_takes_form_data_as_well_as_json(app: Flask, http: FlaskClient, content: dict[str, object]):
    user = data(http.post("/api/auth/register", **content), 201)["user"]
    assert (user["email"], user["is_verified"]) == (ALICE, False)
    assert str(user_of(app).id) == user["id"]
    (mail,) = mails(app)
    assert mail.to == ALICE


def test_new_user_cannot_log_in_until_the_address_is_confirmed(app: Flask, http: FlaskClient):
    data(http.post("/api/auth/register", data=ACCOUNT), 201)
    assert refusal(log_in(http)) == NOT_CONFIRMED
    data(http.post("/api/auth/verify-email", json={"token": mailed_token(app)}))
    assert data(log_in(http))["user"]["is_verified"] is True


def test_only_who_knows_the_password_hears_that_the_address_waits_for_confirmation(app: Flask, http: FlaskClient):
    make_user(app, is_verified=False)
    assert refusal(log_in(http, OTHER_PASSWORD)) == (401, "INVALID_CREDENTIALS")
    assert refusal(log_in(http)) == NOT_CONFIRMED


def test_only_the_latest_link_confirms(app: Flask, http: FlaskClient):
    data(http.post("/api/auth/register", json=ACCOUNT), 201)
    data(http.post("/api/auth/resend-verification", json={"email": ALICE}), 202)
    earlier, latest = mailed_token(app, 0), mailed_token(app, 1)
    refused = http.post("/api/auth/verify-email", json={"token": earlier})
    assert refusal(refused) == (400, "LINK_INVALID")
    assert refused.get_json()["error"]["message"] == "Invalid or expired token"
    assert refusal(log_in(http)) == NOT_CONFIRMED
    data(http.post("/api/auth/verify-email", json={"token": latest}))
    data(log_in(http))


def test_mail_that_cannot_be_sent_leaves_no_user(make_app: MakeApp):
    app = make_app(
        MAIL_DELIVERY="inline",
        MAIL_SERVER="127.0.0.1",
        MAIL_PORT=free_port(),
        MAIL_TIMEOUT=5,
        # Flask-Mail sends nothing in a test unless told to.
        MAIL_SUPPRESS_SEND=False,
    )
    http = app.test_client(use_cookies=False)
    for _ in range(2):
        # Were the user kept, the second time would say that the address is taken.
        answer = http.post("/api/auth/register", data=ACCOUNT)
        assert refusal(answer) == (503, "EMAIL_NOT_SENT")
        assert answer.get_json()["error"]["message"] == "Email couldn't be sent. Please try again."
    assert refusal(log_in(http)) == (401, "INVALID_CREDENTIALS")


def test_link_in_the_mail_ends_in_an_activated_account(app: Flask, http: FlaskClient):
    """The GET itself changes nothing, since mail scanners open links too: the button of its page does."""
    data(http.post("/api/auth/register", json=ACCOUNT), 201)
    page = open_link(app, http)
    assert refusal(log_in(http)) == NOT_CONFIRMED
    done = press_the_button(app, page)
    assert done.status_code == 200
    assert "Your account has been activated." in visible(done)
    data(log_in(http))


def test_activation_says_so_in_json_too(app: Flask, http: FlaskClient):
    data(http.post("/api/auth/register", json=ACCOUNT), 201)
    answer = data(http.post("/api/auth/verify-email", json={"token": mailed_token(app)}))
    assert answer["message"] == "Your account has been activated."


def test_superseded_link_ends_in_an_invalid_token(app: Flask, http: FlaskClient):
    data(http.post("/api/auth/register", json=ACCOUNT), 201)
    data(http.post("/api/auth/resend-verification", json={"email": ALICE}), 202)
    refused = press_the_button(app, open_link(app, http, 0))
    assert refused.status_code == 400
    assert "Invalid or expired token" in visible(refused)
    assert refusal(log_in(http)) == NOT_CONFIRMED


def test_link_that_is_too_old_ends_in_an_expired_token(app: Flask, http: FlaskClient):
    data(http.post("/api/auth/register", json=ACCOUNT), 201)
    with time_machine.travel(clock.now() + timedelta(hours=24, minutes=1), tick=False):
        refused = press_the_button(app, open_link(app, http))
        assert refused.status_code == 400
        assert "Invalid or expired token" in visible(refused)
        in_json = http.post("/api/auth/verify-email", json={"token": mailed_token(app)})
        assert refusal(in_json) == (400, "LINK_EXPIRED")
        assert in_json.get_json()["error"]["message"] == "Invalid or expired token"
        assert refusal(log_in(http)) == NOT_CONFIRMED


def test_expired_access_token_is_told_so(app: Flask, http: FlaskClient):
    make_user(app)
    token = data(log_in(http))["access_token"]
    with time_machine.travel(clock.now() + timedelta(minutes=31), tick=False):
        refused = http.get("/api/auth/me", headers={"Authorization": f"Bearer {token}"})
        assert refusal(refused) == (401, "TOKEN_EXPIRED")
        assert refused.get_json()["error"]["message"] == "Token has expired"


def test_refresh_takes_its_token_from_the_authorization_header(app: Flask, http: FlaskClient):
    make_user(app)
    first = data(log_in(http))
    answer = http.post("/api/auth/refresh", headers={"Authorization": f"Bearer {first['refresh_token']}"})
    second = data(answer)
    assert second["refresh_token"] != first["refresh_token"]
    data(http.get("/api/auth/me", headers={"Authorization": f"Bearer {second['access_token']}"}))
