"""Registering with AUTH_GENERIC_RESPONSES: the answer does not tell whether the address is taken, a mail does."""

import uuid

import pytest
from flask import Flask
from sqlalchemy import func, select

from authapp.extensions import db
from authapp.models import User
from tests.conftest import MakeApp
from tests.factories import ALICE, BOB, OTHER_PASSWORD, Api, data, mailed_token, mails, make_user, refusal, user_of
from tests.statements import just_before


@pytest.fixture
def discreet(make_app: MakeApp) -> Flask:
    """The service that tells nobody who has an account."""
    return make_app(AUTH_GENERIC_RESPONSES=True)


def test_taken_address_looks_like_a_free_one(discreet: Flask):
    make_user(discreet)
    api = Api(discreet)
    free, taken = (api.register(email, OTHER_PASSWORD, name="Somebody") for email in (BOB, "Alice@Example.org"))
    shown, invented = data(free, 201)["user"], data(taken, 201)["user"]
    assert set(invented) == set(shown)
    for field in ("id", "created_at", "updated_at", "email"):
        assert len(str(invented.pop(field))) == len(str(shown.pop(field))) or field == "email"
    assert invented == shown
    assert set(free.headers.keys()) == set(taken.headers.keys())


def test_owner_of_a_taken_address_is_told_and_nothing_else_happens(discreet: Flask):
    make_user(discreet)
    answer = data(Api(discreet).register(ALICE, OTHER_PASSWORD, name="Mallory"), 201)
    (mail,) = mails(discreet)
    assert (mail.to, mail.subject) == (ALICE, "You have an account already")
    assert "Mallory" not in mail.text
    assert "token=" not in mail.text
    assert uuid.UUID(answer["user"]["id"]) != user_of(discreet).id
    Api(discreet).log_in()
    with discreet.app_context():
        assert db.session.scalar(select(func.count()).select_from(User)) == 1


def test_free_address_gets_its_account(discreet: Flask):
    answer = data(Api(discreet).register(), 201)
    assert uuid.UUID(answer["user"]["id"]) == user_of(discreet).id


def test_login_after_registering_does_not_tell_whether_the_address_was_free(discreet: Flask):
    make_user(discreet)
    api = Api(discreet)
    said = []
    for email in (ALICE, BOB):
        data(api.register(email, OTHER_PASSWORD), 201)
        for body in ({"json": {"email": email, "password": OTHER_PASSWORD}}, {"data": form(email, OTHER_PASSWORD)}):
            answer = api.post("/login", headers={"X-Request-ID": "the-same"}, **body)
            said.append((answer.status_code, answer.data, list(answer.headers)))
    assert said[:2] == said[2:]
    assert b"not verified yet" in said[0][1]
    data(api.post("/verify-email", {"token": mailed_token(discreet)}))
    api.log_in(BOB, OTHER_PASSWORD)


def form(email: str, password: str) -> dict[str, str]:
    return {"username": email, "password": password}


def test_address_that_is_taken_meanwhile_looks_free_too(discreet: Flask):
    api = Api(discreet)
    with just_before(discreet, "INSERT INTO auth_user", lambda: data(api.register(), 201)):
        data(api.register(password=OTHER_PASSWORD), 201)
    assert [mail.subject for mail in mails(discreet)][1:] == ["You have an account already"]


@pytest.mark.any_database
def test_what_is_wrong_with_a_password_is_told_all_the_same(discreet: Flask):
    make_user(discreet)
    assert refusal(Api(discreet).register(password="password")) == (422, "VALIDATION_ERROR")
