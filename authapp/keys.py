"""The keyring of an application: the key that signs its tokens, and those that it takes them from."""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization as pem
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

from authapp.config import ConfigError

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

SECRET = "HS256"  # noqa: S105  # An algorithm's name.
_LEAST_RSA_BITS = 2048
_NEW_RSA_BITS = 3072
_TAKES = {
    "RS256": f"an RSA key of {_LEAST_RSA_BITS} bits or more",
    "ES256": "an elliptic curve key on P-256",
    "EdDSA": "an Ed25519 key",
}
_LABEL = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----")


@dataclass(frozen=True)
class Keyring:
    """What signs and what is accepted; made once, when the application starts."""

    algorithm: str
    kid: str
    signing_key: Any = field(repr=False)
    verifying_keys: Mapping[str, bytes | PublicKey] = field(repr=False)
    """By `kid`, the current one first."""
    jwks: Sequence[Mapping[str, str]] = ()
    """The public keys as JSON Web Keys (RFC 7517), in the same order; none where the key is a secret."""


def keyring(config: Mapping[str, Any]) -> Keyring:
    """Make the keyring that the settings describe. Raises `ConfigError`, which never shows a key."""
    return _of_secrets(config) if config["JWT_ALGORITHM"] == SECRET else _of_key_pairs(config)


def generate(algorithm: str) -> tuple[str, str]:
    """Make a key pair for RS256, ES256 or EdDSA: the private key and the public one, as PEM.

    Raises `ConfigError` for an algorithm that has no key pairs.
    """
    private: PrivateKey
    if algorithm == "RS256":
        private = rsa.generate_private_key(public_exponent=65537, key_size=_NEW_RSA_BITS)
    elif algorithm == "ES256":
        private = ec.generate_private_key(ec.SECP256R1())
    elif algorithm == "EdDSA":
        private = ed25519.Ed25519PrivateKey.generate()
    else:
        raise ConfigError(f"JWT_ALGORITHM {algorithm} has no key pairs: make one for {', '.join(_TAKES)}.")
    secret = private.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.NoEncryption())
    public = private.public_key().public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo)
    return secret.decode(), public.decode()


def _of_secrets(config: Mapping[str, Any]) -> Keyring:
    for name in ("JWT_PRIVATE_KEY", "JWT_PUBLIC_KEY", "JWT_PREVIOUS_PUBLIC_KEYS"):
        if config[name]:
            raise ConfigError(
                f"{name} is set, but JWT_ALGORITHM is HS256, which signs with SECRET_KEY: "
                f"leave {name} out, or set JWT_ALGORITHM to one of {', '.join(_TAKES)}."
            )
    derived = [_derived_key(secret) for secret in (config["SECRET_KEY"], *config["SECRET_KEY_FALLBACKS"])]
    return Keyring(SECRET, _secret_id(derived[0]), derived[0], {_secret_id(key): key for key in derived})


def _derived_key(secret: str) -> bytes:
    """Derive the token key, so that nothing else which is signed with `SECRET_KEY` can pass for a token."""
    return hmac.digest(secret.encode(), b"authapp.jwt.HS256", "sha256")


def _secret_id(key: bytes) -> str:
    return hashlib.sha256(b"kid" + key).hexdigest()[:16]


def _of_key_pairs(config: Mapping[str, Any]) -> Keyring:
    algorithm, name = config["JWT_ALGORITHM"], "JWT_PREVIOUS_PUBLIC_KEYS"
    private = _private_key(config["JWT_PRIVATE_KEY"], algorithm)
    current = private.public_key()
    given = config["JWT_PUBLIC_KEY"]
    if given and _public_key("JWT_PUBLIC_KEY", given, algorithm) != current:
        raise ConfigError("JWT_PUBLIC_KEY does not belong to JWT_PRIVATE_KEY: leave it out, and it is derived.")
    numbered = enumerate(config[name], 1)
    earlier = [_public_key(f"{name} (number {number})", text, algorithm) for number, text in numbered]
    by_kid = {_thumbprint(_members(key, algorithm)): key for key in (current, *earlier)}
    jwks = [{**_members(key, algorithm), "use": "sig", "alg": algorithm, "kid": kid} for kid, key in by_kid.items()]
    return Keyring(algorithm, next(iter(by_kid)), _signing_key(private), by_kid, jwks)


def _private_key(text: str | None, algorithm: str) -> PrivateKey:
    # The command starts the application too: without what is wrong here, it can.
    command = f"JWT_ALGORITHM= JWT_PRIVATE_KEY= flask auth generate-keys --algorithm {algorithm}"
    name, mend = "JWT_PRIVATE_KEY", f"make one with: {command}"
    if not text:
        raise ConfigError(f"{name} is not set, and JWT_ALGORITHM={algorithm} signs with it: {mend}")
    try:
        content = _pem(text)
        if _LABEL.findall(content) == ["PUBLIC KEY"]:
            raise ConfigError(f"{name} is a public key, which cannot sign: give its private half, or {mend}")
        key = pem.load_pem_private_key(content.encode(), password=None)
    except TypeError:
        raise ConfigError(f"{name} is encrypted: give it without its passphrase (openssl pkey), or {mend}") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(f"{name} is not a private key in PEM, or base64 of PEM: {mend}") from None
    if isinstance(key, PrivateKey) and _fits(key.public_key(), algorithm):
        return key
    raise ConfigError(f"{name} is not {_TAKES[algorithm]}, as JWT_ALGORITHM={algorithm} takes: {mend}")


def _public_key(name: str, text: str, algorithm: str) -> PublicKey:
    try:
        content = _pem(text)
        if len(_LABEL.findall(content)) > 1:
            raise ConfigError(f"{name} holds more than one key: separate them with commas.")
        key = pem.load_pem_public_key(content.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(
            f"{name} is not a public key in PEM, or base64 of PEM: derive it with: openssl pkey -in private.pem -pubout"
        ) from None
    if isinstance(key, PublicKey) and _fits(key, algorithm):
        return key
    raise ConfigError(f"{name} is not {_TAKES[algorithm]}, as JWT_ALGORITHM={algorithm} takes: leave it out.")


def _pem(text: str) -> str:
    """Undo what environments do to a PEM: base64 around it, and line breaks written as two characters."""
    if "-----BEGIN" not in text:
        compact = "".join(text.split()).rstrip("=")
        text = base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True).decode("ascii")
    return text.replace("\\r", "").replace("\\n", "\n")


def _fits(key: PublicKey, algorithm: str) -> bool:
    if algorithm == "RS256":
        return isinstance(key, rsa.RSAPublicKey) and key.key_size >= _LEAST_RSA_BITS
    if algorithm == "ES256":
        return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
    return isinstance(key, ed25519.Ed25519PublicKey)


def _members(key: PublicKey, algorithm: str) -> dict[str, str]:
    """Give what makes the key in a JSON Web Key: `kty` with `n` and `e`, or `crv` with `x` and perhaps `y`."""
    jwk = get_default_algorithms()[algorithm].to_jwk(key, as_dict=True)
    return {name: value for name, value in sorted(jwk.items()) if name != "key_ops"}


def _thumbprint(members: Mapping[str, str]) -> str:
    """Name a public key as RFC 7638 does; whoever has the key finds the same name."""
    digest = hashlib.sha256(json.dumps(members, sort_keys=True, separators=(",", ":")).encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _signing_key(private: PrivateKey) -> Any:
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        return private
    try:
        return _RepeatableKey(private)
    except UnsupportedAlgorithm:
        raise ConfigError(
            "JWT_ALGORITHM=ES256 needs OpenSSL 3.2 below cryptography: install its wheel from PyPI, or take EdDSA."
        ) from None


@ec.EllipticCurvePrivateKey.register
class _RepeatableKey:
    """A P-256 key that signs the same text with the same signature (RFC 6979).

    PyJWT asks for a random one, and no token could be minted again. It takes this for the key that it wraps.
    """

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self.curve = key.curve
        self._key = key
        self._how = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)

    def sign(self, data: bytes, _how: object) -> bytes:
        return self._key.sign(data, self._how)
