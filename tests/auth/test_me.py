"""One's own account: seeing and changing it."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from flask import Flask

from tests.factories import ALICE, BOB, Api, data, make_user, refusal, user_of
from tests.statements import heard

FIELDS = {"id", "email", "name", "photo", "role", "is_active", "is_verified", "created_at", "updated_at"}
PHOTO = "https://example.org/alice.png"


@pytest.fixture
def token(app: Flask, api: Api) -> str:
    """Alice's access token."""
    make_user(app, name="Alice", photo=PHOTO)
    found: str = api.log_in()["access_token"]
    return found


def test_me_shows_what_is_the_owners_and_nothing_else(app: Flask, api: Api, token: str):
    response = api.get("/me", token=token)
    found = data(response)
    assert set(found) == {"user"}
    user = found["user"]
    assert set(user) == FIELDS
    assert user["id"] == str(user_of(app).id)
    assert user["id"][14] == "7"
    assert (user["email"], user["name"], user["photo"], user["role"]) == (ALICE, "Alice", PHOTO, "user")
    assert (user["is_active"], user["is_verified"]) == (True, True)
    assert response.headers["Cache-Control"] == "no-store"


def test_times_are_utc_with_z(api: Api, token: str):
    user = data(api.get("/me", token=token))["user"]
    for field in ("created_at", "updated_at"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", user[field])
        assert abs(datetime.fromisoformat(user[field]) - datetime.now(UTC)) < timedelta(minutes=1)


def test_head_answers_as_get_without_a_body(api: Api, token: str):
    response = api.request("HEAD", "/me", token=token)
    assert response.status_code == 200
    assert response.data == b""
    assert api.request("HEAD", "/me").status_code == 401


def test_me_needs_a_token(api: Api, token: str):
    for method in ("GET", "PATCH"):
        response = api.request(method, "/me", json={} if method == "PATCH" else None)
        assert refusal(response) == (401, "UNAUTHORIZED")
        assert response.headers["WWW-Authenticate"] == "Bearer"


def test_whoever_is_not_logged_in_learns_nothing_of_the_shape(api: Api):
    assert refusal(api.patch("/me", {"nonsense": 1})) == (401, "UNAUTHORIZED")


def test_authenticated_request_costs_one_select(app: Flask, api: Api, token: str):
    with heard(app) as statements:
        data(api.get("/me", token=token))
    assert len(statements) == 1
    assert statements[0].startswith("SELECT")


def test_forged_token_costs_no_select(app: Flask, api: Api, token: str):
    with heard(app) as statements:
        assert refusal(api.get("/me", token=token[:-4] + "AAAA")) == (401, "TOKEN_INVALID")
    assert statements == []


def test_name_and_photo_can_be_changed_one_by_one(app: Flask, api: Api, token: str):
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=5)):
        user = data(api.patch("/me", {"name": "  Alice Liddell "}, token=token))["user"]
    assert (user["name"], user["photo"]) == ("Alice Liddell", PHOTO)
    assert user["updated_at"] > user["created_at"]
    user = data(api.patch("/me", {"photo": "https://example.org/b.png"}, token=token))["user"]
    assert (user["name"], user["photo"]) == ("Alice Liddell", "https://example.org/b.png")
    assert data(api.get("/me", token=token))["user"] == user


def test_null_empties_a_field(app: Flask, api: Api, token: str):
    user = data(api.patch("/me", {"name": None, "photo": None}, token=token))["user"]
    assert (user["name"], user["photo"]) == (None, None)
    assert user_of(app).name is None


@pytest.mark.parametrize("body", [{}, {"name": "Alice"}])
def test_nothing_new_changes_nothing(app: Flask, api: Api, token: str, body: dict[str, str]):
    before = data(api.get("/me", token=token))["user"]
    assert data(api.patch("/me", body, token=token))["user"] == before


@pytest.mark.parametrize(
    "name", ["愛麗絲 👩🏽‍🚀", "Ægir Þórðarson", "O'Neil-Škvorecký", "علی‌رضا", "x" * 100, "👩" * 100]
)
def test_names_of_people_are_kept_as_they_are(api: Api, token: str, name: str):
    assert data(api.patch("/me", {"name": name}, token=token))["user"]["name"] == name
    assert data(api.get("/me", token=token))["user"]["name"] == name


@pytest.mark.parametrize(
    "body",
    [
        {"name": ""},
        {"name": "   "},
        {"name": "x" * 101},
        {"name": "x" * 5000},
        {"name": "a\x00b"},
        {"name": "a\nb"},
        {"name": "a\tb"},
        {"name": "a\x1b[31mb"},
        {"name": "a\u202eb"},
        {"name": "a\u2028b"},
        {"name": "half \ud83d"},
        {"name": 5},
        {"name": True},
        {"name": ["Alice"]},
        {"name": {"first": "Alice"}},
        {"photo": ""},
        {"photo": 5},
        {"photo": "http://example.org/a.png"},
        {"photo": "javascript:alert(1)"},
        {"photo": "data:image/png;base64,AAAA"},
        {"photo": "//example.org/a.png"},
        {"photo": "example.org/a.png"},
        {"photo": "https://"},
        {"photo": "https://example.org/a\n.png"},
        {"photo": "https://example.org/a.png\n"},
        {"photo": "https://example.org/a\x00.png"},
        {"photo": "https://example.org/" + "a" * 2048},
        {"role": "admin"},
        {"is_superuser": True},
        {"verified": True},
        {"is_verified": True},
        {"is_active": False},
        {"email": BOB},
        {"password": "another-1-violet-tractor"},
        {"id": "0"},
        {"epoch": 0},
        {"name": "Alice", "password_hash": "x"},
    ],
    ids=repr,
)
def test_bad_changes_are_refused_and_change_nothing(app: Flask, api: Api, token: str, body: dict[str, object]):
    before = data(api.get("/me", token=token))["user"]
    response = api.request("PATCH", "/me", token=token, data=json.dumps(body), content_type="application/json")
    assert refusal(response) == (422, "VALIDATION_ERROR")
    assert set(response.get_json()["error"]["details"]) == set(body) - {"name"} or set(body) == {"name"}
    assert data(api.get("/me", token=token))["user"] == before


def test_another_method_is_not_allowed(api: Api, token: str):
    response = api.request("PUT", "/me", token=token, json={})
    assert refusal(response) == (405, "METHOD_NOT_ALLOWED")
    assert "PATCH" in response.headers["Allow"]
