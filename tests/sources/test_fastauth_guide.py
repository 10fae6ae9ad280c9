"""What the guides of FastAuth describe: its routes below `/auth` with its JSON bodies, and its functions and errors.

Bodies and answers are in our envelope, so its fields are below `data`. A wrong password is `INVALID_CREDENTIALS`.
"""

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
import time_machine
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from authapp import clock, create_app, database, init_app, sessions
from authapp.clients import Client
from authapp.errors import (
    AuthError,
    EmailNotVerifiedError,
    InvalidCredentialsError,
    TokenExpiredError,
    UserAlreadyExistsError,
)
from authapp.extensions import db
from authapp.mail import delivery
from authapp.models import User
from authapp.protect import current_user, login_required, optional_login, roles_required, verified_required
from authapp.testing import TEST_SETTINGS
from authapp.tokens import create_access_token
from authapp.users import authenticate_user, create_user
from tests.conftest import MakeApp
from tests.factories import PASSWORD, claims, data, mailed_token, mails, make_user, refusal
from tests.mail.conftest import MailServer, mail_server

# A walk through all of it; what one kind of database may answer otherwise has its tests elsewhere.
pytestmark = pytest.mark.any_database

__all__ = ["mail_server"]

# As the guides print them.
EMAIL = "user@example.com"
PRINTED = {"email": EMAIL, "password": "securepassword123"}
NEW_PASSWORD = "newpassword456"


@pytest.fixture
def unverified(make_app: MakeApp) -> Flask:
    """The service as the guide's first pages have it: nobody has to verify an address."""
    return make_app(AUTH_URL_PREFIX="/auth", AUTH_REQUIRE_VERIFIED_EMAIL=False)


@pytest.fixture
def verifying(make_app: MakeApp) -> Flask:
    """The service with `REQUIRE_EMAIL_VERIFICATION=true`, under our name for it."""
    return make_app(AUTH_URL_PREFIX="/auth", AUTH_REQUIRE_VERIFIED_EMAIL=True)


def client_of(app: Flask) -> FlaskClient:
    return app.test_client(use_cookies=False)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_register_gives_tokens(unverified: Flask):
    answer = data(client_of(unverified).post("/auth/register", json=PRINTED), 201)
    assert set(answer) >= {"access_token", "refresh_token", "token_type"}
    assert answer["token_type"] == "bearer"
    data(client_of(unverified).get("/auth/me", headers=bearer(answer["access_token"])))


def test_login_gives_tokens(unverified: Flask):
    http = client_of(unverified)
    data(http.post("/auth/register", json=PRINTED), 201)
    answer = data(http.post("/auth/login", json=PRINTED))
    assert set(answer) >= {"access_token", "refresh_token", "token_type"}
    assert answer["token_type"] == "bearer"


def test_refresh_token_gives_new_tokens_and_logout_revokes_them(unverified: Flask):
    http = client_of(unverified)
    first = data(http.post("/auth/register", json=PRINTED), 201)
    second = data(http.post("/auth/refresh", json={"refresh_token": first["refresh_token"]}))
    assert second["access_token"] != first["access_token"]
    assert second["token_type"] == "bearer"
    data(http.post("/auth/logout", json={"refresh_token": second["refresh_token"]}))
    refused = http.post("/auth/refresh", json={"refresh_token": second["refresh_token"]})
    assert refusal(refused) == (401, "TOKEN_REVOKED")
    assert refusal(http.get("/auth/me", headers=bearer(second["access_token"]))) == (401, "TOKEN_REVOKED")


def test_password_is_reset_in_two_steps(unverified: Flask):
    http = client_of(unverified)
    old = data(http.post("/auth/register", json=PRINTED), 201)
    data(http.post("/auth/password-reset/request", json={"email": EMAIL}), 202)
    token = mailed_token(unverified)
    data(http.post("/auth/password-reset/confirm", json={"token": token, "new_password": NEW_PASSWORD}))
    assert refusal(http.post("/auth/login", json=PRINTED)) == (401, "INVALID_CREDENTIALS")
    data(http.post("/auth/login", json={"email": EMAIL, "password": NEW_PASSWORD}))
    assert refusal(http.get("/auth/me", headers=bearer(old["access_token"]))) == (401, "TOKEN_REVOKED")
    again = http.post("/auth/password-reset/confirm", json={"token": token, "new_password": PASSWORD})
    assert refusal(again) == (400, "LINK_INVALID")


def test_address_is_verified_by_a_mail_that_was_sent_again(verifying: Flask):
    http = client_of(verifying)
    assert "access_token" not in data(http.post("/auth/register", json=PRINTED), 201)
    assert refusal(http.post("/auth/login", json=PRINTED)) == (403, "EMAIL_NOT_VERIFIED")
    data(http.post("/auth/email-verification/resend", json={"email": EMAIL}), 202)
    data(http.post("/auth/email-verification/confirm", json={"token": mailed_token(verifying)}))
    data(http.post("/auth/login", json=PRINTED))


def test_links_in_mails_follow_the_prefix(verifying: Flask):
    data(client_of(verifying).post("/auth/register", json=PRINTED), 201)
    (mail,) = mails(verifying)
    assert f"{verifying.config['AUTH_PUBLIC_URL']}/auth/verify-email?token=" in mail.text


def test_link_may_point_to_a_page_of_ones_own(make_app: MakeApp):
    """Its `EMAIL_VERIFICATION_URL` and `PASSWORD_RESET_URL`, with the same `{token}`."""
    app = make_app(
        AUTH_URL_PREFIX="/auth",
        AUTH_VERIFY_URL="https://yourdomain.com/verify-email?token={token}",
        AUTH_RESET_URL="https://yourdomain.com/reset-password?token={token}",
    )
    data(client_of(app).post("/auth/register", json=PRINTED), 201)
    data(client_of(app).post("/auth/password-reset/request", json={"email": EMAIL}), 202)
    verify, reset = mails(app)
    assert "https://yourdomain.com/verify-email?token=" in verify.text
    assert "https://yourdomain.com/reset-password?token=" in reset.text


def test_addresses_need_no_verification_where_that_is_off(unverified: Flask):
    http = client_of(unverified)
    user = data(http.post("/auth/register", json=PRINTED), 201)["user"]
    assert user["is_verified"] is False
    data(http.post("/auth/login", json=PRINTED))
    data(http.post("/auth/email-verification/confirm", json={"token": mailed_token(unverified)}))
    assert data(http.post("/auth/login", json=PRINTED))["user"]["is_verified"] is True


def test_users_are_made_and_authenticated_from_python(unverified: Flask):
    with unverified.app_context():
        made = create_user(email=EMAIL, password=PRINTED["password"])
        database.commit()
        user = authenticate_user(email=EMAIL, password=PRINTED["password"])
        assert user.id == made.id


def test_access_token_is_made_from_python(unverified: Flask):
    """A token speaks for a session, which can be listed and ended, not for a bare subject."""
    with unverified.app_context():
        create_user(email=EMAIL, password=PRINTED["password"])
        database.commit()
        user = authenticate_user(email=EMAIL, password=PRINTED["password"])
        access_token = create_access_token(user, sessions.start(user, Client()))
        database.commit()
        subject = str(user.id)
    assert claims(access_token)["sub"] == subject
    seen = data(client_of(unverified).get("/auth/me", headers=bearer(access_token)))
    assert seen["user"]["id"] == subject


def test_address_that_is_taken_raises_its_error(unverified: Flask):
    make_user(unverified, EMAIL)
    with unverified.app_context(), pytest.raises(UserAlreadyExistsError):
        create_user(email=EMAIL.upper(), password=PASSWORD)


@pytest.mark.parametrize("email", [EMAIL, "nobody@example.com"])
def test_wrong_address_and_wrong_password_raise_the_same_error(unverified: Flask, email: str):
    make_user(unverified, EMAIL)
    with unverified.app_context(), pytest.raises(InvalidCredentialsError) as refused:
        authenticate_user(email=email, password="wrong")
    assert refused.value.message == InvalidCredentialsError.message


def test_address_that_waits_for_verification_raises_its_error(verifying: Flask):
    make_user(verifying, EMAIL, is_verified=False)
    with verifying.app_context(), pytest.raises(EmailNotVerifiedError):
        authenticate_user(email=EMAIL, password=PASSWORD)


@pytest.mark.any_database
def test_every_error_is_one_of_ours():
    """Who catches `AuthError` catches whatever the guides name."""
    named = {UserAlreadyExistsError, InvalidCredentialsError, EmailNotVerifiedError, TokenExpiredError}
    assert all(issubclass(error, AuthError) for error in named)


@pytest.fixture
def host(app: Flask) -> Iterator[Flask]:
    """An application with the protected routes of the guide."""
    host = Flask("host", static_folder=None)
    settings = {"AUTH_URL_PREFIX": "/auth", "AUTH_REQUIRE_VERIFIED_EMAIL": False}
    host.config.from_mapping({**TEST_SETTINGS, **settings, "DATABASE_URL": app.config["DATABASE_URL"]})
    init_app(host, environ={})
    views = {
        "/profile": login_required(lambda: {"id": str(current_user.id), "is_verified": current_user.is_verified}),
        "/posts": optional_login(lambda: {"user_id": str(current_user.id) if current_user else None}),
        "/verified-only": verified_required(lambda: {"email": current_user.email}),
        "/admin": roles_required("admin")(lambda: {"email": current_user.email}),
    }
    for path, view in views.items():
        host.add_url_rule(path, path, view)  # type: ignore[arg-type]  # They answer with dictionaries of several kinds.
    yield host
    with host.app_context():
        db.engine.dispose()


def test_protected_route_needs_a_token(host: Flask):
    http = client_of(host)
    answer = data(http.post("/auth/register", json=PRINTED), 201)
    seen = http.get("/profile", headers=bearer(answer["access_token"]))
    assert seen.get_json() == {"id": answer["user"]["id"], "is_verified": False}
    assert refusal(http.get("/profile")) == (401, "UNAUTHORIZED")
    assert refusal(http.get("/profile", headers=bearer("x"))) == (401, "TOKEN_INVALID")


def test_route_may_serve_both_strangers_and_users(host: Flask):
    http = client_of(host)
    answer = data(http.post("/auth/register", json=PRINTED), 201)
    assert http.get("/posts").get_json() == {"user_id": None}
    seen = http.get("/posts", headers=bearer(answer["access_token"]))
    assert seen.get_json() == {"user_id": answer["user"]["id"]}


def test_route_may_need_a_verified_address(host: Flask):
    http = client_of(host)
    headers = bearer(data(http.post("/auth/register", json=PRINTED), 201)["access_token"])
    assert refusal(http.get("/verified-only", headers=headers)) == (403, "EMAIL_NOT_VERIFIED")
    data(http.post("/auth/email-verification/confirm", json={"token": mailed_token(host)}))
    assert http.get("/verified-only", headers=headers).get_json() == {"email": EMAIL}


def test_route_may_need_a_role(host: Flask):
    make_user(host, EMAIL, role="admin")
    admin = data(client_of(host).post("/auth/login", json={"email": EMAIL, "password": PASSWORD}))
    other = data(client_of(host).post("/auth/register", json={**PRINTED, "email": "other@example.com"}), 201)
    assert client_of(host).get("/admin", headers=bearer(admin["access_token"])).status_code == 200
    refused = client_of(host).get("/admin", headers=bearer(other["access_token"]))
    assert refusal(refused) == (403, "FORBIDDEN")


def test_token_of_a_disabled_user_opens_nothing(host: Flask):
    http = client_of(host)
    headers = bearer(data(http.post("/auth/register", json=PRINTED), 201)["access_token"])
    with host.app_context():
        db.session.scalars(select(User)).one().is_active = False
        database.commit()
    assert refusal(http.get("/profile", headers=headers)) == (401, "TOKEN_REVOKED")


def test_sessions_are_listed_with_device_and_address(unverified: Flask):
    """The list is `/auth/sessions` here; there it stands at `/sessions`."""
    http = client_of(unverified)
    data(http.post("/auth/register", json=PRINTED), 201)
    phone = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0 Safari/604.1"
    login = data(http.post("/auth/login", json=PRINTED, headers={"User-Agent": phone}))
    listed = data(http.get("/auth/sessions", headers=bearer(login["access_token"])))["sessions"]
    assert [one["current"] for one in listed] == [True, False]
    assert set(listed[0]) >= {"id", "device", "ip", "user_agent", "created_at", "last_used_at"}
    assert listed[0]["user_agent"] == phone
    assert "iOS" in listed[0]["device"]
    assert listed[0]["ip"] == "127.0.0.1"


def test_one_session_is_ended_by_its_id(unverified: Flask):
    http = client_of(unverified)
    one, other = data(http.post("/auth/register", json=PRINTED), 201), data(http.post("/auth/login", json=PRINTED))
    sid = claims(one["access_token"])["sid"]
    data(http.delete(f"/auth/sessions/{sid}", headers=bearer(other["access_token"])))
    assert refusal(http.get("/auth/me", headers=bearer(one["access_token"]))) == (401, "TOKEN_REVOKED")
    data(http.get("/auth/me", headers=bearer(other["access_token"])))


def test_all_sessions_but_the_current_one_are_ended_at_once(unverified: Flask):
    """`DELETE /auth/sessions` here; there it is `DELETE /sessions/all`, which keeps the current one too."""
    http = client_of(unverified)
    one, other = data(http.post("/auth/register", json=PRINTED), 201), data(http.post("/auth/login", json=PRINTED))
    assert data(http.delete("/auth/sessions", headers=bearer(other["access_token"]))) == {"revoked": 1}
    assert refusal(http.get("/auth/me", headers=bearer(one["access_token"]))) == (401, "TOKEN_REVOKED")
    data(http.get("/auth/me", headers=bearer(other["access_token"])))


def test_mails_go_through_the_server_that_the_settings_name(app: Flask, mail_server: MailServer):
    """Its `EMAIL_PROVIDER=smtp` with `SMTP_HOST`, `SMTP_PORT` and `SMTP_FROM_EMAIL` is our `MAIL_SERVER` and so on."""
    environ = {
        "AUTH_URL_PREFIX": "/auth",
        "MAIL_SERVER": "127.0.0.1",
        "MAIL_PORT": str(mail_server.port),
        "MAIL_DEFAULT_SENDER": "Your App Name <noreply@yourdomain.com>",
    }
    # Flask-Mail sends nothing in a test unless told to.
    given = {**TEST_SETTINGS, "DATABASE_URL": app.config["DATABASE_URL"], "MAIL_SUPPRESS_SEND": False}
    service = create_app(given, environ=environ)
    data(client_of(service).post("/auth/register", json=PRINTED), 201)
    with service.app_context():
        assert delivery.deliver_due() == 1
    (mail,) = mail_server.taken
    assert (mail["To"], mail["From"]) == (EMAIL, "Your App Name <noreply@yourdomain.com>")
    text = mail.get_body(("plain",))
    assert text is not None
    token = re.search(r"/auth/verify-email\?token=(\S+)", text.get_content())
    assert token is not None
    data(client_of(service).post("/auth/email-verification/confirm", json={"token": token[1]}))
    with service.app_context():
        db.engine.dispose()


def test_mails_stay_on_a_page_where_no_server_is_named(verifying: Flask):
    """Its `EMAIL_PROVIDER=console`: in development the mail waits in a mailbox page, and its link is in the log."""
    data(client_of(verifying).post("/auth/register", json=PRINTED), 201)
    (mail,) = client_of(verifying).get("/dev/mailbox", headers={"Accept": "application/json"}).get_json()
    assert mail["to"] == EMAIL
    assert mail["links"][0].partition("token=")[2] == mailed_token(verifying)


def test_access_token_expires_after_half_an_hour(unverified: Flask):
    http = client_of(unverified)
    headers = bearer(data(http.post("/auth/register", json=PRINTED), 201)["access_token"])
    with time_machine.travel(clock.now() + timedelta(minutes=29), tick=False):
        data(http.get("/auth/me", headers=headers))
    with time_machine.travel(clock.now() + timedelta(minutes=31), tick=False):
        assert refusal(http.get("/auth/me", headers=headers)) == (401, "TOKEN_EXPIRED")
