"""The API's document and its page: whole, true, valid, and made of files on this server."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any
from urllib.parse import urljoin

import pytest
from flask import Flask
from openapi_spec_validator import validate
from werkzeug.test import TestResponse

from authapp import errors, init_app
from authapp.api import Blueprint
from authapp.auth.schemas import MessageSchema
from authapp.openapi import complete
from authapp.protect import fresh_login_required, optional_login, roles_required
from authapp.testing import TEST_SETTINGS
from tests import described, write_api, write_openapi
from tests.conftest import MakeApp
from tests.factories import ALICE, OTHER_PASSWORD, PASSWORD, Api, data, mailed_token, make_user, refusal

pytestmark = pytest.mark.any_database

METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE"}
# Pages for people, the document itself, and what only developers see.
NOT_IN_IT = re.compile(r"authapp_(pages|openapi|\w*mail\w*)\.")
OTHER_SETTINGS: list[dict[str, object]] = [
    {"AUTH_COOKIES": True},
    {"AUTH_GENERIC_RESPONSES": True, "MAIL_DELIVERY": "inline"},
    {"AUTH_URL_PREFIX": "/auth", "AUTH_PUBLIC_URL": "https://example.org/accounts/"},
    {"AUTH_REQUIRE_VERIFIED_EMAIL": False, "AUTH_PASSWORD_MIN_LENGTH": 12, "AUTH_PASSWORD_MIN_SCORE": 0},
]


def document_of(app: Flask) -> dict[str, Any]:
    response = app.test_client().get("/openapi.json")
    assert (response.status_code, response.mimetype) == (200, "application/json")
    found: dict[str, Any] = response.get_json()
    return found


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Give every operation by its id."""
    methods = [told for path in document["paths"].values() for method, told in path.items() if method != "parameters"]
    return {told["operationId"]: told for told in methods}


def codes_of(operation: dict[str, Any]) -> set[str]:
    contents = (answer["content"]["application/json"] for answer in operation["responses"].values())
    return {code for content in contents for code in content.get("examples", {})}


def test_stored_copy_is_what_the_code_makes(root: Path):
    stored = (root / "docs/openapi.json").read_text()
    assert stored == write_openapi.text(), "run make openapi"


def test_page_for_people_is_what_the_document_and_a_service_make(root: Path):
    assert (root / "docs/api.md").read_text() == write_api.text(), "run make openapi"


def test_page_for_people_has_every_route_code_and_header(root: Path, make_app: MakeApp):
    page = (root / "docs/api.md").read_text()
    document = document_of(make_app())
    paths = document["paths"].items()
    routes = [(method.upper(), path) for path, told in paths for method in told if method != "parameters"]
    assert sorted(re.findall(r"^### `([A-Z]+) (/\S*)`$", page, re.MULTILINE)) == sorted(routes)
    codes = re.findall(r"^### `([A-Z_]+)`$", page, re.MULTILINE)
    assert codes == sorted({kind.code for kind in errors.every_kind()})
    told = "Content-Type Content-Length " + " ".join(re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE))
    for settings in ({}, {"AUTH_COOKIES": True, "CLIENT_ORIGIN": "https://app.example.org"}):
        http = make_app(**settings).test_client()
        origin = {"Origin": "https://app.example.org"}
        answers = [http.get("/api/auth/me", headers=origin), http.put("/api/auth/me", headers=origin)]
        answers.append(http.options("/api/auth/me", headers={**origin, "Access-Control-Request-Method": "GET"}))
        for name in {name for answer in answers for name, _ in answer.headers}:
            assert name in told or name.startswith("Access-Control-"), name


@pytest.mark.parametrize("settings", [{}, *OTHER_SETTINGS], ids=str)
def test_document_is_valid(make_app: MakeApp, settings: dict[str, object]):
    document = document_of(make_app(**settings))
    assert document["openapi"].startswith("3.1.")
    validate(document)


def test_every_route_is_in_the_document_and_nothing_else(app: Flask):
    routes = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        if not NOT_IN_IT.match(rule.endpoint)
        for method in (rule.methods or set()) & METHODS
    }
    paths = document_of(app)["paths"].items()
    assert {(path, method) for path, told in paths for method in told if method != "parameters"} == routes


def test_operations_have_names_that_read_as_functions(app: Flask):
    paths = document_of(app)["paths"].values()
    ids = [told["operationId"] for path in paths for method, told in path.items() if method != "parameters"]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", name) for name in ids)
    assert {"register", "login", "login_json", "refresh_tokens", "logout", "get_me", "verify_email"} <= set(ids)


def test_every_operation_says_what_it_does_and_under_what_heading(app: Flask):
    document = document_of(app)
    headings = {tag["name"] for tag in document["tags"]}
    for name, told in operations(document).items():
        assert told["summary"], name
        assert len(told["tags"]) == 1, name
        assert set(told["tags"]) <= headings, name
    told = operations(document)
    assert "The same as `forgot_password`" in told["request_password_reset"]["description"]
    assert told["request_password_reset"]["summary"] == "Same as /api/auth/forgot-password"
    assert told["login_json"]["summary"] == "Same as /api/auth/login, with JSON alone"
    assert "same as" not in told["login"]["description"]


def test_every_code_that_is_told_exists_and_every_code_that_can_come_is_told(make_app: MakeApp):
    document = document_of(make_app(AUTH_COOKIES=True, MAIL_DELIVERY="inline"))
    known = {kind.code for kind in errors.every_kind()}
    code = document["components"]["schemas"]["Error"]["properties"]["code"]
    assert set(code.pop("examples")) == known
    # A client must be able to hold one that a later version adds.
    assert set(code) == {"type", "description"}
    assert set(document["components"]["examples"]) == known
    told = set().union(*(codes_of(operation) for operation in operations(document).values()))
    # No route of ours asks for a role or a fresh login, and a wrong method is no operation's.
    assert known - told == {"FORBIDDEN", "FRESH_LOGIN_REQUIRED", "METHOD_NOT_ALLOWED"}


def test_what_the_settings_exclude_is_not_told(make_app: MakeApp):
    lax = operations(document_of(make_app(AUTH_REQUIRE_VERIFIED_EMAIL=False)))
    discreet = operations(document_of(make_app(AUTH_GENERIC_RESPONSES=True)))
    strict = operations(document_of(make_app()))
    assert "EMAIL_NOT_VERIFIED" in codes_of(strict["login"])
    assert "EMAIL_NOT_VERIFIED" not in codes_of(lax["login"])
    assert "EMAIL_NOT_VERIFIED" not in codes_of(discreet["login"])
    assert not any({"CSRF_FAILED", "EMAIL_NOT_SENT"} & codes_of(told) for told in strict.values())


def test_what_generic_responses_hide_is_not_told(make_app: MakeApp):
    open_ones, generic = (operations(document_of(make_app(AUTH_GENERIC_RESPONSES=on))) for on in (False, True))
    for name, code in (
        ("register", "USER_ALREADY_EXISTS"),
        ("change_email", "USER_ALREADY_EXISTS"),
        ("login", "EMAIL_NOT_VERIFIED"),
        ("login_json", "EMAIL_NOT_VERIFIED"),
    ):
        assert code in codes_of(open_ones[name])
        assert code not in codes_of(generic[name])
    # Whoever has the link knows the address.
    assert "USER_ALREADY_EXISTS" in codes_of(generic["confirm_email_change"])


def test_every_failure_has_an_example_that_could_be_one(app: Flask):
    document = document_of(app)
    examples = document["components"]["examples"]
    for name, told in operations(document).items():
        for status, failed in told["responses"].items():
            if not status.startswith("2"):
                for code, reference in failed["content"]["application/json"]["examples"].items():
                    assert reference == {"$ref": f"#/components/examples/{code}"}, name
                    assert code in examples


def test_examples_of_bodies_can_be_sent_as_they_stand(api: Api, app: Flask):
    document = document_of(app)

    def example(name: str) -> dict[str, Any]:
        (reference,) = operations(document)[name]["requestBody"]["content"]["application/json"]["schema"].values()
        (found,) = document["components"]["schemas"][reference.rpartition("/")[2]]["examples"]
        return dict(found)

    assert set(example("register")) == {"email", "password", "name"}
    data(api.post("/register", example("register")), 201)
    data(api.post("/resend-verification", example("resend_verification")), 202)
    assert refusal(api.post("/verify-email", example("verify_email"))) == (400, "LINK_INVALID")
    data(api.post("/verify-email", {**example("verify_email"), "token": mailed_token(app)}))
    token = data(api.post("/login", example("login")))["access_token"]
    data(api.patch("/me", example("update_me"), token=token))
    data(api.post("/change-email", example("change_email"), token=token), 202)
    token = data(api.post("/change-password", example("change_password"), token=token))["access_token"]
    data(api.post("/forgot-password", example("forgot_password")), 202)
    assert refusal(api.post("/reset-password", example("reset_password"))) == (400, "LINK_INVALID")
    assert refusal(api.post("/refresh", example("refresh_tokens"))) == (401, "TOKEN_INVALID")
    assert refusal(api.delete("/me", json=example("delete_me"), token=token)) == (401, "INVALID_CREDENTIALS")


def test_a_route_asks_for_credentials_if_the_document_says_so(app: Flask):
    client, asking = app.test_client(), set()
    document = document_of(app)
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            if method == "parameters":
                continue
            json_body: object = {} if "requestBody" in told else None
            url = path.replace("{sid}", "01a1fec9-22a9-7046-a3e3-331d95d9fda2")
            answer = client.open(url, method=method, json=json_body)
            if answer.status_code == 401:
                asking.add(told["operationId"])
    secured = {name for name, told in operations(document).items() if "security" in told}
    # These two have their token in the body as well.
    assert asking == secured | {"refresh_tokens", "logout"}


def test_cookies_are_told_where_they_count(make_app: MakeApp):
    with_cookies, without = (document_of(make_app(AUTH_COOKIES=on)) for on in (True, False))
    assert list(without["components"]["securitySchemes"]) == ["passwordLogin", "bearerAuth"]
    told = operations(with_cookies)
    assert told["get_me"]["security"] == [{"passwordLogin": []}, {"bearerAuth": []}, {"accessCookie": []}]
    assert told["update_me"]["security"][-1] == {"accessCookie": [], "csrfToken": []}
    assert told["refresh_tokens"]["security"] == [{}, {"refreshCookie": [], "csrfToken": []}]
    assert "CSRF_FAILED" in codes_of(told["logout"])
    assert "CSRF_FAILED" not in codes_of(told["get_me"])


def test_passwords_are_described_as_the_settings_have_them(make_app: MakeApp):
    schemas = document_of(make_app(AUTH_PASSWORD_MIN_LENGTH=12, AUTH_PASSWORD_MAX_LENGTH=64))["components"]["schemas"]
    for shape, field in (("RegisterBody", "password"), ("ResetPasswordBody", "new_password")):
        told = schemas[shape]["properties"][field]
        assert (told["minLength"], told["maxLength"], told["format"]) == (12, 64, "password")
    assert "minLength" not in schemas["LoginBody"]["properties"]["password"]


def test_addresses_are_relative_and_follow_the_public_path(make_app: MakeApp):
    document = document_of(make_app(AUTH_URL_PREFIX="/auth", AUTH_PUBLIC_URL="https://example.org/accounts/"))
    assert document["servers"] == [{"url": "/accounts"}]
    assert "servers" not in document_of(make_app())
    flow = document["components"]["securitySchemes"]["passwordLogin"]["flows"]["password"]
    assert flow["tokenUrl"] == "/accounts/auth/login"
    assert "/auth/me" in document["paths"]


def test_a_body_with_an_unknown_field_is_refused_wherever_the_document_forbids_it(app: Flask, api: Api):
    make_user(app)
    token = api.log_in()["access_token"]
    document = document_of(app)
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            if "requestBody" not in told:
                continue
            name = told["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
            assert document["components"]["schemas"][name]["additionalProperties"] is False
            answer = api.request(method.upper(), path.removeprefix(api.prefix), token=token, json={"stranger": "x"})
            assert refusal(answer) == (422, "VALIDATION_ERROR"), path


def test_answers_of_the_whole_walk_are_as_told(api: Api, app: Flask):
    """`Api` holds each against the document."""
    data(api.register(name="Alice"), 201)
    data(api.post("/verify-email", {"token": mailed_token(app)}))
    pair = api.log_in()
    form = api.post("/login", data={"username": ALICE, "password": PASSWORD})
    assert set(form.get_json()) == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert api.post("/login", data={"username": ALICE, "password": "wrong"}).get_json()["error"] == "invalid_grant"
    data(api.patch("/me", {"photo": "https://example.org/a.png"}, token=pair["access_token"]))
    data(api.get("/sessions", token=pair["access_token"]))
    change = {"current_password": PASSWORD, "new_password": OTHER_PASSWORD}
    pair = data(api.post("/change-password", change, token=pair["access_token"]))
    pair = data(api.refresh(pair["refresh_token"]))
    data(api.delete("/sessions", token=pair["access_token"]))
    data(api.post("/logout", {"refresh_token": pair["refresh_token"]}))
    assert refusal(api.get("/me", token=pair["access_token"])) == (401, "TOKEN_REVOKED")


def answer(body: dict[str, Any], status: int = 200) -> TestResponse:
    response = TestResponse([json.dumps(body).encode()], status, {"Content-Type": "application/json"}, None)  # type: ignore[arg-type]  # Nobody asked for it.
    response.headers.update({"X-Request-ID": "1", "WWW-Authenticate": "Bearer"})
    return response


def failure(code: str) -> dict[str, Any]:
    return {"success": False, "error": {"code": code, "message": "No."}}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"success": True, "data": {"message": "Gone."}}, 202),
        ({"success": True, "data": {}}, 200),
        ({"success": True, "data": {"message": "Gone.", "more": 1}}, 200),
        (failure("LINK_INVALID"), 401),
        (failure("NO_SUCH_CODE"), 401),
        (failure("NOT_FOUND"), 404),
    ],
)
def test_an_answer_that_is_not_told_fails(app: Flask, body: dict[str, Any], status: int):
    described.check(app, "DELETE", "/api/auth/me", answer({"success": True, "data": {"message": "Gone."}}))
    described.check(app, "DELETE", "/api/auth/me", answer(failure("UNAUTHORIZED"), 401))
    with pytest.raises(AssertionError):
        described.check(app, "DELETE", "/api/auth/me", answer(body, status))


def test_a_new_blueprint_is_told_of_by_itself(make_app: MakeApp):
    app, notes = make_app(), Blueprint("authapp_notes", __name__)

    @notes.route("/notes")
    @notes.response(200, MessageSchema)
    @roles_required("admin")
    def list_notes() -> dict[str, str]:
        """List the notes. There are none."""
        return {"message": "None."}

    @notes.route("/news")
    @fresh_login_required
    @notes.response(200, MessageSchema)
    def list_news() -> dict[str, str]:
        """List the news."""
        return {"message": "None."}

    @notes.route("/weather")
    @optional_login
    @notes.response(200, MessageSchema)
    def show_weather() -> dict[str, str]:
        """Show the weather."""
        return {"message": "Rain."}

    app.extensions["authapp"].api.register_blueprint(notes, url_prefix="/notes")
    document = document_of(app)
    validate(document)
    told = operations(document)
    assert (told["list_notes"]["summary"], told["list_notes"]["description"]) == ("List the notes", "There are none.")
    assert "FORBIDDEN" in codes_of(told["list_notes"])
    assert "FRESH_LOGIN_REQUIRED" in codes_of(told["list_news"])
    assert told["show_weather"]["security"][0] == {}


def test_document_is_made_when_it_is_asked_for_and_then_kept(make_app: MakeApp):
    app = make_app()
    state = app.extensions["authapp"]
    specs = [state.api.spec, *(document_of(app) and state.api.spec for _ in range(2))]
    assert specs[0] is None
    assert specs[1] is specs[2] is not None


def test_many_who_ask_at_once_get_the_same_document(make_app: MakeApp):
    app, together = make_app(), Barrier(8)

    def ask(_: int) -> str:
        together.wait()
        return app.test_client().get("/openapi.json").text

    with ThreadPoolExecutor(8) as people:
        texts = set(people.map(ask, range(8)))
    assert [json.loads(text)["openapi"] for text in texts] == ["3.1.0"]


def test_document_is_the_same_each_time_it_is_made(app: Flask):
    assert json.dumps(complete.make(app)) == json.dumps(complete.make(app))


def test_page_is_strict_and_its_files_are_all_here(app: Flask):
    client = app.test_client()
    page = client.get("/docs", buffered=True)
    assert (page.status_code, page.mimetype) == (200, "text/html")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "http" not in page.text
    assert "<script>" not in page.text
    files = re.findall(r'(?:src|href)="(docs/[^"]+)"', page.text)
    assert len(files) == 6
    for name in files:
        found = client.get(f"/{name}", buffered=True)
        assert found.status_code == 200, name
        assert "public" in found.headers["Cache-Control"]
        assert "max-age=" in found.headers["Cache-Control"]
        assert (
            client.get(f"/{name}", headers={"If-None-Match": found.headers["ETag"]}, buffered=True).status_code == 304
        )


def test_page_is_found_with_a_slash_too_and_whatever_the_host_is_called(app: Flask):
    client = app.test_client()
    moved = client.get("/docs/", headers={"Host": "evil.example.org"})
    assert (moved.status_code, moved.headers["Location"]) == (302, "../docs")
    assert (
        urljoin("https://example.org/accounts/docs/", moved.headers["Location"]) == "https://example.org/accounts/docs"
    )


@pytest.mark.parametrize(
    "name", ["index.html", "swagger-ui.js", "VERSION", "..%2f__init__.py", "%2e%2e/complete.py", "x"]
)
def test_no_other_file_is_given(app: Flask, name: str):
    assert refusal(app.test_client().get(f"/docs/{name}")) == (404, "NOT_FOUND")


def test_a_host_application_gets_neither(app: Flask):
    host = Flask(__name__)
    host.config.update({**TEST_SETTINGS, "DATABASE_URL": app.config["DATABASE_URL"]})
    init_app(host, environ={})
    for path in ("/openapi.json", "/docs", "/docs/start.js"):
        assert host.test_client().get(path).status_code == 404
    assert "openapi" not in host.cli.commands
