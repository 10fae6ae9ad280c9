"""What is not plainly the body that it says it is: refused, and before anything is asked of the database."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event
from werkzeug.test import TestResponse

from authapp import body
from authapp.errors import BadRequestError
from authapp.extensions import db
from tests.factories import ALICE, PASSWORD, Api, data, make_user, refusal

pytestmark = pytest.mark.any_database

FORM = "application/x-www-form-urlencoded"
BAD = (400, "BAD_REQUEST")
NOT_VALID = (422, "VALIDATION_ERROR")
UNSUPPORTED = (415, "UNSUPPORTED_MEDIA_TYPE")

ROUTES: dict[str, dict[str, object]] = {
    "/register": {"email": ALICE, "password": PASSWORD, "name": "Alice", "photo": "https://example.org/alice.png"},
    "/login": {"email": ALICE, "password": PASSWORD},
    "/login/json": {"email": ALICE, "password": PASSWORD},
    "/refresh": {"refresh_token": "token"},
    "/logout": {"refresh_token": "token"},
    "/verify-email": {"token": "token"},
    "/email-verification/confirm": {"token": "token"},
    "/resend-verification": {"email": ALICE},
    "/email-verification/resend": {"email": ALICE},
    "/forgot-password": {"email": ALICE},
    "/reset-password": {"token": "token", "new_password": PASSWORD},
    "/change-email/confirm": {"token": "token"},
}
FIELDS = [(path, field) for path, fields in ROUTES.items() for field in fields]
FIELDS += [("/register", "password_confirm"), ("/register", "passwordConfirm")]
NO_STRINGS: list[object] = [0, 1, 1.5, True, False, None, [], [ALICE], {}, {"a": 1}]


@contextmanager
def queries_of(app: Flask) -> Iterator[list[str]]:
    """Note every statement that reaches the database."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    with app.app_context():
        engine = db.engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


@pytest.fixture
def send(api: Api) -> Callable[..., TestResponse]:
    """Send raw bytes to a route."""

    def send(raw: bytes, content_type: str | None = "application/json", path: str = "/login") -> TestResponse:
        return api.post(path, data=raw, content_type=content_type)

    return send


Send = Callable[..., TestResponse]


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b" \n", id="whitespace"),
        pytest.param(b"{", id="cut off"),
        pytest.param(b"{'email': 1}", id="not JSON"),
        pytest.param(b'{"email": "a",}', id="trailing comma"),
        pytest.param(b'{"email": "a"} x', id="something after it"),
        pytest.param(b'{"email": "a\nb"}', id="raw newline in a string"),
        pytest.param(b'{"email": "\xff"}', id="not UTF-8"),
        pytest.param(b'{"email": "\xed\xa0\x80"}', id="encoded surrogate"),
        pytest.param('{"email": "a"}'.encode("utf-16"), id="UTF-16"),
        pytest.param('{"email": "a"}'.encode("utf-16-le"), id="UTF-16 without a mark"),
        pytest.param('{"email": "a"}'.encode("utf-32"), id="UTF-32"),
        pytest.param(b'\xef\xbb\xbf{"email": "a"}', id="byte order mark"),
        pytest.param(b'{"email": NaN}', id="NaN"),
        pytest.param(b'{"email": Infinity}', id="Infinity"),
        pytest.param(b'{"email": -Infinity}', id="minus Infinity"),
        pytest.param(b'{"email": "a", "email": "b"}', id="a key twice"),
        pytest.param(b'{"email": "a", "\\u0065mail": "b"}', id="a key twice, once escaped"),
        pytest.param(b'{"email": {"a": 1, "a": 2}}', id="a key twice within"),
        pytest.param(b"[]", id="list"),
        pytest.param(b"5", id="number"),
        pytest.param(b'"text"', id="string"),
        pytest.param(b"null", id="null"),
        pytest.param(b"true", id="boolean"),
        pytest.param(b"[" * 5000 + b"]" * 5000, id="5000 lists deep"),
        pytest.param(b'{"a":' * 2500 + b"1" + b"}" * 2500, id="2500 objects deep"),
        pytest.param(b"[" * 5000, id="5000 lists opened"),
        pytest.param(b'{"email": ' + b"[" * 10 + b"]" * 10 + b"}", id="10 lists deep"),
        pytest.param(b'{"email": ' + b"9" * 5000 + b"}", id="a number of 5000 digits"),
    ],
)
def test_body_that_is_no_strict_json_object_is_refused_before_any_query(app: Flask, send: Send, raw: bytes):
    with queries_of(app) as queries:
        assert refusal(send(raw)) == BAD
    assert queries == []


@pytest.mark.parametrize("raw", [b'{"email": 1e999}', b'{"email": ' + b"9" * 4000 + b"}", b'{"email": [[[[[[]]]]]]}'])
def test_odd_but_correct_json_is_judged_by_its_fields(send: Send, raw: bytes):
    assert refusal(send(raw)) == NOT_VALID


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "text/json",
        "application/json; charset=latin-1",
        "application/json; charset=utf-16",
        "application/jsonx",
        "application/vnd.api+json",
        "multipart/form-data; boundary=x",
        "nonsense",
    ],
)
def test_body_of_another_content_type_is_refused(send: Send, content_type: str | None):
    assert refusal(send(b'{"email": "alice@example.org"}', content_type)) == UNSUPPORTED


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON; charset=UTF-8"])
def test_content_type_may_name_the_one_encoding(send: Send, content_type: str):
    assert refusal(send(b"{}", content_type)) == NOT_VALID


def test_route_that_needs_no_body_takes_none(api: Api):
    assert refusal(api.post("/refresh")) == (401, "UNAUTHORIZED")
    assert refusal(api.post("/refresh", data=b"", content_type="text/plain")) == (401, "UNAUTHORIZED")
    assert refusal(api.post("/refresh", data=b"token=1", content_type="text/plain")) == UNSUPPORTED


@pytest.mark.parametrize(("path", "field"), FIELDS)
def test_anything_but_text_is_refused_by_name_before_any_query(app: Flask, api: Api, path: str, field: str):
    """MariaDB finds every row whose address "equals" the number 0."""
    make_user(app)
    with queries_of(app) as queries:
        for value in NO_STRINGS:
            answer = api.post(path, {**ROUTES[path], field: value})
            assert refusal(answer) == NOT_VALID, value
            assert answer.json is not None
            assert list(answer.json["error"]["details"]) == [field], value
            assert all(isinstance(line, str) for line in answer.json["error"]["details"][field])
    assert queries == []


@pytest.mark.parametrize(("path", "field"), FIELDS)
@pytest.mark.parametrize("value", ["a\x00b", "\ud800", "a\udfffb", "x" * 5000], ids=["NUL", "high", "low", "long"])
def test_text_that_no_database_takes_is_refused_by_name_before_any_query(
    app: Flask, api: Api, path: str, field: str, value: str
):
    with queries_of(app) as queries:
        answer = api.post(path, {**ROUTES[path], field: value})
        assert refusal(answer) == NOT_VALID
    assert answer.json is not None
    assert field in answer.json["error"]["details"]
    assert queries == []


def test_change_of_the_profile_is_as_strict(app: Flask, api: Api):
    make_user(app)
    token = api.log_in()["access_token"]
    for field in ("name", "photo"):
        for value in [*(value for value in NO_STRINGS if value is not None), "a\x00b", "\ud800"]:
            assert refusal(api.patch("/me", {field: value}, token=token)) == NOT_VALID
    assert refusal(api.patch("/me", {"role": "admin"}, token=token)) == NOT_VALID
    assert data(api.get("/me", token=token))["user"]["role"] == "user"


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("field", ["role", "is_superuser", "verified", "is_verified", "id", "", "\ud800", "__class__"])
def test_field_that_a_route_does_not_know_is_refused_by_name(app: Flask, api: Api, path: str, field: str):
    with queries_of(app) as queries:
        answer = api.post(path, {**ROUTES[path], field: "admin"})
    assert refusal(answer) == NOT_VALID
    assert answer.json is not None
    assert list(answer.json["error"]["details"]) == [field.encode(errors="backslashreplace").decode()]
    assert queries == []


@pytest.mark.parametrize("path", [path for path in ROUTES if path not in ("/refresh", "/logout")])
def test_every_missing_field_is_named(api: Api, path: str):
    answer = api.post(path, {})
    assert refusal(answer) == NOT_VALID
    assert answer.json is not None
    assert set(answer.json["error"]["details"]) == set(ROUTES[path]) - {"name", "photo"}


def test_form_registers_too(api: Api, send: Send):
    raw = b"email=alice%40example.org&password=violet-tractor-19-sings&name=Alice+%C3%89"
    user = data(send(raw, FORM, "/register"), 201)["user"]
    assert (user["email"], user["name"]) == (ALICE, "Alice É")


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"email=a&email=b&password=c", id="a field twice"),
        pytest.param(b"email=a&%65mail=b", id="a field twice, once encoded"),
        pytest.param(b"email=%ff", id="encoded bytes that are not UTF-8"),
        pytest.param(b"email=\xff", id="raw bytes that are not UTF-8"),
        pytest.param(b"email=%ed%a0%80", id="encoded surrogate"),
        pytest.param(b"email=a%zzb", id="no hexadecimal digits"),
        pytest.param(b"email=a%4", id="encoding cut off"),
        pytest.param(b"&".join(b"f%d=1" % number for number in range(60)), id="60 fields"),
    ],
)
def test_form_that_is_not_plainly_one_is_refused(send: Send, raw: bytes):
    assert refusal(send(raw, FORM, "/register")) == BAD


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"email=alice%40example.org",
        b"email=a%00b&password=c",
        b"email=alice%40example.org&password=violet-tractor-19-sings&role=admin",
    ],
)
def test_form_is_judged_by_its_fields(send: Send, raw: bytes):
    assert refusal(send(raw, FORM, "/register")) == NOT_VALID


def test_form_in_another_encoding_is_refused(send: Send):
    raw = b"email=alice%40example.org&password=violet-tractor-19-sings&name=%E9"
    assert refusal(send(raw, f"{FORM}; charset=latin-1", "/register")) == UNSUPPORTED


@pytest.mark.parametrize("path", ["/register", "/login"])
def test_json_sent_as_a_form_is_told_so_without_its_password(send: Send, path: str):
    answer = send(b' {"email": "alice@example.org", "password": "violet-tractor-19"}', FORM, path)
    assert answer.status_code == (400 if path == "/login" else 415)
    assert "application/json" in answer.text
    assert "violet" not in answer.text


def test_long_name_of_an_unknown_field_is_cut(send: Send):
    answer = send(b'{"email": "a@example.org", "password": "p", "' + b"x" * 500 + b'": 1}')
    assert refusal(answer) == NOT_VALID
    assert "x" * 41 not in answer.text


def test_form_is_refused_where_only_json_is_read(send: Send):
    for path in ("/login/json", "/refresh", "/verify-email", "/resend-verification"):
        assert refusal(send(b"email=alice%40example.org", FORM, path)) == UNSUPPORTED


def test_parsers_say_what_is_wrong():
    with pytest.raises(BadRequestError, match="nested too deeply"):
        body.parse_object(b'{"a":' * 20 + b"1" + b"}" * 20)
    with pytest.raises(BadRequestError, match="must be a JSON object"):
        body.parse_object(b"[]")
    assert body.parse_object(b'{"a": [1, {"b": null}]}') == {"a": [1, {"b": None}]}
    assert body.parse_form(b"a=&b=1") == {"a": "", "b": "1"}
