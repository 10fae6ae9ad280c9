"""What forgers make of a mailed link: thousands of others, none of which may be good for anything."""

import base64
import uuid
import zlib
from collections.abc import Iterable, Iterator

from flask import Flask
from itsdangerous import Signer, TimestampSigner, URLSafeTimedSerializer

from tests.hostile.forgery import ODD_VALUES, Forged, changed_bytes, changed_texts, shuffled, spellings

_PURPOSES = ("verify-email", "reset-password", "change-email")


def forged_links(app: Flask, good: str, *, purpose: str, others: Iterable[str]) -> list[Forged]:
    """Give what a forger makes of a link, each once, in any order."""
    found = [
        *changed_texts(good, each=24),
        *changed_bytes(good),
        *(Forged("of another kind", other, is_expired=True) for other in others),
    ]
    parts = good.split(".")
    for number, part in enumerate(parts):
        texts = (".".join([*parts[:number], other, *parts[number + 1 :]]) for other in spellings(part))
        found += [Forged("another spelling", text) for text in texts]
    return shuffled(good, [*found, *_signed(app.config["SECRET_KEY"], f"authapp.link.{purpose}", good)])


def _signed(secret: str, salt: str, good: str) -> Iterator[Forged]:
    """Give links that are signed, with another key or for another purpose, or with nothing good in them."""
    serializer = URLSafeTimedSerializer(secret, salt=salt)
    content = serializer.loads(good)
    for other in {"x", "itsdangerous", "authapp.link", *(f"authapp.link.{name}" for name in _PURPOSES)} - {salt}:
        yield Forged("another purpose", URLSafeTimedSerializer(secret, salt=other).dumps(content))
    for key in ("\x00", "secret", secret[:-1], secret.upper(), salt, "x" * 32):
        yield Forged("another secret", URLSafeTimedSerializer(key, salt=salt).dumps(content))
    for other_content in odd_contents(content):
        yield Forged("signed, other content", serializer.dumps(other_content))
    yield from _with_odd_times(secret, salt, serializer.dump_payload(content))
    bombs = (b"." + _deflated(b"[" * 100_000), b"." + _deflated(b"[1]" * 10**5))
    for raw in (b"", b"x", b"W10", b".x", b".eJw", *bombs):
        yield Forged("signed, no content", TimestampSigner(secret, salt=salt).sign(raw).decode())


def odd_contents(content: list[str]) -> Iterator[object]:
    """Give what this deployment could sign, but never does."""
    user_id, email, nonce = content
    yield from ([], {}, None, 0, "x", [user_id], [user_id, email], [user_id, email, nonce, nonce], [content], "abc")
    for value in (value for value in ODD_VALUES if value != "\ud800"):
        yield from ([value, email, nonce], [user_id, email, value], {"0": value})
    for _ in range(20):
        yield [uuid.uuid4().hex, email, nonce]
        yield [user_id, email, uuid.uuid4().hex]


def _with_odd_times(secret: str, salt: str, payload: bytes) -> Iterator[Forged]:
    signer = Signer(secret, salt=salt)
    yield Forged("signed, no time", signer.sign(payload).decode())
    for time_text in (b"", b"x", b"AAAA", b"_" * 11, b"f" * 11, b"_" * 40, b"\xff", b"0", b"-1", b"MTIz"):
        yield Forged("signed, odd time", signer.sign(payload + b"." + time_text).decode("latin-1"), is_expired=True)


def _deflated(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(zlib.compress(raw)).rstrip(b"=")
