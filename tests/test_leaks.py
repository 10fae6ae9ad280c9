"""The watch on secrets that runs around every test: each kind of leak, in each place, is caught by it."""

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from flask import Flask

from authapp import logs
from authapp.extensions import db
from authapp.models import Link
from tests.conftest import MakeApp
from tests.factories import (
    ALICE,
    OTHER_PASSWORD,
    PASSWORD,
    Api,
    Browser,
    data,
    key_pair,
    mailed_token,
    make_user,
    user_of,
)
from tests.leaks import Watch

pytestmark = pytest.mark.any_database

LOGGERS = [
    "authapp.api",
    "authapp.mail.delivery",
    "flask.app",
    "werkzeug",
    "gunicorn.error",
    "sqlalchemy.engine",
    "flask_mail",
    "notes",
    None,
]
MAIL_PASSWORD = "orchid-basin-55-relay"
FAILING_TEST = """
import logging

def test_that_says_too_much():
    logging.getLogger("somebody").debug("asked", extra={"given": "violet-tractor-19-sings"})

def test_that_does_not():
    logging.getLogger("somebody").debug("asked")
"""


def hash_of(app: Flask) -> str:
    make_user(app)
    return user_of(app).password_hash


def nonce_of(app: Flask) -> str:
    data(Api(app).register(), 201)
    with app.app_context():
        nonce: str = db.session.scalars(db.select(Link.nonce)).one()
        return nonce


def link_of(app: Flask) -> str:
    data(Api(app).register(), 201)
    return mailed_token(app)


def access_token_of(app: Flask) -> str:
    make_user(app)
    return str(Api(app).log_in()["access_token"])


def cookie_of(app: Flask, name: str) -> str:
    make_user(app)
    browser = Browser(app)
    browser.log_in()
    return browser.cookie(name) or ""


SECRETS: dict[str, Callable[[Flask], str]] = {
    "password": lambda _app: PASSWORD,
    "other password": lambda _app: OTHER_PASSWORD,
    "whole hash": hash_of,
    "salt": lambda app: hash_of(app).split("$")[1],
    "digest": lambda app: hash_of(app).split("$")[2],
    "nonce of a link": nonce_of,
    "token of a link": link_of,
    "signature of a link": lambda app: link_of(app).rpartition(".")[2],
    "token": access_token_of,
    "signature of a token": lambda app: access_token_of(app).rpartition(".")[2],
    "token of nobody known": lambda _app: "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    "cookie": lambda app: cookie_of(app, "access_token").rpartition(".")[2],
    "CSRF token": lambda app: cookie_of(app, "csrf_access_token"),
    "secret key": lambda app: str(app.config["SECRET_KEY"]),
    "mail server's password": lambda app: str(app.config["MAIL_PASSWORD"]),
    "private key": lambda _app: key_pair("EdDSA")[0],
    "line of a private key": lambda app: str(app.config["JWT_PRIVATE_KEY"]).splitlines()[1],
    "hash of nobody known": lambda _app: f"scrypt:32768:8:3$abcdefgh${'0123456789abcdef' * 8}",
    "address": lambda _app: ALICE,
}


@pytest.fixture
def full_app(make_app: MakeApp) -> Flask:
    """A service with every kind of secret."""
    private = key_pair("EdDSA")[0]
    return make_app(AUTH_COOKIES=True, MAIL_PASSWORD=MAIL_PASSWORD, JWT_ALGORITHM="EdDSA", JWT_PRIVATE_KEY=private)


@pytest.mark.parametrize("kind", SECRETS)
def test_secret_in_a_line_is_caught(full_app: Flask, leaks: Watch, kind: str):
    secret = SECRETS[kind](full_app)
    with full_app.app_context():
        logging.getLogger("authapp").info("said %s", secret)
    (found, *_) = leaks.take()
    assert found.startswith("logger authapp has ")
    # Whoever reads the failure reads no secret either.
    assert secret not in found


@pytest.mark.parametrize("name", LOGGERS)
def test_every_logger_is_heard(leaks: Watch, name: str | None):
    logging.getLogger(name).warning("said", extra={"given": PASSWORD})
    assert leaks.take() == [f"logger {name or 'root'} has the secret viol…"]


@pytest.mark.parametrize(
    "say",
    [
        lambda log: log.debug(PASSWORD),
        lambda log: log.info("said %s", PASSWORD),
        lambda log: log.info("said %(it)s", {"it": PASSWORD}),
        lambda log: log.info("said", extra={"given": {"to": PASSWORD}}),
        lambda log: log.error("said", exc_info=KeyError(PASSWORD)),
    ],
    ids=["message", "argument", "named argument", "field", "trace"],
)
def test_every_part_of_a_record_is_heard(leaks: Watch, say: Callable[[logging.Logger], None]):
    say(logging.getLogger("authapp"))
    assert leaks.take() == ["logger authapp has the secret viol…"]


def test_exceptions_that_led_to_another_are_heard(leaks: Watch):
    try:
        try:
            raise KeyError(PASSWORD)
        except KeyError as error:
            raise RuntimeError from error
    except RuntimeError:
        logging.getLogger("authapp").exception("broken")
    assert leaks.take() == ["logger authapp has the secret viol…"]


@pytest.mark.parametrize("status", [200, 404, 500])
@pytest.mark.parametrize("said", [PASSWORD, ALICE], ids=["password", "address"])
def test_answer_is_read(make_app: MakeApp, leaks: Watch, status: int, said: str):
    app = make_app()
    app.add_url_rule("/page", "page", lambda: (f"<p>{said}</p>", status))
    app.add_url_rule("/data", "data", lambda: ({"success": True, "data": {"message": said}}, status))
    app.add_url_rule("/header", "header", lambda: ("", status, {"X-Told": said}))
    for name in ("page", "data", "header"):
        app.test_client().get(f"/{name}")
        (found,) = leaks.take()
        assert f"{status} of GET {name} has the " in found


def test_password_of_the_request_is_known_though_no_test_named_it(make_app: MakeApp, api: Api, leaks: Watch):
    api.post("/login", {"email": ALICE, "password": "maple-19-of-this-request"})
    api.request("POST", "/login", data={"username": ALICE, "password": "maple-19-of-this-form"})
    logging.getLogger("authapp").info("said maple-19-of-this-request")
    logging.getLogger("notes").info("said maple-19-of-this-form")
    assert leaks.take() == ["logger authapp has the secret mapl…", "logger notes has the secret mapl…"]


def test_tokens_are_for_the_fields_that_hand_them_out(make_app: MakeApp, leaks: Watch):
    app, told = make_app(), dict[str, object]()
    app.add_url_rule("/told", "told", lambda: {"success": True, "data": told})
    token = access_token_of(app)
    assert leaks.take() == []
    for body in ({"message": token}, {"user": {"name": token}}, {"user": {"email": ALICE, "other": ALICE}}):
        told.clear()
        told.update(body)
        app.test_client().get("/told")
        assert len(leaks.take()) == 1, body


def test_output_of_a_command_is_read(app: Flask, leaks: Watch):
    @app.cli.command("tell-too-much")
    def tell_too_much() -> None:
        click.echo(f"{ALICE} {PASSWORD}")

    app.test_cli_runner().invoke(args=["tell-too-much"])
    assert leaks.take() == ["output of ['tell-too-much'] has the secret viol…"]


def test_output_of_a_process_is_read(leaks: Watch, tmp_path: Path):
    # The process is one of ours by its words.
    says = [sys.executable, "-c", f"print('{ALICE} {MAIL_PASSWORD}') # gunicorn"]
    settings = {"MAIL_PASSWORD": MAIL_PASSWORD}
    subprocess.run(says, capture_output=True, check=True, env=settings)
    assert leaks.take() == ["output of a process has the secret orch…"]
    # What goes to a file is a log, where an address is too much as well.
    with (tmp_path / "gunicorn.log").open("wb") as log:
        subprocess.run(says, stdout=log, env=settings, check=True)
    assert leaks.take() == [
        "file gunicorn.log has the secret orch…",
        "file gunicorn.log has the address ali…",
    ]
    assert leaks.take() == []


def test_link_in_development_is_the_one_line_that_may_have_one(api: Api, leaks: Watch):
    data(api.register(), 201)
    assert leaks.take() == []
    link = f"https://auth.example.org/x?token={mailed_token(api.app)}"
    logging.getLogger("authapp").info("development_mail", extra={"link": link})
    assert leaks.take() == []
    logging.getLogger("authapp").info("another_event", extra={"link": link})
    assert leaks.take() != []


def test_formatted_line_holds_no_more_than_the_record(leaks: Watch):
    # A formatter that adds the request's headers, say, would not be heard: there is one, and it adds an id.
    record: Any = logging.makeLogRecord({"msg": "said", "levelname": "INFO"})
    assert logs.TextFormatter().format(record).endswith(" INFO - said")


def test_test_that_says_a_secret_fails(tmp_path: Path, root: Path):
    (tmp_path / "test_saying.py").write_text(FAILING_TEST)
    command = [sys.executable, "-m", "pytest", "-c", str(root / "setup.cfg"), "-p", "tests.conftest"]
    done = subprocess.run(
        [*command, "-q", "-p", "no:cacheprovider", str(tmp_path)], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stdout
    assert "2 passed, 1 error" in done.stdout
    assert "a secret got out:\nlogger somebody has the secret viol…" in done.stdout
