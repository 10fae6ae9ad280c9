"""No answer tells who has an account: the same bytes for every kind of account. `benchmarks/` has the times."""

import re
from collections.abc import Iterable
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from authapp import database, users
from tests.conftest import MakeApp
from tests.factories import OTHER_PASSWORD, PASSWORD, Api, data, make_user, user_of

# All of one length, for an answer that repeats the address.
KNOWN, UNKNOWN = "known-000@example.org", "nobody-00@example.org"
UNVERIFIED, DISABLED = "waiting-0@example.org", "disabled-@example.org"
KINDS = (KNOWN, UNKNOWN, UNVERIFIED, DISABLED)
CALLER = "caller-00@example.org"
# What is another one in every answer, or repeats what was asked.
OF_ITS_OWN = re.compile(rb'("(?:id|email|created_at|updated_at)":\s*")[^"]*"')


def make_all_kinds(app: Flask) -> None:
    make_user(app, KNOWN)
    make_user(app, UNVERIFIED, is_verified=False)
    make_user(app, DISABLED)
    with app.app_context():
        disabled = users.find(DISABLED)
        assert disabled is not None
        users.set_active(disabled, False)
        database.commit()


def comparable(response: TestResponse) -> tuple[int, list[tuple[str, str]], bytes]:
    """Give all that a client can compare."""
    headers = [(name, value) for name, value in response.headers if name not in ("X-Request-ID", "Date")]
    return response.status_code, headers, OF_ITS_OWN.sub(rb'\1"', response.data)


def assert_all_the_same(responses: Iterable[TestResponse], status: int) -> None:
    first, *others = map(comparable, responses)
    assert len(others) == len(KINDS) - 1
    assert first[0] == status
    for other in others:
        assert other == first


def test_every_kind_of_account_is_there(app: Flask, api: Api):
    """What the other tests compare would be the same, too, were there no accounts at all."""
    make_all_kinds(app)
    answers = [api.post("/login", {"email": email, "password": PASSWORD}).status_code for email in KINDS]
    assert answers == [200, 401, 403, 403]


@pytest.mark.parametrize("cookies", [False, True], ids=["bearer", "cookies"])
@pytest.mark.parametrize("path", ["/login", "/login/json"])
def test_wrong_password_is_the_same_for_every_kind(make_app: MakeApp, path: str, cookies: bool):
    app = make_app(AUTH_COOKIES=cookies)
    make_all_kinds(app)
    wrong = [{"email": email, "password": OTHER_PASSWORD} for email in KINDS]
    assert_all_the_same((Api(app).post(path, body) for body in wrong), 401)


def test_wrong_password_in_a_form_is_the_same_for_every_kind(app: Flask, api: Api):
    make_all_kinds(app)
    wrong = [{"username": email, "password": OTHER_PASSWORD} for email in KINDS]
    assert_all_the_same((api.post("/login", data=form) for form in wrong), 400)


@pytest.mark.parametrize(
    "path", ["/forgot-password", "/password-reset/request", "/resend-verification", "/email-verification/resend"]
)
def test_asking_for_a_mail_is_the_same_for_every_kind(app: Flask, api: Api, path: str):
    make_all_kinds(app)
    assert_all_the_same((api.post(path, {"email": email}) for email in KINDS), 202)


def test_registering_is_the_same_for_every_kind_where_answers_are_generic(make_app: MakeApp):
    app = make_app(AUTH_GENERIC_RESPONSES=True)
    make_all_kinds(app)
    before = {email: _kept(app, email) for email in KINDS if email != UNKNOWN}
    accounts = [{"email": email, "password": OTHER_PASSWORD, "name": "Somebody"} for email in KINDS]
    answers = [Api(app).post("/register", account) for account in accounts]
    assert_all_the_same(answers, 201)
    # Its own id and times in each, as new as those of an account that was made.
    made = [data(answer, 201)["user"] for answer in answers]
    assert len({user["id"] for user in made}) == len(KINDS)
    assert [user["email"] for user in made] == list(KINDS)
    assert all(user["created_at"] == user["updated_at"] for user in made)
    assert {email: _kept(app, email) for email in before} == before


def _kept(app: Flask, email: str) -> tuple[Any, ...]:
    user = user_of(app, email)
    return user.id, user.password_hash, user.name, user.is_active, user.is_verified


def test_changing_to_an_address_is_the_same_for_every_kind_where_answers_are_generic(make_app: MakeApp):
    app = make_app(AUTH_GENERIC_RESPONSES=True)
    make_all_kinds(app)
    make_user(app, CALLER)
    token = Api(app).log_in(CALLER)["access_token"]
    changes = [{"new_email": email, "password": PASSWORD} for email in KINDS]
    assert_all_the_same((Api(app).post("/change-email", change, token=token) for change in changes), 202)
