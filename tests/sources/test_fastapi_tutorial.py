"""What the tutorial on FastAPI with access and refresh tokens describes: RS256, cookies, CORS, guards, migrations.

Where it takes `role` and `verified` in the body, they are refused here: nobody makes himself an admin. Its GETs that
refresh and log out are POSTs here, which need the CSRF token: a GET is anybody's to send. Its photo is a file name;
here it is an https address.
"""

import base64
import re
import uuid
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import jwt as pyjwt
import pytest
import time_machine
import yaml  # type: ignore[import-untyped]  # It ships no types, and its stubs would be for this one call.
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import make_url

from authapp import clock, create_app, database, init_app
from authapp.extensions import db
from authapp.models import User
from authapp.protect import verified_required
from authapp.testing import TEST_SETTINGS
from tests import databases
from tests.auth.test_login import header
from tests.conftest import MakeApp
from tests.factories import data, key_pair, make_user, refusal

# A walk through all of it; what one kind of database may answer otherwise has its tests elsewhere.
pytestmark = pytest.mark.any_database

CLIENT_ORIGIN = "http://localhost:3000"
PASSWORD = "password-of-john-28"
ACCOUNT = {
    "name": "John Doe",
    "email": "johndoe@example.com",
    "photo": "https://example.com/default.png",
    "password": PASSWORD,
    "passwordConfirm": PASSWORD,
}
LOGIN = {"email": "johndoe@example.com", "password": PASSWORD}


def base64_of(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.fixture
def environ() -> dict[str, str]:
    """The environment as the tutorial's `.env` has it: both keys as base64 of PEM, and the front end's origin."""
    private, public = key_pair("RS256")
    return {
        "JWT_ALGORITHM": "RS256",
        "JWT_PRIVATE_KEY": base64_of(private),
        "JWT_PUBLIC_KEY": base64_of(public),
        "CLIENT_ORIGIN": CLIENT_ORIGIN,
        "AUTH_COOKIES": "true",
        "AUTH_REQUIRE_VERIFIED_EMAIL": "false",
    }


@pytest.fixture
def service(make_app: MakeApp, environ: dict[str, str]) -> Flask:
    """The service with that environment."""
    return make_app(**environ)


@pytest.fixture
def browser(service: Flask) -> FlaskClient:
    """A browser on which John has registered and logged in."""
    make_user(service, LOGIN["email"], PASSWORD, name="John Doe")
    browser = service.test_client()
    data(browser.post("/api/auth/login", json=LOGIN))
    return browser


def cookie(browser: FlaskClient, name: str, path: str = "/") -> str | None:
    found = browser.get_cookie(name, path=path)
    return found.value if found else None


def csrf(browser: FlaskClient, type: str) -> dict[str, str]:
    """Give the header that a front end makes of the readable CSRF cookie."""
    return {"X-CSRF-TOKEN": cookie(browser, f"csrf_{type}_token") or ""}


def test_registering_takes_name_photo_and_the_password_twice(service: Flask):
    user = data(service.test_client().post("/api/auth/register", json=ACCOUNT), 201)["user"]
    assert {name: user[name] for name in ("name", "email", "photo", "role")} == {
        "name": "John Doe",
        "email": "johndoe@example.com",
        "photo": "https://example.com/default.png",
        "role": "user",
    }
    assert not {"password", "passwordConfirm", "password_hash"} & set(user)


@pytest.mark.any_database
@pytest.mark.parametrize("spelling", ["passwordConfirm", "password_confirm"])
def test_passwords_that_differ_are_refused(service: Flask, spelling: str):
    typed = {"email": LOGIN["email"], "password": PASSWORD, spelling: PASSWORD + "9"}
    refused = service.test_client().post("/api/auth/register", json=typed)
    assert refusal(refused) == (422, "VALIDATION_ERROR")
    assert refused.get_json()["error"]["details"] == {spelling: ["The passwords differ."]}


@pytest.mark.any_database
@pytest.mark.parametrize("claim", [{"role": "admin"}, {"verified": True}])
def test_nobody_chooses_a_role_or_counts_as_verified_by_saying_so(service: Flask, claim: dict[str, object]):
    refused = service.test_client().post("/api/auth/register", json={**ACCOUNT, **claim})
    assert refusal(refused) == (422, "VALIDATION_ERROR")
    assert refusal(service.test_client().post("/api/auth/login", json=LOGIN)) == (401, "INVALID_CREDENTIALS")


def test_address_that_is_taken_is_a_conflict(service: Flask):
    http = service.test_client()
    data(http.post("/api/auth/register", json=ACCOUNT), 201)
    again = {**ACCOUNT, "email": "JohnDoe@Example.com"}
    assert refusal(http.post("/api/auth/register", json=again)) == (409, "USER_ALREADY_EXISTS")


def test_tokens_are_signed_with_the_rs256_key_of_the_environment(
    app: Flask, browser: FlaskClient, environ: dict[str, str]
):
    given = {**TEST_SETTINGS, "DATABASE_URL": app.config["DATABASE_URL"]}
    service = create_app(given, environ=environ)
    answer = data(service.test_client().post("/api/auth/login", json=LOGIN))
    with service.app_context():
        db.engine.dispose()
    for token in (answer["access_token"], answer["refresh_token"]):
        assert header(token)["alg"] == "RS256"
        said = pyjwt.decode(token, key_pair("RS256")[1], algorithms=["RS256"])
        assert said["sub"] == answer["user"]["id"]
    data(browser.get("/api/auth/me", headers={"Authorization": f"Bearer {answer['access_token']}"}))


def test_login_sets_both_tokens_as_cookies_that_no_script_reads(browser: FlaskClient):
    for name, path in (("access_token", "/"), ("refresh_token", "/api/auth/refresh")):
        found = browser.get_cookie(name, path=path)
        assert found is not None
        assert found.http_only
        assert found.same_site == "Lax"


def test_login_sets_a_cookie_by_which_scripts_know_of_it(browser: FlaskClient):
    found = browser.get_cookie("logged_in")
    assert found is not None
    assert not found.http_only
    assert found.value == "true"


def test_cookie_alone_shows_who_is_logged_in(browser: FlaskClient):
    assert data(browser.get("/api/auth/me"))["user"]["name"] == "John Doe"


def test_cookies_are_refreshed_through_cookies(browser: FlaskClient):
    before = cookie(browser, "access_token"), cookie(browser, "refresh_token", "/api/auth/refresh")
    data(browser.post("/api/auth/refresh", headers=csrf(browser, "refresh")))
    after = cookie(browser, "access_token"), cookie(browser, "refresh_token", "/api/auth/refresh")
    assert before[0] != after[0]
    assert before[1] != after[1]
    data(browser.get("/api/auth/me"))


def test_logging_out_through_cookies_clears_them_and_ends_the_session(browser: FlaskClient):
    token = cookie(browser, "access_token")
    data(browser.post("/api/auth/logout", headers=csrf(browser, "access")))
    for name in ("access_token", "logged_in", "csrf_access_token", "csrf_refresh_token"):
        assert cookie(browser, name) is None
    assert cookie(browser, "refresh_token", "/api/auth/refresh") is None
    assert refusal(browser.get("/api/auth/me")) == (401, "UNAUTHORIZED")
    stolen = browser.get("/api/auth/me", headers={"Authorization": f"Bearer {token}"})
    assert refusal(stolen) == (401, "TOKEN_REVOKED")


@pytest.mark.parametrize("path", ["/api/auth/refresh", "/api/auth/logout"])
def test_get_neither_refreshes_nor_logs_out(browser: FlaskClient, path: str):
    assert refusal(browser.get(path)) == (405, "METHOD_NOT_ALLOWED")
    data(browser.get("/api/auth/me"))


@pytest.mark.parametrize(("path", "type"), [("/api/auth/refresh", "refresh"), ("/api/auth/logout", "access")])
def test_cookies_alone_neither_refresh_nor_log_out(browser: FlaskClient, path: str, type: str):
    assert refusal(browser.post(path)) == (403, "CSRF_FAILED")
    data(browser.post(path, headers=csrf(browser, type)))


@pytest.mark.any_database
def test_guard_says_that_nobody_is_logged_in(service: Flask):
    refused = service.test_client().get("/api/auth/me")
    assert refusal(refused) == (401, "UNAUTHORIZED")
    assert refused.get_json()["error"]["message"] == "You are not logged in."


def test_guard_says_that_the_user_no_longer_exists(service: Flask, browser: FlaskClient):
    with service.app_context():
        db.session.delete(db.session.scalars(db.select(User)).one())
        database.commit()
    refused = browser.get("/api/auth/me")
    assert refusal(refused) == (401, "TOKEN_INVALID")
    assert refused.get_json()["error"]["message"] == "The user no longer exists."


def test_guard_says_that_the_address_must_be_verified(app: Flask, environ: dict[str, str]):
    host = Flask("host", static_folder=None)
    host.config.from_mapping({**TEST_SETTINGS, "DATABASE_URL": app.config["DATABASE_URL"]})
    init_app(host, environ=environ)
    host.add_url_rule("/posts", "posts", verified_required(lambda: "posts"))
    browser = host.test_client()
    data(browser.post("/api/auth/register", json=ACCOUNT), 201)
    refused = browser.get("/posts")
    assert refusal(refused) == (403, "EMAIL_NOT_VERIFIED")
    assert refused.get_json()["error"]["message"] == "Please verify your e-mail address first."
    with host.app_context():
        db.engine.dispose()


def test_login_says_that_the_address_must_be_verified(make_app: MakeApp, environ: dict[str, str]):
    service = make_app(**{**environ, "AUTH_REQUIRE_VERIFIED_EMAIL": "true"})
    http = service.test_client()
    data(http.post("/api/auth/register", json=ACCOUNT), 201)
    assert refusal(http.post("/api/auth/login", json=LOGIN)) == (403, "EMAIL_NOT_VERIFIED")
    assert cookie(http, "access_token") is None


@pytest.mark.any_database
def test_guard_says_that_the_token_has_expired(browser: FlaskClient):
    token = cookie(browser, "access_token")
    with time_machine.travel(clock.now() + timedelta(minutes=31), tick=False):
        refused = browser.get("/api/auth/me", headers={"Authorization": f"Bearer {token}"})
        assert refusal(refused) == (401, "TOKEN_EXPIRED")


@pytest.mark.any_database
def test_front_end_at_client_origin_may_call_with_credentials(service: Flask):
    asked = {
        "Origin": CLIENT_ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,x-csrf-token",
    }
    preflight = service.test_client().options("/api/auth/login", headers=asked)
    assert preflight.status_code in (200, 204)
    answer = service.test_client().post("/api/auth/login", json=LOGIN, headers={"Origin": CLIENT_ORIGIN})
    for response in (preflight, answer):
        assert response.headers["Access-Control-Allow-Origin"] == CLIENT_ORIGIN
        assert response.headers["Access-Control-Allow-Credentials"] == "true"
    assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
    allowed = preflight.headers["Access-Control-Allow-Headers"].lower()
    assert "content-type" in allowed
    assert "x-csrf-token" in allowed


@pytest.mark.any_database
def test_front_end_elsewhere_may_not_call(service: Flask):
    answer = service.test_client().post("/api/auth/login", json=LOGIN, headers={"Origin": "http://localhost:3001"})
    assert not any(name.lower().startswith("access-control-") for name, _ in answer.headers)


@pytest.mark.parametrize("kind", databases.KINDS)
def test_tables_are_made_by_alembic(kind: str, request: pytest.FixtureRequest):
    with databases.empty(kind, request) as url, databases.serving(url) as service:
        http = service.test_client()
        assert refusal(http.get("/readyz")) == (503, "SERVICE_UNAVAILABLE")
        done = service.test_cli_runner().invoke(args=["db", "upgrade"])
        assert done.exit_code == 0, done.output
        assert http.get("/readyz").status_code == 200
        data(http.post("/api/auth/register", json=ACCOUNT), 201)


def test_ids_are_uuids_and_times_say_when_it_was_made_and_changed(browser: FlaskClient):
    made = data(browser.get("/api/auth/me"))["user"]
    assert uuid.UUID(made["id"]).version == 7
    assert made["created_at"] == made["updated_at"]
    with time_machine.travel(clock.now() + timedelta(minutes=1), tick=False):
        answer = browser.patch("/api/auth/me", json={"name": "John"}, headers=csrf(browser, "access"))
        changed: dict[str, Any] = data(answer)["user"]
    assert changed["created_at"] == made["created_at"]
    assert datetime.fromisoformat(changed["updated_at"]) > datetime.fromisoformat(made["updated_at"])
    assert changed["updated_at"].endswith("Z")


@pytest.mark.any_database
def test_health_can_be_checked(service: Flask):
    """At `/healthz` and `/readyz`; there it is `/api/healthchecker`."""
    assert data(service.test_client().get("/healthz")) == {"status": "ok"}
    assert data(service.test_client().get("/readyz")) == {"status": "ready"}


@pytest.fixture
def compose(root: Path) -> dict[str, Any]:
    """The compose file as it stands where no variable is set."""
    text = (root / "compose.yaml").read_text()
    found: dict[str, Any] = yaml.safe_load(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text))
    return found


def test_compose_file_has_the_database_that_its_settings_name(compose: dict[str, Any], root: Path):
    """No container runs here: that what the file says of `.env` fits what it starts."""
    environ = dict(re.findall(r"^#   ([A-Z_]+)=(\S+)$", (root / "compose.yaml").read_text(), re.MULTILINE))
    assert set(environ) == {"DATABASE_URL", "REDIS_URL", "MAIL_SERVER", "MAIL_PORT"}
    config = create_app(TEST_SETTINGS, environ=environ).config
    url = make_url(config["DATABASE_URL"])
    database, mail = compose["services"]["database"], compose["services"]["mail"]
    made = database["environment"]
    assert (url.username, url.password, url.database) == (
        made["MARIADB_USER"],
        made["MARIADB_PASSWORD"],
        made["MARIADB_DATABASE"],
    )
    assert url.get_backend_name() == "mysql"
    assert f"{url.host}:{url.port}:3306" in database["ports"]
    redis = make_url(config["REDIS_URL"])
    assert f"{redis.host}:{redis.port}:6379" in compose["services"]["redis"]["ports"]
    assert f"{config['MAIL_SERVER']}:{config['MAIL_PORT']}:1025" in mail["ports"]


def test_compose_file_keeps_its_services_to_this_machine_and_its_data(compose: dict[str, Any]):
    database = compose["services"]["database"]
    for service in compose["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        # A version of another's, or our own, made here.
        assert re.fullmatch(r"[a-z/]+:v?\d+(\.\d+)+(-[a-z]+)?", service["image"]) or service["build"] == "."
    (volume,) = database["volumes"]
    name, _, path = volume.partition(":")
    assert name in compose["volumes"]
    assert path == "/var/lib/mysql"
    assert "--character-set-server=utf8mb4" in database["command"]
    assert database["healthcheck"]["test"][:2] == ["CMD", "healthcheck.sh"]


@pytest.mark.any_database
def test_documentation_opens_in_the_browser(service: Flask):
    with service.test_client().get("/docs") as page:
        assert (page.status_code, page.mimetype) == (200, "text/html")
    document = service.test_client().get("/openapi.json").get_json()
    assert {"/api/auth/register", "/api/auth/login", "/api/auth/refresh", "/api/auth/logout"} <= set(document["paths"])
