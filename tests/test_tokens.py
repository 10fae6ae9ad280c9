"""Tokens: what was not signed by this deployment for this use is refused, whatever it looks like."""

import base64
import json
import uuid
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import jwt as pyjwt
import pytest
import time_machine
from cryptography.hazmat.primitives.asymmetric import rsa
from flask import Flask

from authapp import addresses, database, sessions, tokens, users
from authapp.clients import Client
from authapp.tokens import create_access_token
from tests.conftest import MakeApp
from tests.factories import (
    ALICE,
    INVALID,
    OTHER_PASSWORD,
    PASSWORD,
    Api,
    assert_both_refused,
    claims,
    data,
    mailed_token,
    make_user,
    refusal,
)

pytestmark = pytest.mark.any_database

LATER_SECRET = "a later secret for tests, as long as a secret has to be"


@pytest.fixture
def pair(app: Flask, api: Api) -> dict[str, Any]:
    """Alice's tokens."""
    make_user(app)
    return api.log_in()


def key_of(app: Flask) -> bytes:
    with app.app_context():
        key: bytes = tokens._signing_key()
        return key


def kid_of(token: str) -> str:
    kid: str = pyjwt.get_unverified_header(token)["kid"]
    return kid


def sign(app: Flask, token: str, *, without: str | None = None, **changes: Any) -> str:
    """Sign a token's claims again with the right key, changed."""
    said = {name: value for name, value in {**claims(token), **changes}.items() if name != without}
    return raw(app, json.dumps(said).encode(), {"kid": kid_of(token)})


def raw(app: Flask, payload: bytes, headers: dict[str, Any]) -> str:
    """Sign any payload with the right key: what only this deployment itself could make."""
    return pyjwt.PyJWS().encode(payload, key_of(app), algorithm="HS256", headers=headers)


def encoded(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def test_claims_signed_again_are_good(app: Flask, api: Api, pair: dict[str, Any]):
    data(api.get("/me", token=sign(app, pair["access_token"])))
    data(api.refresh(sign(app, pair["refresh_token"])))


@pytest.mark.parametrize("segment", [0, 1, 2])
@pytest.mark.parametrize("place", [0, 9, -2])
def test_changed_character_is_refused(api: Api, pair: dict[str, Any], segment: int, place: int):
    def change(token: str) -> str:
        parts = [list(part) for part in token.split(".")]
        parts[segment][place] = "A" if parts[segment][place] != "A" else "B"
        return ".".join("".join(part) for part in parts)

    assert_both_refused(api, pair, change)


@pytest.mark.parametrize("segment", [0, 1, 2])
def test_missing_and_additional_parts_are_refused(api: Api, pair: dict[str, Any], segment: int):
    def without(token: str) -> str:
        parts = token.split(".")
        return ".".join(parts[:segment] + parts[segment + 1 :])

    def emptied(token: str) -> str:
        parts = token.split(".")
        parts[segment] = ""
        return ".".join(parts)

    for change in (without, emptied, lambda token: f"{token}.{token}", lambda token: f".{token}"):
        assert_both_refused(api, pair, change)


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", " none", None, 0, ["none"], {"a": 1}])
@pytest.mark.parametrize("signature", ["", "AAAA"])
def test_unsigned_token_is_refused(api: Api, pair: dict[str, Any], algorithm: object, signature: str):
    def unsign(token: str) -> str:
        header = encoded({"alg": algorithm, "typ": "JWT", "kid": kid_of(token)})
        return f"{header}.{token.split('.')[1]}.{signature}"

    assert_both_refused(api, pair, unsign)


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_only_the_configured_algorithm_is_accepted(app: Flask, api: Api, pair: dict[str, Any], algorithm: str):
    # Shorter than these algorithms want, which PyJWT would warn of.
    key = key_of(app) + b"\x00" * 32

    def resign(token: str) -> str:
        return pyjwt.encode(claims(token), key, algorithm=algorithm, headers={"kid": kid_of(token)})

    assert_both_refused(api, pair, resign)


def test_asymmetric_token_is_refused(api: Api, pair: dict[str, Any]):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def resign(token: str) -> str:
        return pyjwt.encode(claims(token), key, algorithm="RS256", headers={"kid": kid_of(token)})

    assert_both_refused(api, pair, resign)


def test_token_of_another_deployment_is_refused(app: Flask, api: Api, pair: dict[str, Any], make_app: MakeApp):
    other = Api(make_app(SECRET_KEY=LATER_SECRET))
    assert refusal(other.get("/me", token=pair["access_token"])) == INVALID
    assert refusal(other.refresh(pair["refresh_token"])) == INVALID
    data(api.refresh(pair["refresh_token"]))


def test_secret_itself_signs_no_token(app: Flask, api: Api, pair: dict[str, Any]):
    secret = app.config["SECRET_KEY"]

    def resign(token: str) -> str:
        return pyjwt.encode(claims(token), secret, algorithm="HS256", headers={"kid": kid_of(token)})

    assert_both_refused(api, pair, resign)


@pytest.mark.parametrize("kid", ["", "x", "../../etc/passwd", "' OR 1=1 --", "0" * 16, None, 0, True, ["x"], {"x": 1}])
def test_unknown_key_is_refused(app: Flask, api: Api, pair: dict[str, Any], kid: object):
    def relabel(token: str) -> str:
        header, payload = encoded({"alg": "HS256", "typ": "JWT", "kid": kid}), token.split(".")[1]
        algorithm = pyjwt.PyJWS().get_algorithm_by_name("HS256")
        signature = algorithm.sign(f"{header}.{payload}".encode(), algorithm.prepare_key(key_of(app)))
        return f"{header}.{payload}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"

    assert_both_refused(api, pair, relabel)


def test_token_that_names_no_key_is_refused(app: Flask, api: Api, pair: dict[str, Any]):
    assert_both_refused(api, pair, lambda token: raw(app, json.dumps(claims(token)).encode(), {}))


@pytest.mark.parametrize("claim", ["exp", "jti", "sub", "type", "sid"])
def test_missing_claim_is_refused(app: Flask, api: Api, pair: dict[str, Any], claim: str):
    assert_both_refused(api, pair, lambda token: sign(app, token, without=claim))
    assert_both_refused(api, pair, lambda token: sign(app, token, **{claim: None}))


@pytest.mark.parametrize("claim", ["jti", "sub", "type", "sid"])
@pytest.mark.parametrize("value", ["", "x", 0, 1.5, True, ["x"], {"x": 1}, "é", "\x00", "\ud800", "0" * 33])
def test_malformed_claim_is_refused(app: Flask, api: Api, pair: dict[str, Any], claim: str, value: Any):
    assert_both_refused(api, pair, lambda token: sign(app, token, **{claim: value}))


@pytest.mark.parametrize("value", ["x", [], {}, -1e18, 1e17, 1e20, 10**40, float("inf"), float("nan"), "99999999999"])
def test_malformed_expiry_is_refused(app: Flask, api: Api, pair: dict[str, Any], value: object):
    response = api.get("/me", token=sign(app, pair["access_token"], exp=value))
    assert refusal(response) in (INVALID, (401, "TOKEN_EXPIRED"))
    response = api.post("/logout", token=sign(app, pair["access_token"], exp=value))
    assert refusal(response) == INVALID


@pytest.mark.parametrize("claim", ["iat", "nbf"])
@pytest.mark.parametrize("value", ["x", [], {}, 1e20, float("inf"), float("nan")])
def test_malformed_beginning_is_refused(app: Flask, api: Api, pair: dict[str, Any], claim: str, value: Any):
    assert_both_refused(api, pair, lambda token: sign(app, token, **{claim: value}))


@pytest.mark.parametrize("type", ["ACCESS", "access ", "id", "refresh\x00"])
def test_other_types_are_refused(app: Flask, api: Api, pair: dict[str, Any], type: str):
    assert_both_refused(api, pair, lambda token: sign(app, token, type=type))


@pytest.mark.parametrize("claim", ["sub", "sid"])
def test_user_and_session_must_belong_together(app: Flask, api: Api, pair: dict[str, Any], claim: str):
    make_user(app, "bob@example.org")
    other = claims(api.log_in("bob@example.org")["access_token"])
    for value in (other[claim], str(uuid.uuid4())):
        assert refusal(api.get("/me", token=sign(app, pair["access_token"], **{claim: value}))) == INVALID
        assert refusal(api.refresh(sign(app, pair["refresh_token"], **{claim: value}))) == INVALID
    data(api.refresh(pair["refresh_token"]))


def test_claims_of_the_token_give_no_rights(app: Flask, api: Api, pair: dict[str, Any]):
    found = data(api.get("/me", token=sign(app, pair["access_token"], role="admin", email="carol@example.org")))
    assert (found["user"]["role"], found["user"]["email"]) == ("user", ALICE)


@pytest.mark.parametrize(
    "payload",
    [
        b"[" * 1400 + b"]" * 1400,
        b'{"a":' * 400 + b"1" + b"}" * 400,
        b"[]",
        b"null",
        b"1",
        b'"x"',
        b"",
        b"\xff\xfe",
        b"{",
        b'{"exp": NaN}',
    ],
    ids=range(10),
)
def test_payload_that_is_no_object_is_refused(app: Flask, api: Api, pair: dict[str, Any], payload: bytes):
    assert_both_refused(api, pair, lambda token: raw(app, payload, {"kid": kid_of(token)}))


def test_4000_nested_brackets_are_refused(app: Flask, api: Api, pair: dict[str, Any]):
    token = raw(app, b"[" * 4000, {"kid": kid_of(pair["access_token"])})
    assert refusal(api.get("/me", token=token)) == INVALID
    # Longer than any field may be, it is not even looked at as a token.
    assert refusal(api.refresh(token)) == (422, "VALIDATION_ERROR")
    header = base64.urlsafe_b64encode(b"[" * 2000).rstrip(b"=").decode()
    assert_both_refused(api, pair, lambda good: f"{header}.{good.split('.', 1)[1]}")


@pytest.mark.parametrize(
    "token",
    ["x", ".", "..", "...", "a.b.c", "null", "Bearer", "e30.e30.e30", "\xe9.\xe9.\xe9", "a b c", "=.=.=", "A" * 4096],
    ids=ascii,
)
def test_garbage_is_refused(api: Api, token: str):
    assert refusal(api.get("/me", token=token)) == INVALID
    assert refusal(api.post("/refresh", token=token)) == INVALID
    assert refusal(api.post("/logout", token=token)) == INVALID
    assert refusal(api.refresh(token)) == INVALID


def test_huge_token_is_refused(api: Api):
    assert refusal(api.get("/me", token="e30." * 20_000)) == INVALID
    assert refusal(api.refresh("x" * 10_000)) == (422, "VALIDATION_ERROR")
    assert refusal(api.refresh("x" * 20_000)) == (413, "PAYLOAD_TOO_LARGE")


def test_half_of_a_surrogate_pair_is_no_text(api: Api):
    for route in ("/refresh", "/logout"):
        response = api.post(route, data=b'{"refresh_token": "a.\\ud800.c"}', content_type="application/json")
        assert refusal(response) == (422, "VALIDATION_ERROR")


@pytest.mark.parametrize(
    ("settings", "claim", "others"),
    [
        (
            {"JWT_ISSUER": "https://auth.example.org"},
            "iss",
            ["https://evil.example", "", 5, ["https://auth.example.org"]],
        ),
        ({"JWT_AUDIENCE": "shop"}, "aud", ["forum", "", 5, [], ["forum"], {"shop": 1}]),
    ],
)
def test_issuer_and_audience_are_checked_where_set(app: Flask, make_app: MakeApp, settings, claim: str, others):
    make_user(app)
    api = Api(make_app(**settings))
    pair = api.log_in()
    assert claims(pair["access_token"])[claim] == claims(pair["refresh_token"])[claim] == next(iter(settings.values()))
    for wrong in others:
        assert_both_refused(api, pair, partial(sign, app, **{claim: wrong}))
    assert_both_refused(api, pair, lambda token: sign(app, token, without=claim))
    data(api.refresh(pair["refresh_token"]))


def test_issuer_and_audience_of_another_deployment_with_the_same_secret_are_refused(app: Flask, make_app: MakeApp):
    make_user(app)
    shop, forum = (Api(make_app(JWT_AUDIENCE=name, JWT_ISSUER=f"https://{name}.example")) for name in ("shop", "forum"))
    pair = shop.log_in()
    assert refusal(forum.get("/me", token=pair["access_token"])) == INVALID
    assert refusal(forum.refresh(pair["refresh_token"])) == INVALID


def test_ten_seconds_between_two_clocks_are_forgiven(app: Flask, api: Api):
    make_user(app)
    login = datetime(2031, 1, 1, tzinfo=UTC)
    with time_machine.travel(login, tick=False) as clock:
        pair = api.log_in()
        end = login + timedelta(minutes=30)
        for moment in (login - timedelta(seconds=10), end - timedelta(seconds=1), end + timedelta(seconds=9)):
            clock.move_to(moment)
            data(api.get("/me", token=pair["access_token"]))
        clock.move_to(login - timedelta(seconds=11))
        assert refusal(api.get("/me", token=pair["access_token"])) == INVALID
        clock.move_to(end + timedelta(seconds=10))
        assert refusal(api.get("/me", token=pair["access_token"])) == (401, "TOKEN_EXPIRED")


def test_lifetimes_are_settings(app: Flask, make_app: MakeApp):
    make_user(app)
    pair = Api(make_app(ACCESS_TOKEN_EXPIRE_MINUTES=5, REFRESH_TOKEN_EXPIRE_DAYS=2)).log_in()
    access, refresh = claims(pair["access_token"]), claims(pair["refresh_token"])
    assert pair["expires_in"] == access["exp"] - access["iat"] == 300
    assert refresh["exp"] - refresh["iat"] == 2 * 24 * 3600


def test_earlier_secret_is_accepted_until_it_is_dropped(app: Flask, api: Api, make_app: MakeApp):
    make_user(app, is_verified=False)
    with app.app_context():
        user = users.find(ALICE)
        assert user is not None
        addresses.send_verification(user)
        database.commit()
    rotated = Api(make_app(SECRET_KEY=LATER_SECRET, SECRET_KEY_FALLBACKS=[app.config["SECRET_KEY"]]))
    data(rotated.post("/verify-email", {"token": mailed_token(app)}))
    earlier = api.log_in()
    data(rotated.get("/me", token=earlier["access_token"]))
    later = data(rotated.refresh(earlier["refresh_token"]))
    assert kid_of(later["access_token"]) == kid_of(later["refresh_token"]) != kid_of(earlier["access_token"])
    dropped = Api(make_app(SECRET_KEY=LATER_SECRET))
    data(dropped.get("/me", token=later["access_token"]))
    assert refusal(dropped.get("/me", token=earlier["access_token"])) == INVALID
    # A node that has not heard of the new secret yet refuses it, and ends nothing.
    assert refusal(api.refresh(later["refresh_token"])) == INVALID
    data(rotated.refresh(later["refresh_token"]))


def test_forger_cannot_mix_the_keys_of_a_rotation(app: Flask, api: Api, pair: dict[str, Any], make_app: MakeApp):
    rotated = make_app(SECRET_KEY=LATER_SECRET, SECRET_KEY_FALLBACKS=app.config["SECRET_KEY"])
    later = Api(rotated).log_in()
    mixed = raw(app, json.dumps(claims(later["access_token"])).encode(), {"kid": kid_of(later["access_token"])})
    assert refusal(Api(rotated).get("/me", token=mixed)) == INVALID


def test_token_of_a_deleted_user_is_invalid(app: Flask, api: Api, pair: dict[str, Any]):
    with app.app_context():
        user = users.find(ALICE)
        assert user is not None
        users.delete(user)
        database.commit()
    make_user(app)
    assert refusal(api.get("/me", token=pair["access_token"])) == INVALID
    assert refusal(api.refresh(pair["refresh_token"])) == INVALID


def test_one_access_token_can_be_revoked_by_itself(app: Flask, api: Api, pair: dict[str, Any]):
    other = api.log_in()
    with app.app_context():
        for _ in range(2):
            tokens.revoke(tokens.read(pair["access_token"], type=tokens.ACCESS))
        database.commit()
    assert refusal(api.get("/me", token=pair["access_token"])) == (401, "TOKEN_REVOKED")
    later = data(api.refresh(pair["refresh_token"]))
    for alive in (later, other):
        data(api.get("/me", token=alive["access_token"]))


def test_host_application_can_make_an_access_token(app: Flask, api: Api):
    with app.app_context():
        user = users.create_user(ALICE, PASSWORD)
        token = create_access_token(user, sessions.start(user, Client()))
        database.commit()
    assert data(api.get("/me", token=token))["user"]["email"] == ALICE


# An access token that a host application makes.


def make_token(app: Flask, email: str = ALICE) -> str:
    """Make an access token without a session, as a host application does."""
    with app.app_context():
        user = users.find(email)
        assert user is not None
        token = create_access_token(user)
        database.commit()
        return token


def test_token_without_a_session_gets_one_that_lives_as_long(app: Flask, api: Api):
    make_user(app)
    made_at = datetime(2031, 1, 1, tzinfo=UTC)
    with time_machine.travel(made_at, tick=False) as clock:
        token = make_token(app)
        (listed,) = data(api.get("/sessions", token=token))["sessions"]
        assert listed["current"] is True
        assert listed["id"] == claims(token)["sid"]
        assert listed["expires_at"] == "2031-01-01T00:30:00.000Z"
        assert claims(token)["exp"] == (made_at + timedelta(minutes=30)).timestamp()
        assert claims(token)["fresh"] is True
        clock.move_to(made_at + timedelta(minutes=30, seconds=10))
        assert refusal(api.get("/me", token=token)) == (401, "TOKEN_EXPIRED")
        assert [
            found["current"] for found in data(api.get("/sessions", token=api.log_in()["access_token"]))["sessions"]
        ] == [True]


def test_owner_can_end_the_session_of_a_token_that_was_made(app: Flask, api: Api):
    make_user(app)
    token, other, login = make_token(app), make_token(app), api.log_in()
    data(api.delete(f"/sessions/{claims(token)['sid']}", token=login["access_token"]))
    assert refusal(api.get("/me", token=token)) == (401, "TOKEN_REVOKED")
    data(api.post("/logout", token=other))
    assert refusal(api.get("/me", token=other)) == (401, "TOKEN_REVOKED")
    data(api.get("/me", token=login["access_token"]))


def test_token_that_was_made_dies_with_the_password(app: Flask, api: Api):
    make_user(app)
    token = make_token(app)
    changed = {"current_password": PASSWORD, "new_password": OTHER_PASSWORD}
    data(api.post("/change-password", changed, token=api.log_in()["access_token"]))
    assert refusal(api.get("/me", token=token)) == (401, "TOKEN_REVOKED")


def test_token_that_was_made_refreshes_nothing(app: Flask, api: Api):
    make_user(app)
    assert refusal(api.refresh(make_token(app))) == INVALID


def test_token_of_a_disabled_user_is_dead_on_arrival(app: Flask, api: Api):
    make_user(app)
    with app.app_context():
        user = users.find(ALICE)
        assert user is not None
        users.set_active(user, False)
        database.commit()
    assert refusal(api.get("/me", token=make_token(app))) == (401, "TOKEN_REVOKED")


def test_token_whose_session_was_not_committed_is_invalid(app: Flask, api: Api):
    make_user(app)
    with app.app_context():
        user = users.find(ALICE)
        assert user is not None
        token = create_access_token(user)
        database.rollback()
    assert refusal(api.get("/me", token=token)) == INVALID


@pytest.mark.parametrize(("minutes", "still"), [(0, -1), (15, 14), (60, 59)])
def test_refresh_gives_fresh_tokens_only_soon_after_the_login(app: Flask, make_app: MakeApp, minutes: int, still: int):
    make_user(app)
    api, login = Api(make_app(AUTH_FRESH_LOGIN_MINUTES=minutes)), datetime(2031, 1, 1, tzinfo=UTC)
    with time_machine.travel(login, tick=False) as clock:
        pair = api.log_in()
        assert claims(pair["access_token"])["fresh"] is True
        for later, fresh in ((still, True), (minutes, True), (minutes + 1, False)):
            if later > 0:
                clock.move_to(login + timedelta(minutes=later))
                pair = data(api.refresh(pair["refresh_token"]))
                assert (claims(pair["access_token"])["fresh"], claims(pair["refresh_token"])["fresh"]) == (fresh, False)
