"""Refreshing: a refresh token is good once, a lost answer can be asked for again, and a thief ends the session."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import time_machine
from flask import Flask

from authapp import database, users
from authapp.extensions import db
from authapp.models import RevokedToken, Session
from authapp.signals import session_ended, token_reused
from tests.conftest import MakeApp
from tests.factories import ALICE, BOB, Api, claims, data, make_user, refusal
from tests.statements import heard, just_before

DAY = 24 * 3600
Pair = dict[str, Any]


def tokens_of(pair: Pair) -> tuple[str, str]:
    return pair["access_token"], pair["refresh_token"]


def session_of(app: Flask, pair: Pair) -> Session:
    with app.app_context():
        return db.session.get_one(Session, UUID(claims(pair["access_token"])["sid"]))


def is_dead(api: Api, pair: Pair) -> bool:
    """Say whether the pair's session is over, as both of its tokens must agree."""
    found = refusal(api.get("/me", token=pair["access_token"])), refusal(api.refresh(pair["refresh_token"]))
    return found == ((401, "TOKEN_REVOKED"),) * 2


def test_refresh_rotates_both_tokens(app: Flask, api: Api):
    make_user(app)
    first = api.log_in()
    response = api.refresh(first["refresh_token"])
    second = data(response)
    assert set(second) == set(first)
    assert (second["token_type"], second["expires_in"], second["user"]) == ("bearer", 1800, first["user"])
    assert response.headers["Cache-Control"] == "no-store"
    assert not set(tokens_of(first)) & set(tokens_of(second))
    before, after = claims(first["access_token"]), claims(second["access_token"])
    assert (after["sub"], after["sid"], after["fresh"]) == (before["sub"], before["sid"], True)
    assert after["jti"] != before["jti"]
    data(api.get("/me", token=second["access_token"]))
    # A request under way with the earlier access token is not cut off.
    data(api.get("/me", token=first["access_token"]))


def test_rotated_token_is_on_record(app: Flask, api: Api):
    make_user(app)
    first = api.log_in()
    data(api.refresh(first["refresh_token"]))
    found = claims(first["refresh_token"])
    with app.app_context():
        (row,) = db.session.query(RevokedToken)
        assert (row.jti, row.type) == (UUID(found["jti"]), "refresh")
        assert row.expires_at == datetime.fromtimestamp(found["exp"], UTC)


def test_lost_answer_is_given_again(app: Flask, api: Api):
    make_user(app)
    first = api.log_in()
    second = data(api.refresh(first["refresh_token"]))
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=25)):
        assert tokens_of(data(api.refresh(first["refresh_token"]))) == tokens_of(second)
    third = data(api.refresh(second["refresh_token"]))
    assert tokens_of(data(api.refresh(second["refresh_token"]))) == tokens_of(third)
    data(api.get("/me", token=third["access_token"]))


def test_replay_after_the_successor_was_used_ends_the_session_and_no_other(app: Flask, api: Api):
    make_user(app)
    make_user(app, BOB)
    first, elsewhere, bob = api.log_in(), api.log_in(), api.log_in(BOB)
    second = data(api.refresh(first["refresh_token"]))
    third = data(api.refresh(second["refresh_token"]))
    response = api.refresh(first["refresh_token"])
    assert refusal(response) == (401, "TOKEN_REUSED")
    assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]
    for pair in (first, second, third):
        assert is_dead(api, pair)
    for pair in (elsewhere, bob):
        data(api.get("/me", token=pair["access_token"]))
        data(api.refresh(pair["refresh_token"]))


def test_reuse_is_kept_although_the_answer_is_a_refusal(app: Flask, api: Api):
    make_user(app)
    first = api.log_in()
    second = data(api.refresh(first["refresh_token"]))
    third = data(api.refresh(second["refresh_token"]))
    assert refusal(api.refresh(first["refresh_token"])) == (401, "TOKEN_REUSED")
    ended = session_of(app, first)
    assert ended.ended_at is not None
    assert ended.ended_because == "token_reused"
    with app.app_context():
        dead = {row.jti for row in db.session.query(RevokedToken)}
    newest = {UUID(claims(token)["jti"]) for token in tokens_of(third)}
    rotated = {UUID(claims(pair["refresh_token"])["jti"]) for pair in (first, second)}
    assert dead == newest | rotated


def test_reuse_is_announced_once_it_is_kept(app: Flask, api: Api):
    make_user(app)
    first = api.log_in()
    data(api.refresh(data(api.refresh(first["refresh_token"]))["refresh_token"]))
    facts: list[str] = []

    def hear_reuse(_sender: Flask, sid: UUID, **_: object) -> None:
        facts.append(f"reused {sid}")

    def hear_end(_sender: Flask, sid: UUID, reason: str, **_: object) -> None:
        facts.append(f"{reason} {sid}")

    sid = claims(first["access_token"])["sid"]
    with token_reused.connected_to(hear_reuse), session_ended.connected_to(hear_end):
        for _ in range(2):
            api.refresh(first["refresh_token"])
    assert sorted(facts) == [f"reused {sid}", f"token_reused {sid}"]


def test_replay_too_late_ends_the_session(app: Flask, api: Api):
    make_user(app)
    first = api.log_in()
    second = data(api.refresh(first["refresh_token"]))
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=31)):
        assert refusal(api.refresh(first["refresh_token"])) == (401, "TOKEN_REUSED")
        assert is_dead(api, second)


def test_leeway_is_a_setting(app: Flask, make_app: MakeApp):
    make_user(app)
    api = Api(make_app(REFRESH_REUSE_LEEWAY_SECONDS=0))
    first = api.log_in()
    second = data(api.refresh(first["refresh_token"]))
    assert refusal(api.refresh(first["refresh_token"])) == (401, "TOKEN_REUSED")
    assert is_dead(api, second)


def test_token_before_the_predecessor_is_reuse_even_within_the_leeway(app: Flask, api: Api):
    make_user(app)
    first = api.log_in()
    pair = first
    for _ in range(4):
        pair = data(api.refresh(pair["refresh_token"]))
    assert refusal(api.refresh(first["refresh_token"])) == (401, "TOKEN_REUSED")
    assert is_dead(api, pair)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
def test_refresh_token_may_come_in_the_header(app: Flask, api: Api, scheme: str):
    make_user(app)
    first = api.log_in()
    response = api.post("/refresh", headers={"Authorization": f"{scheme} {first['refresh_token']}"})
    data(api.get("/me", token=data(response)["access_token"]))


def test_token_of_the_other_type_is_invalid(app: Flask, api: Api):
    make_user(app)
    pair = api.log_in()
    assert refusal(api.refresh(pair["access_token"])) == (401, "TOKEN_INVALID")
    assert refusal(api.post("/refresh", token=pair["access_token"])) == (401, "TOKEN_INVALID")
    assert refusal(api.get("/me", token=pair["refresh_token"])) == (401, "TOKEN_INVALID")
    data(api.refresh(pair["refresh_token"]))


@pytest.mark.parametrize("body", [None, {}, {"refresh_token": ""}])
def test_nothing_sent_is_unauthorized(api: Api, body: object):
    response = api.post("/refresh", body)
    assert refusal(response) == (401, "UNAUTHORIZED")
    assert response.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("value", [None, 0, True, ["a"], {"a": "b"}])
def test_refresh_token_is_a_string(api: Api, value: object):
    assert refusal(api.post("/refresh", {"refresh_token": value})) == (422, "VALIDATION_ERROR")


def test_refresh_token_past_its_time_is_expired(app: Flask, api: Api):
    make_user(app)
    pair = api.log_in()
    with time_machine.travel(datetime.now(UTC) + timedelta(days=7, seconds=11)):
        assert refusal(api.refresh(pair["refresh_token"])) == (401, "TOKEN_EXPIRED")
    # Nothing was ended by that: a clock that was wrong for a while costs nobody a login.
    data(api.refresh(pair["refresh_token"]))


def test_each_refresh_token_lives_its_week_but_never_past_the_end_of_the_session(app: Flask, api: Api):
    make_user(app)
    login = datetime(2031, 1, 1, 12, 0, 0, 400_000, tzinfo=UTC)
    end = int((login + timedelta(days=30)).timestamp())
    with time_machine.travel(login, tick=False) as clock:
        pair = api.log_in()
        for day in (6, 12, 18, 24, 29):
            clock.move_to(login + timedelta(days=day))
            pair = data(api.refresh(pair["refresh_token"]))
            assert claims(pair["refresh_token"])["exp"] == min(int(login.timestamp()) + (day + 7) * DAY, end)
        clock.move_to(login + timedelta(days=30) - timedelta(minutes=1))
        pair = data(api.refresh(pair["refresh_token"]))
        assert pair["expires_in"] == 60
        assert [claims(token)["exp"] for token in tokens_of(pair)] == [end, end]
        clock.move_to(login + timedelta(days=30, seconds=11))
        assert refusal(api.refresh(pair["refresh_token"])) == (401, "TOKEN_EXPIRED")
        assert refusal(api.get("/me", token=pair["access_token"])) == (401, "TOKEN_EXPIRED")


def test_leeway_of_the_clock_does_not_carry_a_session_past_its_end(app: Flask, make_app: MakeApp):
    make_user(app)
    short = Api(make_app(SESSION_MAX_DAYS=1))
    login = datetime(2031, 1, 1, tzinfo=UTC)
    with time_machine.travel(login, tick=False) as clock:
        pair = short.log_in()
        clock.move_to(login + timedelta(days=1, seconds=5))
        assert refusal(short.refresh(pair["refresh_token"])) == (401, "TOKEN_EXPIRED")


def test_session_is_not_moved_by_a_login_elsewhere(app: Flask, api: Api):
    make_user(app)
    first = api.log_in()
    api.log_in()
    second = data(api.refresh(first["refresh_token"]))
    assert claims(second["access_token"])["sid"] == claims(first["access_token"])["sid"]


def test_refresh_follows_what_has_changed_of_the_account(app: Flask, api: Api):
    make_user(app)
    first = api.log_in()
    with app.app_context():
        user = users.find(ALICE)
        assert user is not None
        user.role = "admin"
        database.commit()
    assert claims(data(api.refresh(first["refresh_token"]))["access_token"])["role"] == "admin"


def test_refresh_of_a_deleted_account_is_invalid(app: Flask, api: Api):
    make_user(app)
    pair = api.log_in()
    with app.app_context():
        user = users.find(ALICE)
        assert user is not None
        users.delete(user)
        database.commit()
    assert refusal(api.refresh(pair["refresh_token"])) == (401, "TOKEN_INVALID")
    assert refusal(api.get("/me", token=pair["access_token"])) == (401, "TOKEN_INVALID")


def test_refresh_that_loses_the_race_gets_the_winners_tokens(app: Flask, api: Api):
    make_user(app)
    first = api.log_in()
    won: list[Pair] = []
    with just_before(app, "UPDATE auth_session", lambda: won.append(data(api.refresh(first["refresh_token"])))):
        lost = data(api.refresh(first["refresh_token"]))
    assert tokens_of(lost) == tokens_of(won[0])
    data(api.refresh(lost["refresh_token"]))


def test_refresh_that_loses_against_a_logout_is_revoked(app: Flask, api: Api):
    make_user(app)
    pair = api.log_in()
    body = {"refresh_token": pair["refresh_token"]}
    with just_before(app, "UPDATE auth_session", lambda: data(api.post("/logout", body))):
        assert refusal(api.refresh(pair["refresh_token"])) == (401, "TOKEN_REVOKED")
    assert session_of(app, pair).ended_because == "logged_out"


def race(api: Api, refresh_token: str, number: int) -> list[Any]:
    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(api.refresh, [refresh_token] * number))


def test_racing_clients_all_get_the_same_successor(app: Flask, api: Api):
    make_user(app)
    pair = api.log_in()
    for _ in range(3):
        found = {tokens_of(data(response)) for response in race(api, pair["refresh_token"], 8)}
        assert len(found) == 1
        pair = dict(zip(("access_token", "refresh_token"), found.pop(), strict=True))
    data(api.get("/me", token=pair["access_token"]))
    assert session_of(app, pair).generation == 4


def test_refresh_never_holds_two_connections(app: Flask, api: Api, make_app: MakeApp):
    make_user(app)
    options = {**app.config["SQLALCHEMY_ENGINE_OPTIONS"], "pool_size": 1, "max_overflow": 0, "pool_timeout": 0.3}
    one_connection = make_app(SQLALCHEMY_ENGINE_OPTIONS=options)
    pair, won = api.log_in(), []

    def win() -> None:
        won.append(data(api.refresh(pair["refresh_token"])))

    with just_before(one_connection, "UPDATE auth_session", win):
        lost = data(Api(one_connection).refresh(pair["refresh_token"]))
    assert tokens_of(lost) == tokens_of(won[0])


def test_refresh_is_three_statements(app: Flask, api: Api):
    make_user(app)
    pair = api.log_in()
    with heard(app) as statements:
        data(api.refresh(pair["refresh_token"]))
    assert [statement.split()[0] for statement in statements] == ["SELECT", "UPDATE", "INSERT"]
