"""Wrong deployments, set up for real, and that `flask auth doctor` finds each of them; a sound one is all ok."""

import json
import os
import secrets
import socket
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import flask_migrate
import pytest
import redis
import time_machine
from aiosmtpd.smtp import AuthResult
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event, make_url, text
from werkzeug.middleware.proxy_fix import ProxyFix

from authapp import clock, create_app, database, init_app, keys
from authapp.config import ConfigError
from authapp.extensions import db
from authapp.mail.models import MailRequest, OutboxMessage
from authapp.testing import TEST_SETTINGS
from tests import databases, services
from tests.conftest import MakeApp
from tests.factories import ALICE, Api, make_user
from tests.mail.conftest import PRODUCTION, MailServer

OTHER_SECRET = secrets.token_urlsafe(48)
MAIL_PASSWORD = "heron-88-lantern-mails"
DATABASE_PASSWORD = "otter-51-candle-rows"
SECRETS = [PRODUCTION["SECRET_KEY"], OTHER_SECRET, MAIL_PASSWORD, DATABASE_PASSWORD]
NOBODY_ID = 65534

MakeSound = Callable[..., Flask]


def name_of(value: object) -> str:
    """Name a test by its parameter, which is another in each process where it is made at random."""
    text = str(value)
    for secret in SECRETS:
        text = text.replace(secret, "…")
    return text


def examine(app: Flask) -> tuple[int, dict[str, tuple[str, str]]]:
    """Run the doctor; give its exit status, and of each check the level and the sentence. No secret is in it."""
    result = app.test_cli_runner().invoke(args=["auth", "doctor", "--json"])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert not any(secret in result.output for secret in SECRETS)
    assert result.stderr == ""
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert all(set(row) == {"name", "level", "says"} and row["says"].endswith(".") for row in rows), rows
    return result.exit_code, {row["name"]: (row["level"], row["says"]) for row in rows}


def levels(found: dict[str, tuple[str, str]]) -> set[str]:
    """Give the levels that there are, of all but the limits, which only a Redis makes sound."""
    return {level for name, (level, _) in found.items() if name != "limits"}


def failure(app: Flask) -> tuple[str, str]:
    """Give the one check that fails and its sentence."""
    status, found = examine(app)
    failing = [(name, says) for name, (level, says) in found.items() if level == "fail"]
    assert (status, len(failing)) == (1, 1), failing
    return failing[0]


def warned(app: Flask, name: str) -> str:
    """Give the sentence of a check that warns, where nothing fails."""
    status, found = examine(app)
    assert (status, found[name][0]) == (0, "warning"), found
    return found[name][1]


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    server = MailServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def make_sound(make_app: MakeApp, mail_server: MailServer) -> MakeSound:
    """Make a sound deployment, but for these settings."""

    def make(**settings: object) -> Flask:
        return make_app(**{**sound(mail_server.port), **settings})

    return make


def sound(mail_port: int) -> dict[str, object]:
    """Give the settings of a sound deployment."""
    mail = {"MAIL_SERVER": "127.0.0.1", "MAIL_PORT": mail_port, "MAIL_TIMEOUT": 2, "MAIL_SUPPRESS_SEND": False}
    sender = {"MAIL_DEFAULT_SENDER": "Example <no-reply@example.org>"}
    return {
        **PRODUCTION,
        "AUTH_PUBLIC_URL": "https://auth.smith.test",
        **mail,
        **sender,
        "AUTH_PASSWORD_HASH": "scrypt:32768:8:3",
        "TRUSTED_PROXIES": 1,
        "RATELIMIT_ENABLED": True,
    }


@contextmanager
def own(kind: str, request: pytest.FixtureRequest, mail_port: int, *, migrated: bool = True) -> Iterator[Flask]:
    """Make a sound deployment on a database of the test's own."""
    with databases.empty(kind, request) as url:
        app = create_app({**TEST_SETTINGS, **sound(mail_port), "DATABASE_URL": url}, environ={})
        with app.app_context():
            if kind == "mariadb":
                run_sql(app, f"ALTER DATABASE {db.engine.url.database} CHARACTER SET utf8mb4")
            if migrated:
                flask_migrate.upgrade()
        yield app
        with app.app_context():
            db.engine.dispose()


def run_sql(app: Flask, *statements: str) -> None:
    with app.app_context(), db.engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


@pytest.mark.parametrize("kind", databases.KINDS)
def test_sound_deployment_is_all_ok(request: pytest.FixtureRequest, mail_server: MailServer, kind: str):
    with own(kind, request, mail_server.port) as app:
        status, found = examine(app)
        lines = app.test_cli_runner().invoke(args=["auth", "doctor"]).stdout.splitlines()
    assert levels(found) == {"ok"}, found
    assert status == 0
    assert [line.split() for line in lines] == [[level, name, *says.split()] for name, (level, says) in found.items()]
    # It looked, and did no more.
    assert mail_server.seen == []


def test_newcomers_deployment_on_their_own_machine_is_sound(make_app: MakeApp):
    status, found = examine(make_app(AUTH_PASSWORD_HASH="scrypt:32768:8:3", RATELIMIT_ENABLED=True))
    assert status == 0
    assert {name for name, (level, _) in found.items() if level != "ok"} <= {"charset"}
    assert found["limits"] == (
        "ok",
        "Each process counts tries in its own memory, anew after every start; in production set REDIS_URL.",
    )


def test_migrated_host_application_is_sound(request: pytest.FixtureRequest, mail_server: MailServer, tmp_path: Path):
    with own("sqlite", request, mail_server.port) as app:
        host = Flask("host", instance_path=str(tmp_path))
        host.config.update(TEST_SETTINGS, **sound(mail_server.port), DATABASE_URL=app.config["DATABASE_URL"])
        init_app(host, environ={})
        assert "ProxyFix" in warned(host, "proxies")
        host.wsgi_app = ProxyFix(host.wsgi_app)  # type: ignore[method-assign]  # As Flask says to.
        # Its migrations are its own.
        run_sql(host, "DROP TABLE alembic_version")
        status, found = examine(host)
        assert (status, levels(found)) == (0, {"ok"}), found
        run_sql(host, "DROP TABLE auth_link")
        assert failure(host) == ("schema", "The database lacks auth_link: run flask db upgrade.")
        with host.app_context():
            db.engine.dispose()


@pytest.mark.parametrize(("kind", "name"), [("sqlite", "storage"), ("mariadb", "isolation")])
def test_hosts_own_engine_that_lacks_our_options_is_a_warning(
    request: pytest.FixtureRequest, mail_server: MailServer, tmp_path: Path, kind: str, name: str
):
    with own(kind, request, mail_server.port) as app:
        url = app.config["DATABASE_URL"]
        for options, expected in (({}, "warning"), (database.engine_options(url), "ok")):
            host, its_db = Flask("host", instance_path=str(tmp_path)), SQLAlchemy()
            host.config.update(TEST_SETTINGS, **sound(mail_server.port))
            host.config.update(SQLALCHEMY_DATABASE_URI=url, SQLALCHEMY_ENGINE_OPTIONS=options)
            its_db.init_app(host)
            init_app(host, environ={})
            assert examine(host)[1][name][0] == expected
            with host.app_context():
                its_db.engine.dispose()


@pytest.mark.any_database
@pytest.mark.parametrize(
    ("settings", "name", "said"),
    [
        ({"APP_ENV": "development"}, "environment", "set APP_ENV=production"),
        ({"SECRET_KEY_FALLBACKS": PRODUCTION["SECRET_KEY"]}, "secrets", "nothing was rotated"),
        ({"AUTH_PUBLIC_URL": "http://auth.smith.test"}, "public-url", "AUTH_PUBLIC_URL is http,"),
        ({"AUTH_PUBLIC_URL": "https://localhost:8000", "TRUSTED_PROXIES": 0}, "public-url", "machine's own address"),
        ({"AUTH_PUBLIC_URL": "https://127.0.0.1", "TRUSTED_PROXIES": 0}, "public-url", "machine's own address"),
        ({"AUTH_PUBLIC_URL": "https://auth.example.com"}, "public-url", "an example's address"),
        ({"AUTH_PUBLIC_URL": "https://example.NET"}, "public-url", "an example's address"),
        ({"AUTH_PUBLIC_URL": "https://a.smith.test/api/auth/"}, "public-url", "twice"),
        ({"AUTH_COOKIES": True, "CLIENT_ORIGIN": "https://app.example.com"}, "cookies", "SameSite=Lax"),
        ({"AUTH_COOKIES": True, "CLIENT_ORIGIN": "https://192.0.2.1"}, "cookies", "SameSite=Lax"),
        (
            {
                "APP_ENV": "development",
                "AUTH_PUBLIC_URL": "http://127.0.0.1:8000",
                "TRUSTED_PROXIES": 0,
                "AUTH_COOKIES": True,
                "CLIENT_ORIGIN": "http://localhost:3000",
            },
            "cookies",
            "use the same name, localhost or 127.0.0.1, for both.",
        ),
        ({"CLIENT_ORIGIN": "http://app.example.org"}, "origins", "http://app.example.org"),
        ({"AUTH_PASSWORD_HASH": "scrypt:16384:8:1"}, "passwords", "OWASP"),
        ({"AUTH_PASSWORD_HASH": "scrypt:65536:4:2"}, "passwords", "OWASP"),
        ({"AUTH_PASSWORD_HASH": "pbkdf2:sha256:100000"}, "passwords", "OWASP"),
        ({"MAIL_DEFAULT_SENDER": None}, "mail-sender", "no-reply@localhost"),
        ({"MAIL_DEFAULT_SENDER": "Example <no-reply@example.com>"}, "mail-sender", "no-reply@example.com"),
        ({"MAIL_DEFAULT_SENDER": "postmaster"}, "mail-sender", "MAIL_DEFAULT_SENDER"),
    ],
    ids=name_of,
)
def test_setting_that_cannot_stay_so_fails(make_sound: MakeSound, settings: dict[str, object], name: str, said: str):
    found, says = failure(make_sound(**settings))
    assert found == name
    assert said in says


@pytest.mark.any_database
def test_cookies_on_http_fail_for_cookies_too(make_sound: MakeSound):
    status, found = examine(make_sound(AUTH_PUBLIC_URL="http://auth.smith.test", AUTH_COOKIES=True))
    assert status == 1
    assert {name for name, (level, _) in found.items() if level == "fail"} == {"public-url", "cookies"}


@pytest.mark.any_database
@pytest.mark.parametrize(
    ("settings", "name", "said"),
    [
        ({"SECRET_KEY_FALLBACKS": OTHER_SECRET}, "secrets", "7 days"),
        ({"TRUSTED_PROXIES": 0}, "proxies", "TRUSTED_PROXIES is 0"),
        ({"AUTH_VERIFY_URL": "http://app.example.org/?t={token}"}, "public-url", "AUTH_VERIFY_URL"),
        ({"CLIENT_ORIGIN": "http://localhost:3000"}, "origins", "http://localhost:3000"),
        ({"AUTH_PASSWORD_MIN_LENGTH": 6}, "passwords", "NIST"),
        ({"AUTH_PASSWORD_MIN_SCORE": 1}, "passwords", "AUTH_PASSWORD_MIN_SCORE is 1"),
        ({"AUTH_HASH_CONCURRENCY": 9, "AUTH_HASH_QUEUE": 40}, "threads", "49 requests of a process"),
        ({"MAIL_SUPPRESS_SEND": True}, "mail-server", "MAIL_SUPPRESS_SEND"),
        ({"APP_ENV": "development", "AUTH_PUBLIC_URL": "http://localhost:8000"}, "proxies", "set 0"),
    ],
    ids=name_of,
)
def test_setting_that_should_not_stay_so_is_a_warning(
    make_sound: MakeSound, settings: dict[str, object], name: str, said: str
):
    assert said in warned(make_sound(**settings), name)


@pytest.mark.any_database
@pytest.mark.parametrize(
    "settings",
    [
        {"AUTH_COOKIES": True, "CLIENT_ORIGIN": "https://app.smith.test, https://smith.test:8443"},
        {"AUTH_PASSWORD_HASH": "scrypt:131072:8:1"},
        {"AUTH_HASH_CONCURRENCY": 8, "AUTH_HASH_QUEUE": 40},
        {"AUTH_PASSWORD_HASH": "pbkdf2:sha256:600000"},
        {"CLIENT_ORIGIN": "https://app.example.com"},
    ],
    ids=str,
)
def test_setting_that_is_sound_is_no_finding(make_sound: MakeSound, settings: dict[str, object]):
    status, found = examine(make_sound(**settings))
    assert (status, levels(found)) == (0, {"ok"}), found


@pytest.mark.any_database
@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("AUTH_REQUIRE_VERIFIED_MAIL", "AUTH_REQUIRE_VERIFIED_EMAIL"),
        ("JWT_ALGORITHMS", "JWT_ALGORITHM"),
        ("MAIL_USER", "MAIL_USERNAME"),
    ],
)
def test_misspelt_setting_is_a_warning_that_names_the_right_one(app: Flask, name: str, nearest: str):
    given = {**TEST_SETTINGS, **sound(1), "DATABASE_URL": app.config["DATABASE_URL"]}
    others = {"JWT_TOKEN_LOCATION": "headers", "MAIL_DEBUG": "0", "AUTH_COOKIES": "0", "PATH": "/bin", "AUTH_EMPTY": ""}
    for environ, level in ((others, "ok"), ({**others, name: OTHER_SECRET}, "warning")):
        other = create_app(given, environ=environ)
        found = examine(other)[1]["settings"]
        with other.app_context():
            db.engine.dispose()
        assert found[0] == level, found
    assert found[1] == f"Set, and no settings of authapp's: {name} (nearest: {nearest})."


@pytest.mark.any_database
def test_every_misspelt_setting_is_named(app: Flask):
    given = {**TEST_SETTINGS, **sound(1), "DATABASE_URL": app.config["DATABASE_URL"]}
    other = create_app(given, environ={"MAIL_SENDERS": "nobody", "AUTH_COOKIE": "1"})
    found = examine(other)[1]["settings"]
    with other.app_context():
        db.engine.dispose()
    assert all(name in found[1] for name in ("AUTH_COOKIE (nearest: AUTH_COOKIES)", "MAIL_SENDERS (nearest: MAIL_"))


@pytest.mark.any_database
def test_keys_of_before_are_a_warning(make_sound: MakeSound):
    (private, public), (_, earlier) = keys.generate("ES256"), keys.generate("ES256")
    pair = {"JWT_ALGORITHM": "ES256", "JWT_PRIVATE_KEY": private, "JWT_PUBLIC_KEY": public}
    assert examine(make_sound(**pair))[1]["keys"][0] == "ok"
    assert "JWT_PREVIOUS_PUBLIC_KEYS" in warned(make_sound(**pair, JWT_PREVIOUS_PUBLIC_KEYS=[earlier]), "keys")


@pytest.mark.any_database
@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql+pymysql://root@127.0.0.1:1/x", "Can't connect"),
        (f"mysql+pymysql://nobody:{DATABASE_PASSWORD}@127.0.0.1/x", "Access denied"),
        ("mysql+pymysql://root@127.0.0.1/not_there", "make it: CREATE DATABASE not_there CHARACTER SET utf8mb4."),
        ("sqlite:////nowhere/at/all.db", "unable to open"),
    ],
)
def test_database_that_is_away_fails_and_nothing_else_does(make_sound: MakeSound, mysql_url: str, url: str, said: str):
    port = make_url(mysql_url).port or 3306
    app = make_sound(DATABASE_URL=url.replace("@127.0.0.1/", f"@127.0.0.1:{port}/"))
    name, says = failure(app)
    assert (name, said in says) == ("database", True), says
    assert examine(app)[1]["schema"] == ("warning", "Not checked, because database fails.")


@pytest.mark.parametrize("kind", databases.KINDS)
def test_database_without_tables_fails(request: pytest.FixtureRequest, mail_server: MailServer, kind: str):
    with own(kind, request, mail_server.port, migrated=False) as app:
        assert failure(app) == ("schema", "The database has no schema yet: run flask db upgrade.")


@pytest.mark.parametrize("kind", databases.KINDS)
def test_schema_of_another_version_fails(request: pytest.FixtureRequest, mail_server: MailServer, kind: str):
    with own(kind, request, mail_server.port) as app:
        run_sql(app, "ALTER TABLE auth_user DROP COLUMN photo")
        assert failure(app) == ("schema", "The database lacks auth_user.photo: run flask db upgrade.")
        run_sql(app, "UPDATE alembic_version SET version_num = '0001'")
        assert failure(app) == ("schema", "The database schema is older than this version: run flask db upgrade.")


@pytest.mark.parametrize(
    ("statement", "name", "said"),
    [
        ("ALTER TABLE auth_user CONVERT TO CHARACTER SET latin1", "charset", "auth_user not utf8mb4"),
        ("ALTER TABLE auth_outbox_message ENGINE=MyISAM", "charset", "auth_outbox_message not in InnoDB"),
    ],
)
def test_table_that_loses_texts_or_transactions_fails(
    request: pytest.FixtureRequest, mail_server: MailServer, statement: str, name: str, said: str
):
    with own("mariadb", request, mail_server.port) as app:
        run_sql(app, statement)
        found, says = failure(app)
    assert (found, said in says) == (name, True), says


@pytest.mark.only_on("mariadb")
def test_database_of_latin1_whose_tables_are_not_is_a_warning(make_sound: MakeSound):
    assert "latin1" in warned(make_sound(), "charset")


@pytest.mark.only_on("mariadb")
@pytest.mark.parametrize(
    ("statement", "name", "said"),
    [
        ("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ", "isolation", "REPEATABLE READ"),
        ("SET NAMES latin1", "charset", "latin1"),
    ],
)
def test_connection_that_something_else_sets_up_fails(make_sound: MakeSound, statement: str, name: str, said: str):
    app = make_sound()
    with app.app_context():
        # As a proxy between would, or a host's own listener.
        @event.listens_for(db.engine, "checkout")
        def set_up(connection: sqlite3.Connection, *_: object) -> None:
            connection.cursor().execute(statement)

    found, says = failure(app)
    assert (found, said in says) == (name, True), says


@pytest.mark.only_on("mariadb")
def test_clock_that_differs_from_the_servers_is_found(make_sound: MakeSound):
    app = make_sound()
    with time_machine.travel(clock.now() + timedelta(minutes=10)):
        name, says = failure(app)
        assert name == "clock"
        assert "600 s" in says
    with time_machine.travel(clock.now() - timedelta(seconds=5)):
        assert "5 s" in warned(app, "clock")


@pytest.mark.parametrize(
    ("in_use", "name", "said"),
    [(False, "database", "the file and its directory"), (True, "storage", "cannot be written by this user")],
)
def test_sqlite_directory_that_cannot_be_written_fails(mail_server: MailServer, in_use: bool, name: str, said: str):
    with tempfile.TemporaryDirectory() as directory, ExitStack() as others:
        file = Path(directory, "own.db")
        settings = {**TEST_SETTINGS, **sound(mail_server.port), "DATABASE_URL": f"sqlite:///{file}"}
        app = create_app(settings, environ={})
        with app.app_context():
            flask_migrate.upgrade()
            db.engine.dispose()
        if in_use:
            # What stands beside the file while somebody has it open is there already.
            other = others.enter_context(closing(sqlite3.connect(file)))
            other.execute("SELECT count(*) FROM auth_user")
        with unable_to_write(Path(directory)):
            found, says = failure(app)
            with pytest.raises(ConfigError, match="cannot write"):
                create_app({**settings, "DATABASE_URL": f"sqlite:///{directory}/other.db"}, environ={})
        with app.app_context():
            db.engine.dispose()
    assert (found, said in says) == (name, True), says


@contextmanager
def unable_to_write(directory: Path) -> Iterator[None]:
    """Leave nobody in this process the right to write in the directory; root would have it anyhow."""
    directory.chmod(0o555)
    is_root = os.geteuid() == 0
    if is_root:
        for file in directory.iterdir():
            os.chown(file, NOBODY_ID, NOBODY_ID)
        os.seteuid(NOBODY_ID)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        directory.chmod(0o755)


def test_sqlite_file_that_others_can_read_is_a_warning(request: pytest.FixtureRequest, mail_server: MailServer):
    with own("sqlite", request, mail_server.port) as app:
        with app.app_context():
            Path(str(db.engine.url.database)).chmod(0o644)
        assert "chmod 600" in warned(app, "storage")


class ConnectionWithoutWAL(sqlite3.Connection):
    """What SQLite makes of our connection on a disk that it cannot share memory on."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.execute("PRAGMA foreign_keys = ON")


def test_sqlite_without_its_journal_is_a_warning(request: pytest.FixtureRequest, mail_server: MailServer):
    with own("sqlite", request, mail_server.port) as app:
        with app.app_context():
            file = str(db.engine.url.database)
            db.engine.dispose()
        plain = {"connect_args": {"factory": ConnectionWithoutWAL}}
        with sqlite3.connect(file) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
        connection.close()
        settings = {**TEST_SETTINGS, **sound(mail_server.port), "DATABASE_URL": f"sqlite:///{file}"}
        other = create_app({**settings, "SQLALCHEMY_ENGINE_OPTIONS": plain}, environ={})
        assert "local disk" in warned(other, "storage")
        with other.app_context():
            db.engine.dispose()


@pytest.mark.any_database
def test_database_in_memory_is_a_warning(make_app: MakeApp):
    app = make_app(DATABASE_URL="sqlite:///:memory:")
    with app.app_context():
        flask_migrate.upgrade()
        db.create_all()
    assert examine(app)[1]["database"][0] == "ok"
    assert "in memory" in examine(app)[1]["storage"][1]


@pytest.mark.any_database
def test_mail_server_that_is_away_fails(make_sound: MakeSound, mail_server: MailServer):
    mail_server.stop()
    name, says = failure(make_sound())
    assert name == "mail-server"
    assert f"127.0.0.1:{mail_server.port}" in says
    assert "MAIL_PORT" in says


@pytest.mark.any_database
def test_mail_server_that_says_nothing_fails_in_time(make_sound: MakeSound):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        name, says = failure(make_sound(MAIL_PORT=silent.getsockname()[1], MAIL_TIMEOUT=1))
    assert name == "mail-server"
    assert "in time" in says


@pytest.mark.any_database
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"MAIL_SERVER": "nowhere.invalid"}, "nobody knows"),
        ({"MAIL_USE_TLS": True}, "MAIL_USE_TLS"),
        ({"MAIL_USE_SSL": True}, "MAIL_USE_SSL"),
        ({"MAIL_USERNAME": ALICE, "MAIL_PASSWORD": MAIL_PASSWORD}, "a login only after TLS"),
        ({"MAIL_USERNAME": ALICE}, "set both"),
        ({"MAIL_USERNAME": "älice", "MAIL_PASSWORD": MAIL_PASSWORD}, "a login only after TLS"),
    ],
    ids=str,
)
def test_mail_server_that_is_otherwise_than_set_fails(make_sound: MakeSound, settings: dict[str, object], said: str):
    name, says = failure(make_sound(**settings))
    assert (name, said in says) == ("mail-server", True), says


@pytest.mark.any_database
@pytest.mark.parametrize("username", [ALICE, "älice"])
def test_mail_server_that_refuses_our_login_fails(make_sound: MakeSound, mail_server: MailServer, username: str):
    mail_server.stop()
    mail_server.start(authenticator=lambda *_: AuthResult(success=False, handled=False), auth_require_tls=False)
    name, says = failure(make_sound(MAIL_USERNAME=username, MAIL_PASSWORD=MAIL_PASSWORD))
    assert name == "mail-server"
    assert "MAIL_USERNAME and MAIL_PASSWORD" in says


def stuck(app: Flask, **fields: object) -> None:
    with app.app_context():
        content = {"to": ALICE, "subject": "Hello", "text": "Hello", "html": "Hello"}
        db.session.add(OutboxMessage(**content, **fields))
        database.commit()


def test_mails_that_nobody_delivers_fail(make_sound: MakeSound):
    app, now = make_sound(), clock.now()
    stuck(app, created_at=now - timedelta(minutes=50), due_at=now - timedelta(minutes=50))
    stuck(app, created_at=now - timedelta(days=2), sent_at=now)
    assert examine(app)[1]["outbox"] == ("ok", "Mails that wait in the outbox: 1, none for over an hour.")
    stuck(app, created_at=now - timedelta(hours=2), due_at=now - timedelta(minutes=70))
    name, says = failure(app)
    assert name == "outbox"
    assert says.startswith("1 of")


def test_requests_for_mails_that_nobody_answers_fail(make_sound: MakeSound):
    app = make_sound()
    with app.app_context():
        db.session.add(MailRequest(kind="verify-email", email=ALICE, created_at=clock.now() - timedelta(hours=2)))
        database.commit()
    assert failure(app)[0] == "outbox"


def test_mails_that_the_server_refuses_are_a_warning(make_sound: MakeSound):
    app, now = make_sound(), clock.now()
    stuck(app, created_at=now - timedelta(hours=2), due_at=now + timedelta(minutes=10), attempts=9)
    assert "last_error" in warned(app, "outbox")


def test_rows_that_nobody_purges_are_a_warning(make_sound: MakeSound, api: Api):
    app = make_sound()
    make_user(app)
    with time_machine.travel(clock.now() - timedelta(days=40)):
        api.log_in()
    assert examine(app)[1]["purge"][0] == "ok"
    with time_machine.travel(clock.now() - timedelta(days=50)):
        api.log_in()
    assert "flask auth purge" in warned(app, "purge")
    assert app.test_cli_runner().invoke(args=["auth", "purge"]).exit_code == 0
    assert examine(app)[1]["purge"][0] == "ok"


@pytest.mark.any_database
def test_check_that_goes_wrong_itself_is_a_finding(make_sound: MakeSound):
    app = make_sound()
    app.config["AUTH_PASSWORD_HASH"] = "as nobody could have set it"
    assert failure(app) == ("passwords", "The check itself went wrong (ValueError).")


def test_limits_that_are_off_or_not_shared_are_found(make_sound: MakeSound):
    assert failure(make_sound(RATELIMIT_ENABLED=False))[0] == "limits"
    assert "REDIS_URL" in warned(make_sound(), "limits")


@pytest.mark.any_database
def test_redis_that_is_away_or_drops_counts_is_found(make_sound: MakeSound, tmp_path: Path):
    with services.redis(tmp_path) as server:
        app = make_sound(REDIS_URL=f"redis://:{DATABASE_PASSWORD}@127.0.0.1:{server.port}/0")
        assert failure(app)[0] == "limits"
        app = make_sound(REDIS_URL=services.redis_url(server))
        assert examine(app)[1]["limits"] == ("ok", "All processes share the limits, in Redis.")
        with redis.Redis(port=server.port) as connection:
            connection.config_set("maxmemory-policy", "allkeys-lru")
        assert "allkeys-lru" in warned(app, "limits")
        server.stop()
        assert "ConnectionError" in failure(app)[1]
