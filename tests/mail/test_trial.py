"""`flask auth send-test-mail`: one mail, now, and the server's answer or what to check."""

import socket
import threading
from collections.abc import Callable

import pytest
from aiosmtpd.smtp import AuthResult
from click.testing import Result
from flask import Flask

from authapp import database
from authapp.mail import outbox
from tests.conftest import MakeApp
from tests.factories import ALICE, BOB, mails
from tests.mail.conftest import PRODUCTION, MailServer

MailingApp = Callable[..., Flask]
MAIL_PASSWORD = "heron-88-lantern-mails"

pytestmark = pytest.mark.any_database


def send(app: Flask, address: str = ALICE) -> Result:
    result = app.test_cli_runner().invoke(args=["auth", "send-test-mail", address])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert MAIL_PASSWORD not in result.output
    return result


def told(result: Result) -> str:
    """Give the one line in which the command says what went wrong."""
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    return line.removeprefix("Error: ")


def test_mail_goes_at_once_and_the_servers_answer_is_shown(mailing_app: MailingApp, mail_server: MailServer):
    app = mailing_app(**PRODUCTION, AUTH_BRAND_NAME="Smith & Sons", DATABASE_URL="mysql+pymysql://root@127.0.0.1:1/x")
    result = send(app, "Alice@Example.org")
    assert (result.exit_code, result.stdout) == (0, f"The mail server took the mail to {ALICE}: 250 OK\n")
    (mail,) = mail_server.taken
    assert (mail["To"], mail["Subject"]) == (ALICE, "Test mail")
    for kind in ("plain", "html"):
        part = mail.get_body((kind,))
        assert part is not None
        assert "test mail of Smith &" in part.get_content()


def test_mail_passes_by_the_outbox(mailing_app: MailingApp):
    app = mailing_app(**PRODUCTION)
    assert send(app).exit_code == 0
    assert mails(app) == []


def test_without_a_mail_server_it_says_where_mails_stay(make_app: MakeApp):
    result = send(make_app())
    assert result.exit_code == 0
    assert "/dev/mailbox" in result.stdout
    assert "nothing was sent" in result.stdout


def test_address_that_is_none_is_refused(mailing_app: MailingApp, mail_server: MailServer):
    assert told(send(mailing_app(), "alice")) == "Not a valid e-mail address."
    assert mail_server.seen == []


def test_refused_recipient_is_told_in_the_servers_words(mailing_app: MailingApp, mail_server: MailServer):
    mail_server.refused.add(BOB)
    said = told(send(mailing_app(), BOB))
    assert said.startswith(f"127.0.0.1:{mail_server.port} refused the recipient (550 5.1.1 Nobody here has this name)")


def test_server_that_wants_a_login_first_is_told(mailing_app: MailingApp, mail_server: MailServer):
    mail_server.stop()
    mail_server.start(authenticator=lambda *_: AuthResult(success=False, handled=False), auth_require_tls=False)
    said = told(send(mailing_app(MAIL_USERNAME=ALICE, MAIL_PASSWORD=MAIL_PASSWORD)))
    assert "refused the login (535" in said
    assert "MAIL_USERNAME and MAIL_PASSWORD" in said


def test_server_that_is_away_is_told(mailing_app: MailingApp, mail_server: MailServer):
    mail_server.stop()
    assert "cannot be reached (Connection refused)" in told(send(mailing_app()))


def test_server_that_is_away_is_told_by_delivery_too(mailing_app: MailingApp, mail_server: MailServer):
    app = mailing_app(**PRODUCTION)
    with app.app_context():
        outbox.queue("test_mail", to=ALICE, subject="Test mail")
        database.commit()
    mail_server.stop()
    said = told(app.test_cli_runner().invoke(args=["auth", "deliver-mail"]))
    assert "check MAIL_SERVER and MAIL_PORT" in said
    assert said.endswith(" Sent 0 mails.")


def test_server_that_hangs_up_is_told(mailing_app: MailingApp, mail_server: MailServer):
    mail_server.cut_off.add(ALICE)
    assert "hung up" in told(send(mailing_app()))


def test_server_that_says_nothing_is_told_in_time(mailing_app: MailingApp, silent_port: int):
    assert "did not answer in time" in told(send(mailing_app(MAIL_PORT=silent_port, MAIL_TIMEOUT=1)))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"MAIL_USE_TLS": True}, "does not offer what the settings ask for"),
        ({"MAIL_USE_SSL": True}, "does not speak TLS as the settings want it"),
        ({"MAIL_SERVER": "nowhere.invalid"}, "is a name that nobody knows"),
        ({"MAIL_SERVER": "näwhere.\udcff"}, "must be ASCII"),
    ],
    ids=ascii,
)
def test_settings_that_do_not_fit_the_server_are_told(mailing_app: MailingApp, settings: dict[str, object], said: str):
    assert said in told(send(mailing_app(**settings)))


def test_words_of_the_server_cannot_steer_a_terminal(mailing_app: MailingApp):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        app = mailing_app(MAIL_PORT=listener.getsockname()[1])

        def greet() -> None:
            client, _ = listener.accept()
            with client:
                client.sendall(b"554 go \x1b[31maway\x07\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        said = told(send(app))
        thread.join()
    assert "554 go ?[31maway?" in said
