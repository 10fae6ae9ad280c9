"""Logging out: the session's tokens are dead at once, and doing it again is no error."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import time_machine
from flask import Flask

from authapp import database, users
from authapp.extensions import db
from authapp.models import RevokedToken, Session
from authapp.signals import session_ended
from tests.conftest import MakeApp
from tests.factories import ALICE, BOB, Api, claims, data, make_user, refusal

WAYS = ("body", "header", "both")


def log_out(api: Api, pair: dict[str, str], way: str = "both"):
    body = {"refresh_token": pair["refresh_token"]} if way != "header" else None
    return api.post("/logout", body, token=pair["access_token"] if way != "body" else None)


def assert_dead(api: Api, pair: dict[str, str]) -> None:
    assert refusal(api.get("/me", token=pair["access_token"])) == (401, "TOKEN_REVOKED")
    assert refusal(api.refresh(pair["refresh_token"])) == (401, "TOKEN_REVOKED")


@pytest.mark.parametrize("way", WAYS)
def test_logged_out_tokens_are_dead_at_once_on_every_node(app: Flask, api: Api, make_app: MakeApp, way: str):
    make_user(app)
    pair = api.log_in()
    response = log_out(api, pair, way)
    assert data(response) == {"message": "You are logged out."}
    assert_dead(Api(make_app()), pair)


@pytest.mark.parametrize("way", WAYS)
def test_logging_out_again_is_no_error(app: Flask, api: Api, way: str):
    make_user(app)
    pair = api.log_in()
    for _ in range(3):
        data(log_out(api, pair, way))
    assert_dead(api, pair)


def test_other_sessions_live_on(app: Flask, api: Api):
    make_user(app)
    make_user(app, BOB)
    gone, elsewhere, bob = api.log_in(), api.log_in(), api.log_in(BOB)
    data(log_out(api, gone))
    for pair in (elsewhere, bob):
        data(api.get("/me", token=pair["access_token"]))
        data(api.refresh(pair["refresh_token"]))


def test_both_tokens_are_on_record(app: Flask, api: Api):
    make_user(app)
    pair = api.log_in()
    data(log_out(api, pair, "body"))
    with app.app_context():
        found = {(row.jti, row.type, int(row.expires_at.timestamp())) for row in db.session.query(RevokedToken)}
    said = [claims(pair[name]) for name in ("access_token", "refresh_token")]
    assert found == {(UUID(one["jti"]), one["type"], one["exp"]) for one in said}


def test_earlier_access_tokens_of_the_session_die_too(app: Flask, api: Api):
    make_user(app)
    first = api.log_in()
    second = data(api.refresh(first["refresh_token"]))
    data(log_out(api, second, "header"))
    assert_dead(api, second)
    assert refusal(api.get("/me", token=first["access_token"])) == (401, "TOKEN_REVOKED")


def test_rotated_refresh_token_still_logs_out(app: Flask, api: Api):
    make_user(app)
    first = api.log_in()
    second = data(api.refresh(first["refresh_token"]))
    data(log_out(api, first, "body"))
    assert_dead(api, second)


@pytest.mark.parametrize("way", WAYS)
def test_expired_access_token_still_logs_out(app: Flask, api: Api, way: str):
    make_user(app)
    pair = api.log_in()
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=2)):
        data(log_out(api, pair, way))
        assert refusal(api.refresh(pair["refresh_token"])) == (401, "TOKEN_REVOKED")


@pytest.mark.parametrize("way", WAYS)
def test_tokens_past_all_their_time_still_log_out(app: Flask, api: Api, way: str):
    make_user(app)
    pair = api.log_in()
    with time_machine.travel(datetime.now(UTC) + timedelta(days=60)):
        data(log_out(api, pair, way))


def test_logout_within_the_leeway_of_the_clock_ends_the_session(app: Flask, api: Api):
    make_user(app)
    pair = api.log_in()
    with time_machine.travel(datetime.now(UTC) + timedelta(days=7, seconds=3)):
        data(log_out(api, pair))
        assert refusal(api.refresh(pair["refresh_token"])) == (401, "TOKEN_REVOKED")


def test_tokens_of_two_sessions_end_both(app: Flask, api: Api):
    make_user(app)
    first, second = api.log_in(), api.log_in()
    data(api.post("/logout", {"refresh_token": first["refresh_token"]}, token=second["access_token"]))
    assert_dead(api, first)
    assert_dead(api, second)


@pytest.mark.parametrize("body", [None, {}, {"refresh_token": ""}])
def test_nothing_sent_is_unauthorized(api: Api, body: object):
    assert refusal(api.post("/logout", body)) == (401, "UNAUTHORIZED")


def test_garbage_is_invalid_and_ends_nothing(app: Flask, api: Api):
    make_user(app)
    pair = api.log_in()
    swapped = {"access_token": pair["refresh_token"], "refresh_token": pair["access_token"]}
    for way in WAYS:
        assert refusal(log_out(api, {"access_token": "a.b.c", "refresh_token": "x"}, way)) == (401, "TOKEN_INVALID")
        assert refusal(log_out(api, swapped, way)) == (401, "TOKEN_INVALID")
    assert refusal(api.post("/logout", {"refresh_token": pair["refresh_token"], "all": True}))[0] == 422
    data(api.get("/me", token=pair["access_token"]))


def test_logout_of_a_deleted_account_is_no_error(app: Flask, api: Api):
    make_user(app)
    pair = api.log_in()
    with app.app_context():
        user = users.find(ALICE)
        assert user is not None
        users.delete(user)
        database.commit()
    for way in WAYS:
        data(log_out(api, pair, way))
    assert refusal(api.get("/me", token=pair["access_token"])) == (401, "TOKEN_INVALID")


def test_logout_is_announced_once_with_its_reason(app: Flask, api: Api):
    make_user(app)
    pair, facts = api.log_in(), []

    def hear(sender: Flask, **fact: object) -> None:
        facts.append((sender, fact))

    with session_ended.connected_to(hear):
        data(log_out(api, pair))
        data(log_out(api, pair))
    said = claims(pair["access_token"])
    assert facts == [(app, {"user_id": UUID(said["sub"]), "sid": UUID(said["sid"]), "reason": "logged_out"})]
    with app.app_context():
        assert db.session.get_one(Session, UUID(said["sid"])).ended_because == "logged_out"


def test_one_good_token_is_enough(app: Flask, api: Api):
    make_user(app)
    pair = api.log_in()
    data(api.post("/logout", {"refresh_token": "junk"}, token=pair["access_token"]))
    assert refusal(api.get("/me", token=pair["access_token"])) == (401, "TOKEN_REVOKED")
    pair = api.log_in()
    data(api.post("/logout", {"refresh_token": pair["refresh_token"]}, token="junk"))
    assert refusal(api.get("/me", token=pair["access_token"])) == (401, "TOKEN_REVOKED")
    assert refusal(api.post("/logout", {"refresh_token": "junk"}, token="junk")) == (401, "TOKEN_INVALID")
