"""The operator's commands, each as it is typed, and what the API says afterwards."""

import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from click.testing import Result
from flask import Flask
from sqlalchemy import insert

from authapp import cli, create_app
from authapp.extensions import db
from authapp.mail.models import OutboxMessage
from authapp.models import RevokedToken
from authapp.testing import TEST_SETTINGS
from tests.conftest import MakeApp
from tests.factories import (
    ALICE,
    BOB,
    CAROL,
    OTHER_PASSWORD,
    PASSWORD,
    Api,
    data,
    mails,
    make_user,
    refusal,
    user_of,
)

REVOKED = (401, "TOKEN_REVOKED")
WRONG = (401, "INVALID_CREDENTIALS")

Run = Callable[..., Result]


@pytest.fixture
def flask(app: Flask) -> Run:
    """Run `flask auth …` with these words; `input` is what is typed."""

    def run(*words: str, input: str | bytes | None = None) -> Result:
        return app.test_cli_runner().invoke(args=["auth", *words], input=input)

    return run


def said(result: Result) -> str:
    """Give what a command printed, after checking that it did its work."""
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def refused(result: Result) -> str:
    """Give the one line in which a command refused, after checking that there is no more."""
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    *rest, line = result.stderr.splitlines()
    assert rest == []
    assert line.startswith("Error: ")
    return line.removeprefix("Error: ")


# Making accounts.


def test_account_is_made_with_a_password_from_standard_input(app: Flask, api: Api, flask: Run):
    line = said(flask("create-user", ALICE, "--password-stdin", "--verified", input=f"{PASSWORD}\n"))
    user = data(api.get("/me", token=api.log_in()["access_token"]))["user"]
    assert line == f"Made {ALICE} ({user['id']}).\n"
    assert (user["role"], user["is_verified"], user["name"]) == ("user", True, None)


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\nnot this line\n"])
def test_password_is_the_first_line_without_its_end(api: Api, flask: Run, end: str):
    said(flask("create-user", ALICE, "--password-stdin", "--verified", input=f" {PASSWORD} {end}"))
    assert refusal(api.post("/login", {"email": ALICE, "password": PASSWORD})) == WRONG
    api.log_in(password=f" {PASSWORD} ")


def test_account_is_made_with_a_password_that_is_asked_for_twice_and_not_shown(api: Api, flask: Run):
    printed = said(flask("create-user", ALICE, "--verified", input=f"{PASSWORD}\n{PASSWORD}\n"))
    assert PASSWORD not in printed
    api.log_in()


def test_password_that_is_typed_in_two_ways_is_asked_for_again(api: Api, flask: Run):
    typed = f"{PASSWORD}\n{OTHER_PASSWORD}\n{PASSWORD}\n{PASSWORD}\n"
    result = flask("create-user", ALICE, "--verified", input=typed)
    assert result.exit_code == 0
    assert OTHER_PASSWORD not in result.output
    api.log_in()


def test_admin_is_made_with_a_name(api: Api, flask: Run):
    words = ("create-user", CAROL, "--password-stdin", "--name", "Carol", "--admin", "--verified")
    said(flask(*words, input=PASSWORD))
    user = data(api.get("/me", token=api.log_in(CAROL)["access_token"]))["user"]
    assert (user["role"], user["name"]) == ("admin", "Carol")


def test_account_is_not_verified_unless_that_is_said(app: Flask, api: Api, flask: Run):
    said(flask("create-user", ALICE, "--password-stdin", input=PASSWORD))
    assert refusal(api.post("/login", {"email": ALICE, "password": PASSWORD})) == (403, "EMAIL_NOT_VERIFIED")


def test_blank_name_is_no_name(app: Flask, flask: Run):
    said(flask("create-user", ALICE, "--password-stdin", "--name", "", input=PASSWORD))
    assert user_of(app).name is None


def test_address_in_another_spelling_is_the_same_account(app: Flask, flask: Run):
    said(flask("create-user", "Alice@Example.ORG", "--password-stdin", input=PASSWORD))
    assert refused(flask("create-user", ALICE, "--password-stdin", input=PASSWORD)).startswith("An account with this")
    said(flask("verify", ALICE.upper()))
    assert user_of(app).is_verified


@pytest.mark.parametrize(
    ("words", "typed", "reason"),
    [
        (["alice"], PASSWORD, "Not a valid e-mail address."),
        (["alice@\udcff.org"], PASSWORD, "Not a valid e-mail address."),
        ([ALICE], "password", "This password is too easy to guess."),
        ([ALICE], "", "Use at least 8 characters."),
        ([ALICE], PASSWORD + "\x00", "The password has a character in it that no login takes."),
        ([ALICE], b"violet-tractor-\xe4-sings", "What was given is not text in UTF-8."),
        ([ALICE, "--name", "x" * 101], PASSWORD, "Longer than maximum length 100."),
        ([ALICE, "--name", "Alice\udcff"], PASSWORD, "What was given is not text in UTF-8."),
    ],
)
def test_account_that_cannot_be_is_refused_in_one_line(flask: Run, words: list[str], typed: str | bytes, reason: str):
    assert refused(flask("create-user", *words, "--password-stdin", input=typed)).startswith(reason)
    assert said(flask("list-users")) == ""


def test_password_is_no_argument(flask: Run):
    result = flask("create-user", ALICE, "--password", PASSWORD)
    assert result.exit_code == 2
    assert PASSWORD not in result.output


# Listing accounts.


def test_accounts_are_listed_oldest_first(app: Flask, flask: Run):
    bob = make_user(app, BOB, is_verified=False)
    alice = make_user(app, ALICE)
    carol = make_user(app, CAROL, role="admin")
    said(flask("deactivate", BOB))
    assert said(flask("list-users")).splitlines() == [
        f"{bob}  {BOB}  user  unverified disabled",
        f"{alice}  {ALICE}  user",
        f"{carol}  {CAROL}  admin",
    ]


def test_accounts_are_listed_as_json(app: Flask, flask: Run):
    assert said(flask("list-users", "--json")) == ""
    id = make_user(app, name="Alice 🎉")
    make_user(app, BOB)
    alice, bob = (json.loads(line) for line in said(flask("list-users", "--json")).splitlines())
    flags = {"role": "user", "is_active": True, "is_verified": True}
    assert alice == {"id": id, "email": ALICE, "name": "Alice 🎉", **flags}
    assert bob["email"] == BOB


# Changing accounts.


def test_new_password_ends_every_session(app: Flask, api: Api, flask: Run):
    make_user(app)
    make_user(app, BOB)
    first, second, bob = api.log_in(), api.log_in(), api.log_in(BOB)
    assert PASSWORD not in said(flask("set-password", ALICE, "--password-stdin", input=OTHER_PASSWORD))
    for pair in (first, second):
        assert refusal(api.get("/me", token=pair["access_token"])) == REVOKED
        assert refusal(api.refresh(pair["refresh_token"])) == REVOKED
    assert refusal(api.post("/login", {"email": ALICE, "password": PASSWORD})) == WRONG
    api.log_in(password=OTHER_PASSWORD)
    data(api.get("/me", token=bob["access_token"]))


def test_new_password_that_is_weak_changes_nothing(app: Flask, api: Api, flask: Run):
    make_user(app)
    pair = api.log_in()
    assert refused(flask("set-password", ALICE, input="password\npassword\n")).startswith("This password is too easy")
    data(api.get("/me", token=pair["access_token"]))
    api.log_in()


def test_account_is_verified(app: Flask, api: Api, flask: Run):
    make_user(app, is_verified=False)
    assert said(flask("verify", ALICE)) == f"{ALICE} is verified.\n"
    api.log_in()
    said(flask("verify", ALICE))


def test_disabled_account_is_out_at_once_until_it_is_enabled_again(app: Flask, api: Api, flask: Run):
    make_user(app)
    pair = api.log_in()
    said(flask("deactivate", ALICE))
    assert refusal(api.get("/me", token=pair["access_token"])) == REVOKED
    assert refusal(api.refresh(pair["refresh_token"])) == REVOKED
    assert refusal(api.post("/login", {"email": ALICE, "password": PASSWORD})) == (403, "ACCOUNT_DISABLED")
    assert refusal(api.post("/login", {"email": ALICE, "password": OTHER_PASSWORD})) == WRONG
    assert said(flask("activate", ALICE)) == f"{ALICE} is active.\n"
    assert refusal(api.get("/me", token=pair["access_token"])) == REVOKED
    api.log_in()


# Sessions.


def test_sessions_are_listed_newest_first(app: Flask, api: Api, flask: Run):
    make_user(app)
    assert said(flask("sessions", ALICE)) == ""
    with time_machine.travel(datetime(2026, 5, 1, 12, tzinfo=UTC), tick=False):
        api.log_in(headers={"User-Agent": "curl/8.5"})
    with time_machine.travel(datetime(2026, 5, 1, 13, tzinfo=UTC), tick=False):
        api.log_in(headers={"User-Agent": ""})
        newer, older = (line.split("  ") for line in said(flask("sessions", ALICE)).splitlines())
        assert newer[1:4] == ["2026-05-01T13:00:00+00:00", "2026-05-01T13:00:00+00:00", "127.0.0.1"]
        assert older[1] == "2026-05-01T12:00:00+00:00"
        lines = said(flask("sessions", ALICE, "--json")).splitlines()
    assert [json.loads(line)["id"] for line in lines] == [newer[0], older[0]]
    assert set(json.loads(lines[0])) == {"id", "created_at", "last_used_at", "ip", "device"}
    assert uuid.UUID(newer[0]) > uuid.UUID(older[0])


def test_ended_and_expired_sessions_are_not_listed(app: Flask, api: Api, flask: Run):
    make_user(app)
    pair = api.log_in()
    data(api.post("/logout", {"refresh_token": pair["refresh_token"]}))
    assert said(flask("sessions", ALICE)) == ""
    api.log_in()
    with time_machine.travel(datetime.now(UTC) + timedelta(days=8)):
        assert said(flask("sessions", ALICE)) == ""


def test_sessions_are_revoked_and_counted(app: Flask, api: Api, flask: Run):
    make_user(app)
    make_user(app, BOB)
    bob, pairs = api.log_in(BOB), [api.log_in(), api.log_in()]
    assert said(flask("revoke-sessions", ALICE)) == f"Ended 2 sessions of {ALICE}.\n"
    for pair in pairs:
        assert refusal(api.get("/me", token=pair["access_token"])) == REVOKED
        assert refusal(api.refresh(pair["refresh_token"])) == REVOKED
    assert said(flask("revoke-sessions", ALICE)) == f"Ended 0 sessions of {ALICE}.\n"
    data(api.get("/me", token=bob["access_token"]))
    api.log_in()
    assert said(flask("revoke-sessions", ALICE)) == f"Ended 1 session of {ALICE}.\n"


# Deleting accounts.


def test_deleted_account_is_gone_and_its_address_free(app: Flask, api: Api, flask: Run):
    first = make_user(app)
    pair = api.log_in()
    assert said(flask("delete-user", ALICE, "--yes")) == f"{ALICE} is gone.\n"
    assert refusal(api.get("/me", token=pair["access_token"])) == (401, "TOKEN_INVALID")
    assert refusal(api.refresh(pair["refresh_token"])) == (401, "TOKEN_INVALID")
    assert refusal(api.post("/login", {"email": ALICE, "password": PASSWORD})) == WRONG
    assert data(api.register(), 201)["user"]["id"] != first


def test_account_is_deleted_after_a_yes(app: Flask, flask: Run):
    make_user(app)
    assert said(flask("delete-user", ALICE, input="y\n")).endswith(f"{ALICE} is gone.\n")
    assert said(flask("list-users")) == ""


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_account_is_kept_without_a_yes(app: Flask, flask: Run, answer: str):
    make_user(app)
    result = flask("delete-user", ALICE, input=answer)
    assert result.exit_code == 1
    assert result.stderr.strip().endswith("Aborted!")
    assert user_of(app).email == ALICE


# Housekeeping.


def test_purge_says_what_it_deleted(app: Flask, flask: Run):
    nothing = ["sessions: 0", "revoked tokens: 0", "links: 0", "sent mails: 0"]
    assert said(flask("purge")).splitlines() == nothing
    with app.app_context():
        past = datetime.now(UTC) - timedelta(hours=1)
        values = {"jti": uuid.uuid4(), "type": "access", "expires_at": past, "revoked_at": past}
        db.session.execute(insert(RevokedToken).values(values))
        db.session.commit()
    assert said(flask("purge")).splitlines() == [nothing[0], "revoked tokens: 1", *nothing[2:]]


def test_mail_is_delivered_and_counted(make_app: MakeApp):
    # Flask-Mail hands nothing over in a test; whether a server gets it is for the tests of the delivery.
    app = make_app(MAIL_SERVER="mail.example.org")
    deliver = app.test_cli_runner()
    assert said(deliver.invoke(args=["auth", "deliver-mail"])) == "Sent 0 mails.\n"
    for number in range(21):
        with app.app_context():
            mail = OutboxMessage(to=f"a{number}@example.org", subject="Hello", text="Hello", html="Hello")
            mail.due_at = datetime.now(UTC)
            db.session.add(mail)
            db.session.commit()
    assert said(deliver.invoke(args=["auth", "deliver-mail"])) == "Sent 21 mails.\n"
    assert all(mail.sent_at for mail in mails(app))


# What every command has in common.

ABOUT_AN_ACCOUNT = ["set-password", "verify", "deactivate", "activate", "sessions", "revoke-sessions", "delete-user"]
EVERY = [*([name, ALICE] for name in ["create-user", *ABOUT_AN_ACCOUNT]), ["list-users"], ["purge"], ["deliver-mail"]]


@pytest.mark.parametrize("command", ABOUT_AN_ACCOUNT)
def test_account_that_does_not_exist_is_told_in_one_line(app: Flask, flask: Run, command: str):
    make_user(app, BOB)
    typed = f"{PASSWORD}\n{PASSWORD}\n"
    assert refused(flask(command, ALICE, input=typed)) == f"There is no account with the address {ALICE}."
    assert refused(flask(command, "alice", input=typed)) == "Not a valid e-mail address."
    assert user_of(app, BOB).is_active


def test_every_command_is_tried_here():
    assert {words[0] for words in EVERY} == set(cli.group.commands)


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
@pytest.mark.parametrize("url", ["mysql+pymysql://alice@127.0.0.1:1/auth", "sqlite:////nowhere/at/all/auth.db"])
def test_database_that_is_away_is_told_in_one_line(words: list[str], url: str):
    app = create_app({**TEST_SETTINGS, "DATABASE_URL": url, "MAIL_SERVER": "mail.example.org"}, environ={})
    result = app.test_cli_runner().invoke(args=["auth", *words], input=f"{PASSWORD}\n{PASSWORD}\n")
    assert refused(result).startswith("The database refused: ")
    assert "sqlalche.me" not in result.output


def test_every_command_says_what_it_does(flask: Run):
    assert "Accounts, sessions and mails." in said(flask("--help"))
    for name in cli.group.commands:
        assert "Usage:" in said(flask(name, "--help"))
