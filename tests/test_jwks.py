"""The public keys: what `/.well-known/jwks.json` shows, and that it shows no more."""

import json

import jwt as pyjwt
import pytest
from flask import Flask, jsonify

from authapp import create_app, init_app
from authapp.testing import TEST_SETTINGS
from tests.conftest import MakeApp
from tests.factories import Api, key_pair, make_user, refusal

pytestmark = pytest.mark.any_database

PATH = "/.well-known/jwks.json"
ALGORITHMS = ("RS256", "ES256", "EdDSA")
MEMBERS = {
    "RS256": {"kty": "RSA", "e": "AQAB", "n": None},
    "ES256": {"kty": "EC", "crv": "P-256", "x": None, "y": None},
    "EdDSA": {"kty": "OKP", "crv": "Ed25519", "x": None},
}


def started(**settings: object) -> Flask:
    """Start a service that never touches its database."""
    return create_app({**TEST_SETTINGS, "DATABASE_URL": "sqlite://", **settings}, environ={})


def with_keys(algorithm: str) -> dict[str, object]:
    earlier = [key_pair(algorithm, which)[1] for which in ("earlier", "first")]
    return {
        "JWT_ALGORITHM": algorithm,
        "JWT_PRIVATE_KEY": key_pair(algorithm)[0],
        "JWT_PREVIOUS_PUBLIC_KEYS": earlier,
    }


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_current_key_comes_first_and_then_the_earlier_ones(algorithm: str):
    response = started(**with_keys(algorithm)).test_client().get(PATH)
    assert (response.status_code, response.content_type) == (200, "application/json")
    assert set(response.get_json()) == {"keys"}
    found = response.get_json()["keys"]
    for key, which in zip(found, ("current", "earlier", "first"), strict=True):
        members = MEMBERS[algorithm]
        assert set(key) == {"use", "alg", "kid", *members}
        assert (key["use"], key["alg"]) == ("sig", algorithm)
        assert {name: key[name] for name, value in members.items() if value} == {
            name: value for name, value in members.items() if value
        }
        # It is the key: what the private one signs, it verifies.
        token = pyjwt.encode({"a": 1}, key_pair(algorithm, which)[0], algorithm=algorithm)
        assert pyjwt.decode(token, pyjwt.PyJWK(key), algorithms=[algorithm]) == {"a": 1}


def test_coordinates_keep_their_leading_zeros():
    # Of 300 keys about two have a coordinate that begins with a zero byte; RFC 7518, 6.2.1.2, wants all 32 bytes.
    from authapp import keys

    for _ in range(300):
        (jwk,) = keys.keyring(
            {
                "JWT_ALGORITHM": "ES256",
                "JWT_PRIVATE_KEY": keys.generate("ES256")[0],
                "JWT_PUBLIC_KEY": None,
                "JWT_PREVIOUS_PUBLIC_KEYS": [],
            }
        ).jwks
        assert (len(jwk["x"]), len(jwk["y"])) == (43, 43)


def test_key_that_is_listed_twice_is_shown_once():
    settings = {**with_keys("EdDSA"), "JWT_PREVIOUS_PUBLIC_KEYS": [key_pair("EdDSA")[1]] * 2}
    assert len(started(**settings).test_client().get(PATH).get_json()["keys"]) == 1


def test_secret_is_never_shown(app: Flask):
    response = app.test_client().get(PATH)
    assert (response.status_code, response.get_json()) == (200, {"keys": []})


def test_answer_may_be_kept_by_anybody_for_five_minutes():
    headers = started(**with_keys("EdDSA")).test_client().get(PATH).headers
    assert headers["Cache-Control"] == "public, max-age=300"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "X-Request-ID" in headers
    assert "Set-Cookie" not in headers


def test_only_reading_is_allowed():
    client = started().test_client()
    assert client.head(PATH).status_code == 200
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert refusal(client.open(PATH, method=method)) == (405, "METHOD_NOT_ALLOWED")


def test_address_does_not_move_with_the_prefix():
    assert started(AUTH_URL_PREFIX="/v1").test_client().get(PATH).status_code == 200


def test_tokens_name_a_key_that_is_shown(app: Flask, make_app: MakeApp):
    make_user(app)
    for algorithm in ALGORITHMS:
        service = make_app(**with_keys(algorithm))
        token = Api(service).log_in()["access_token"]
        keys = pyjwt.PyJWKSet.from_dict(service.test_client().get(PATH).get_json())
        kid = pyjwt.get_unverified_header(token)["kid"]
        assert keys.keys[0].key_id == kid
        assert pyjwt.decode(token, keys[kid], algorithms=[algorithm])["type"] == "access"


def host_of(algorithm: str) -> Flask:
    host = Flask("host", static_folder=None)
    host.config.from_mapping(TEST_SETTINGS | {"DATABASE_URL": "sqlite://"} | with_keys(algorithm))
    return host


def test_host_application_shows_the_keys_too():
    host = host_of("EdDSA")
    init_app(host, environ={})
    response = host.test_client().get(PATH)
    assert len(response.get_json()["keys"]) == 3
    assert response.headers["Cache-Control"] == "public, max-age=300"


def test_host_keeps_the_route_where_it_has_one():
    host = host_of("EdDSA")
    host.add_url_rule(PATH, "jwks", lambda: jsonify(keys=["the host's"]))
    init_app(host, environ={})
    response = host.test_client().get(PATH)
    assert json.loads(response.text) == {"keys": ["the host's"]}
    assert "X-Request-ID" not in response.headers
