"""Keys: what signs and what is accepted, how they are changed, and what a forger tries."""

import base64
import hashlib
import hmac
import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path

import jwt as pyjwt
import pytest
import time_machine
from cryptography.hazmat.backends.openssl.backend import backend
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from flask import Flask

from authapp import create_app, keys, tokens
from authapp.config import ConfigError
from authapp.keys import Keyring
from authapp.models import Session, User
from authapp.testing import TEST_SETTINGS
from tests.conftest import MakeApp
from tests.factories import INVALID, Api, assert_both_refused, claims, data, key_pair, make_user, refusal

pytestmark = pytest.mark.any_database

ALGORITHMS = ("RS256", "ES256", "EdDSA")
LOGIN = datetime(2026, 11, 1, tzinfo=UTC)
# Signed by version 0.1.0, before there were keyrings, with the secret of `TEST_SETTINGS`.
TOKEN_OF_AN_EARLIER_VERSION = (
    "eyJhbGciOiJIUzI1NiIsImtpZCI6ImM5YzNmNjcwOGMyNWY1OWYiLCJ0eXAiOiJKV1QifQ.eyJmcmVzaCI6ZmFsc2UsImlhdCI6MTc5MzQ5MTIwMCw"
    "ianRpIjoiNGE3Y2M2ZmEtMjJkNC01NTYzLWEwZGMtOTcwZjA3MWJjZGUyIiwidHlwZSI6InJlZnJlc2giLCJzdWIiOiIwMDAwMDAwMC0wMDAwLTAwM"
    "DAtMDAwMC0wMDAwMDAwMDAwMDEiLCJuYmYiOjE3OTM0OTEyMDAsImV4cCI6MTc5NDA5NjAwMCwic2lkIjoiMDAwMDAwMDAtMDAwMC0wMDAwLTAwMDA"
    "tMDAwMDAwMDAwMDAyIn0.pt_uDUWuRzXmVdFmCNfc_vyHNlOG5E8tKyC5PBl2EFc"
)


def keyring_of(**settings: object) -> Keyring:
    """Start an application that never touches a database, and give its keyring."""
    app = create_app({**TEST_SETTINGS, "DATABASE_URL": "sqlite://", **settings}, environ={})
    found: Keyring = app.extensions["authapp"].keyring
    return found


def stopped_by(**settings: object) -> str:
    """Give the one line that stops the start, after checking that it shows no key."""
    with pytest.raises(ConfigError) as stopped:
        keyring_of(**settings)
    message: str = stopped.value.message
    assert "\n" not in message
    given = [value for value in settings.values() if isinstance(value, str) and len(value) > 20]
    for line in "\n".join(given).replace("\\n", "\n").splitlines():
        assert not line or line not in message
    assert stopped.value.__cause__ is None
    return message


@cache
def openssl(command: str, text: str = "") -> str:
    done = subprocess.run(["openssl", *command.split()], input=text, capture_output=True, text=True, check=True)
    return done.stdout


def base64_of(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def settings_of(algorithm: str, which: str = "current", **more: object) -> dict[str, object]:
    return {"JWT_ALGORITHM": algorithm, "JWT_PRIVATE_KEY": key_pair(algorithm, which)[0], **more}


def service(make_app: MakeApp, algorithm: str, which: str = "current", **more: object) -> Api:
    return Api(make_app(**settings_of(algorithm, which, **more)))


# How a key is given.

SPELLINGS: dict[str, Callable[[str], str]] = {
    "PEM": lambda text: text,
    "base64": base64_of,
    "base64 in lines": lambda text: base64.encodebytes(text.encode()).decode(),
    "base64 without padding": lambda text: base64_of(text).rstrip("="),
    "line breaks as two characters": lambda text: text.replace("\n", "\\n"),
    "line breaks lost to spaces": lambda text: text.replace("\n", " "),
    "line breaks of Windows": lambda text: text.replace("\n", "\r\n"),
    "spaces around": lambda text: f"\n  {text}\n",
    "base64 of two characters": lambda text: base64_of(text.replace("\n", "\\r\\n")),
}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_keys_are_read_in_the_forms_that_environments_give_them(algorithm: str, spelling: str):
    spell = SPELLINGS[spelling]
    (private, public), (_, earlier) = key_pair(algorithm), key_pair(algorithm, "earlier")
    spelled = keyring_of(
        JWT_ALGORITHM=algorithm,
        JWT_PRIVATE_KEY=spell(private),
        JWT_PUBLIC_KEY=spell(public),
        JWT_PREVIOUS_PUBLIC_KEYS=f"{spell(earlier)},{spell(public)}",
    )
    assert list(spelled.verifying_keys) == kids_as_made(algorithm)


@cache
def kids_as_made(algorithm: str) -> list[str]:
    ring = keyring_of(**settings_of(algorithm, JWT_PREVIOUS_PUBLIC_KEYS=[key_pair(algorithm, "earlier")[1]]))
    return list(ring.verifying_keys)


@pytest.mark.parametrize(
    ("algorithm", "command"),
    [
        ("RS256", "genrsa 2048"),
        ("RS256", "genrsa -traditional 2048"),
        ("RS256", "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048"),
        ("ES256", "ecparam -name prime256v1 -genkey"),
        ("ES256", "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256"),
        ("EdDSA", "genpkey -algorithm ed25519"),
    ],
)
def test_keys_that_openssl_makes_are_accepted(algorithm: str, command: str):
    private = openssl(command)
    public = openssl("pkey -pubout", private)
    ring = keyring_of(JWT_ALGORITHM=algorithm, JWT_PRIVATE_KEY=private, JWT_PUBLIC_KEY=public)
    (published,) = ring.jwks
    assert published["kid"] == ring.kid


# What stops the start.


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_missing_private_key_stops_the_start(algorithm: str):
    for given in (None, ""):
        message = stopped_by(JWT_ALGORITHM=algorithm, JWT_PRIVATE_KEY=given)
        assert message.startswith(f"JWT_PRIVATE_KEY is not set, and JWT_ALGORITHM={algorithm} signs with it: make one")
        assert message.endswith(f"flask auth generate-keys --algorithm {algorithm}")


def test_command_that_the_refusal_names_makes_what_is_missing(root: Path, tmp_path: Path):
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "APP_ENV": "development",
        "DATABASE_URL": f"sqlite:///{tmp_path}/unused.db",
        "JWT_ALGORITHM": "EdDSA",
        "JWT_PRIVATE_KEY": "garbage",
        "SECRET_KEY": str(TEST_SETTINGS["SECRET_KEY"]),
    }
    with pytest.raises(ConfigError) as refused:
        create_app(environ=environment)
    command = refused.value.message.partition("make one with: ")[2]
    made = subprocess.run(
        ["bash", "-c", command], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    create_app(environ=environment | dict(line.split("=", 1) for line in made.stdout.splitlines()))


def broken(text: str) -> str:
    """Change characters in the middle of a PEM."""
    middle = len(text) // 2
    return text[: middle - 3] + "AAAAAA" + text[middle + 3 :]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: "garbage", "is not a private key in PEM"),
        (lambda: "\udcff", "is not a private key in PEM"),
        (lambda: "é" * 40, "is not a private key in PEM"),
        (lambda: base64_of("\xff garbage"), "is not a private key in PEM"),
        (lambda: "-----BEGIN PRIVATE KEY-----", "is not a private key in PEM"),
        (lambda: "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "is not a private key in PEM"),
        (lambda: broken(key_pair("RS256")[0]), "is not a private key in PEM"),
        (lambda: key_pair("RS256")[0][:-60], "is not a private key in PEM"),
        (lambda: key_pair("RS256")[1], "is a public key, which cannot sign"),
        (lambda: base64_of(key_pair("RS256")[1]), "is a public key, which cannot sign"),
        (lambda: key_pair("ES256")[1], "is a public key, which cannot sign"),
        (lambda: openssl("genrsa -aes128 -passout pass:x 2048"), "is encrypted"),
        (lambda: openssl("genrsa -traditional -aes128 -passout pass:x 2048"), "is encrypted"),
        (lambda: openssl("genrsa 1024"), "is not an RSA key of 2048 bits or more"),
        (lambda: openssl("genrsa 2047"), "is not an RSA key of 2048 bits or more"),
        (lambda: openssl("genrsa 512"), "is not an RSA key of 2048 bits or more"),
        (lambda: key_pair("ES256")[0], "is not an RSA key of 2048 bits or more"),
        (lambda: key_pair("EdDSA")[0], "is not an RSA key of 2048 bits or more"),
        (lambda: openssl("genpkey -algorithm x25519"), "is not an RSA key of 2048 bits or more"),
    ],
    ids=range(19),
)
def test_private_key_that_cannot_work_stops_the_start(make: Callable[[], str], said: str):
    message = stopped_by(JWT_ALGORITHM="RS256", JWT_PRIVATE_KEY=make())
    assert message.startswith(f"JWT_PRIVATE_KEY {said}")
    assert message.endswith("flask auth generate-keys --algorithm RS256")


@pytest.mark.parametrize(
    ("algorithm", "command"),
    [
        ("ES256", "ecparam -name secp384r1 -genkey"),
        ("ES256", "ecparam -name secp256k1 -genkey"),
        ("ES256", "genpkey -algorithm ed25519"),
        ("ES256", "genrsa 2048"),
        ("EdDSA", "genpkey -algorithm ed448"),
        ("EdDSA", "genpkey -algorithm x25519"),
        ("EdDSA", "ecparam -name prime256v1 -genkey"),
    ],
)
def test_key_of_another_type_or_curve_stops_the_start(algorithm: str, command: str):
    takes = {"ES256": "an elliptic curve key on P-256", "EdDSA": "an Ed25519 key"}[algorithm]
    private = openssl(command)
    message = stopped_by(JWT_ALGORITHM=algorithm, JWT_PRIVATE_KEY=private)
    assert message.startswith(f"JWT_PRIVATE_KEY is not {takes}, as JWT_ALGORITHM={algorithm} takes: make one")
    previous = openssl("pkey -pubout", private)
    message = stopped_by(**settings_of(algorithm, JWT_PREVIOUS_PUBLIC_KEYS=[key_pair(algorithm)[1], previous]))
    assert message.startswith(f"JWT_PREVIOUS_PUBLIC_KEYS (number 2) is not {takes}, as JWT_ALGORITHM={algorithm}")
    message = stopped_by(**settings_of(algorithm, JWT_PUBLIC_KEY=previous))
    assert message.startswith(f"JWT_PUBLIC_KEY is not {takes}")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: "garbage", "is not a public key in PEM"),
        (lambda: "\udcff", "is not a public key in PEM"),
        (lambda: key_pair("RS256")[0], "is not a public key in PEM"),
        (lambda: key_pair("RS256")[1][:-60], "is not a public key in PEM"),
        (lambda: key_pair("RS256")[1] + key_pair("RS256", "earlier")[1], "holds more than one key"),
        (lambda: openssl("rsa -pubout", openssl("genrsa 1024")), "is not an RSA key of 2048 bits or more"),
    ],
    ids=range(6),
)
def test_public_key_that_cannot_work_stops_the_start(make: Callable[[], str], said: str):
    public = make()
    message = stopped_by(**settings_of("RS256", JWT_PREVIOUS_PUBLIC_KEYS=[public]))
    assert message.startswith(f"JWT_PREVIOUS_PUBLIC_KEYS (number 1) {said}")
    assert stopped_by(**settings_of("RS256", JWT_PUBLIC_KEY=public)).startswith("JWT_PUBLIC_KEY ")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_public_key_of_another_pair_stops_the_start(algorithm: str):
    message = stopped_by(**settings_of(algorithm, JWT_PUBLIC_KEY=key_pair(algorithm, "earlier")[1]))
    assert message == "JWT_PUBLIC_KEY does not belong to JWT_PRIVATE_KEY: leave it out, and it is derived."


@pytest.mark.parametrize("name", ["JWT_PRIVATE_KEY", "JWT_PUBLIC_KEY", "JWT_PREVIOUS_PUBLIC_KEYS"])
def test_key_that_nothing_would_use_stops_the_start(name: str):
    message = stopped_by(**{name: key_pair("RS256")[0 if name == "JWT_PRIVATE_KEY" else 1]})
    assert message.startswith(f"{name} is set, but JWT_ALGORITHM is HS256, which signs with SECRET_KEY: leave")


def test_secret_is_required_beside_a_key_pair():
    with pytest.raises(ConfigError, match="SECRET_KEY is not set"):
        create_app({"AUTH_PUBLIC_URL": "https://auth.example.com", **settings_of("EdDSA")}, environ={})


def test_openssl_that_cannot_repeat_a_signature_stops_the_start(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(type(backend), "ecdsa_deterministic_supported", lambda _self: False)
    assert stopped_by(**settings_of("ES256")).startswith("JWT_ALGORITHM=ES256 needs OpenSSL 3.2")


# The keyring.


def test_tokens_and_keys_of_earlier_versions_stay_valid():
    app = create_app({**TEST_SETTINGS, "DATABASE_URL": "sqlite://"}, environ={})
    assert app.extensions["authapp"].keyring.kid == "c9c3f6708c25f59f"
    with app.app_context():
        found = tokens.read(TOKEN_OF_AN_EARLIER_VERSION, type=tokens.REFRESH, expired=True)
    assert (found.user_id, found.sid) == (uuid.UUID(int=1), uuid.UUID(int=2))


def test_key_is_named_by_its_thumbprint():
    # The example key of RFC 8037, appendix A, and the thumbprint that it prints.
    private = serialization.load_pem_private_key(
        b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
        b"-----END PRIVATE KEY-----",
        password=None,
    )
    text = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    ring = keyring_of(JWT_ALGORITHM="EdDSA", JWT_PRIVATE_KEY=text.decode())
    assert ring.jwks[0]["x"] == "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    assert ring.kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_keyring_shows_no_key(algorithm: str):
    ring = keyring_of(**settings_of(algorithm))
    assert re.fullmatch(r"Keyring\(algorithm='\w+', kid='[\w-]{43}', jwks=\[.*\]\)", repr(ring))
    assert not {"d", "p", "q", "dp", "dq", "qi"} & set(ring.jwks[0])
    assert "signing_key" not in repr(keyring_of())


def test_hs256_has_no_key_pairs():
    with pytest.raises(ConfigError, match="HS256 has no key pairs: make one for RS256, ES256, EdDSA"):
        keys.generate("HS256")


@pytest.mark.parametrize("algorithm", ["HS256", *ALGORITHMS])
def test_tokens_minted_again_are_the_same(algorithm: str):
    settings = {} if algorithm == "HS256" else settings_of(algorithm)
    first, second = (create_app({**TEST_SETTINGS, "DATABASE_URL": "sqlite://", **settings}, environ={}) for _ in "12")
    user = User(id=uuid.uuid4(), email="alice@example.org", role="user", epoch=0)
    ends = LOGIN + timedelta(days=7)
    session = Session.begin(user, LOGIN, id=uuid.uuid4(), expires_at=ends, ends_at=ends)
    minted = []
    for app in (first, first, second):
        with app.app_context():
            minted.append(tokens.pair(user, session))
    assert minted[0] == minted[1] == minted[2]
    assert pyjwt.get_unverified_header(minted[0].access_token) == {
        "alg": algorithm,
        "kid": first.extensions["authapp"].keyring.kid,
        "typ": "JWT",
    }


def test_pyjwt_stays_as_it_was_for_the_host():
    keyring_of(**settings_of("ES256"))
    private, public = key_pair("ES256")
    ones = {pyjwt.encode({"a": 1}, private, algorithm="ES256") for _ in range(2)}
    assert len(ones) == 2
    assert [pyjwt.decode(token, public, algorithms=["ES256"]) for token in ones] == [{"a": 1}] * 2


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_lost_answer_to_a_refresh_is_given_again(app: Flask, make_app: MakeApp, algorithm: str):
    make_user(app)
    here, elsewhere = service(make_app, algorithm), service(make_app, algorithm)
    first = here.log_in()
    second = data(here.refresh(first["refresh_token"]))
    assert data(here.refresh(first["refresh_token"])) == second
    assert data(elsewhere.refresh(first["refresh_token"])) == second
    third = data(here.refresh(second["refresh_token"]))
    assert refusal(here.refresh(first["refresh_token"])) == (401, "TOKEN_REUSED")
    assert refusal(here.get("/me", token=third["access_token"])) == (401, "TOKEN_REVOKED")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_logout_kills_tokens(app: Flask, make_app: MakeApp, algorithm: str):
    make_user(app)
    api = service(make_app, algorithm)
    pair = api.log_in()
    data(api.get("/me", token=pair["access_token"]))
    for _ in range(2):
        data(api.post("/logout", {"refresh_token": pair["refresh_token"]}))
    assert refusal(api.get("/me", token=pair["access_token"])) == (401, "TOKEN_REVOKED")
    assert refusal(api.refresh(pair["refresh_token"])) == (401, "TOKEN_REVOKED")


# Changing keys.


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_earlier_key_is_accepted_until_it_is_dropped(app: Flask, make_app: MakeApp, algorithm: str):
    make_user(app)
    before = service(make_app, algorithm, "earlier")
    earlier = before.log_in()
    rotated = service(make_app, algorithm, JWT_PREVIOUS_PUBLIC_KEYS=[key_pair(algorithm, "earlier")[1]])
    data(rotated.get("/me", token=earlier["access_token"]))
    later = data(rotated.refresh(earlier["refresh_token"]))
    kids = [pyjwt.get_unverified_header(found)["kid"] for found in (earlier["access_token"], later["access_token"])]
    assert kids == list(reversed(rotated.app.extensions["authapp"].keyring.verifying_keys))
    assert pyjwt.get_unverified_header(later["refresh_token"])["kid"] == kids[1]
    dropped = service(make_app, algorithm)
    data(dropped.get("/me", token=later["access_token"]))
    assert refusal(dropped.get("/me", token=earlier["access_token"])) == INVALID
    assert refusal(dropped.refresh(earlier["refresh_token"])) == INVALID
    # A node that has not heard of the new key refuses it, and ends nothing.
    assert refusal(before.refresh(later["refresh_token"])) == INVALID
    data(dropped.refresh(later["refresh_token"]))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_coming_key_may_be_announced_before_any_node_signs_with_it(app: Flask, make_app: MakeApp, algorithm: str):
    make_user(app)
    waiting = service(make_app, algorithm, "earlier", JWT_PREVIOUS_PUBLIC_KEYS=[key_pair(algorithm)[1]])
    switched = service(make_app, algorithm, JWT_PREVIOUS_PUBLIC_KEYS=[key_pair(algorithm, "earlier")[1]])
    pair = waiting.log_in()
    for node in (switched, waiting, switched):
        data(node.get("/me", token=pair["access_token"]))
        pair = data(node.refresh(pair["refresh_token"]))


def test_forger_cannot_mix_the_keys_of_a_rotation(app: Flask, make_app: MakeApp):
    make_user(app)
    rotated = service(make_app, "ES256", JWT_PREVIOUS_PUBLIC_KEYS=[key_pair("ES256", "earlier")[1]])
    earlier_key = key_pair("ES256", "earlier")[0]

    def resign(token: str) -> str:
        headers = {"kid": pyjwt.get_unverified_header(token)["kid"]}
        return pyjwt.encode(claims(token), earlier_key, algorithm="ES256", headers=headers)

    assert_both_refused(rotated, rotated.log_in(), resign)


def test_only_the_configured_algorithm_is_accepted_after_a_change_of_it(app: Flask, make_app: MakeApp):
    make_user(app)
    services = [Api(app), *(service(make_app, algorithm) for algorithm in ALGORITHMS)]
    pairs = [api.log_in() for api in services]
    for api in services:
        for owner, pair in zip(services, pairs, strict=True):
            if owner is not api:
                assert refusal(api.get("/me", token=pair["access_token"])) == INVALID
                assert refusal(api.refresh(pair["refresh_token"])) == INVALID
    for api, pair in zip(services, pairs, strict=True):
        data(api.refresh(pair["refresh_token"]))


# What a forger tries, who has the public key and tokens of his own.


def encoded(part: object) -> str:
    text = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def put_together(token: str, header: object, sign: Callable[[bytes], bytes]) -> str:
    """Give a token's payload another header, signed in any way."""
    text = f"{encoded(header)}.{token.split('.')[1]}"
    return f"{text}.{encoded(sign(text.encode()))}"


def header_of(token: str, **changes: object) -> dict[str, object]:
    return {**pyjwt.get_unverified_header(token), **changes}


@pytest.fixture(params=ALGORITHMS)
def algorithm(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def target(app: Flask, make_app: MakeApp, algorithm: str) -> Api:
    """A service with a key pair, on which Alice has an account."""
    make_user(app)
    return service(make_app, algorithm)


def test_unsigned_token_is_refused(target: Api):
    pair = target.log_in()
    for alg in ("none", "None", "NONE", "nOnE", "", " none", "none ", None, 0, ["none"], {"a": 1}):
        for signature in (b"", b"\x00" * 64):

            def unsign(token: str, alg: object = alg, signature: bytes = signature) -> str:
                return put_together(token, header_of(token, alg=alg), lambda _text: signature)

            assert_both_refused(target, pair, unsign)


def secrets_made_of(public: str, jwk: dict[str, str]) -> list[bytes]:
    """Give what an unwary verifier might take for a shared secret, given the public key."""
    key = serialization.load_pem_public_key(public.encode())
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    ssh = key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    pem = public.encode()
    spellings = [pem, pem.strip(), pem.replace(b"\n", b""), pem.replace(b"\n", b"\r\n"), der, ssh, b""]
    spellings += [base64.b64encode(found) for found in spellings]
    members = [json.dumps(jwk), json.dumps(jwk, separators=(",", ":"), sort_keys=True), *jwk.values()]
    return spellings + [text.encode() for text in members]


def test_public_key_is_no_shared_secret(target: Api, algorithm: str):
    pair, (jwk,) = target.log_in(), target.app.extensions["authapp"].keyring.jwks
    for secret in secrets_made_of(key_pair(algorithm)[1], jwk):
        for alg, digest in (("HS256", "sha256"), ("HS512", "sha512"), (algorithm, "sha256")):

            def resign(token: str, secret: bytes = secret, alg: str = alg, digest: str = digest) -> str:
                return put_together(token, header_of(token, alg=alg), partial(hmac.digest, secret, digest=digest))

            assert_both_refused(target, pair, resign)


def test_secret_of_the_links_signs_no_token(target: Api):
    pair, secret = target.log_in(), target.app.config["SECRET_KEY"].encode()
    derived = hmac.digest(secret, b"authapp.jwt.HS256", "sha256")
    hs256_kid = hashlib.sha256(b"kid" + derived).hexdigest()[:16]
    for key in (secret, derived):
        for kid in (hs256_kid, target.app.extensions["authapp"].keyring.kid):

            def resign(token: str, key: bytes = key, kid: str = kid) -> str:
                header = header_of(token, alg="HS256", kid=kid)
                return put_together(token, header, partial(hmac.digest, key, digest="sha256"))

            assert_both_refused(target, pair, resign)


def test_key_of_the_forgers_own_is_refused_however_it_is_offered(target: Api, algorithm: str):
    pair = target.log_in()
    private, _ = key_pair(algorithm, "forger")
    own = keyring_of(**settings_of(algorithm, "forger"))
    jwk, (ours,) = dict(own.jwks[0]), target.app.extensions["authapp"].keyring.jwks
    offers: list[dict[str, object]] = [
        {},
        {"jwk": jwk},
        {"jwk": {**jwk, "kid": ours["kid"]}},
        {"jku": "http://127.0.0.1:9/.well-known/jwks.json"},
        {"x5u": "http://127.0.0.1:9/chain.pem"},
        {"x5c": [encoded(b"a certificate")]},
        {"x5t": "x", "x5t#S256": "x"},
        {"crit": ["jwk"], "jwk": jwk},
        {"crit": ["b64"], "b64": False},
        {"zip": "DEF"},
    ]
    named = [(offer, kid) for offer in offers for kid in (ours["kid"], own.kid)]
    named += [({}, kid) for kid in ("", "0", "../" * 5 + "dev/null", "' OR 1=1 --", None)]
    for offer, kid in named:

        def resign(token: str, offer: dict[str, object] = offer, kid: str | None = kid) -> str:
            return put_together(token, header_of(token, **offer, kid=kid), partial(sign, algorithm, private))

        assert_both_refused(target, pair, resign)


def sign(algorithm: str, private: str, text: bytes) -> bytes:
    """Sign as another library would, with any algorithm that the key can do."""
    return pyjwt.PyJWS().get_algorithm_by_name(algorithm).sign(text, loaded(private))


@cache
def loaded(private: str) -> PrivateKeyTypes:
    return serialization.load_pem_private_key(private.encode(), password=None)


def test_key_of_another_environment_is_refused(app: Flask, target: Api, make_app: MakeApp, algorithm: str):
    staging = service(make_app, algorithm, "staging").log_in()
    assert refusal(target.get("/me", token=staging["access_token"])) == INVALID
    assert refusal(target.refresh(staging["refresh_token"])) == INVALID
    assert_both_refused(
        target, target.log_in(), lambda token: f"{token.rpartition('.')[0]}.{staging['access_token'].split('.')[2]}"
    )


def test_other_algorithms_of_the_same_key_are_refused(app: Flask, make_app: MakeApp):
    make_user(app)
    target, private = service(make_app, "RS256"), key_pair("RS256")[0]
    pair = target.log_in()
    for other in ("RS384", "RS512", "PS256", "PS384", "PS512"):
        for said in (other, "RS256"):

            def resign(token: str, other: str = other, said: str = said) -> str:
                return put_together(token, header_of(token, alg=said), partial(sign, other, private))

            assert_both_refused(target, pair, resign)


@pytest.mark.parametrize("alg", ["ES256", "RS256", "EdDSA", "ES384", "PS256", "Ed25519", "es256", "HS256"])
def test_algorithm_that_the_header_names_decides_nothing(target: Api, algorithm: str, alg: str):
    pair = target.log_in()
    signer = alg if alg in ALGORITHMS else "RS256"

    def resign(token: str) -> str:
        return put_together(token, header_of(token, alg=alg), partial(sign, signer, key_pair(signer, "forger")[0]))

    assert_both_refused(target, pair, resign)


def test_trivial_signatures_are_refused(target: Api):
    pair = target.log_in()
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    one, whole = (1).to_bytes(32, "big"), order.to_bytes(32, "big")
    identity = (1).to_bytes(32, "little")
    for signature in (b"", b"\x00", b"\x00" * 64, one + one, whole + whole, identity + b"\x00" * 32, b"\x00" * 384):

        def resign(token: str, signature: bytes = signature) -> str:
            return put_together(token, header_of(token), lambda _text: signature)

        assert_both_refused(target, pair, resign)


def test_signature_in_another_encoding_is_refused(app: Flask, make_app: MakeApp):
    make_user(app)
    target = service(make_app, "ES256")
    key = loaded(key_pair("ES256")[0])
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    how = ec.ECDSA(hashes.SHA256())
    assert_both_refused(
        target,
        target.log_in(),
        lambda token: put_together(token, header_of(token), lambda text: key.sign(text, how)),
    )


def test_token_of_the_other_type_is_refused(target: Api):
    pair = target.log_in()
    assert refusal(target.get("/me", token=pair["refresh_token"])) == INVALID
    assert refusal(target.refresh(pair["access_token"])) == INVALID
    assert refusal(target.post("/refresh", token=pair["access_token"])) == INVALID
    data(target.refresh(pair["refresh_token"]))


@pytest.mark.parametrize("change", ["sub", "sid", "exp", "role", "type"])
def test_changed_claim_is_refused(target: Api, change: str):
    def alter(token: str) -> str:
        header, _, signature = token.split(".")
        payload = {**claims(token), change: {"exp": 4_000_000_000}.get(change, str(uuid.uuid4()))}
        return f"{header}.{encoded(payload)}.{signature}"

    assert_both_refused(target, target.log_in(), alter)


def test_token_expires_under_every_algorithm(target: Api):
    with time_machine.travel(LOGIN, tick=False) as clock:
        pair = target.log_in()
        clock.move_to(LOGIN + timedelta(minutes=30, seconds=10))
        assert refusal(target.get("/me", token=pair["access_token"])) == (401, "TOKEN_EXPIRED")
