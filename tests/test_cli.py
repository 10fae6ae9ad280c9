"""The operator's commands: what they do, and that a refusal is one line and exit code 1."""

import base64
import json
import re
import threading
from typing import Any

import pymysql
import pytest
import time_machine
from click.testing import Result
from flask import Flask

from authapp import cli, clock, database, users
from authapp.extensions import db
from authapp.mail.models import OutboxMessage
from authapp.models import User
from tests.conftest import MakeApp
from tests.factories import (
    ALICE,
    BOB,
    CAROL,
    OTHER_PASSWORD,
    PASSWORD,
    Api,
    claims,
    data,
    mails,
    make_user,
    refusal,
    user_of,
)
from tests.statements import failing, just_before

AWAY = "mysql+pymysql://root@127.0.0.1:1/x"
DEADLOCK = pymysql.OperationalError(1213, "Deadlock found")
CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"
UUID = "[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"
NEEDS_ADDRESS = ["set-password", "verify", "deactivate", "activate", "sessions", "revoke-sessions", "delete-user"]
WEAK = "password1"


def run(app: Flask, *args: str, input: str | bytes | None = None) -> Result:
    """Run `flask auth …`; whatever it is given, it shows no password."""
    result = app.test_cli_runner().invoke(args=["auth", *args], input=input)
    for secret in (PASSWORD, OTHER_PASSWORD, WEAK):
        assert secret not in result.output
    assert "\x1b" not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def output(app: Flask, *args: str, input: str | None = None) -> str:
    """Run a command that succeeds and give what it prints."""
    result = run(app, *args, input=input)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout


def told(result: Result) -> str:
    """Give the one line in which a command was refused."""
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    return line.removeprefix("Error: ")


def create(app: Flask, email: str = ALICE, *options: str, password: str = PASSWORD) -> Result:
    return run(app, "create-user", email, "--password-stdin", *options, input=f"{password}\n")


def is_dead(api: Api, pair: dict[str, Any]) -> bool:
    """Say whether both tokens of a login are refused as revoked."""
    answers = [api.get("/me", token=pair["access_token"]), api.refresh(pair["refresh_token"])]
    return [refusal(answer) for answer in answers] == [(401, "TOKEN_REVOKED")] * 2


def test_help_lists_every_command_with_a_sentence(app: Flask):
    lines = output(app, "--help").partition("Commands:\n")[2].splitlines()
    listed = {name: sentence for name, _, sentence in (line.strip().partition(" ") for line in lines)}
    assert set(listed) == set(cli.group.commands)
    assert all(re.fullmatch(r" *[A-Z].+\.", sentence) for sentence in listed.values()), listed


def test_group_is_one_of_the_applications_commands(app: Flask):
    result = app.test_cli_runner().invoke(args=["--help"])
    assert re.search(r"\n +auth +Accounts, sessions, mails and keys,.*\n", result.output)


def test_user_is_made_with_a_password_from_standard_input(app: Flask, api: Api):
    result = create(app, "Alice@Example.ORG")
    made, hint = result.stdout.splitlines()
    assert re.fullmatch(rf"Made alice@example\.org \({UUID}\)\.", made)
    assert hint == f"Nobody logs in with an address that is not verified: flask auth verify {ALICE}"
    user = user_of(app)
    assert str(user.id) in result.stdout
    assert (user.role, user.is_active, user.is_verified, user.name) == ("user", True, False, None)
    assert refusal(api.post("/login", {"email": ALICE, "password": PASSWORD})) == (403, "EMAIL_NOT_VERIFIED")
    assert mails(app) == []


def test_user_is_made_with_all_that_can_be_told(app: Flask, api: Api):
    assert create(app, CAROL, "--admin", "--verified", "--name", "Carol 😀").exit_code == 0
    user = api.log_in(CAROL)["user"]
    assert (user["role"], user["name"], user["is_verified"]) == ("admin", "Carol 😀", True)


def test_user_is_made_with_a_password_that_is_typed_twice_and_not_shown(app: Flask, api: Api):
    result = run(app, "create-user", ALICE, "--verified", input=f"{PASSWORD}\n{PASSWORD}\n")
    assert result.exit_code == 0
    assert "Password" in result.output
    api.log_in()


def test_password_that_is_typed_differently_is_asked_for_again(app: Flask, api: Api):
    typed = f"{OTHER_PASSWORD}\n{PASSWORD}\n{PASSWORD}\n{PASSWORD}\n"
    result = run(app, "create-user", ALICE, "--verified", input=typed)
    assert result.exit_code == 0
    assert "do not match" in result.output
    api.log_in()


def test_password_that_is_never_typed_right_makes_nobody(app: Flask):
    result = run(app, "create-user", ALICE, input=f"{OTHER_PASSWORD}\n{PASSWORD}\n")
    assert result.exit_code == 1
    assert "Aborted!" in result.stderr
    assert output(app, "list-users") == ""


def test_only_the_first_line_is_the_password_with_its_spaces(app: Flask, api: Api):
    run(app, "create-user", ALICE, "--verified", "--password-stdin", input=f"  {PASSWORD} \r\nmore\n")
    api.log_in(password=f"  {PASSWORD} ")


@pytest.mark.parametrize(
    ("email", "password", "said"),
    [
        ("nobody", PASSWORD, "Not a valid e-mail address."),
        ("a@b@c", PASSWORD, "Not a valid e-mail address."),
        ("alice@example.org\nx", PASSWORD, "Not a valid e-mail address."),
        ("\udcff@example.org", PASSWORD, "Not a valid e-mail address."),
        (ALICE, WEAK, "This password is too easy to guess."),
        (ALICE, "", "Use at least 8 characters."),
        (ALICE, f"{PASSWORD}\x00", "The password has a character"),
    ],
    ids=ascii,
)
def test_user_that_cannot_be_is_refused_in_one_line(app: Flask, email: str, password: str, said: str):
    assert told(create(app, email, password=password)).startswith(said)
    assert output(app, "list-users") == ""


def test_address_that_is_taken_is_refused_in_one_line(app: Flask):
    make_user(app)
    assert told(create(app, "ALICE@example.org")) == "An account with this e-mail address already exists."


def test_name_that_is_too_long_is_refused_in_one_line(app: Flask):
    assert "100" in told(create(app, ALICE, "--name", "x" * 101))


def test_password_or_name_in_no_encoding_is_refused_in_one_line(app: Flask):
    assert "UTF-8" in told(run(app, "create-user", ALICE, "--password-stdin", input=b"\xff\xfe-violet-tractor\n"))
    assert told(create(app, ALICE, "--name", "\udcff")) == "Not a valid name."
    assert output(app, "list-users") == ""


@pytest.mark.any_database
@pytest.mark.parametrize(
    "name", ["Al\x07ice", "Al\nice", "Al\x1b[31mice", "Al\u202eice", "\u200b", "x" * 101], ids=ascii
)
def test_name_that_the_api_would_refuse_is_refused_before_the_password_is_asked_for(app: Flask, api: Api, name: str):
    assert refusal(api.register(name=name)) == (422, "VALIDATION_ERROR")
    # Nothing is typed: a question would end in "Aborted!".
    assert told(run(app, "create-user", ALICE, "--name", name)) in (
        "Not a valid name.",
        "Longer than maximum length 100.",
    )


def test_users_are_listed_oldest_first(app: Flask):
    with time_machine.travel("2031-03-01T12:00:00.9+00:00", tick=False):
        ids = [make_user(app), make_user(app, BOB, is_verified=False), make_user(app, CAROL, role="admin")]
    output(app, "deactivate", BOB)
    assert output(app, "list-users").splitlines() == [
        "EMAIL              ROLE   STATE                 CREATED               ID",
        f"alice@example.org  user   active                2031-03-01T12:00:00Z  {ids[0]}",
        f"bob@example.org    user   unverified, disabled  2031-03-01T12:00:00Z  {ids[1]}",
        f"carol@example.org  admin  active                2031-03-01T12:00:00Z  {ids[2]}",
    ]


def test_users_are_listed_as_json_one_a_line(app: Flask):
    with time_machine.travel("2031-03-01T12:00:00+00:00", tick=False):
        ids = [make_user(app, name="Zoë 😀"), make_user(app, BOB, is_verified=False)]
    found = [json.loads(line) for line in output(app, "list-users", "--json").splitlines()]
    common = {"role": "user", "is_active": True, "created_at": "2031-03-01T12:00:00Z"}
    assert found == [
        {"id": ids[0], "email": ALICE, "name": "Zoë 😀", "is_verified": True, **common},
        {"id": ids[1], "email": BOB, "name": None, "is_verified": False, **common},
    ]


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_many_users_are_listed_whole(app: Flask, options: list[str]):
    with app.app_context():
        # More than are read from the database at once; hashing a password for each would take its time.
        db.session.add_all(User(email=f"user{number}@example.org", password_hash="") for number in range(501))
        database.commit()
    listed = output(app, "list-users", *options).splitlines()
    assert len([line for line in listed if "@example.org" in line]) == 501
    assert len(listed) == 501 + (not options)


@pytest.mark.parametrize("ask", [True, False])
def test_new_password_ends_every_session_and_the_old_password(app: Flask, api: Api, ask: bool):
    make_user(app)
    make_user(app, BOB)
    pairs, bob = [api.log_in(), api.log_in()], api.log_in(BOB)
    if ask:
        result = run(app, "set-password", ALICE, input=f"{OTHER_PASSWORD}\n{OTHER_PASSWORD}\n")
    else:
        result = run(app, "set-password", ALICE, "--password-stdin", input=f"{OTHER_PASSWORD}\n")
    assert result.exit_code == 0
    assert result.stdout.endswith(f"The password of {ALICE} is set; every session is over.\n")
    assert all(is_dead(api, pair) for pair in pairs)
    assert refusal(api.post("/login", {"email": ALICE, "password": PASSWORD})) == (401, "INVALID_CREDENTIALS")
    api.log_in(password=OTHER_PASSWORD)
    data(api.get("/me", token=bob["access_token"]))


def test_weak_new_password_is_refused_and_changes_nothing(app: Flask, api: Api):
    make_user(app)
    pair = api.log_in()
    assert "too easy" in told(run(app, "set-password", ALICE, "--password-stdin", input=f"{WEAK}\n"))
    data(api.get("/me", token=pair["access_token"]))
    api.log_in()


def test_verified_user_can_log_in(app: Flask, api: Api):
    data(api.register(), 201)
    assert refusal(api.post("/login", {"email": ALICE, "password": PASSWORD})) == (403, "EMAIL_NOT_VERIFIED")
    assert output(app, "verify", ALICE) == f"{ALICE} is verified.\n"
    assert api.log_in()["user"]["is_verified"] is True
    output(app, "verify", ALICE)


def test_deactivated_user_is_out_at_once_until_activated(app: Flask, api: Api):
    make_user(app)
    pair = api.log_in()
    assert output(app, "deactivate", ALICE) == f"{ALICE} is disabled; every session is over.\n"
    assert is_dead(api, pair)
    assert refusal(api.post("/login", {"email": ALICE, "password": PASSWORD})) == (403, "ACCOUNT_DISABLED")
    output(app, "deactivate", ALICE)
    assert output(app, "activate", ALICE) == f"{ALICE} is active.\n"
    assert is_dead(api, pair)
    pair = api.log_in()
    output(app, "activate", ALICE)
    data(api.get("/me", token=pair["access_token"]))


def test_sessions_are_listed_newest_first(app: Flask, api: Api):
    make_user(app)
    make_user(app, BOB)
    with time_machine.travel("2031-03-01T12:00:00+00:00", tick=False) as clock:
        first = api.log_in(headers={"User-Agent": CHROME}, environ_overrides={"REMOTE_ADDR": "192.0.2.1"})
        clock.shift(60)
        second = api.log_in(environ_overrides={"REMOTE_ADDR": "", "HTTP_USER_AGENT": ""})
        api.log_in(BOB)
        clock.shift(60)
        first = data(api.refresh(first["refresh_token"]))
        text, lines = output(app, "sessions", ALICE), output(app, "sessions", ALICE, "--json").splitlines()
    ids = [claims(pair["access_token"])["sid"] for pair in (second, first)]
    listed = [json.loads(line) for line in lines]
    assert [row["id"] for row in listed] == ids
    assert set(listed[0]) == set(listed[1]) == {"id", "created_at", "last_used_at", "expires_at", "ip", "device"}
    assert [row["ip"] for row in listed] == [None, "127.0.0.1"]
    assert [row["created_at"] for row in listed] == ["2031-03-01T12:01:00Z", "2031-03-01T12:00:00Z"]
    assert [row["last_used_at"] for row in listed] == ["2031-03-01T12:01:00Z", "2031-03-01T12:02:00Z"]
    assert text.splitlines() == ["  ".join(str(value or "-") for value in row.values()) for row in listed]


def test_only_living_sessions_are_listed(app: Flask, api: Api):
    make_user(app)
    assert output(app, "sessions", ALICE) == ""
    with time_machine.travel("2031-03-01T12:00:00+00:00", tick=False) as clock:
        api.log_in()
        clock.shift(app.config["REFRESH_TOKEN_EXPIRE_DAYS"] * 24 * 3600 + 1)
        ended = api.log_in()
        data(api.post("/logout", token=ended["access_token"]))
        assert output(app, "sessions", ALICE, "--json") == ""


@pytest.mark.parametrize(("number", "said"), [(0, "0 sessions"), (1, "1 session"), (2, "2 sessions")])
def test_sessions_are_revoked_and_counted(app: Flask, api: Api, number: int, said: str):
    make_user(app)
    make_user(app, BOB)
    pairs, bob = [api.log_in() for _ in range(number)], api.log_in(BOB)
    assert output(app, "revoke-sessions", ALICE) == f"Ended {said} of {ALICE}.\n"
    assert all(is_dead(api, pair) for pair in pairs)
    assert output(app, "revoke-sessions", ALICE) == f"Ended 0 sessions of {ALICE}.\n"
    data(api.get("/me", token=bob["access_token"]))
    data(api.get("/me", token=api.log_in()["access_token"]))


@pytest.mark.parametrize(("options", "answer"), [(["--yes"], None), ([], "y\n")])
def test_deleted_user_is_gone_and_the_address_is_free(app: Flask, api: Api, options: list[str], answer: str | None):
    make_user(app)
    pair = api.log_in()
    assert output(app, "delete-user", ALICE, *options, input=answer).endswith(f"{ALICE} is gone.\n")
    assert refusal(api.get("/me", token=pair["access_token"])) == (401, "TOKEN_INVALID")
    assert refusal(api.refresh(pair["refresh_token"])) == (401, "TOKEN_INVALID")
    assert refusal(api.post("/login", {"email": ALICE, "password": PASSWORD})) == (401, "INVALID_CREDENTIALS")
    data(api.register(), 201)


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_user_is_not_deleted_unless_that_is_confirmed(app: Flask, api: Api, answer: str):
    make_user(app)
    pair = api.log_in()
    result = run(app, "delete-user", ALICE, input=answer)
    assert result.exit_code == 1
    assert result.stderr.strip() == "Aborted!"
    data(api.get("/me", token=pair["access_token"]))


def test_purge_says_what_it_deleted(app: Flask, api: Api):
    make_user(app)
    with time_machine.travel("2031-03-01T12:00:00+00:00", tick=False) as clock:
        data(api.post("/logout", token=api.log_in()["access_token"]))
        clock.shift(365 * 24 * 3600)
        rest = "links: 0\nsent mails: 0\nmail requests: 0\n"
        assert output(app, "purge") == f"sessions: 1\nrevoked tokens: 2\nknown networks: 1\n{rest}"
        assert output(app, "purge") == f"sessions: 0\nrevoked tokens: 0\nknown networks: 0\n{rest}"


@pytest.mark.any_database
def test_purge_says_as_json_what_it_deleted(app: Flask):
    nothing = {"sessions": 0, "revoked_tokens": 0, "links": 0, "sent_mails": 0}
    found = json.loads(output(app, "purge", "--json"))
    assert {name: found[name] for name in nothing} == nothing


@pytest.mark.any_database
@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_generated_keys_are_settings_that_work(make_app: MakeApp, algorithm: str):
    lines = output(make_app(DATABASE_URL=AWAY), "generate-keys", "--algorithm", algorithm).splitlines()
    settings = dict(line.split("=", 1) for line in lines)
    assert list(settings) == ["JWT_ALGORITHM", "JWT_PRIVATE_KEY", "JWT_PUBLIC_KEY"]
    app = make_app(**settings)
    make_user(app)
    pair = Api(app).log_in()
    assert json.loads(base64.urlsafe_b64decode(pair["access_token"].split(".")[0] + "=="))["alg"] == algorithm
    data(Api(app).get("/me", token=pair["access_token"]))


@pytest.mark.any_database
def test_generated_keys_are_of_the_kind_that_everybody_checks_and_new_each_time(app: Flask):
    found = [json.loads(output(app, "generate-keys", "--json")) for _ in range(2)]
    assert [keys["JWT_ALGORITHM"] for keys in found] == ["RS256", "RS256"]
    assert found[0]["JWT_PRIVATE_KEY"] != found[1]["JWT_PRIVATE_KEY"]
    assert base64.b64decode(found[0]["JWT_PUBLIC_KEY"]).startswith(b"-----BEGIN PUBLIC KEY-----\n")


@pytest.mark.any_database
def test_algorithm_without_key_pairs_is_misuse(app: Flask):
    assert run(app, "generate-keys", "--algorithm", "HS256").exit_code == 2


def test_delivering_with_nothing_due_is_no_error(app: Flask):
    assert output(app, "deliver-mail") == "Sent 0 mails.\n"


@pytest.mark.parametrize("command", NEEDS_ADDRESS)
def test_unknown_address_is_refused_in_one_line(app: Flask, command: str):
    make_user(app, BOB)
    options = {"set-password": ["--password-stdin"], "delete-user": ["--yes"]}.get(command, [])
    result = run(app, command, ALICE, *options, input=f"{PASSWORD}\n")
    assert told(result) == f"There is no account with the address {ALICE}."
    assert told(run(app, command, "alice", *options, input=f"{PASSWORD}\n")) == "Not a valid e-mail address."


@pytest.mark.parametrize("command", NEEDS_ADDRESS)
def test_address_is_found_in_any_spelling(app: Flask, command: str):
    make_user(app)
    options = {"set-password": ["--password-stdin"], "delete-user": ["--yes"]}.get(command, [])
    output(app, command, "ALICE@Example.org", *options, input=f"{OTHER_PASSWORD}\n")


@pytest.mark.parametrize("command", [*NEEDS_ADDRESS, "create-user"])
def test_missing_address_and_a_password_as_argument_are_misuse(app: Flask, command: str):
    for args in ([command], [command, ALICE, "more"], [command, ALICE, "--password", PASSWORD]):
        result = run(app, *args)
        assert result.exit_code == 2
        assert PASSWORD not in result.output
        assert result.stderr.startswith("Usage: ")


@pytest.mark.parametrize("command", [*NEEDS_ADDRESS, "create-user", "list-users", "purge"])
def test_database_that_is_away_is_told_in_one_line(make_app: MakeApp, command: str):
    app = make_app(DATABASE_URL=AWAY)
    args = [ALICE] if command in (*NEEDS_ADDRESS, "create-user") else []
    options = ["--password-stdin"] if command in ("create-user", "set-password") else []
    said = told(run(app, command, *args, *options, input=f"{PASSWORD}\n"))
    assert said.startswith("The database refused: ")


@pytest.mark.parametrize("command", ["set-password", "verify", "deactivate", "revoke-sessions"])
def test_user_who_is_deleted_meanwhile_is_told_in_one_line(app: Flask, command: str):
    make_user(app, is_verified=False)

    def delete() -> None:
        with app.app_context():
            users.delete(user_of(app))
            database.commit()

    options = ["--password-stdin"] if command == "set-password" else []
    with just_before(app, "UPDATE auth_user", delete):
        result = run(app, command, ALICE, *options, input=f"{OTHER_PASSWORD}\n")
    assert told(result) == f"There is no account with the address {ALICE}."


@pytest.mark.only_on("mariadb")
@pytest.mark.parametrize(
    "command", ["set-password", "verify", "deactivate", "activate", "revoke-sessions", "delete-user"]
)
def test_deadlock_is_tried_once_more_without_asking_again(app: Flask, api: Api, command: str):
    make_user(app, is_verified=False)
    given = {"set-password": f"{OTHER_PASSWORD}\n{OTHER_PASSWORD}\n", "delete-user": "y\n"}.get(command)
    statement = {"delete-user": "DELETE FROM auth_user", "activate": "SELECT"}.get(command, "UPDATE auth_user")
    with failing(app, statement, DEADLOCK):
        assert run(app, command, ALICE, input=given).exit_code == 0
    if command == "set-password":
        assert refusal(api.post("/login", {"email": ALICE, "password": OTHER_PASSWORD})) == (403, "EMAIL_NOT_VERIFIED")


@pytest.mark.only_on("mariadb")
def test_second_deadlock_is_told_in_one_line(app: Flask):
    make_user(app, is_verified=False)
    with failing(app, "UPDATE auth_user", DEADLOCK, times=2):
        assert told(run(app, "verify", ALICE)) == "The database refused: Deadlock found; see flask auth doctor."


@pytest.mark.any_database
@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["create-user", ALICE], "An account with this e-mail address already exists."),
        (["create-user", "nobody"], "Not a valid e-mail address."),
        (["set-password", BOB], f"There is no account with the address {BOB}."),
        (["set-password", "nobody"], "Not a valid e-mail address."),
        (["delete-user", BOB], f"There is no account with the address {BOB}."),
    ],
)
def test_nobody_is_asked_for_what_cannot_be_used(app: Flask, args: list[str], said: str):
    make_user(app)
    # Nothing is typed: a question would end in "Aborted!".
    assert told(run(app, *args)) == said


def test_blank_name_is_no_name(app: Flask):
    assert create(app, ALICE, "--name", "").exit_code == 0
    assert user_of(app).name is None


@pytest.mark.any_database
def test_command_leaves_its_mail_to_the_service(make_app: MakeApp):
    # A thread would be gone with the process, and with it the mail that it had just claimed.
    app = make_app(TESTING=False, MAIL_SERVER="127.0.0.1", MAIL_PORT=1)
    make_user(app)
    before = threading.active_count()
    output(app, "set-password", ALICE, "--password-stdin", input=f"{OTHER_PASSWORD}\n")
    assert threading.active_count() == before
    assert [(mail.subject, mail.attempts) for mail in mails(app)] == [("Your password has been changed", 0)]


def test_mails_that_are_due_go_in_as_many_batches_as_it_takes(make_app: MakeApp):
    # Flask-Mail hands nothing over in a test: what reaches a server is for the tests of the delivery.
    app = make_app(MAIL_SERVER="127.0.0.1")
    with app.app_context():
        for number in range(21):
            fields = {"to": f"user{number}@example.org", "subject": "Hello", "text": "Hello", "html": "Hello"}
            db.session.add(OutboxMessage(**fields, due_at=clock.now()))
        database.commit()
    assert output(app, "deliver-mail") == "Sent 21 mails.\n"
    assert all(mail.sent_at for mail in mails(app))
    assert output(app, "deliver-mail") == "Sent 0 mails.\n"
