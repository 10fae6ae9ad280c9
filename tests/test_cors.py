"""Front ends on other origins: which may call, what they may read, and that a host's own rules stay its own."""

from collections.abc import Callable, Iterator

import pytest
from flask import Flask, Response
from flask_cors import CORS
from werkzeug.test import TestResponse

from authapp import init_app
from authapp.extensions import db
from authapp.testing import TEST_SETTINGS
from tests.conftest import MakeApp
from tests.factories import ALICE, PASSWORD, Api, make_user, refusal

APP = "https://app.example.com"
OTHER = "http://localhost:3000"
SIXTH = "http://[::1]:5173"
EVIL = "https://evil.example.net"
ORIGINS = f"{APP},{OTHER},{SIXTH}"


def cors_headers(response: TestResponse) -> dict[str, str]:
    return {name: value for name, value in response.headers if name.startswith("Access-Control-")}


def varies(response: TestResponse) -> bool:
    return "Origin" in response.vary


def preflight(api: Api, path: str, origin: str = APP, **headers: str) -> TestResponse:
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    return api.request("OPTIONS", path, headers=asked | {n.replace("_", "-"): v for n, v in headers.items()})


@pytest.fixture
def cors(make_app: MakeApp) -> Api:
    """A client of a service with front ends on other origins."""
    return Api(make_app(CLIENT_ORIGIN=ORIGINS))


@pytest.mark.any_database
@pytest.mark.parametrize("origin", [APP, OTHER, SIXTH])
def test_front_end_may_read_answers_and_their_headers(cors: Api, origin: str):
    response = cors.get("/me", headers={"Origin": origin})
    assert refusal(response) == (401, "UNAUTHORIZED")
    found = cors_headers(response)
    exposed = set(found.pop("Access-Control-Expose-Headers").split(", "))
    assert exposed == {"X-Request-ID", "Retry-After", "WWW-Authenticate", "X-CSRF-TOKEN", "X-CSRF-REFRESH-TOKEN"}
    assert found == {"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Credentials": "true"}
    assert varies(response)


@pytest.mark.any_database
def test_front_end_may_call_with_our_methods_and_headers(cors: Api):
    asked = "authorization, content-type, x-csrf-token, x-request-id, x-evil"
    response = preflight(cors, "/login", Access_Control_Request_Headers=asked)
    assert (response.status_code, response.data) == (204, b"")
    found = cors_headers(response)
    assert found["Access-Control-Allow-Origin"] == APP
    assert found["Access-Control-Allow-Credentials"] == "true"
    assert found["Access-Control-Allow-Methods"] == "DELETE, GET, PATCH, POST"
    assert found["Access-Control-Max-Age"] == "600"
    assert found["Access-Control-Allow-Headers"] == "authorization, content-type, x-csrf-token, x-request-id"
    assert "POST" in response.headers["Allow"]
    assert varies(response)


@pytest.mark.any_database
@pytest.mark.parametrize(
    "origin",
    [
        EVIL,
        "null",
        "*",
        "",
        "http://app.example.com",
        "https://app.example.com:443",
        "https://app.example.com.evil.net",
        "https://evil-app.example.com",
        "https://appXexample.com",
        "HTTPS://APP.EXAMPLE.COM",
        "https://app.example.com/",
        f"{APP}, {APP}",
        "http://localhost:30000",
        "http://localhost",
        "http://:",
        "http://1:5173",
    ],
)
def test_other_origins_get_nothing(cors: Api, origin: str):
    for response in (
        cors.get("/me", headers={"Origin": origin}),
        preflight(cors, "/login", origin),
        cors.get("/nothing", headers={"Origin": origin}),
    ):
        assert cors_headers(response) == {}
        assert varies(response)


@pytest.mark.any_database
def test_origin_is_compared_as_browsers_write_it(make_app: MakeApp):
    api = Api(make_app(CLIENT_ORIGIN="https://APP.example.com"))
    assert cors_headers(api.get("/me", headers={"Origin": APP}))["Access-Control-Allow-Origin"] == APP


@pytest.mark.any_database
def test_request_without_an_origin_gets_nothing_but_vary(cors: Api):
    response = cors.get("/me")
    assert cors_headers(response) == {}
    assert varies(response)


def test_front_end_may_read_errors_of_every_kind(app: Flask, cors: Api, monkeypatch: pytest.MonkeyPatch):
    make_user(app)
    origin = {"Origin": APP}
    good = {"email": ALICE, "password": PASSWORD}
    answers = [
        cors.get("/nothing/here", headers=origin),
        cors.get("/login", headers=origin),
        cors.get("/me", headers=origin),
        cors.post("/login", {"email": ALICE}, headers=origin),
        cors.post("/login", data=b"x" * 20_000, content_type="application/json", headers=origin),
        cors.post("/login", data={"username": ALICE}, headers=origin),
        cors.post("/login", good, headers=origin),
    ]
    monkeypatch.setitem(cors.app.config, "AUTH_PASSWORD_HASH", "no such method")
    answers.append(cors.post("/login", good, headers=origin))
    assert [answer.status_code for answer in answers] == [404, 405, 401, 422, 413, 400, 200, 500]
    for answer in answers:
        assert cors_headers(answer)["Access-Control-Allow-Origin"] == APP
        assert cors_headers(answer)["Access-Control-Allow-Credentials"] == "true"


@pytest.mark.any_database
def test_preflight_for_nothing_gets_nothing(cors: Api):
    response = preflight(cors, "/nothing")
    assert refusal(response) == (404, "NOT_FOUND")
    assert cors_headers(response) == {}
    assert varies(response)


@pytest.mark.any_database
def test_method_that_no_route_has_is_not_allowed(cors: Api):
    response = preflight(cors, "/login", Access_Control_Request_Method="PUT")
    assert "Access-Control-Allow-Methods" not in response.headers


@pytest.mark.any_database
def test_pages_beside_the_prefix_are_not_part_of_it(cors: Api):
    http = cors.app.test_client()
    for path in ("/healthz", "/", "/api/authx", "/api", "/x/api/auth/me"):
        response = http.get(path, headers={"Origin": APP})
        assert cors_headers(response) == {}
        assert not varies(response)


@pytest.mark.any_database
def test_prefix_is_no_pattern(make_app: MakeApp):
    api = Api(make_app(CLIENT_ORIGIN=APP, AUTH_URL_PREFIX="/a.b"))
    assert cors_headers(api.get("/me", headers={"Origin": APP}))
    assert not cors_headers(api.app.test_client().get("/axb/me", headers={"Origin": APP}))


@pytest.mark.any_database
def test_without_origins_there_is_nothing_at_all(api: Api):
    for response in (api.get("/me", headers={"Origin": APP}), preflight(api, "/login")):
        assert cors_headers(response) == {}
        assert not varies(response)


@pytest.fixture(params=["before", "after"])
def host(request: pytest.FixtureRequest, app: Flask) -> Iterator[Flask]:
    """An application with rules of its own for every path, which it set before or after it mounted us."""
    host = Flask("host", static_folder=None)
    settings = {"DATABASE_URL": app.config["DATABASE_URL"], "CLIENT_ORIGIN": APP, "CORS_ALWAYS_SEND": True}
    host.config.from_mapping(TEST_SETTINGS | settings)
    steps: list[Callable[[], object]] = [
        lambda: CORS(host, origins="*", max_age=5, expose_headers="X-Host", send_wildcard=True),
        lambda: init_app(host, environ={}),
    ]
    for step in steps if request.param == "before" else reversed(steps):
        step()
    host.add_url_rule("/own", "own", lambda: "own", methods=["GET", "POST"])
    host.add_url_rule("/api/auth/own", "below", lambda: Response(status=299), methods=["OPTIONS"])
    host.add_url_rule("/broken", "broken", lambda: str(1 // 0))
    yield host
    with host.app_context():
        db.engine.dispose()


@pytest.mark.any_database
def test_rules_of_a_host_stay_its_own(host: Flask):
    http = host.test_client()
    alone = Flask("alone", static_folder=None)
    CORS(alone, origins="*", max_age=5, expose_headers="X-Host", send_wildcard=True)
    alone.add_url_rule("/own", "own", lambda: "own", methods=["GET", "POST"])
    for origin in (EVIL, APP):
        for method in ("GET", "POST", "OPTIONS", "DELETE"):
            asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
            mixed = http.open("/own", method=method, headers=asked)
            pure = alone.test_client().open("/own", method=method, headers=asked)
            assert (mixed.status_code, list(mixed.headers)) == (pure.status_code, list(pure.headers))
            assert mixed.headers["Access-Control-Allow-Origin"] == "*"
    assert http.get("/none", headers={"Origin": EVIL}).content_type.startswith("text/html")


@pytest.mark.any_database
def test_rules_of_a_host_never_open_our_routes(host: Flask):
    api = Api(host)
    for path in ("/me", "/nothing"):
        for origin in (EVIL, "null"):
            assert cors_headers(api.get(path, headers={"Origin": origin})) == {}
            assert cors_headers(preflight(api, path, origin)) == {}
        found = cors_headers(api.get(path, headers={"Origin": APP}))
        assert found["Access-Control-Allow-Origin"] == APP
        assert "X-Host" not in found["Access-Control-Expose-Headers"]
    assert cors_headers(preflight(api, "/me"))["Access-Control-Max-Age"] == "600"
    assert cors_headers(api.get("/me")) == {}


@pytest.mark.any_database
def test_errors_of_a_host_are_answered_as_they_were(host: Flask):
    host.testing = False
    host.register_error_handler(ZeroDivisionError, lambda _error: ("the host's own page", 500))
    response = host.test_client().get("/broken", headers={"Origin": EVIL})
    assert (response.status_code, response.text) == (500, "the host's own page")


@pytest.mark.any_database
def test_host_may_answer_options_itself(host: Flask):
    assert host.test_client().options("/api/auth/own").status_code == 299
    assert host.test_client().options("/own").status_code == 200
