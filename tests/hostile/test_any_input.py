"""Whatever is thrown at the routes: never an error of ours, always the envelope, the same on every database."""

import json
from typing import Any

import flask_migrate
import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from authapp import create_app
from authapp.testing import TEST_SETTINGS, empty_tables
from tests.conftest import MakeApp
from tests.factories import ALICE, BOB, OTHER_PASSWORD, PASSWORD, Api, make_user
from tests.hostile.odd import content_types, header_texts, methods, odd_texts, texts, values

KNOWN = {
    "BAD_REQUEST": {400},
    "VALIDATION_ERROR": {422},
    "UNSUPPORTED_MEDIA_TYPE": {415},
    "PAYLOAD_TOO_LARGE": {413},
    "NOT_FOUND": {404},
    "METHOD_NOT_ALLOWED": {405},
    "USER_ALREADY_EXISTS": {409},
    "INVALID_CREDENTIALS": {401},
    "UNAUTHORIZED": {401},
    "TOKEN_INVALID": {401},
    "LINK_INVALID": {400},
    "EMAIL_NOT_VERIFIED": {403},
}
POSTS = [
    "/register",
    "/login",
    "/login/json",
    "/refresh",
    "/logout",
    "/verify-email",
    "/email-verification/confirm",
    "/resend-verification",
    "/email-verification/resend",
    "/forgot-password",
    "/password-reset/request",
    "/reset-password",
    "/password-reset/confirm",
    "/change-email/confirm",
]
SIGNED_IN = [("POST", "/change-password"), ("POST", "/change-email"), ("DELETE", "/me"), ("PATCH", "/me")]
FIELDS = ["email", "password", "name", "photo", "password_confirm", "passwordConfirm", "token", "refresh_token", "role"]
FIELDS += ["new_password", "current_password", "new_email"]

hostile = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

paths = st.sampled_from(POSTS)
fields = st.sampled_from(FIELDS) | texts
bodies = st.dictionaries(fields, texts | values, max_size=5) | st.fixed_dictionaries(
    {"email": texts | st.just(ALICE), "password": texts | st.just(PASSWORD)},
    optional={"name": texts, "photo": texts, "password_confirm": texts},
)
headers = st.dictionaries(
    st.sampled_from(
        ["Authorization", "X-Request-ID", "User-Agent", "Accept", "Cookie", "Origin", "X-Forwarded-For", "Host"]
    ),
    header_texts | header_texts.map(lambda text: f"Bearer {text}") | st.just("Bearer " + "a" * 5000),
    max_size=4,
)


def check(answer: TestResponse) -> tuple[int, str | None]:
    """Check that the answer is none that only a bug could give; give its status and code."""
    assert answer.status_code < 500, answer.text
    assert answer.headers["X-Request-ID"].isascii()
    assert len(answer.headers["X-Request-ID"]) <= 128
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
    if answer.mimetype == "text/html":
        return answer.status_code, None
    body = answer.json
    assert isinstance(body, dict)
    if set(body) == {"error", "error_description"}:
        # A form login.
        assert answer.status_code in (400, 413)
        return answer.status_code, None
    if body["success"]:
        assert set(body) == {"success", "data"}
        assert answer.status_code in (200, 201, 202)
        return answer.status_code, None
    assert set(body) == {"success", "error"}
    assert set(body["error"]) <= {"code", "message", "details"}
    assert answer.status_code in KNOWN[body["error"]["code"]], body
    if answer.status_code == 401:
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    return answer.status_code, body["error"]["code"]


@hostile
@given(path=paths, body=bodies)
def test_json_of_any_content_is_answered(api: Api, path: str, body: dict[str, Any]):
    check(api.post(path, data=json.dumps(body).encode(), content_type="application/json"))


@pytest.fixture
def bobs_token(app: Flask, api: Api) -> str:
    """An access token of Bob's, whose password no generated body has."""
    make_user(app, BOB, OTHER_PASSWORD)
    return str(api.log_in(BOB, OTHER_PASSWORD)["access_token"])


@hostile
@given(where=st.sampled_from(SIGNED_IN), body=bodies | st.dictionaries(st.sampled_from(FIELDS[-4:]), texts | values))
def test_json_of_any_content_from_somebody_signed_in_is_answered(
    api: Api, bobs_token: str, where: tuple[str, str], body: dict[str, Any]
):
    raw = json.dumps(body).encode()
    answer = api.request(*where, data=raw, content_type="application/json", token=bobs_token)
    assert check(answer)[1] not in ("TOKEN_INVALID", "TOKEN_REVOKED"), "the account must not have changed"


@hostile
@given(path=paths, body=values, content_type=content_types, headers=headers)
def test_json_of_any_shape_with_any_headers_is_answered(
    api: Api, path: str, body: object, content_type: str, headers: dict[str, str]
):
    check(api.post(path, data=json.dumps(body).encode(), content_type=content_type, headers=headers))


@hostile
@given(path=paths | st.just("/verify-email/page"), raw=st.binary(max_size=200), content_type=content_types)
def test_bytes_of_any_kind_are_answered(api: Api, path: str, raw: bytes, content_type: str):
    check(api.post(path, data=raw, content_type=content_type))


@hostile
@given(
    path=st.sampled_from(["/register", "/verify-email/page", "/login"]),
    form=st.lists(st.tuples(fields | st.sampled_from(["username", "grant_type", "scope"]), texts), max_size=5),
)
def test_forms_of_any_content_are_answered(api: Api, path: str, form: list[tuple[str, str]]):
    raw = "&".join(f"{name}={value}" for name, value in form).encode(errors="surrogatepass")
    check(api.post(path, data=raw, content_type="application/x-www-form-urlencoded"))


@hostile
@given(
    token=header_texts | odd_texts.filter(lambda text: text.isascii() and text.isprintable()),
    scheme=st.sampled_from(["Bearer", "bearer", "BEARER ", "Basic", ""]),
)
def test_authorization_of_any_content_is_answered(api: Api, token: str, scheme: str):
    given_headers = {"Authorization": f"{scheme} {token}"}
    for method, path in (
        ("GET", "/me"),
        ("PATCH", "/me"),
        ("DELETE", "/sessions"),
        ("POST", "/refresh"),
        ("POST", "/logout"),
    ):
        assert check(api.request(method, path, headers=given_headers))[0] == 401


@hostile
@given(
    cookie=header_texts,
    csrf=header_texts,
    origin=header_texts | st.sampled_from(["null", "http://[", "http://a:b", "https://a:99999", "//", "http://\xe9"]),
    names=st.lists(st.sampled_from(["access_token", "refresh_token", "logged_in"]), max_size=3),
)
def test_cookies_of_any_content_are_answered(
    in_cookie_mode: Api, cookie: str, csrf: str, origin: str, names: list[str]
):
    given_headers = {
        "Cookie": "; ".join(f"{name}={cookie}" for name in names),
        "Origin": origin,
        "X-CSRF-TOKEN": csrf,
    }
    for method, path in (("GET", "/me"), ("PATCH", "/me"), ("POST", "/refresh"), ("POST", "/logout")):
        answer = in_cookie_mode.request(method, path, headers=given_headers)
        assert check(answer)[0] == 401
        assert "Set-Cookie" not in answer.headers
    assert check(in_cookie_mode.post("/login", {"email": ALICE, "password": "x"}, headers=given_headers))[0] == 401


@pytest.fixture
def in_cookie_mode(make_app: MakeApp) -> Api:
    """A client of a service that reads cookies and has a front end elsewhere."""
    return Api(make_app(AUTH_COOKIES=True, CLIENT_ORIGIN="https://app.example.com"))


@hostile
@given(
    method=methods,
    path=st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF, exclude_characters="#"), max_size=40),
)
def test_paths_of_any_kind_are_answered(api: Api, method: str, path: str):
    answer = api.request(method, f"/{path}")
    assert answer.status_code < 500
    assert answer.headers["X-Request-ID"]
    if method not in ("HEAD", "OPTIONS"):
        check(answer)


@pytest.fixture
def token(app: Flask, api: Api) -> str:
    """An access token of Alice's."""
    make_user(app)
    return str(api.log_in()["access_token"])


@hostile
@given(changes=st.dictionaries(fields, texts | values, max_size=3))
def test_changes_of_any_content_are_answered(api: Api, token: str, changes: dict[str, Any]):
    raw = json.dumps(changes).encode()
    check(api.request("PATCH", "/me", data=raw, content_type="application/json", token=token))


# The same request on each database.


@pytest.fixture(scope="module")
def service_on_both(mysql_url: str, tmp_path_factory: pytest.TempPathFactory) -> list[Flask]:
    """The same service on SQLite and on MariaDB; skipped, with the reason, where there is no MariaDB."""
    sqlite = tmp_path_factory.mktemp("hostile") / "test.db"
    apps = [
        create_app({**TEST_SETTINGS, "DATABASE_URL": url}, environ={}) for url in (f"sqlite:///{sqlite}", mysql_url)
    ]
    for app in apps:
        with app.app_context():
            flask_migrate.upgrade()
    return apps


@pytest.fixture
def both(service_on_both: list[Flask]) -> list[Flask]:
    """The two, with nobody in them: other tests on the same MariaDB may have left somebody there."""
    for app in service_on_both:
        empty_tables(app)
    return service_on_both


def told(app: Flask, path: str, **request: Any) -> tuple[object, ...]:
    """Give what a client can tell one answer from another by, ids and times aside."""
    answer = Api(app).post(path, **request)
    status, code = check(answer)
    error = (answer.json or {}).get("error", {})
    return status, code, json.dumps(error.get("details"), sort_keys=True)


@settings(hostile, max_examples=80)
@given(path=paths, body=bodies)
def test_same_request_gets_the_same_answer_on_each_database(both: list[Flask], path: str, body: dict[str, Any]):
    raw = json.dumps(body).encode()
    on_sqlite, on_mariadb = (told(app, path, data=raw, content_type="application/json") for app in both)
    assert on_sqlite == on_mariadb


@settings(hostile, max_examples=30)
@given(names=st.lists(st.text("aAáÁeE\u0301sSß\u017fkK\u212a ._+%", min_size=1, max_size=3), min_size=2, max_size=2))
def test_same_two_people_are_one_or_two_on_each_database(both: list[Flask], names: list[str]):
    """Addresses that differ in case, accents or padding, registered one after the other."""
    found = []
    for app in both:
        empty_tables(app)
        found.append(
            [told(app, "/register", json={"email": f"{name}@example.org", "password": PASSWORD}) for name in names]
        )
    assert found[0] == found[1]


@settings(hostile, max_examples=30)
@given(name=st.text(st.characters(codec="utf-8"), max_size=120))
def test_same_name_comes_back_from_each_database(both: list[Flask], name: str):
    found = []
    for app in both:
        empty_tables(app)
        answer = Api(app).register(name=name)
        check(answer)
        found.append((answer.json or {}).get("data", {}).get("user", {}).get("name"))
    assert found[0] == found[1]


def test_service_is_left_unharmed(both: list[Flask]):
    for app in both:
        empty_tables(app)
        make_user(app)
        Api(app).log_in()
