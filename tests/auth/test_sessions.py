"""The caller's sign-ins: seeing them and ending them."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from flask import Flask

from tests.conftest import MakeApp
from tests.factories import BOB, Api, claims, data, make_user, refusal
from tests.statements import heard

KEYS = {"id", "created_at", "last_used_at", "expires_at", "ip", "user_agent", "device", "current"}
CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"
FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:127.0) Gecko/20100101 Firefox/127.0"
NEWS = datetime(2031, 3, 1, 12, tzinfo=UTC)


def sid(pair: dict[str, Any]) -> str:
    found: str = claims(pair["access_token"])["sid"]
    return found


def listed(api: Api, pair: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = data(api.get("/sessions", token=pair["access_token"]))["sessions"]
    return found


def test_sessions_are_listed_newest_first(app: Flask, api: Api):
    make_user(app)
    make_user(app, BOB)
    with time_machine.travel(NEWS, tick=False) as clock:
        first = api.log_in(headers={"User-Agent": CHROME}, environ_overrides={"REMOTE_ADDR": "192.0.2.1"})
        api.log_in(BOB)
        clock.shift(60)
        second = api.log_in(headers={"User-Agent": FIREFOX}, environ_overrides={"REMOTE_ADDR": "2001:db8::1"})
        response = api.get("/sessions", token=second["access_token"])
    assert response.headers["Cache-Control"] == "no-store"
    assert data(response) == {
        "sessions": [
            {
                "id": sid(second),
                "created_at": "2031-03-01T12:01:00.000Z",
                "last_used_at": "2031-03-01T12:01:00.000Z",
                "expires_at": "2031-03-08T12:01:00.000Z",
                "ip": "2001:db8::1",
                "user_agent": FIREFOX,
                "device": "Firefox on Windows",
                "current": True,
            },
            {
                "id": sid(first),
                "created_at": "2031-03-01T12:00:00.000Z",
                "last_used_at": "2031-03-01T12:00:00.000Z",
                "expires_at": "2031-03-08T12:00:00.000Z",
                "ip": "192.0.2.1",
                "user_agent": CHROME,
                "device": "Chrome on Linux",
                "current": False,
            },
        ]
    }


def test_refresh_moves_last_use_and_place_but_not_the_beginning(app: Flask, api: Api):
    make_user(app)
    with time_machine.travel(NEWS, tick=False) as clock:
        first = api.log_in(headers={"User-Agent": CHROME}, environ_overrides={"REMOTE_ADDR": "192.0.2.1"})
        clock.shift(timedelta(days=1))
        body = {"refresh_token": first["refresh_token"]}
        second = data(api.post("/refresh", body, environ_overrides={"REMOTE_ADDR": "192.0.2.2"}))
        (found,) = listed(api, second)
    assert found["id"] == sid(first)
    assert found["created_at"] == "2031-03-01T12:00:00.000Z"
    assert found["last_used_at"] == "2031-03-02T12:00:00.000Z"
    assert found["expires_at"] == "2031-03-09T12:00:00.000Z"
    assert found["ip"] == "192.0.2.2"
    assert found["current"] is True


def test_expired_and_ended_sessions_are_not_listed(app: Flask, api: Api):
    make_user(app)
    with time_machine.travel(NEWS, tick=False) as clock:
        api.log_in()
        clock.shift(timedelta(days=6, hours=23))
        logged_out, current = api.log_in(), api.log_in()
        data(api.post("/logout", token=logged_out["access_token"]))
        assert len(listed(api, current)) == 2
        clock.shift(timedelta(hours=2))
        current = data(api.refresh(current["refresh_token"]))
        assert [found["id"] for found in listed(api, current)] == [sid(current)]


@pytest.mark.parametrize(
    "user_agent",
    [
        "",
        "x" * 4096,
        "Mozilla/5.0 " + "(" * 4000,
        "Mozilla/5.0 \x00 \x01\x7f",
        "caf\xe9 \xff\xfe\x80",
        "emoji \xf0\x9f\x92\xa9",
        "\x00",
        "<script>alert(1)</script>",
        "' OR 1=1 --",
        "%s %d {0}",
    ],
    ids=ascii,
)
def test_hostile_user_agent_breaks_nothing(app: Flask, api: Api, user_agent: str):
    make_user(app)
    pair = api.log_in(environ_overrides={"HTTP_USER_AGENT": user_agent})
    (found,) = listed(api, pair)
    assert set(found) == KEYS
    assert len(found["user_agent"] or "") <= 255
    assert (found["user_agent"] or "").isprintable()
    assert found["device"] is None or isinstance(found["device"], str)
    data(
        api.post(
            "/refresh", {"refresh_token": pair["refresh_token"]}, environ_overrides={"HTTP_USER_AGENT": user_agent}
        )
    )


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:0DB8:0:0::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("fe80:1234:1234:1234:1234:1234:1234:1234%" + "a" * 300, "fe80:1234:1234:1234:1234:1234:1234:1234"),
        ("", None),
        ("unix:", None),
        ("not an address\x00", None),
    ],
)
def test_address_is_kept_only_if_it_is_one(app: Flask, api: Api, address: str, kept: str | None):
    make_user(app)
    pair = api.log_in(environ_overrides={"REMOTE_ADDR": address})
    assert listed(api, pair)[0]["ip"] == kept


def test_one_session_is_ended_and_the_others_live_on(app: Flask, api: Api):
    make_user(app)
    mine, other = api.log_in(), api.log_in()
    data(api.delete(f"/sessions/{sid(other)}", token=mine["access_token"]))
    assert refusal(api.get("/me", token=other["access_token"])) == (401, "TOKEN_REVOKED")
    assert refusal(api.refresh(other["refresh_token"])) == (401, "TOKEN_REVOKED")
    assert [found["id"] for found in listed(api, mine)] == [sid(mine)]


def test_ending_the_current_session_is_logging_out(app: Flask, api: Api):
    make_user(app)
    pair = api.log_in()
    data(api.delete(f"/sessions/{sid(pair)}", token=pair["access_token"]))
    assert refusal(api.get("/me", token=pair["access_token"])) == (401, "TOKEN_REVOKED")
    assert refusal(api.refresh(pair["refresh_token"])) == (401, "TOKEN_REVOKED")


def test_session_of_somebody_else_is_not_found(app: Flask, api: Api):
    make_user(app)
    make_user(app, BOB)
    alice, bob = api.log_in(), api.log_in(BOB)
    unknown = api.delete(f"/sessions/{uuid.uuid4()}", token=bob["access_token"])
    others = api.delete(f"/sessions/{sid(alice)}", token=bob["access_token"])
    assert refusal(others) == refusal(unknown) == (404, "NOT_FOUND")
    assert others.data == unknown.data
    data(api.get("/me", token=alice["access_token"]))


@pytest.mark.parametrize("id", ["1", "me", "%00", "x" * 36, "00000000-0000-0000-0000-00000000000g", "%27%20OR%201=1"])
def test_malformed_id_is_not_found(app: Flask, api: Api, id: str):
    make_user(app)
    assert refusal(api.delete(f"/sessions/{id}", token=api.log_in()["access_token"])) == (404, "NOT_FOUND")


def test_session_that_is_over_is_not_found(app: Flask, api: Api):
    make_user(app)
    with time_machine.travel(NEWS, tick=False) as clock:
        expired = api.log_in()
        clock.shift(timedelta(days=7, minutes=1))
        ended, mine = api.log_in(), api.log_in()
        data(api.delete(f"/sessions/{sid(ended)}", token=mine["access_token"]))
        for gone in (ended, expired):
            assert refusal(api.delete(f"/sessions/{sid(gone)}", token=mine["access_token"])) == (404, "NOT_FOUND")


def test_every_session_but_this_one_is_ended_and_counted(app: Flask, api: Api):
    make_user(app)
    make_user(app, BOB)
    with time_machine.travel(NEWS, tick=False) as clock:
        api.log_in()
        clock.shift(timedelta(days=7, minutes=1))
        others, mine, bob = [api.log_in(), api.log_in()], api.log_in(), api.log_in(BOB)
        # One that has expired by itself is not there to be ended.
        assert len(listed(api, mine)) == 3
        assert data(api.delete("/sessions", token=mine["access_token"])) == {"revoked": 2}
        assert data(api.delete("/sessions", token=mine["access_token"])) == {"revoked": 0}
        for pair in others:
            assert refusal(api.get("/me", token=pair["access_token"])) == (401, "TOKEN_REVOKED")
            assert refusal(api.refresh(pair["refresh_token"])) == (401, "TOKEN_REVOKED")
        for pair in (mine, bob):
            data(api.get("/me", token=pair["access_token"]))
            data(api.refresh(pair["refresh_token"]))


@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("DELETE", ""), ("DELETE", "/01a1fe06-09d6-71d0-825d-d3851898df46")]
)
def test_sessions_need_a_token(api: Api, method: str, path: str):
    assert refusal(api.request(method, f"/sessions{path}")) == (401, "UNAUTHORIZED")


def test_list_costs_two_selects(app: Flask, api: Api):
    make_user(app)
    pairs = [api.log_in() for _ in range(3)]
    with heard(app) as statements:
        assert len(listed(api, pairs[0])) == 3
    assert len(statements) == 2


def test_session_with_long_lived_access_tokens_can_be_ended_as_long_as_they_live(app: Flask, make_app: MakeApp):
    make_user(app)
    api = Api(make_app(ACCESS_TOKEN_EXPIRE_MINUTES=20 * 24 * 60))
    pair = api.log_in()
    said = [claims(pair[name])["exp"] for name in ("access_token", "refresh_token")]
    assert said[0] == said[1]
