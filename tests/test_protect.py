"""Protecting a host application's own views, outside the prefix."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from flask import Flask, jsonify
from flask.testing import FlaskClient
from flask.typing import ResponseReturnValue
from flask.views import MethodView
from werkzeug.test import TestResponse

from authapp import database, init_app, users
from authapp.protect import (
    current_user,
    fresh_login_required,
    login_required,
    optional_login,
    roles_required,
    verified_required,
)
from authapp.testing import TEST_SETTINGS
from tests.factories import ALICE, BOB, CAROL, Api, Browser, data, make_user, refusal
from tests.statements import heard


class Host(Flask):
    """An application that runs its asynchronous views by itself, as Flask lets it."""

    def async_to_sync(self, func: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
        return lambda *args, **kwargs: asyncio.run(func(*args, **kwargs))


class Basket(MethodView):
    """A view that is a class."""

    decorators = [login_required]  # noqa: RUF012  # As Flask declares it.

    def get(self) -> ResponseReturnValue:
        return jsonify(email=current_user.email)


@pytest.fixture
def host(app: Flask) -> Flask:
    """An application of somebody else's with authapp mounted in it, on the same database."""
    return make_host(app)


@pytest.fixture
def browser(app: Flask) -> Browser:
    """A browser at such an application in cookie mode, where Alice has an account."""
    make_user(app)
    return Browser(make_host(app, AUTH_COOKIES=True))


def make_host(app: Flask, **settings: object) -> Flask:
    host = Host("shop", static_folder=None)
    host.config.from_mapping({**TEST_SETTINGS, "DATABASE_URL": app.config["DATABASE_URL"], **settings})
    init_app(host, environ={})
    host.testing = False
    add_views(host)
    add_guarded_views(host)
    return host


def add_views(host: Flask) -> None:

    @host.get("/open")
    def open_to_all() -> ResponseReturnValue:
        return jsonify(user=current_user.email if current_user else None)

    @host.get("/orders")
    @login_required
    def orders() -> ResponseReturnValue:
        """List orders."""
        return jsonify(email=current_user.email, id=str(current_user.id), sid=str(current_user.sid))

    @host.get("/orders/<int:number>")
    @login_required
    def order(number: int) -> ResponseReturnValue:
        return jsonify(number=number)

    @host.get("/admin")
    @roles_required("admin", "owner")
    def admin() -> ResponseReturnValue:
        return jsonify(role=current_user.role)

    @host.get("/twice")
    @login_required
    @roles_required("user")
    def twice() -> ResponseReturnValue:
        return jsonify(role=current_user.role)

    @host.get("/nobody")
    @roles_required()
    def nobody() -> ResponseReturnValue:
        raise AssertionError("A view that no role may see was run.")

    @host.get("/async")
    @login_required
    @roles_required("user")
    async def asynchronous() -> ResponseReturnValue:
        return jsonify(email=current_user.email)

    host.add_url_rule("/basket", view_func=Basket.as_view("basket"))


def add_guarded_views(host: Flask) -> None:
    @host.post("/orders")
    @login_required
    def add_order() -> ResponseReturnValue:
        return jsonify(email=current_user.email)

    @host.route("/delete-shop", methods=["GET", "POST"])
    @fresh_login_required
    def delete_shop() -> ResponseReturnValue:
        return jsonify(email=current_user.email)

    @host.get("/reviews")
    @verified_required
    def reviews() -> ResponseReturnValue:
        return jsonify(email=current_user.email)

    @host.route("/start", methods=["GET", "POST"])
    @optional_login
    def start() -> ResponseReturnValue:
        return jsonify(email=current_user.email if current_user else None)

    @host.get("/all-of-them")
    @optional_login
    @verified_required
    @roles_required("user")
    @fresh_login_required
    @login_required
    async def all_of_them() -> ResponseReturnValue:
        return jsonify(email=current_user.email)


@pytest.fixture
def client(host: Flask) -> FlaskClient:
    """A client of the host application."""
    return host.test_client(use_cookies=False)


def get(client: FlaskClient, path: str, token: str | None = None, scheme: str = "Bearer") -> TestResponse:
    return client.get(path, headers={} if token is None else {"Authorization": f"{scheme} {token}"})


def test_protected_view_knows_its_caller(app: Flask, host: Flask, client: FlaskClient):
    user_id = make_user(app)
    pair = Api(host).log_in()
    found = get(client, "/orders", pair["access_token"]).get_json()
    assert (found["email"], found["id"]) == (ALICE, user_id)
    sessions = data(Api(host).get("/sessions", token=pair["access_token"]))["sessions"]
    assert [found["sid"]] == [session["id"] for session in sessions]
    assert get(client, "/basket", pair["access_token"]).get_json() == {"email": ALICE}
    assert get(client, "/orders/7", pair["access_token"]).get_json() == {"number": 7}


def test_token_of_the_service_opens_the_host_with_the_same_secret(app: Flask, api: Api, client: FlaskClient):
    make_user(app)
    assert get(client, "/orders", api.log_in()["access_token"]).status_code == 200


def test_protected_view_without_a_token_is_unauthorized(client: FlaskClient):
    response = get(client, "/orders")
    assert refusal(response) == (401, "UNAUTHORIZED")
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert refusal(get(client, "/basket")) == (401, "UNAUTHORIZED")
    assert refusal(get(client, "/admin")) == (401, "UNAUTHORIZED")


def test_nobody_is_the_caller_of_an_open_view(app: Flask, api: Api, client: FlaskClient):
    make_user(app)
    for token in (None, api.log_in()["access_token"], "nonsense"):
        assert get(client, "/open", token).get_json() == {"user": None}


def test_nobody_is_the_caller_outside_a_request(app: Flask):
    with app.app_context():
        assert not current_user


def test_caller_of_one_request_is_forgotten_at_the_next(app: Flask, host: Flask, client: FlaskClient):
    make_user(app)
    make_user(app, BOB)
    alice, bob = (Api(host).log_in(email)["access_token"] for email in (ALICE, BOB))
    # Tests of a host application often hold one context around several requests.
    with host.app_context():
        assert get(client, "/orders", alice).get_json()["email"] == ALICE
        assert get(client, "/orders", bob).get_json()["email"] == BOB
        assert get(client, "/open").get_json() == {"user": None}
        assert get(client, "/orders").status_code == 401


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "beaReR", "Bearer ", "bearer   "])
def test_name_of_the_scheme_is_read_in_any_case(app: Flask, host: Flask, client: FlaskClient, scheme: str):
    make_user(app)
    assert get(client, "/orders", Api(host).log_in()["access_token"], scheme).status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        "",
        " ",
        "Bearer",
        "Bearer ",
        "Basic YWxpY2U6cGFzc3dvcmQ=",
        "Token {0}",
        "{0}",
        "Bearer{0}",
        "JWT {0}",
        "Bearer:{0}",
    ],
)
def test_other_schemes_are_no_credentials(app: Flask, api: Api, client: FlaskClient, header: str):
    make_user(app)
    value = header.format(api.log_in()["access_token"])
    response = client.get("/orders", headers={"Authorization": value})
    assert refusal(response) == (401, "UNAUTHORIZED")
    assert response.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "value", ["Bearer {0} {0}", "Bearer {0},Bearer {0}", "Bearer {0};", "Bearer \xe9", 'Bearer "{0}"']
)
def test_what_is_not_one_token_is_invalid(app: Flask, api: Api, client: FlaskClient, value: str):
    make_user(app)
    response = client.get("/orders", headers={"Authorization": value.format(api.log_in()["access_token"])})
    assert refusal(response) == (401, "TOKEN_INVALID")


def test_token_is_not_read_from_the_address_or_the_body(app: Flask, api: Api, client: FlaskClient):
    make_user(app)
    token = api.log_in()["access_token"]
    for name in ("access_token", "token", "jwt"):
        response = client.get(f"/orders?{name}={token}", json={name: token}, headers={"Cookie": f"{name}={token}"})
        assert refusal(response) == (401, "UNAUTHORIZED")


def test_expired_token_says_so(app: Flask, api: Api, client: FlaskClient):
    make_user(app)
    token = api.log_in()["access_token"]
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=31)):
        for response in (get(client, "/orders", token), api.get("/me", token=token)):
            assert refusal(response) == (401, "TOKEN_EXPIRED")
            assert response.get_json()["error"]["message"] == "Token has expired"
            assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]


def test_refresh_token_opens_no_view(app: Flask, api: Api, client: FlaskClient):
    make_user(app)
    assert refusal(get(client, "/orders", api.log_in()["refresh_token"])) == (401, "TOKEN_INVALID")


def test_logged_out_token_opens_no_view_of_the_host(app: Flask, api: Api, client: FlaskClient):
    make_user(app)
    token = api.log_in()["access_token"]
    data(api.post("/logout", token=token))
    assert refusal(get(client, "/orders", token)) == (401, "TOKEN_REVOKED")


def test_role_opens_what_is_its_own(app: Flask, api: Api, client: FlaskClient):
    make_user(app)
    make_user(app, CAROL, role="admin")
    alice, carol = (api.log_in(email)["access_token"] for email in (ALICE, CAROL))
    assert get(client, "/admin", carol).get_json() == {"role": "admin"}
    response = get(client, "/admin", alice)
    assert refusal(response) == (403, "FORBIDDEN")
    assert "WWW-Authenticate" not in response.headers
    for token in (alice, carol):
        assert refusal(get(client, "/nobody", token)) == (403, "FORBIDDEN")
    assert refusal(get(client, "/admin", "nonsense")) == (401, "TOKEN_INVALID")


def test_role_taken_away_counts_at_the_next_request(app: Flask, api: Api, client: FlaskClient):
    make_user(app, CAROL, role="admin")
    token = api.log_in(CAROL)["access_token"]
    with app.app_context():
        user = users.find(CAROL)
        assert user is not None
        user.role = "user"
        database.commit()
    assert refusal(get(client, "/admin", token)) == (403, "FORBIDDEN")


def test_protected_view_costs_one_select_however_often_it_is_protected(app: Flask, host: Flask, client: FlaskClient):
    make_user(app)
    token = Api(host).log_in()["access_token"]
    for path in ("/orders", "/twice"):
        with heard(host) as statements:
            assert get(client, path, token).status_code == 200
        assert len(statements) == 1


def test_asynchronous_view_can_be_protected(app: Flask, api: Api, client: FlaskClient):
    make_user(app)
    assert get(client, "/async", api.log_in()["access_token"]).get_json() == {"email": ALICE}
    assert refusal(get(client, "/async")) == (401, "UNAUTHORIZED")


def test_protected_view_keeps_its_name(host: Flask):
    view: Any = host.view_functions["orders"]
    assert (view.__name__, view.__doc__) == ("orders", "List orders.")


def message(response: TestResponse) -> str:
    found: str = response.get_json()["error"]["message"]
    return found


def delete_alice(app: Flask) -> None:
    with app.app_context():
        user = users.find(ALICE)
        assert user is not None
        users.delete(user)
        database.commit()


def test_refusals_say_what_people_can_do(app: Flask, host: Flask, client: FlaskClient):
    make_user(app, is_verified=False)
    unverified = make_host(app, AUTH_REQUIRE_VERIFIED_EMAIL=False)
    pair = Api(unverified).log_in()
    assert message(get(client, "/orders")) == "You are not logged in."
    assert message(get(client, "/reviews", pair["access_token"])) == "Please verify your e-mail address first."
    delete_alice(app)
    gone = get(client, "/orders", pair["access_token"])
    assert refusal(gone) == (401, "TOKEN_INVALID")
    refreshed = Api(host).refresh(pair["refresh_token"])
    assert refusal(refreshed) == (401, "TOKEN_INVALID")
    assert message(gone) == message(refreshed) == "The user no longer exists."


def test_fresh_login_is_asked_for_once_the_password_is_a_while_ago(app: Flask, host: Flask, client: FlaskClient):
    make_user(app)
    with time_machine.travel(datetime.now(UTC), tick=False) as clock:
        pair = Api(host).log_in()
        assert get(client, "/delete-shop", pair["access_token"]).status_code == 200
        clock.shift(timedelta(minutes=14))
        pair = data(Api(host).refresh(pair["refresh_token"]))
        assert get(client, "/delete-shop", pair["access_token"]).status_code == 200
        clock.shift(timedelta(minutes=2))
        pair = data(Api(host).refresh(pair["refresh_token"]))
        response = get(client, "/delete-shop", pair["access_token"])
        assert refusal(response) == (401, "FRESH_LOGIN_REQUIRED")
        assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]
        assert get(client, "/orders", pair["access_token"]).status_code == 200
        assert get(client, "/delete-shop", Api(host).log_in()["access_token"]).status_code == 200
    assert refusal(get(client, "/delete-shop")) == (401, "UNAUTHORIZED")


def test_verified_address_is_asked_for(app: Flask, client: FlaskClient):
    make_user(app)
    make_user(app, BOB, is_verified=False)
    lenient = Api(make_host(app, AUTH_REQUIRE_VERIFIED_EMAIL=False))
    alice, bob = (lenient.log_in(email)["access_token"] for email in (ALICE, BOB))
    assert get(client, "/reviews", alice).get_json() == {"email": ALICE}
    response = get(client, "/reviews", bob)
    assert refusal(response) == (403, "EMAIL_NOT_VERIFIED")
    assert "WWW-Authenticate" not in response.headers
    assert refusal(get(client, "/reviews")) == (401, "UNAUTHORIZED")
    # It is read at every request.
    with app.app_context():
        user = users.find(BOB)
        assert user is not None
        user.is_verified = True
        database.commit()
    assert get(client, "/reviews", bob).get_json() == {"email": BOB}


def test_open_view_knows_its_caller_and_takes_strangers(app: Flask, host: Flask, client: FlaskClient):
    make_user(app)
    token = Api(host).log_in()["access_token"]
    with heard(host) as statements:
        assert get(client, "/start").get_json() == {"email": None}
    assert statements == []
    assert get(client, "/start", token).get_json() == {"email": ALICE}
    assert get(client, "/start").get_json() == {"email": None}


def test_open_view_refuses_credentials_that_are_not_good(app: Flask, host: Flask, client: FlaskClient):
    make_user(app)
    pair = Api(host).log_in()
    assert refusal(get(client, "/start", "nonsense")) == (401, "TOKEN_INVALID")
    assert refusal(get(client, "/start", pair["refresh_token"])) == (401, "TOKEN_INVALID")
    assert refusal(get(client, "/start", "eA==", "Basic")) == (401, "UNAUTHORIZED")
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=1)):
        assert refusal(get(client, "/start", pair["access_token"])) == (401, "TOKEN_EXPIRED")
    data(Api(host).post("/logout", token=pair["access_token"]))
    assert refusal(get(client, "/start", pair["access_token"])) == (401, "TOKEN_REVOKED")


def test_guards_may_stand_above_each_other_and_cost_one_select(app: Flask, host: Flask, client: FlaskClient):
    make_user(app)
    token = Api(host).log_in()["access_token"]
    for path in ("/all-of-them", "/delete-shop", "/reviews", "/start"):
        with heard(host) as statements:
            assert get(client, path, token).get_json() == {"email": ALICE}
        assert len(statements) == 1


def test_cookie_opens_views_of_the_host_with_its_token(browser: Browser):
    data(browser.log_in())
    http, csrf = browser.http, {"X-CSRF-TOKEN": browser.cookie("csrf_access_token") or ""}
    for path in ("/orders", "/basket", "/async", "/all-of-them", "/delete-shop", "/start"):
        with heard(browser.app) as statements:
            response = http.get(path)
        assert response.get_json()["email"] == ALICE
        assert len(statements) == 1
        assert "Cookie" in response.vary
    for path in ("/orders", "/delete-shop", "/start"):
        assert refusal(http.post(path)) == (403, "CSRF_FAILED")
        assert http.post(path, headers=csrf).get_json() == {"email": ALICE}
        refreshing = {"X-CSRF-TOKEN": browser.cookie("csrf_refresh_token") or ""}
        assert refusal(http.post(path, headers=refreshing)) == (403, "CSRF_FAILED")
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=1)):
        for path in ("/orders", "/start"):
            assert refusal(http.get(path)) == (401, "TOKEN_EXPIRED")
            assert refusal(http.post(path)) == (401, "TOKEN_EXPIRED")


def test_host_in_cookie_mode_serves_strangers_and_headers_as_ever(app: Flask, browser: Browser):
    token, http = Api(browser.app).log_in()["access_token"], browser.app.test_client(use_cookies=False)
    assert http.get("/start").get_json() == {"email": None}
    assert http.post("/start").get_json() == {"email": None}
    assert refusal(http.get("/orders")) == (401, "UNAUTHORIZED")
    response = http.post("/orders", headers={"Authorization": f"Bearer {token}"})
    assert response.get_json() == {"email": ALICE}
    assert "Cookie" not in response.vary
    plain = http.get("/open")
    assert plain.get_json() == {"user": None}
    assert not plain.vary
