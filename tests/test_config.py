"""Settings: where a value comes from, and the one line with which a wrong one stops the start."""

import os
import secrets
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from flask import Flask

from authapp import config, create_app, settings
from authapp.config import ConfigError
from authapp.testing import FAST_PASSWORD_HASH

SECRET = secrets.token_urlsafe(48)
SOUND = {
    "SECRET_KEY": SECRET,
    "AUTH_PUBLIC_URL": "https://auth.example.com",
    "DATABASE_URL": "sqlite:////tmp/never-opened.db",
    "AUTH_PASSWORD_HASH": FAST_PASSWORD_HASH,
}


def start(**settings: object) -> Flask:
    """Start in production with settings that are sound but for these."""
    return create_app({**SOUND, **settings}, environ={})


def stopped_by(**settings: object) -> str:
    with pytest.raises(ConfigError) as stopped:
        start(**settings)
    message: str = stopped.value.message
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("APP_ENV", "staging"),
        ("SECRET_KEY_FALLBACKS", 5),
        ("SECRET_KEY_FALLBACKS", [1]),
        ("ACCESS_TOKEN_EXPIRE_MINUTES", "0"),
        ("ACCESS_TOKEN_EXPIRE_MINUTES", "half\nan hour"),
        ("ACCESS_TOKEN_EXPIRE_MINUTES", "99999999999999"),
        ("REFRESH_TOKEN_EXPIRE_DAYS", "-1"),
        ("REFRESH_TOKEN_EXPIRE_DAYS", "99999999999999"),
        ("SESSION_MAX_DAYS", "99999999999999"),
        ("REFRESH_REUSE_LEEWAY_SECONDS", "-1"),
        ("AUTH_URL_PREFIX", "api"),
        ("AUTH_URL_PREFIX", "/api/"),
        ("AUTH_URL_PREFIX", "/"),
        ("AUTH_URL_PREFIX", "/api\n"),
        ("AUTH_PUBLIC_URL", "auth.example.com"),
        ("AUTH_PUBLIC_URL", "ftp://auth.example.com"),
        ("AUTH_PUBLIC_URL", "https://auth.example.com/?from=mail"),
        ("AUTH_VERIFY_URL", "https://app.example.com/verify"),
        ("AUTH_VERIFY_URL", "app.example.com/verify?t={token}"),
        ("AUTH_VERIFY_URL", "javascript:alert('{token}')"),
        ("AUTH_RESET_URL", "https://app.example.com/reset"),
        ("AUTH_CHANGE_EMAIL_URL", "https://app.example.com/change"),
        ("AUTH_BRAND_NAME", "x" * 61),
        ("AUTH_BRAND_COLOR", "red; background: url(//evil)"),
        ("AUTH_FRESH_LOGIN_MINUTES", "-1"),
        ("JWT_ALGORITHM", "none"),
        ("AUTH_REQUIRE_VERIFIED_EMAIL", "perhaps"),
        ("AUTH_VERIFY_LINK_HOURS", "0"),
        ("AUTH_VERIFY_LINK_HOURS", "99999999999999"),
        ("AUTH_PASSWORD_MIN_LENGTH", "0"),
        ("AUTH_PASSWORD_MIN_LENGTH", "200"),
        ("AUTH_PASSWORD_MIN_SCORE", "5"),
        ("AUTH_HASH_CONCURRENCY", "0"),
        ("MAX_CONTENT_LENGTH", "1"),
        ("TRUSTED_PROXIES", "-1"),
        ("MAIL_DELIVERY", "pigeon"),
        ("MAIL_TIMEOUT", "0"),
        ("MAIL_PORT", "99999"),
        ("MAIL_USE_TLS", "maybe"),
    ],
)
def test_wrong_value_stops_the_start_with_one_line_that_names_the_setting(name: str, value: object):
    message = stopped_by(**{name: value})
    assert name in message
    assert len(message) > len(name) + 20


def test_both_kinds_of_mail_encryption_at_once_are_refused():
    assert "MAIL_USE_SSL" in stopped_by(MAIL_USE_TLS="true", MAIL_USE_SSL="true")


@pytest.mark.parametrize(
    "method",
    [
        "argon2",
        "md5",
        "scrypt",
        "scrypt:3:1:1",
        "scrypt:a:b:c",
        "scrypt:1048576:64:1",
        "scrypt:99999999999999999999:1:1",
        "pbkdf2:sha256",
        "pbkdf2:sha256:0",
        "pbkdf2:nothing:10",
    ],
)
def test_password_hash_that_cannot_work_or_would_look_outdated_is_refused(method: str):
    assert "AUTH_PASSWORD_HASH" in stopped_by(AUTH_PASSWORD_HASH=method)


def test_password_hash_with_its_numbers_is_taken():
    assert start(AUTH_PASSWORD_HASH="pbkdf2:sha256:1000").config["AUTH_PASSWORD_HASH"] == "pbkdf2:sha256:1000"


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        (None, "not set"),
        ("", "not set"),
        ("Zr8-kT2_mV5x", "shorter than 32 bytes"),
        ("change-me-change-me-change-me-change-me", "an example"),
        ("Your-Secret-key-0123456789-abcdefghijkl", "an example"),
        ("a" * 48, "an example"),
        ("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", "an example"),
        ("our very own Secret, which we made up ourselves", "an example"),
    ],
)
def test_production_refuses_a_secret_that_can_be_guessed(secret: str | None, reason: str):
    message = stopped_by(SECRET_KEY=secret)
    assert message.startswith("SECRET_KEY is")
    assert reason in message
    assert "token_urlsafe" in message
    assert not secret or secret not in message


def test_production_refuses_an_earlier_secret_that_can_be_guessed():
    """A token signed with it would still be accepted."""
    assert stopped_by(SECRET_KEY_FALLBACKS=f"{SECRET},short").startswith("SECRET_KEY_FALLBACKS")


def test_production_refuses_to_start_without_its_public_address():
    assert stopped_by(AUTH_PUBLIC_URL=None).startswith("AUTH_PUBLIC_URL is not set")


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///file:auth?mode=memory&uri=true",
        "sqlite:///file::memory:?cache=shared&uri=true",
    ],
)
def test_production_refuses_a_database_in_memory(url: str):
    assert "in memory" in stopped_by(DATABASE_URL=url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://alice@db/auth",
        "somewhere",
        "mysql://alice@db:port/auth",
        "mysql://alice@db",
        "mongodb://db/auth",
    ],
)
def test_database_that_cannot_be_used_is_refused(url: str):
    assert stopped_by(DATABASE_URL=url).startswith("DATABASE_URL")


@pytest.mark.parametrize(
    "url", ["sqlite://instance/x.db", "sqlite://x.db", "sqlite+aiosqlite://alice:pw@instance/x.db"]
)
def test_two_slashes_before_a_file_are_refused_with_the_mend(url: str):
    assert "needs three: sqlite:///path" in stopped_by(DATABASE_URL=url)


@pytest.mark.parametrize(
    "url",
    [
        "mysql://alice:pw@db/auth",
        "mysql+pymysql://alice:pw@db/auth?charset=latin1",
        "mariadb+asyncmy://alice:pw@db/auth",
    ],
)
def test_mysql_is_always_spoken_to_through_pymysql_in_utf8mb4(url: str):
    assert start(DATABASE_URL=url).config["DATABASE_URL"] == "mysql+pymysql://alice:pw@db/auth?charset=utf8mb4"


def test_sqlite_is_always_spoken_to_through_the_driver_of_python():
    assert start(DATABASE_URL="sqlite+aiosqlite:////tmp/auth.db").config["DATABASE_URL"] == "sqlite:////tmp/auth.db"


def test_host_applications_own_name_for_the_database_is_read_too(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'host.db'}"
    assert start(DATABASE_URL=None, SQLALCHEMY_DATABASE_URI=url).config["DATABASE_URL"] == url


@pytest.mark.parametrize(
    "value",
    ["first-" + SECRET + ", second-" + SECRET + ",", ["first-" + SECRET, "second-" + SECRET]],
    ids=["text", "list"],
)
def test_earlier_secrets_are_read_from_text_and_from_a_list(value: object):
    fallbacks = start(SECRET_KEY_FALLBACKS=value).config["SECRET_KEY_FALLBACKS"]
    assert fallbacks == ["first-" + SECRET, "second-" + SECRET]


def test_numbers_and_switches_are_read_from_text():
    found = start(ACCESS_TOKEN_EXPIRE_MINUTES="5", AUTH_REQUIRE_VERIFIED_EMAIL="false").config
    assert found["ACCESS_TOKEN_EXPIRE_MINUTES"] == 5
    assert found["AUTH_REQUIRE_VERIFIED_EMAIL"] is False


def test_given_comes_before_the_environment_and_that_before_the_default():
    environ = {**SOUND, "ACCESS_TOKEN_EXPIRE_MINUTES": "5", "SESSION_MAX_DAYS": "10", "REFRESH_TOKEN_EXPIRE_DAYS": ""}
    found = create_app({"SESSION_MAX_DAYS": 20}, environ=environ).config
    assert found["ACCESS_TOKEN_EXPIRE_MINUTES"] == 5
    assert found["SESSION_MAX_DAYS"] == 20
    assert found["REFRESH_TOKEN_EXPIRE_DAYS"] == 7, "an empty value counts as not set"


def test_what_authapp_does_not_know_is_given_to_flask_as_it_is():
    assert start(SESSION_COOKIE_NAME="biscuit").config["SESSION_COOKIE_NAME"] == "biscuit"


def project(folder: Path) -> Flask:
    """Make an application whose package is in this folder, beside where `wsgi.py` would be."""
    (folder / "package").mkdir(parents=True)
    return Flask("somewhere", root_path=str(folder / "package"), instance_path=str(folder / "instance"))


def test_environment_comes_before_the_file_beside_wsgi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    app = project(tmp_path / "project")
    (tmp_path / "project" / ".env").write_text("JWT_ISSUER=file\nJWT_AUDIENCE=file\nEMPTY\n")
    (tmp_path / ".env").write_text("JWT_ISSUER=elsewhere\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JWT_ISSUER", "environment")
    monkeypatch.delenv("JWT_AUDIENCE", raising=False)
    found = config.environment(Path(app.root_path).parent)
    assert found["JWT_ISSUER"] == "environment"
    assert found["JWT_AUDIENCE"] == "file"
    assert "EMPTY" not in found


def test_file_in_the_working_directory_counts_where_no_other_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / ".env").write_text("JWT_ISSUER=here\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("JWT_ISSUER", raising=False)
    assert config.environment()["JWT_ISSUER"] == "here"
    # Somebody else may have put it there, for whoever calls a checkout's command in passing.
    assert "JWT_ISSUER" not in config.environment(Path(project(tmp_path / "project").root_path).parent)


def test_file_above_the_package_is_nobodys(tmp_path: Path, root: Path):
    """As in an application whose authapp is installed from a checkout, where a developer's own file lies."""
    (tmp_path / "checkout").mkdir()
    (tmp_path / "host").mkdir()
    (tmp_path / "checkout" / "authapp").symlink_to(root / "authapp")
    (tmp_path / "checkout" / ".env").write_text("JWT_ISSUER=the checkout's\n")
    program = "from authapp import config; print(config.environment().get('JWT_ISSUER'))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path / "checkout")},
        cwd=tmp_path / "host",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "None\n"


def test_line_that_is_no_setting_stops_the_start_with_one_line_that_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / ".env"
    file.write_text("export JWT_ISSUER='a\nb' # remark\n\nEMPTY\nthis is not a setting\n")
    with pytest.raises(config.ConfigError) as stopped:
        config.environment(tmp_path)
    assert stopped.value.message.startswith(f"{file} has no setting in line 5: write NAME=value")
    # A host's file is the host's.
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("JWT_ISSUER", raising=False)
    assert config.environment()["JWT_ISSUER"] == "a\nb"


def test_file_that_is_no_text_stops_the_start_with_one_line(tmp_path: Path):
    app = project(tmp_path)
    (tmp_path / ".env").write_bytes(b"SECRET_KEY=\xff\xfe\n")
    with pytest.raises(ConfigError) as stopped:
        config.environment(Path(app.root_path).parent)
    assert stopped.value.message.startswith(".env cannot be read")
    assert "\n" not in stopped.value.message


def test_development_needs_no_settings_and_keeps_the_secret_that_it_makes(tmp_path: Path):
    app, again = project(tmp_path), Flask("again", instance_path=str(tmp_path / "instance"))
    config.load(app, {}, {"APP_ENV": "development"})
    config.load(again, {}, {"APP_ENV": "development"})
    kept = tmp_path / "instance" / "development-secret"
    assert app.config["SECRET_KEY"] == again.config["SECRET_KEY"] == kept.read_text()
    assert len(app.config["SECRET_KEY"]) >= settings.MIN_SECRET_BYTES
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert app.config["AUTH_PUBLIC_URL"] == "http://127.0.0.1:8000"
    assert app.config["DATABASE_URL"] == f"sqlite:///{tmp_path / 'instance' / 'authapp.db'}"


def test_instance_folder_that_cannot_be_written_stops_the_start_with_one_line():
    app = Flask("somewhere", instance_path="/proc/authapp")
    with pytest.raises(ConfigError) as stopped:
        config.load(app, {}, {"APP_ENV": "development"})
    assert stopped.value.message.startswith("/proc/authapp cannot be used (")
    assert "\n" not in stopped.value.message


def test_development_secret_is_the_same_for_all_who_start_at_once(tmp_path: Path):
    found, together = [], threading.Barrier(8)

    def load() -> None:
        app = Flask("somewhere", instance_path=str(tmp_path))
        together.wait()
        config.load(app, {}, {"APP_ENV": "development"})
        found.append(app.config["SECRET_KEY"])

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["development-secret"]


def test_service_that_does_not_start_says_why_in_one_line(root: Path):
    # Set to nothing rather than left out: a developer's own .env may stand beside wsgi.py.
    environ = {"PATH": os.environ["PATH"], "APP_ENV": "production", "SECRET_KEY": ""}
    ended = subprocess.run(
        [sys.executable, "-c", "import wsgi"], cwd=root, env=environ, capture_output=True, text=True, check=False
    )
    assert ended.returncode > 0
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith("authapp: SECRET_KEY is not set")


@pytest.mark.parametrize(
    ("origins", "read"),
    [
        ("https://app.example.com", ["https://app.example.com"]),
        (" http://localhost:3000 , https://a.example.com ", ["http://localhost:3000", "https://a.example.com"]),
        (["http://[::1]:3000"], ["http://[::1]:3000"]),
        ("", []),
    ],
)
def test_origins_are_read_from_text_and_from_a_list(origins: object, read: list[str]):
    assert start(CLIENT_ORIGIN=origins).config["CLIENT_ORIGIN"] == read


@pytest.mark.parametrize(
    "origin", ["*", "https://app.example.com/", "app.example.com", "https://*.example.com", "null"]
)
def test_origin_that_no_browser_sends_is_refused(origin: str):
    assert stopped_by(CLIENT_ORIGIN=f"https://good.example.com,{origin},").startswith("CLIENT_ORIGIN ")


def test_other_name_of_a_setting_is_read_and_ours_comes_first():
    assert create_app(SOUND, environ={"ALGORITHM": "HS256"}).config["JWT_ALGORITHM"] == "HS256"
    assert stopped_by(ALGORITHM="HS1").startswith("JWT_ALGORITHM ")
    assert start(ALGORITHM="HS1", JWT_ALGORITHM="HS256").config["JWT_ALGORITHM"] == "HS256"


def test_generic_answers_are_refused_where_tokens_at_registration_would_tell():
    assert stopped_by(AUTH_GENERIC_RESPONSES=True, AUTH_REQUIRE_VERIFIED_EMAIL=False).startswith("AUTH_GENERIC")


@pytest.mark.parametrize("name", [setting.name for setting in settings.SETTINGS])
def test_wrong_value_is_not_repeated(name: str):
    """It may be a secret that was put into the wrong setting, or an address with a password in it."""
    secret, said = "violet-tractor-19-sings", []
    for value in (
        secret,
        [secret],
        {secret: 1},
        f"mysql+pymysql://authapp:{secret}@host/",
        f"mysql+pymysql://authapp:{secret}@host:port/name",
        f"postgres://authapp:{secret}@host/name",
        f"redis://:{secret}@[",
        f"redis://:{secret}@host:port/0",
        f"https://{secret}@host/ x",
    ):
        try:
            start(**{name: value})
        except ConfigError as error:
            said.append(error.message)
    assert not any(secret in message or "\n" in message for message in said)


def test_command_names_the_service_where_flask_would_not_find_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("FLASK_APP", raising=False)
    monkeypatch.chdir(tmp_path)
    service, host = Flask("authapp"), Flask("host")
    assert [config.flask_command(app) for app in (service, host)] == ["flask --app authapp", "flask"]
    Path("wsgi.py").touch()
    assert config.flask_command(service) == "flask"
