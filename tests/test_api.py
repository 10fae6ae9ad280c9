"""What every answer has in common: the envelope, the request id, the headers; and what a host application keeps."""

import io
import logging
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask
import flask_smorest
import pymysql
import pytest
from flask import Flask, Response, abort, request, session
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from werkzeug.exceptions import HTTPException
from werkzeug.test import TestResponse

import authapp
from authapp import api as house
from authapp import database, users
from authapp.errors import AuthError, ForbiddenError, TokenReusedError
from authapp.extensions import db
from authapp.logs import RequestFilter, TextFormatter
from authapp.protect import login_required
from authapp.testing import TEST_SETTINGS
from tests.conftest import MakeApp
from tests.factories import ALICE, PASSWORD, Api, data, mails, make_user, refusal, user_of

NOT_FOUND = (404, "NOT_FOUND")
NOT_ALLOWED = (405, "METHOD_NOT_ALLOWED")
TOO_LARGE = (413, "PAYLOAD_TOO_LARGE")
INTERNAL = (500, "INTERNAL_ERROR")
UNAVAILABLE = (503, "SERVICE_UNAVAILABLE")
GENERATED_ID = re.compile(r"[0-9a-f]{32}")
SECRET = "secret-that-only-the-log-may-have"


def assert_ours(answer: TestResponse) -> None:
    """Check the headers that every answer of ours carries."""
    assert answer.headers["X-Request-ID"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Cache-Control"] == "no-store"
    if answer.status_code == 401:
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def failing_views(app: Flask, **views: Any) -> Api:
    """Add views below the prefix, on a blueprint as a capability would have."""
    blueprint = house.Blueprint("authapp_trial", __name__)
    for name, view in views.items():
        view.__name__ = name
        blueprint.add_url_rule(f"/{name}", view_func=view, methods=["GET", "POST"])
    app.extensions["authapp"].api.register_blueprint(blueprint, url_prefix=app.config["AUTH_URL_PREFIX"])
    return Api(app)


def raising(error: Exception) -> Any:
    def view() -> str:
        raise error

    return view


# The envelope.


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/nothing",
        "//login",
        "/login/",
        "/me/",
        "/sessions/1",
        "/sessions/",
        "/LOGIN",
        "/login%00",
        "/%ff",
        "/../x",
    ],
)
def test_unknown_path_below_the_prefix_is_told_in_the_envelope(api: Api, path: str):
    for method in ("GET", "POST", "DELETE") if path != "//login" else ("POST",):
        answer = api.request(method, path)
        assert refusal(answer) == NOT_FOUND
        assert "Location" not in answer.headers
        assert_ours(answer)


@pytest.mark.any_database
def test_root_leads_to_the_documents_in_development_only(make_app: MakeApp):
    answer = make_app(APP_ENV="development").test_client().get("/")
    assert (answer.status_code, answer.headers["Location"]) == (302, "docs")
    real = {
        "APP_ENV": "production",
        "SECRET_KEY": secrets.token_urlsafe(48),
        "AUTH_PUBLIC_URL": "https://a.example.org",
    }
    assert refusal(make_app(**real).test_client().get("/")) == NOT_FOUND


@pytest.mark.parametrize("path", ["/nothing", "/api", "/api/authors", "/static/x", "//api/auth/login", "/favicon.ico"])
def test_unknown_path_outside_the_prefix_is_told_in_the_envelope(app: Flask, path: str):
    answer = app.test_client().get(path)
    assert refusal(answer) == NOT_FOUND
    assert "Location" not in answer.headers
    assert_ours(answer)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/api/auth/login", {"POST"}),
        ("DELETE", "/api/auth/register", {"POST"}),
        ("PUT", "/api/auth/me", {"GET", "HEAD", "PATCH"}),
        ("POST", "/api/auth/sessions", {"GET", "HEAD", "DELETE"}),
        ("POST", "/healthz", {"GET", "HEAD"}),
        ("BREW", "/api/auth/login", {"POST"}),
    ],
)
def test_method_that_an_address_has_not_is_told_with_those_it_has(
    app: Flask, method: str, path: str, allowed: set[str]
):
    answer = app.test_client().open(path, method=method)
    assert refusal(answer) == NOT_ALLOWED
    assert set(answer.headers["Allow"].split(", ")) >= allowed
    assert_ours(answer)


def test_methods_are_told_to_whoever_asks(api: Api):
    answer = api.request("OPTIONS", "/me")
    assert (answer.status_code, answer.data) == (204, b"")
    assert "Content-Type" not in answer.headers
    assert {"GET", "HEAD", "PATCH", "OPTIONS"} <= set(answer.headers["Allow"].split(", "))
    assert_ours(answer)


def test_head_is_get_without_the_body(app: Flask, api: Api):
    make_user(app)
    token = api.log_in()["access_token"]
    full, head = api.get("/me", token=token), api.request("HEAD", "/me", token=token)
    assert (head.status_code, head.data) == (200, b"")
    assert head.headers["Content-Length"] == full.headers["Content-Length"]
    missing = api.request("HEAD", "/nothing")
    assert (missing.status_code, missing.data) == (404, b"")
    assert api.request("HEAD", "/me").status_code == 401
    assert api.request("HEAD", "/login").status_code == 405


@pytest.mark.parametrize("host", ["evil.example", "a b", "[::1", "é.example", "x" * 300, "-", "..", ""])
def test_strange_host_header_is_no_error_of_ours(api: Api, host: str):
    answer = api.get("/me", headers={"Host": host})
    assert answer.status_code in (400, 401, 404)
    assert refusal(answer)
    assert_ours(answer)


# The size of a body.


def test_body_over_the_limit_is_refused(api: Api):
    for size in (16 * 1024 + 1, 1_000_000):
        for path in ("/login", "/register", "/refresh", "/logout", "/verify-email"):
            answer = api.post(path, data=b" " * size, content_type="application/json")
            assert refusal(answer) == TOO_LARGE
            assert_ours(answer)


def test_body_of_just_the_limit_is_read(api: Api):
    answer = api.post("/login", data=b"{}".ljust(16 * 1024), content_type="application/json")
    assert refusal(answer) == (422, "VALIDATION_ERROR")


def test_body_of_untold_length_is_refused_past_the_limit(app: Flask):
    """A chunked request has no Content-Length; the server marks that its stream ends by itself."""
    sizes = {16 * 1024 + 1: TOO_LARGE, 16 * 1024: (400, "BAD_REQUEST")}
    for size, expected in sizes.items():
        answer = app.test_client().post(
            "/api/auth/login",
            input_stream=io.BytesIO(b" " * size),
            content_type="application/json",
            headers={"Transfer-Encoding": "chunked"},
            environ_overrides={"wsgi.input_terminated": True},
        )
        assert refusal(answer) == expected
        assert_ours(answer)


def test_limit_is_a_setting(make_app: MakeApp):
    api = Api(make_app(MAX_CONTENT_LENGTH=2048))
    assert refusal(api.post("/login", data=b" " * 2049, content_type="application/json")) == TOO_LARGE
    larger = Api(make_app(MAX_CONTENT_LENGTH=64 * 1024))
    assert refusal(larger.post("/login", data=b"{}".ljust(60_000), content_type="application/json"))[0] == 422


def test_body_shorter_than_it_says_is_refused(app: Flask):
    answer = app.test_client().post(
        "/api/auth/login",
        input_stream=io.BytesIO(b'{"email": '),
        content_type="application/json",
        headers={"Content-Length": "200"},
    )
    assert refusal(answer) == (400, "BAD_REQUEST")


# What goes wrong on our side.


def test_bug_is_logged_and_never_shown(make_app: MakeApp, caplog: pytest.LogCaptureFixture):
    api = failing_views(make_app(), boom=raising(RuntimeError(SECRET)))
    answer = api.get("/boom", headers={"X-Request-ID": "trial-1"})
    assert refusal(answer) == INTERNAL
    assert SECRET not in answer.text
    assert "Traceback" not in answer.text
    assert answer.headers["X-Request-ID"] == "trial-1"
    assert_ours(answer)
    (record,) = [record for record in caplog.records if record.getMessage() == "internal_error"]
    assert record.exc_info is not None
    assert SECRET in str(record.exc_info[1])


def test_bug_is_told_the_same_way_where_exceptions_would_propagate(make_app: MakeApp):
    api = failing_views(make_app(TESTING=False, PROPAGATE_EXCEPTIONS=True, DEBUG=True), boom=raising(KeyError(SECRET)))
    assert refusal(api.get("/boom")) == INTERNAL


def test_bug_in_a_view_that_was_added_to_the_service_is_told_in_the_envelope(make_app: MakeApp):
    app = make_app()
    app.add_url_rule("/added", "added", raising(RuntimeError(SECRET)))
    app.add_url_rule("/gone", "gone", lambda: abort(404))
    app.add_url_rule("/teapot", "teapot", lambda: abort(418))
    client = app.test_client()
    assert refusal(client.get("/added")) == INTERNAL
    assert refusal(client.get("/gone")) == NOT_FOUND
    assert refusal(client.get("/teapot")) == (400, "BAD_REQUEST")
    assert_ours(client.get("/added"))


def test_query_that_fails_is_never_shown(make_app: MakeApp, caplog: pytest.LogCaptureFixture):
    def query() -> str:
        db.session.execute(text("SELECT nothing FROM auth_user WHERE password_hash = :hash"), {"hash": SECRET})
        return ""

    answer = failing_views(make_app(), query=query).get("/query")
    assert refusal(answer) in (INTERNAL, UNAVAILABLE)
    assert "password_hash" not in answer.text
    assert SECRET not in answer.text + caplog.text


@pytest.mark.parametrize(
    "error",
    [OperationalError("SELECT 1", None, Exception("gone away")), PoolTimeoutError("QueuePool limit reached")],
)
def test_database_that_is_away_is_told_with_a_time_to_come_back(make_app: MakeApp, error: Exception):
    answer = failing_views(make_app(), away=raising(error)).get("/away")
    assert refusal(answer) == UNAVAILABLE
    assert int(answer.headers["Retry-After"]) > 0
    assert "SELECT" not in answer.text
    assert_ours(answer)


@pytest.mark.parametrize("url", ["mysql+pymysql://alice@127.0.0.1:1/auth", "sqlite:////nowhere/at/all/auth.db"])
def test_no_database_at_all_is_told_with_a_time_to_come_back(url: str):
    api = Api(authapp.create_app({**TEST_SETTINGS, "DATABASE_URL": url}, environ={}))
    for answer in (api.register(), api.post("/login", {"email": ALICE, "password": PASSWORD})):
        assert refusal(answer) == UNAVAILABLE
        assert int(answer.headers["Retry-After"]) > 0
        assert "127.0.0.1" not in answer.text
        assert "nowhere" not in answer.text


DEADLOCK = OperationalError("UPDATE", None, pymysql.err.OperationalError(1213, "Deadlock found"))


def test_view_that_meets_a_deadlock_is_run_once_more(make_app: MakeApp):
    failures = [DEADLOCK]

    def unlucky() -> Response:
        users.create_user(ALICE, PASSWORD)
        if failures:
            raise failures.pop()
        database.commit()
        return flask.jsonify(success=True, data={})

    app = make_app()
    data(failing_views(app, unlucky=unlucky).post("/unlucky"))
    assert user_of(app).email == ALICE


def test_view_that_meets_a_deadlock_twice_gives_up(make_app: MakeApp):
    answer = failing_views(make_app(), unlucky=raising(DEADLOCK)).post("/unlucky")
    assert refusal(answer) == UNAVAILABLE


def test_refusal_whose_changes_cannot_be_kept_is_told_as_such(make_app: MakeApp, caplog: pytest.LogCaptureFixture):
    """A reused token must not be answered as if its session had been ended while it was not."""

    def reuse() -> str:
        users.create_user(ALICE, PASSWORD)
        raise TokenReusedError

    def fail(_session: object) -> None:
        raise OperationalError("COMMIT", None, Exception("the server has gone away"))

    app = make_app()
    api = failing_views(app, reuse=reuse)
    event.listen(db.session, "before_commit", fail)
    try:
        assert refusal(api.post("/reuse")) == UNAVAILABLE
    finally:
        event.remove(db.session, "before_commit", fail)
    assert "commit_failed" in caplog.text
    assert refusal(api.post("/reuse")) == (401, "TOKEN_REUSED")
    assert user_of(app).email == ALICE, "what it changed is kept"


def test_http_errors_of_a_view_are_told_in_the_envelope(make_app: MakeApp):
    views = {
        f"code{code}": raising(type("E", (HTTPException,), {"code": code})(SECRET)) for code in (400, 409, 500, 503)
    }
    api = failing_views(make_app(), **views)
    assert refusal(api.get("/code400")) == (400, "BAD_REQUEST")
    assert refusal(api.get("/code409")) == (400, "BAD_REQUEST")
    assert refusal(api.get("/code500")) == INTERNAL
    assert refusal(api.get("/code503")) == INTERNAL
    assert SECRET not in api.get("/code409").text


# The request's id.


@pytest.mark.parametrize("given", ["a", "trial-1", "A.b_c-9", "0" * 128])
def test_good_request_id_comes_back(api: Api, given: str):
    for path in ("/me", "/nothing", "/login"):
        assert api.get(path, headers={"X-Request-ID": given}).headers["X-Request-ID"] == given


@pytest.mark.parametrize("given", ["", " ", "a b", "0" * 129, "a;b", "a,b", "é", "a/b", "<x>", "a%0ab", "a\tb"])
def test_any_other_request_id_is_replaced(api: Api, given: str):
    made = api.get("/nothing", headers={"X-Request-ID": given}).headers["X-Request-ID"]
    assert GENERATED_ID.fullmatch(made)


@pytest.mark.parametrize("given", ["trial\n", "a\nb", "a\r\nX-Forged: 1", "\u00e9", "a\x00"])
def test_request_id_that_no_server_should_pass_on_is_replaced(app: Flask, given: str):
    answer = app.test_client().get("/healthz", environ_overrides={"HTTP_X_REQUEST_ID": given})
    assert GENERATED_ID.fullmatch(answer.headers["X-Request-ID"])
    assert "X-Forged" not in answer.headers


def test_every_request_has_an_id_of_its_own(api: Api):
    found = {api.get("/nothing").headers["X-Request-ID"] for _ in range(20)}
    assert len(found) == 20


@pytest.fixture
def log_lines() -> Iterator[io.StringIO]:
    """Read the log as the service writes it."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(RequestFilter())
    handler.setFormatter(TextFormatter())
    logger = logging.getLogger("authapp")
    logger.addHandler(handler)
    yield stream
    logger.removeHandler(handler)


def test_request_id_is_in_every_line_of_its_request(make_app: MakeApp, log_lines: io.StringIO):
    api = failing_views(make_app(), boom=raising(RuntimeError("a bug")))
    api.post("/register", {"email": ALICE, "password": PASSWORD}, headers={"X-Request-ID": "trial-7"})
    api.get("/boom", headers={"X-Request-ID": "trial-8"})
    told, registered, failed, *trace = log_lines.getvalue().splitlines()
    assert " INFO trial-7 user_registered user_id=" in told
    assert " INFO trial-7 development_mail link=" in registered
    assert " ERROR trial-8 internal_error" in failed
    assert trace[0] == "  Traceback (most recent call last):"


def test_line_outside_a_request_has_a_dash_for_its_id(log_lines: io.StringIO):
    logging.getLogger("authapp.trial").warning("started", extra={"workers": 2})
    assert log_lines.getvalue().endswith(" WARNING - started workers=2\n")


def test_field_cannot_forge_a_line(log_lines: io.StringIO):
    forged = "x\n2026-01-01T00:00:00.000+00:00 INFO - logged_in"
    logging.getLogger("authapp.trial").warning("odd\r\nevent", extra={"agent": forged})
    assert len(log_lines.getvalue().splitlines()) == 1


# Headers.


def test_every_refusal_of_credentials_says_how_to_authenticate(app: Flask, api: Api):
    make_user(app)
    wrong = {"email": ALICE, "password": "not-her-password-1"}
    plain = [api.get("/me"), api.post("/login", wrong), api.post("/refresh"), api.post("/logout")]
    sent = [api.get("/me", token="nonsense"), api.refresh("nonsense"), api.post("/logout", token="nonsense")]
    for answer in plain + sent:
        assert refusal(answer)[0] == 401
        assert_ours(answer)
    assert {answer.headers["WWW-Authenticate"] for answer in plain} == {"Bearer"}
    assert {answer.headers["WWW-Authenticate"] for answer in sent} == {'Bearer error="invalid_token"'}


def test_answers_of_every_kind_carry_the_headers(app: Flask, api: Api):
    answers = [
        api.register(),
        api.register(),
        api.register("nonsense"),
        api.post("/login", data=b"x"),
        api.post("/login", data=b"x", content_type="application/json"),
        api.request("OPTIONS", "/login"),
        app.test_client().get("/healthz"),
        app.test_client().get("/readyz"),
    ]
    assert [answer.status_code for answer in answers] == [201, 409, 422, 415, 400, 204, 200, 200]
    for answer in answers:
        assert_ours(answer)
        assert "Server-Timing" not in answer.headers
        assert "Set-Cookie" not in answer.headers


def test_json_is_sent_as_json(api: Api):
    assert api.register().content_type == "application/json"
    assert api.get("/nothing").content_type == "application/json"


# The prefix.


def test_every_route_moves_with_the_prefix(make_app: MakeApp):
    app = make_app(AUTH_URL_PREFIX="/v1/accounts")
    rules = {rule.rule for rule in app.url_map.iter_rules()}
    outside = {"/", "/healthz", "/readyz", "/dev/mailbox", "/dev/mailbox/<uuid:id>", "/.well-known/jwks.json"}
    outside |= {"/openapi.json", "/docs", "/docs/", "/docs/<name>"}
    assert all(rule.startswith("/v1/accounts/") for rule in rules - outside)
    moved = Api(app)
    data(moved.register(), 201)
    assert "/v1/accounts/verify-email?token=" in mails(app)[0].text
    assert "/api/auth" not in mails(app)[0].text + mails(app)[0].html
    client = app.test_client()
    for path in ("/api/auth/register", "/register"):
        assert refusal(client.post(path, json={"email": ALICE, "password": PASSWORD})) == NOT_FOUND


# A host application.


@pytest.fixture
def host(app: Flask) -> Flask:
    """A host application with pages, error pages and limits of its own, into which authapp is mounted."""
    host = Flask("host")
    host.config.update(TEST_SETTINGS, DATABASE_URL=app.config["DATABASE_URL"], MAX_CONTENT_LENGTH=1024 * 1024)
    host.add_url_rule("/", "home", lambda: "The host's page")
    host.add_url_rule("/upload", "upload", lambda: str(len(request.get_data())), methods=["POST"])
    host.add_url_rule("/boom", "boom", raising(RuntimeError("the host's bug")))
    host.add_url_rule("/private", "private", login_required(lambda: "The host's secret"))
    host.add_url_rule("/folder/", "folder", lambda: "The host's folder")

    def page(error: Exception) -> tuple[str, int]:
        code = error.code if isinstance(error, HTTPException) else None
        return f"The host's page for {code}", code or 500

    for what in (400, 401, 404, 405, 413, 415, 422, 500, 503, HTTPException):
        host.register_error_handler(what, page)
    authapp.init_app(host, environ={})
    host.register_error_handler(Exception, page)
    return host


def test_pages_of_the_host_are_left_as_they_were(host: Flask):
    client = host.test_client()
    given = {"X-Request-ID": "trial-1"}
    pages = {
        client.get("/", headers=given): (200, "The host's page"),
        client.get("/nothing", headers=given): (404, "The host's page for 404"),
        client.get("/api/authors", headers=given): (404, "The host's page for 404"),
        client.post("/", headers=given): (405, "The host's page for 405"),
        client.get("/boom", headers=given): (500, "The host's page for None"),
        client.post("/upload", data=b"x" * 100_000, headers=given): (200, "100000"),
        client.post("/upload", data=b"x" * 2_000_000, headers=given): (413, "The host's page for 413"),
    }
    for page, expected in pages.items():
        assert (page.status_code, page.text) == expected
        for header in ("X-Request-ID", "X-Content-Type-Options", "Referrer-Policy", "Content-Security-Policy"):
            assert header not in page.headers
        assert "Cache-Control" not in page.headers
    assert client.get("/folder").status_code == 308, "nor are its redirects"


def test_below_the_prefix_the_hosts_error_pages_do_not_answer(host: Flask):
    api = Api(host)
    answers = {
        api.get("/nothing"): NOT_FOUND,
        api.get("/login"): NOT_ALLOWED,
        api.get("/me"): (401, "UNAUTHORIZED"),
        api.post("/login", data=b"x", content_type="text/plain"): (415, "UNSUPPORTED_MEDIA_TYPE"),
        api.post("/login", data=b"x", content_type="application/json"): (400, "BAD_REQUEST"),
        api.post("/login", {}): (422, "VALIDATION_ERROR"),
        api.post("/login", data=b"{}".ljust(17_000), content_type="application/json"): TOO_LARGE,
        api.post("/login", data=b"x" * 2_000_000, content_type="application/json"): TOO_LARGE,
        api.get("/login/"): NOT_FOUND,
    }
    for answer, expected in answers.items():
        assert refusal(answer) == expected
        assert_ours(answer)


def test_bug_below_the_prefix_is_told_in_the_envelope_in_a_host_too(host: Flask):
    assert refusal(failing_views(host, bug=raising(RuntimeError(SECRET))).get("/bug")) == INTERNAL


def test_registering_in_a_host_works_to_the_end(host: Flask):
    api = Api(host)
    data(api.register(), 201)
    page = api.get("/verify-email?token=x")
    assert page.status_code == 200
    assert page.mimetype == "text/html"


def test_view_of_the_host_is_protected_and_refused_in_the_envelope(host: Flask):
    make_user(host)
    api = Api(host)
    client = host.test_client()
    refused = client.get("/private")
    assert refusal(refused) == (401, "UNAUTHORIZED")
    token = api.log_in()["access_token"]
    assert client.get("/private", headers={"Authorization": f"bearer {token}"}).text == "The host's secret"


def test_host_may_tell_refusals_of_its_own_views_in_its_own_way(app: Flask):
    for before in (True, False):
        host = Flask("host")
        host.config.update(TEST_SETTINGS, DATABASE_URL=app.config["DATABASE_URL"])
        host.add_url_rule("/forbidden", "forbidden", raising(ForbiddenError()))

        def page(error: AuthError) -> tuple[str, int]:
            return f"The host says {error.code}", error.status

        if before:
            host.register_error_handler(AuthError, page)
        authapp.init_app(host, environ={})
        if not before:
            host.register_error_handler(AuthError, page)
        assert host.test_client().get("/forbidden").text == "The host says FORBIDDEN"
        assert refusal(Api(host).get("/me")) == (401, "UNAUTHORIZED")


def test_host_that_answers_before_us_still_has_a_request_id_below_the_prefix(app: Flask):
    host = Flask("host")
    host.config.update(TEST_SETTINGS, DATABASE_URL=app.config["DATABASE_URL"])

    @host.before_request
    def closed() -> Response:
        return Response("Closed for today", status=503)

    authapp.init_app(host, environ={})
    answer = Api(host).get("/me")
    assert answer.text == "Closed for today"
    assert GENERATED_ID.fullmatch(answer.headers["X-Request-ID"])


def test_host_may_have_a_smorest_api_of_its_own(app: Flask):
    host = Flask("host")
    host.config.update(TEST_SETTINGS, DATABASE_URL=app.config["DATABASE_URL"])
    host.config.update(API_TITLE="The host", API_VERSION="1", OPENAPI_VERSION="3.1.0")
    theirs = flask_smorest.Api(host)
    authapp.init_app(host, environ={})
    blueprint = flask_smorest.Blueprint("things", "things")
    blueprint.add_url_rule("/things", "things", lambda: flask.jsonify([]))
    theirs.register_blueprint(blueprint)
    assert host.test_client().get("/things").json == []
    assert list(theirs.spec.to_dict()["paths"]) == ["/things"]
    data(Api(host).register(), 201)


def test_host_that_writes_json_as_utf8_can_be_told_every_field_name(app: Flask):
    host = Flask("host")
    host.config.update(TEST_SETTINGS, DATABASE_URL=app.config["DATABASE_URL"])
    host.json.ensure_ascii = False  # type: ignore[attr-defined]  # The default provider has it.
    authapp.init_app(host, environ={})
    answer = Api(host).post("/login", data=b'{"\\ud800": "\\ud800"}', content_type="application/json")
    assert refusal(answer) == (422, "VALIDATION_ERROR")


def test_limit_of_a_host_that_is_below_ours_holds(app: Flask, tmp_path: Path):
    host = Flask("host")
    host.config.update(TEST_SETTINGS, DATABASE_URL=app.config["DATABASE_URL"], MAX_CONTENT_LENGTH=2048)
    authapp.init_app(host, environ={})
    assert refusal(Api(host).post("/login", data=b" " * 2049, content_type="application/json")) == TOO_LARGE
    assert host.config["MAX_CONTENT_LENGTH"] == 2048


def test_views_that_are_added_to_the_service_have_flasks_sessions(make_app: MakeApp):
    service = make_app()
    service.add_url_rule("/count", "count", lambda: str(session.setdefault("seen", 0)))
    service.add_url_rule("/more", "more", lambda: str(session.__setitem__("seen", session.get("seen", 0) + 1)))
    client = service.test_client()
    for path in ("/count", "/more", "/more"):
        assert client.get(path).status_code == 200
    assert client.get("/count").text == "2"
    assert "Set-Cookie" not in service.test_client().get("/healthz").headers
