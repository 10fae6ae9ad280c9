"""Password hashes that other systems made: which of them can be checked, and at what cost.

Each is read by its form, as Werkzeug, Django, passlib and everybody with bcrypt and argon2 write them. What can be read
can be checked; what is damaged, unknown or too costly is refused when it is read, and so before it is taken in.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable
from functools import partial

import argon2
import bcrypt
from werkzeug.security import check_password_hash

Check = Callable[[str], bool]
"""Says whether a password is the one; it is tried exactly as it is given."""

# Werkzeug's hashes look as ours do, but those who made them knew nothing of our one form of a password. The mark tells
# them apart; at the owner's next login it is gone.
_WERKZEUG = "werkzeug$"

# A check takes less than a second of one core at these, but for pbkdf2 up to two, and 128 MiB of memory at most: who
# could bring along more could keep the gate busy. OWASP's advice and the makers' own defaults are below; Django asks
# for most rounds of pbkdf2, 1,500,000, and for more each time.
_MOST_PBKDF2_ROUNDS = 2_000_000
_LEAST_BCRYPT_COST, _MOST_BCRYPT_COST = 4, 13
# Below this, scrypt needs more memory than Werkzeug allows it. Those are no costs that protect anything.
_LEAST_SCRYPT_N = 128
_MOST_SCRYPT_WORK = 2**20
_MOST_ARGON2_KIB = 2**17
_MOST_ARGON2_WORK = 2**19
_MOST_ARGON2_LANES = 16

_LONGEST = 255
_SHORTEST_KEY_BYTES = 16
_SHORTEST_ARGON2_SALT_BYTES = 8
# As much of a password as bcrypt has ever looked at. Its makers cut the rest off, and so its newest version asks to.
_BCRYPT_BYTES = 72

_DIGESTS = {"sha1": 20, "sha256": 32, "sha512": 64}
_NUMBER = r"(0|[1-9]\d{0,9})"
# 16 bytes: the last character has four bits to spare, and bcrypt refuses a salt where they are not zero.
_SALT, _KEY = r"[./A-Za-z0-9]{21}[.Oeu]", r"[./A-Za-z0-9]{31}"


class HashError(ValueError):
    """A hash that cannot be checked; its text says why, and quotes nothing of it."""


def take(password_hash: str) -> str:
    """Give a hash as it is to be kept, for one that another system exported. Raises `HashError`."""
    kept = f"{_WERKZEUG}{password_hash}" if password_hash.startswith(("scrypt:", "pbkdf2:")) else password_hash
    if len(kept) > _LONGEST:
        raise HashError(f"Longer than {_LONGEST} characters.")
    read(kept)
    return kept


def read(password_hash: str) -> Check:
    """Read a hash and give what checks passwords against it. Raises `HashError`."""
    for pattern, reader in _FORMS if password_hash.isascii() else ():
        if match := pattern.fullmatch(password_hash):
            return reader(*match.groups())
    raise HashError("Damaged, or of no form that can be checked.")


def _werkzeug_scrypt(n: str, r: str, p: str, salt: str, key: str) -> Check:
    _bound_scrypt(int(n), int(r), int(p))
    return partial(check_password_hash, f"scrypt:{n}:{r}:{p}${salt}${key}")


def _werkzeug_pbkdf2(digest: str, rounds: str, salt: str, key: str) -> Check:
    _bound_pbkdf2(digest, int(rounds), bytes.fromhex(key))
    return partial(check_password_hash, f"pbkdf2:{digest}:{rounds}${salt}${key}")


def _django_pbkdf2(digest: str, rounds: str, salt: str, key: str) -> Check:
    return _pbkdf2(digest, int(rounds), salt.encode(), _decode(key))


def _passlib_pbkdf2(digest: str | None, rounds: str, salt: str, key: str) -> Check:
    # Without a name it is the first that there was.
    return _pbkdf2(digest or "sha1", int(rounds), _decode(salt, dot="+"), _decode(key, dot="+"))


def _django_scrypt(n: str, salt: str, r: str, p: str, key: str) -> Check:
    return _scrypt(int(n), int(r), int(p), salt=salt.encode(), key=_decode(key))


def _passlib_scrypt(power: str, r: str, p: str, salt: str, key: str) -> Check:
    return _scrypt(2 ** min(int(power), 64), int(r), int(p), salt=_decode(salt), key=_decode(key))


def _bcrypt(kept: str, cost: str) -> Check:
    _bound(int(cost), _MOST_BCRYPT_COST, least=_LEAST_BCRYPT_COST)
    return lambda password: _is_bcrypt(_bytes(password), kept)


def _django_bcrypt_sha256(kept: str, cost: str) -> Check:
    _bound(int(cost), _MOST_BCRYPT_COST, least=_LEAST_BCRYPT_COST)
    return lambda password: _is_bcrypt(hashlib.sha256(_bytes(password)).hexdigest().encode(), kept)


def _passlib_bcrypt_sha256(kind: str, cost: str, salt: str, key: str) -> Check:
    _bound(int(cost), _MOST_BCRYPT_COST, least=_LEAST_BCRYPT_COST)
    kept = f"${kind}${int(cost):02}${salt}{key}"
    return lambda password: _is_bcrypt(base64.b64encode(hashlib.sha256(_bytes(password)).digest()), kept)


def _passlib_bcrypt_sha256_v2(kind: str, cost: str, salt: str, key: str) -> Check:
    _bound(int(cost), _MOST_BCRYPT_COST, least=_LEAST_BCRYPT_COST)
    kept = f"${kind}${int(cost):02}${salt}{key}"
    return lambda password: _is_bcrypt(base64.b64encode(hmac.digest(salt.encode(), _bytes(password), "sha256")), kept)


def _argon2(kept: str, kind: str, *more: str) -> Check:
    kib, passes, lanes, salt, key = more
    _bound(int(kib), _MOST_ARGON2_KIB, least=8 * int(lanes))
    _bound(int(kib) * int(passes), _MOST_ARGON2_WORK)
    _bound(int(lanes), _MOST_ARGON2_LANES)
    if len(_decode(salt)) < _SHORTEST_ARGON2_SALT_BYTES or len(_decode(key)) < _SHORTEST_KEY_BYTES:
        raise HashError("Damaged: its salt or its key is too short.")
    kinds = {"i": argon2.Type.I, "d": argon2.Type.D, "id": argon2.Type.ID}
    return partial(_is_argon2, kept=kept, kind=kinds[kind])


def _is_argon2(password: str, *, kept: str, kind: argon2.Type) -> bool:
    try:
        return argon2.low_level.verify_secret(kept.encode(), _bytes(password), kind)
    except argon2.exceptions.VerifyMismatchError:
        return False


def _is_bcrypt(secret: bytes, kept: str) -> bool:
    return bcrypt.checkpw(secret[:_BCRYPT_BYTES], kept.encode())


def _pbkdf2(digest: str, rounds: int, salt: bytes, key: bytes) -> Check:
    _bound_pbkdf2(digest, rounds, key)
    return lambda password: hmac.compare_digest(hashlib.pbkdf2_hmac(digest, _bytes(password), salt, rounds), key)


def _scrypt(n: int, r: int, p: int, *, salt: bytes, key: bytes) -> Check:
    _bound_scrypt(n, r, p)
    if not _SHORTEST_KEY_BYTES <= len(key) <= _DIGESTS["sha512"]:
        raise HashError("Damaged: its key is too short or too long.")
    # As much memory as OpenSSL counts for these numbers; Python's own bound is far below.
    derive = partial(hashlib.scrypt, salt=salt, n=n, r=r, p=p, maxmem=128 * r * (n + p + 2), dklen=len(key))
    return lambda password: hmac.compare_digest(derive(_bytes(password)), key)


def _bound_pbkdf2(digest: str, rounds: int, key: bytes) -> None:
    _bound(rounds, _MOST_PBKDF2_ROUNDS)
    # A longer key would cost as many times as much.
    if len(key) != _DIGESTS[digest]:
        raise HashError("Damaged: its key is too short or too long.")


def _bound_scrypt(n: int, r: int, p: int) -> None:
    _bound(n, _MOST_SCRYPT_WORK, least=_LEAST_SCRYPT_N)
    _bound(n * r * p, _MOST_SCRYPT_WORK)
    if n & (n - 1) or n >= 2 ** (16 * r):  # As RFC 7914 has it.
        raise HashError("Damaged: its cost is none that scrypt has.")


def _bound(cost: int, most: int, *, least: int = 1) -> None:
    if cost < least:
        raise HashError("Damaged: its cost is too low to be computed.")
    if cost > most:
        raise HashError("Too costly: one check would take seconds, or hundreds of megabytes.")


def _bytes(password: str) -> bytes:
    return password.encode()


def _decode(text: str, *, dot: str = ".") -> bytes:
    """Read base64, with or without its padding; where passlib writes a dot, it means a plus."""
    plain = text.rstrip("=").replace(".", dot)
    try:
        found = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except binascii.Error:
        found = b""
    # A last character that has bits to spare has them at zero, or the text is not what was written.
    if not found or base64.b64encode(found).decode().rstrip("=") != plain:
        raise HashError("Damaged: its salt or its key is no base64.")
    return found


def _form(pattern: str, reader: Callable[..., Check]) -> tuple[re.Pattern[str], Callable[..., Check]]:
    return re.compile(pattern, re.ASCII), reader


_BCRYPT = rf"(\$2[aby]\$(\d\d)\${_SALT}{_KEY})"
_ARGON2 = rf"(\$argon2(id|i|d)\$(?:v=(?:16|19)\$)?m={_NUMBER},t={_NUMBER},p={_NUMBER}\$([\w+/]+)\$([\w+/]+))"
_FORMS = (
    _form(rf"werkzeug\$scrypt:{_NUMBER}:{_NUMBER}:{_NUMBER}\$([^$]+)\$([0-9a-f]{{128}})", _werkzeug_scrypt),
    _form(rf"werkzeug\$pbkdf2:(sha1|sha256|sha512):{_NUMBER}\$([^$]+)\$((?:[0-9a-f]{{2}})+)", _werkzeug_pbkdf2),
    _form(rf"pbkdf2_(sha1|sha256)\${_NUMBER}\$([^$]+)\$([\w+/=]+)", _django_pbkdf2),
    _form(rf"\$pbkdf2(?:-(sha256|sha512))?\${_NUMBER}\$([\w./]+)\$([\w./]+)", _passlib_pbkdf2),
    _form(rf"scrypt\${_NUMBER}\$([^$]+)\${_NUMBER}\${_NUMBER}\$([\w+/=]+)", _django_scrypt),
    _form(rf"\$scrypt\$ln={_NUMBER},r={_NUMBER},p={_NUMBER}\$([\w+/]+)\$([\w+/]+)", _passlib_scrypt),
    _form(rf"(?:bcrypt\$)?{_BCRYPT}", _bcrypt),
    _form(rf"bcrypt_sha256\${_BCRYPT}", _django_bcrypt_sha256),
    _form(rf"\$bcrypt-sha256\$(2[ab]),(\d{{1,2}})\$({_SALT})\$({_KEY})", _passlib_bcrypt_sha256),
    _form(rf"\$bcrypt-sha256\$v=2,t=(2b),r=(\d{{1,2}})\$({_SALT})\$({_KEY})", _passlib_bcrypt_sha256_v2),
    _form(rf"(?:argon2)?{_ARGON2}", _argon2),
)
