"""The commands as an operator meets them: their page, their help, and the real `flask` process."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from flask import Flask
from flask.cli import FlaskGroup

from authapp import cli, clock, create_app, database, doctor, keys
from authapp.extensions import db
from authapp.mail.models import OutboxMessage
from authapp.models import User
from tests.conftest import MakeApp
from tests.factories import ALICE, OTHER_PASSWORD, PASSWORD, Api, make_user, user_of
from tests.mail.conftest import PRODUCTION

# What somebody would type at the commands that ask.
TYPED = {"create-user": f"{PASSWORD}\n{PASSWORD}\n", "set-password": f"{OTHER_PASSWORD}\n{OTHER_PASSWORD}\n"}
# In an order in which each finds what it needs.
ORDER = ["create-user", *sorted(set(cli.group.commands) - {"create-user", "delete-user"}), "delete-user"]
AWAY = "mysql+pymysql://root@127.0.0.1:1/x"


def page(root: Path) -> dict[str, tuple[str, str]]:
    """Give, of each command on the page, its synopsis and its example."""
    sections = re.findall(
        r"^### `([a-z-]+)(.*?)`$.*?^```sh\nflask auth (.*?)\n```$",
        (root / "docs/commands.md").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    return {name: (synopsis, example) for name, synopsis, example in sections}


def help_of(app: Flask, name: str) -> str:
    result = app.test_cli_runner().invoke(args=["auth", name, "--help"])
    assert result.exit_code == 0
    return result.stdout


@pytest.mark.any_database
def test_page_has_every_command_with_its_parameters(app: Flask, root: Path):
    found = page(root)
    assert set(found) == set(cli.group.commands)
    for name, (synopsis, _) in found.items():
        parameters = cli.group.commands[name].params
        options = {param.opts[0] for param in parameters if isinstance(param, click.Option)}
        arguments = [param.human_readable_name for param in parameters if isinstance(param, click.Argument)]
        assert set(re.findall(r"--[a-z-]+", synopsis)) == options, name
        assert re.sub(r"\[.*?\]", "", synopsis).split() == arguments, name


@pytest.mark.any_database
@pytest.mark.parametrize("name", ORDER)
def test_help_shows_the_pages_example_and_what_the_exit_status_means(app: Flask, root: Path, name: str):
    lines = [line.strip() for line in help_of(app, name).splitlines()]
    assert f"Example: flask auth {page(root)[name][1]}" in lines
    assert [line for line in lines if re.fullmatch(r"Exit status: 0 done; 1 .+; 2 wrong usage\.", line)]
    assert max(map(len, lines)) <= 100


@pytest.mark.any_database
def test_page_has_every_check_of_the_doctor(app: Flask, root: Path):
    with app.app_context():
        checks = [finding.name for finding in doctor.examine()]
    assert re.findall(r"^\| `([a-z-]+)` \|", (root / "docs/commands.md").read_text(), re.MULTILINE) == checks


@pytest.mark.any_database
def test_every_example_works(make_app: MakeApp, root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(root)
    app = make_app(AUTH_PASSWORD_HASH="scrypt:8192:8:10")
    for name in ORDER:
        # One that never ends has tests of its own.
        arguments = shlex.split(page(root)[name][1].removesuffix(" --watch"))
        result = app.test_cli_runner().invoke(args=["auth", *arguments], input=TYPED.get(name))
        assert result.exit_code == 0, (name, result.output)


def flask(
    root: Path, *arguments: str, group: str = "auth", input: str | None = None, **settings: str
) -> "subprocess.CompletedProcess[str]":
    """Run the real command, with nothing in the environment but these settings."""
    return subprocess.run(
        [sys.executable, "-m", "flask", "--app", "wsgi", group, *arguments],
        cwd=root,
        # A developer's `.env` beside wsgi.py must not matter; what is set, even empty, comes before it.
        env={"PATH": os.environ["PATH"], **settings},
        input=input,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.any_database
def test_process_takes_a_password_from_standard_input_and_says_by_its_status_what_happened(
    app: Flask, api: Api, root: Path
):
    settings = {**PRODUCTION, "DATABASE_URL": app.config["DATABASE_URL"]}
    command = ["create-user", "ALICE@example.org", "--password-stdin", "--verified"]
    done = flask(root, *command, input=f"{PASSWORD}\n", **settings)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"Made {ALICE} ({user_of(app).id}).\n"
    api.log_in()
    again = flask(root, *command, input=f"{PASSWORD}\n", **settings)
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr == "Error: An account with this e-mail address already exists.\n"


@pytest.mark.only_on("mariadb")
def test_process_whose_reader_leaves_early_ends_without_a_trace(app: Flask, root: Path):
    with app.app_context():
        db.session.add_all(User(email=f"user{number}@example.org", password_hash="") for number in range(2000))
        database.commit()
    process = subprocess.Popen(
        [sys.executable, "-m", "flask", "--app", "wsgi", "auth", "list-users"],
        cwd=root,
        env={"PATH": os.environ["PATH"], **PRODUCTION, "DATABASE_URL": app.config["DATABASE_URL"]},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("EMAIL")
        assert "user0@example.org" in process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


@pytest.mark.any_database
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"SECRET_KEY": ""}, "SECRET_KEY is not set"),
        ({"SECRET_KEY": "change-me-change-me-change-me-change-me"}, "SECRET_KEY is an example"),
        ({"AUTH_PUBLIC_URL": ""}, "AUTH_PUBLIC_URL is not set"),
        (
            {"DATABASE_URL": "sqlite:////proc/authapp.db"},
            "DATABASE_URL names an SQLite file that this user cannot write",
        ),
        ({"JWT_ALGORITHM": "RS256", "JWT_PRIVATE_KEY": "MISMATCHED", "JWT_PUBLIC_KEY": ""}, "JWT_PRIVATE_KEY is not a"),
        ({"JWT_ALGORITHM": "ES256"}, "JWT_PUBLIC_KEY does not belong to JWT_PRIVATE_KEY"),
    ],
    ids=str,
)
def test_settings_that_stop_the_start_stop_the_doctor_in_one_line(settings: dict[str, str], said: str):
    pair = {"JWT_PRIVATE_KEY": keys.generate("ES256")[0], "JWT_PUBLIC_KEY": keys.generate("ES256")[1]}
    given = {**PRODUCTION, **(pair if settings.get("JWT_ALGORITHM") else {}), **settings}
    command = FlaskGroup(create_app=lambda: create_app(given, environ={}))
    result = CliRunner().invoke(command, ["auth", "doctor"])
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert said in line
    assert pair["JWT_PRIVATE_KEY"] not in line


@pytest.mark.any_database
def test_process_whose_settings_stop_the_start_says_so_in_one_line(root: Path):
    done = flask(
        root, "generate-keys", "--algorithm", "ES256", **{**PRODUCTION, "JWT_ALGORITHM": "ES256", "JWT_PRIVATE_KEY": ""}
    )
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("authapp: JWT_PRIVATE_KEY is not set")
    # As the help of generate-keys says.
    assert "JWT_ALGORITHM= JWT_PRIVATE_KEY= flask auth generate-keys --algorithm ES256" in line


@pytest.mark.any_database
def test_process_of_the_doctor_says_by_its_status_that_something_fails(app: Flask, root: Path):
    done = flask(root, "doctor", **{**PRODUCTION, "DATABASE_URL": AWAY, "MAIL_SERVER": "127.0.0.1", "MAIL_PORT": "1"})
    assert (done.returncode, done.stderr) == (1, "")
    failing = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("fail ")]
    assert failing == ["public-url", "database", "mail-server", "mail-sender"]


@pytest.mark.any_database
def test_process_without_a_terminal_says_how_to_give_a_password_in_one_line(app: Flask, root: Path):
    done = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "wsgi", "auth", "create-user", ALICE],
        cwd=root,
        env={"PATH": os.environ["PATH"], **PRODUCTION, "DATABASE_URL": app.config["DATABASE_URL"]},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        # A session of its own has no terminal, even where a developer sits at one.
        start_new_session=True,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: There is no terminal to ask for the password at: use --password-stdin.\n"


@pytest.mark.any_database
def test_process_that_watches_the_outbox_says_which_mail_server_is_away(app: Flask, root: Path):
    with app.app_context():
        mail = {"to": ALICE, "subject": "Hello", "text": "Hello", "html": "Hello"}
        db.session.add(OutboxMessage(**mail, due_at=clock.now()))
        database.commit()
    server = {"MAIL_SERVER": "127.0.0.1", "MAIL_PORT": "1", "MAIL_USERNAME": ALICE, "MAIL_PASSWORD": OTHER_PASSWORD}
    process = subprocess.Popen(
        [sys.executable, "-m", "flask", "--app", "wsgi", "auth", "deliver-mail", "--watch"],
        cwd=root,
        env={"PATH": os.environ["PATH"], **PRODUCTION, **server, "DATABASE_URL": app.config["DATABASE_URL"]},
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        line = process.stderr.readline()
        process.terminate()
    said = json.loads(line)
    assert (said["event"], said["host"], said["port"]) == ("mail_server_unreachable", "127.0.0.1", 1)
    assert OTHER_PASSWORD not in line


@pytest.mark.any_database
@pytest.mark.parametrize(
    ("url", "said"),
    [
        (AWAY, "check DATABASE_URL"),
        ("mysql+pymysql://root@127.0.0.1/not_there", "make it: CREATE DATABASE not_there CHARACTER SET utf8mb4"),
    ],
)
def test_process_that_finds_no_database_says_so_in_one_line(mysql_url: str, root: Path, url: str, said: str):
    server = mysql_url.rpartition("/")[0]
    settings = {**PRODUCTION, "DATABASE_URL": url.replace("mysql+pymysql://root@127.0.0.1/", f"{server}/")}
    done = flask(root, "upgrade", group="db", **settings)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: The database does not answer (")
    assert said in line


@pytest.mark.only_on("mariadb")
def test_command_that_finds_no_database_says_how_to_make_it(make_app: MakeApp, mysql_url: str):
    app = make_app(DATABASE_URL=f"{mysql_url.rpartition('/')[0]}/not_there")
    result = app.test_cli_runner().invoke(args=["auth", "list-users"])
    assert result.exit_code == 1
    assert result.stderr.endswith("; make it: CREATE DATABASE not_there CHARACTER SET utf8mb4.\n")


@pytest.mark.any_database
def test_every_command_says_in_one_line_that_the_database_is_away(make_app: MakeApp, root: Path):
    app = make_app(DATABASE_URL=AWAY, MAIL_SERVER="127.0.0.1")
    for name in sorted(set(cli.group.commands) - {"generate-keys", "send-test-mail", "doctor"}):
        has_argument = any(isinstance(param, click.Argument) for param in cli.group.commands[name].params)
        arguments = [str(root / "examples/users.csv") if name == "import-users" else ALICE] if has_argument else []
        result = app.test_cli_runner().invoke(args=["auth", name, *arguments], input=TYPED.get(name))
        assert (result.exit_code, result.stdout) == (1, ""), name
        (line,) = result.stderr.splitlines()
        assert line.startswith("Error: The database refused: Can't connect to MySQL server on"), name


@pytest.mark.any_database
def test_every_command_is_free_of_what_only_a_terminal_shows(app: Flask):
    make_user(app)
    for arguments in (["list-users"], ["doctor"], ["sessions", ALICE]):
        assert "\x1b" not in app.test_cli_runner().invoke(args=["auth", *arguments]).output
