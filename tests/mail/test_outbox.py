"""Mails begin as a row beside the change they speak of, or, inline, go out before it is kept."""

import html
import logging
import re
from collections.abc import Callable

import pytest
from flask import Flask
from sqlalchemy import func, select

from authapp import clock
from authapp.extensions import db
from authapp.logs import TextFormatter
from authapp.mail import delivery, outbox
from authapp.mail.models import OutboxMessage
from authapp.models import Link, User
from tests.conftest import MakeApp
from tests.factories import ALICE, BOB, PASSWORD, Api, data, mailed_token, mails, make_user, refusal, user_of
from tests.mail.conftest import PRODUCTION, MailServer
from tests.services import free_port

MailingApp = Callable[..., Flask]

NOT_SENT = (503, "EMAIL_NOT_SENT")


def rows(app: Flask) -> dict[str, int]:
    """Count what a registration would have left."""
    with app.app_context():
        return {
            model.__name__: db.session.scalar(select(func.count()).select_from(model)) or 0
            for model in (User, Link, OutboxMessage)
        }


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Give what authapp logged, as an operator would read it; the mail server logs to the same place."""
    return [TextFormatter().format(record) for record in caplog.records if record.name.startswith("authapp")]


def assert_nothing_was_kept(app: Flask) -> None:
    assert rows(app) == {"User": 0, "Link": 0, "OutboxMessage": 0}


def test_registering_queues_one_mail(app: Flask, api: Api):
    data(api.register(), 201)
    (mail,) = mails(app)
    assert (mail.to, mail.subject) == (ALICE, "Please verify your e-mail address")
    assert (mail.attempts, mail.sent_at, mail.last_error) == (0, None, None)


def test_refused_registration_queues_no_mail(app: Flask, api: Api):
    data(api.register(), 201)
    assert refusal(api.register()) == (409, "USER_ALREADY_EXISTS")
    assert refusal(api.register(BOB, "password")) == (422, "VALIDATION_ERROR")
    assert len(mails(app)) == 1


def test_mail_has_a_text_and_a_page_with_the_same_link(app: Flask, api: Api):
    data(api.register(name="Alice"), 201)
    (mail,) = mails(app)
    (link,) = outbox.links_of(mail)
    assert link.startswith(f"{app.config['AUTH_PUBLIC_URL']}/api/auth/verify-email?token=")
    assert mail.text.startswith("Hello,")
    assert {html.unescape(found) for found in re.findall(r'href="([^"]*)"', mail.html)} == {link}
    data(api.post("/verify-email", {"token": link.partition("token=")[2]}))
    assert user_of(app).is_verified


def test_nothing_that_a_stranger_wrote_is_in_the_mail(app: Flask, api: Api):
    data(api.register(name="You won: https://evil.example/x"), 201)
    (mail,) = mails(app)
    for part in (mail.subject, mail.text, html.unescape(mail.html)):
        assert "evil" not in part
        assert "won" not in part


def test_link_with_an_ampersand_is_whole_in_both_parts(make_app: MakeApp):
    app = make_app(AUTH_VERIFY_URL="https://app.example.org/verify?lang=en&copy=1&t={token}#top")
    data(Api(app).register(), 201)
    (mail,) = mails(app)
    (link,) = outbox.links_of(mail)
    assert re.fullmatch(r"https://app\.example\.org/verify\?lang=en&copy=1&t=[\w.-]+#top", link)
    assert {html.unescape(found) for found in re.findall(r'href="([^"]*)"', mail.html)} == {link}


def test_link_points_to_the_public_address_whatever_the_host_header_says(make_app: MakeApp):
    app = make_app(AUTH_PUBLIC_URL="https://auth.example.org/")
    headers = {"Host": "evil.example", "X-Forwarded-Host": "evil.example"}
    data(Api(app).post("/register", {"email": ALICE, "password": "violet-tractor-19-sings"}, headers=headers), 201)
    (mail,) = mails(app)
    assert "evil" not in mail.text + mail.html
    assert outbox.links_of(mail)[0].startswith("https://auth.example.org/api/auth/verify-email?token=")


def test_without_a_mail_server_development_keeps_mails(app: Flask, api: Api):
    data(api.register(), 201)
    (mail,) = mails(app)
    assert (mail.due_at, mail.sent_at) == (None, None)
    with app.app_context():
        assert delivery.deliver_due() == 0


@pytest.mark.parametrize("way", ["outbox", "inline"])
def test_without_a_mail_server_each_link_is_one_log_line(make_app: MakeApp, caplog: pytest.LogCaptureFixture, way: str):
    app = make_app(MAIL_DELIVERY=way)
    caplog.set_level(logging.INFO)
    data(Api(app).register(), 201)
    (link,) = outbox.links_of(mails(app)[0])
    (line,) = [line for line in lines(caplog) if "development_mail" in line]
    assert f" development_mail link={link} " in line
    assert "\n" not in line


def test_link_of_a_change_that_was_undone_is_not_logged(app: Flask, api: Api, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    data(api.register(), 201)
    caplog.clear()
    assert refusal(api.register()) == (409, "USER_ALREADY_EXISTS")
    assert "token=" not in "\n".join(lines(caplog))


@pytest.mark.parametrize("environment", [{}, PRODUCTION], ids=["development", "production"])
@pytest.mark.parametrize("way", ["outbox", "inline"])
def test_with_a_mail_server_no_link_is_logged(
    mailing_app: MailingApp,
    mail_server: MailServer,
    caplog: pytest.LogCaptureFixture,
    way: str,
    environment: dict[str, str],
):
    app = mailing_app(MAIL_DELIVERY=way, **environment)
    caplog.set_level(logging.DEBUG)
    mail_server.refused = {BOB}
    for address in (ALICE, BOB):
        Api(app).register(address)
        with app.app_context():
            delivery.deliver_due()
    assert len(mail_server.taken) == 1
    assert lines(caplog)
    assert "token=" not in "\n".join(lines(caplog))
    assert ALICE not in "\n".join(lines(caplog))
    assert BOB not in "\n".join(lines(caplog))


def test_with_a_mail_server_the_mail_is_due_at_once(mailing_app: MailingApp, mail_server: MailServer):
    app = mailing_app()
    data(Api(app).register(), 201)
    (mail,) = mails(app)
    assert mail.due_at is not None
    assert mail.due_at <= clock.now()
    assert mail_server.seen == []


def test_inline_mail_is_sent_within_the_request(mailing_app: MailingApp, mail_server: MailServer):
    app = mailing_app(MAIL_DELIVERY="inline")
    data(Api(app).register(), 201)
    (mail,) = mail_server.taken
    assert mail["To"] == ALICE
    text = mail.get_body(("plain",))
    assert text is not None
    token = re.search(r"token=(\S+)", text.get_content())
    assert token is not None
    assert mails(app) == []
    data(Api(app).post("/verify-email", {"token": token[1]}))


def test_inline_mail_whose_recipient_is_refused_saves_nothing(mailing_app: MailingApp, mail_server: MailServer):
    app = mailing_app(MAIL_DELIVERY="inline")
    mail_server.refused = {ALICE}
    assert_not_sent(app)
    mail_server.refused = set()
    data(Api(app).register(), 201)
    assert len(mail_server.taken) == 1


def test_inline_mail_that_finds_no_server_saves_nothing(mailing_app: MailingApp):
    assert_not_sent(mailing_app(MAIL_DELIVERY="inline", MAIL_PORT=free_port()))


@pytest.mark.any_database
def test_inline_mail_to_a_silent_server_saves_nothing(mailing_app: MailingApp, silent_port: int):
    assert_not_sent(mailing_app(MAIL_DELIVERY="inline", MAIL_PORT=silent_port, MAIL_TIMEOUT=1))


def test_inline_mail_that_is_cut_off_saves_nothing(mailing_app: MailingApp, mail_server: MailServer):
    app = mailing_app(MAIL_DELIVERY="inline")
    mail_server.cut_off = {ALICE}
    assert_not_sent(app)


def test_inline_mail_to_a_server_without_tls_that_was_asked_for_saves_nothing(mailing_app: MailingApp):
    assert_not_sent(mailing_app(MAIL_DELIVERY="inline", MAIL_USE_TLS=True))


def assert_not_sent(app: Flask) -> None:
    answer = Api(app).register()
    assert refusal(answer) == NOT_SENT
    assert answer.json is not None
    assert answer.json["error"] == {
        "code": "EMAIL_NOT_SENT",
        "message": "Email couldn't be sent. Please try again.",
    }
    assert_nothing_was_kept(app)


@pytest.mark.parametrize("path", ["/resend-verification", "/forgot-password"])
def test_mail_that_was_only_asked_for_waits_for_the_server_even_inline(
    mailing_app: MailingApp, mail_server: MailServer, path: str
):
    """Whether it was sent at once, and how long that took, would tell who has an account."""
    app = mailing_app(MAIL_DELIVERY="inline")
    make_user(app, is_verified=False)
    mail_server.refused = {ALICE}
    known = Api(app).post(path, {"email": ALICE})
    unknown = Api(app).post(path, {"email": "nobody@example.org"})
    assert (known.status_code, known.data) == (unknown.status_code, unknown.data) == (202, known.data)
    assert [(mail.to, mail.due_at is not None) for mail in mails(app)] == [(ALICE, True)]
    assert mail_server.taken == []


@pytest.mark.parametrize("path", ["/register", "/change-email"])
def test_inline_mail_that_cannot_be_sent_does_not_tell_that_an_address_is_taken(
    mailing_app: MailingApp, mail_server: MailServer, path: str
):
    app = mailing_app(MAIL_DELIVERY="inline", AUTH_GENERIC_RESPONSES=True)
    make_user(app)
    make_user(app, BOB)
    token = Api(app).log_in(BOB)["access_token"]
    mail_server.refused = {ALICE, "nobody@example.org"}
    for email in mail_server.refused:
        body = {"email": email} if path == "/register" else {"new_email": email}
        answer = Api(app).post(path, {**body, "password": PASSWORD}, token=token)
        assert refusal(answer) == NOT_SENT
    assert mails(app) == []


def test_host_page_of_the_mail_takes_the_place_of_ours(make_app: MakeApp, tmp_path_factory: pytest.TempPathFactory):
    """Templates of the application come before those of a blueprint."""
    templates = tmp_path_factory.mktemp("templates")
    (templates / "authapp" / "mail").mkdir(parents=True)
    (templates / "authapp" / "mail" / "verify_email.txt").write_text("Ahoy: {{ link }}")
    app = make_app()
    app.template_folder = str(templates)
    data(Api(app).register(name="Alice"), 201)
    (mail,) = mails(app)
    assert mail.text == f"Ahoy: {outbox.links_of(mail)[0]}"
    assert "Hello," in mail.html
    assert mailed_token(app)
