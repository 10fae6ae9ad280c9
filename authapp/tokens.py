"""Tokens: mint and read JWTs (RFC 7519); knows no HTTP.

Flask-JWT-Extended mints. Reading is PyJWT itself, once: Flask-JWT-Extended would decode twice, take a token
without `type` for an access token and one without `jti` for one that nobody can revoke.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

import flask_jwt_extended
import jwt as pyjwt
from flask import Flask, current_app

from authapp import clock, database, keys
from authapp.errors import TokenExpiredError, TokenInvalidError
from authapp.extensions import db, jwt
from authapp.keys import Keyring, PublicKey
from authapp.models import RevokedToken, Session, User

ACCESS = "access"
REFRESH = "refresh"
LEEWAY_SECONDS = 10
_REQUIRED_CLAIMS = ["exp", "jti", "sub", "type", "sid"]
# Far more than any token of ours: what is longer is not worth parsing.
_LONGEST_TOKEN = 4096


@dataclass(frozen=True)
class Claims:
    """What a token that we signed says, its ids parsed."""

    user_id: uuid.UUID
    sid: uuid.UUID
    jti: uuid.UUID
    type: str
    expires_at: datetime
    fresh: bool


@dataclass(frozen=True)
class TokenPair:
    """An access token, the refresh token beside it, and the whole seconds that the access token lives."""

    access_token: str
    refresh_token: str
    expires_in: int
    user: User
    session: Session
    token_type: str = "bearer"  # noqa: S105  # The kind of token (RFC 6750), not one.


def configure(app: Flask) -> Keyring:
    """Tell Flask-JWT-Extended what the settings say, and give the keyring, which `app.extensions["authapp"]` keeps.

    Raises `config.ConfigError` for keys that cannot work.
    """
    app.config.update(
        JWT_TOKEN_LOCATION=["headers"],
        # Else every token gets a random claim, and no successor could be minted again.
        JWT_COOKIE_CSRF_PROTECT=False,
        JWT_ENCODE_ISSUER=app.config["JWT_ISSUER"],
        JWT_ENCODE_AUDIENCE=app.config["JWT_AUDIENCE"],
        JWT_DECODE_ISSUER=app.config["JWT_ISSUER"],
        JWT_DECODE_AUDIENCE=app.config["JWT_AUDIENCE"],
        JWT_DECODE_LEEWAY=LEEWAY_SECONDS,
    )
    return keys.keyring(app.config)


def pair(user: User, session: Session) -> TokenPair:
    """Mint the tokens of a session's current generation.

    They depend on nothing but the two rows: minted again, they are the same tokens again.
    """
    lifetime = access_expires_at(session) - session.rotated_at
    access, refresh = create_access_token(user, session), _create_refresh_token(session)
    return TokenPair(access, refresh, int(lifetime.total_seconds()), user, session)


def create_access_token(user: User, session: Session | None = None) -> str:
    """Mint the access token of a session's current generation; `sessions.start` gives a session.

    Without one the token gets a session of its own, which lives exactly as long as it does: it stands in the
    user's list and can be ended there, and it dies with a change of the password. Call it after you have checked
    who the user is, `users.authenticate_user` for example, and commit. How long it lives is
    `ACCESS_TOKEN_EXPIRE_MINUTES`; nothing can refresh it; its roles are the user's, read again at every request.

    It is `fresh` up to `AUTH_FRESH_LOGIN_MINUTES` after the login: a later refresh gives a token that is not.
    """
    session = _own_session(user) if session is None else session
    claims = {"email": user.email, "role": user.role, **_claims(session, ACCESS, access_expires_at(session))}
    token: str = flask_jwt_extended.create_access_token(
        str(session.user_id),
        fresh=_is_fresh(session),
        additional_claims=claims,
        additional_headers=_headers(),
    )
    return token


def access_expires_at(session: Session) -> datetime:
    """Say until when the access token of a session's current generation lives; never longer than its refresh token."""
    minutes: int = current_app.config["ACCESS_TOKEN_EXPIRE_MINUTES"]
    return min(session.rotated_at + timedelta(minutes=minutes), session.expires_at)


def jti(sid: uuid.UUID, generation: int, type: str) -> uuid.UUID:
    """Derive the id of a session's token of this type and generation."""
    return uuid.uuid5(sid, f"{type}:{generation}")


def read(token: str, *, type: str, expired: bool = False) -> Claims:
    """Check a token's signature and claims; whether it has been revoked is for `sessions` to say.

    `expired` reads a token past its time as well. Raises `TokenInvalidError` and `TokenExpiredError`.
    """
    try:
        claims = _decode(token, expired=expired)
        # PyJWT would take a text or a fraction for a number of seconds too.
        if claims["type"] != type or not isinstance(claims["exp"], int):
            raise TokenInvalidError
        expires_at = datetime.fromtimestamp(claims["exp"], tz=clock.now().tzinfo)
        user_id, sid, id = (uuid.UUID(claims[name]) for name in ("sub", "sid", "jti"))
    except pyjwt.ExpiredSignatureError:
        raise TokenExpiredError from None
    except (pyjwt.PyJWTError, ValueError, TypeError, AttributeError, OverflowError, OSError, RecursionError):
        raise TokenInvalidError from None
    return Claims(user_id, sid, id, type, expires_at, fresh=claims.get("fresh") is True)


def revoke(*dead: Claims) -> None:
    """Put tokens on record as dead; an access token is refused from the next request on."""
    kept = {claims.jti: {"jti": claims.jti, "type": claims.type, "expires_at": claims.expires_at} for claims in dead}
    if kept:
        # In one order, in which whoever else puts the same ones on record waits for us.
        database.insert_new(RevokedToken, *(kept[jti] for jti in sorted(kept)))


def latest(session: Session) -> list[Claims]:
    """Give what the tokens of a session's current generation say, those of them that are not past their time."""
    ends = {ACCESS: access_expires_at(session), REFRESH: session.expires_at}
    return [
        Claims(session.user_id, session.id, jti(session.id, session.generation, type), type, expires_at, fresh=False)
        for type, expires_at in ends.items()
        if expires_at > clock.now()
    ]


def _own_session(user: User) -> Session:
    """Begin the session of one access token."""
    now = clock.now()
    end = now + timedelta(minutes=current_app.config["ACCESS_TOKEN_EXPIRE_MINUTES"])
    session = Session.begin(user, now, expires_at=end, ends_at=end)
    db.session.add(session)
    db.session.flush()
    return session


def _is_fresh(session: Session) -> bool:
    lasts = timedelta(minutes=current_app.config["AUTH_FRESH_LOGIN_MINUTES"])
    return session.rotated_at - session.authenticated_at <= lasts


def _create_refresh_token(session: Session) -> str:
    token: str = flask_jwt_extended.create_refresh_token(
        str(session.user_id),
        additional_claims=_claims(session, REFRESH, session.expires_at),
        additional_headers=_headers(),
    )
    return token


def _headers() -> dict[str, str]:
    return {"kid": keyring().kid}


def _claims(session: Session, type: str, expires_at: datetime) -> dict[str, Any]:
    starts = int(session.rotated_at.timestamp())
    ids = {"sid": str(session.id), "jti": str(jti(session.id, session.generation, type))}
    return {**ids, "iat": starts, "nbf": starts, "exp": int(expires_at.timestamp())}


def _decode(token: str, *, expired: bool) -> dict[str, Any]:
    # Padding is no part of a token (RFC 7515, 2), and PyJWT overlooks it: a token has one spelling only.
    if len(token) > _LONGEST_TOKEN or not token.isascii() or "=" in token:
        raise TokenInvalidError
    config = current_app.config
    return pyjwt.decode(
        token,
        key=_verifying_key(_kid(token.partition(".")[0])),
        algorithms=[keyring().algorithm],
        issuer=config["JWT_ISSUER"],
        audience=config["JWT_AUDIENCE"],
        leeway=LEEWAY_SECONDS,
        options={
            "require": _REQUIRED_CLAIMS,
            "verify_exp": not expired,
            "verify_aud": config["JWT_AUDIENCE"] is not None,
        },
    )


@lru_cache(maxsize=32)
def _kid(header: str) -> Any:
    """Read which key a token names in its header, the first of its three parts, which all tokens of a key share.

    PyJWT reads a whole token for that, character by character, and then again to check it.
    """
    return pyjwt.get_unverified_header(f"{header}.e30.AA").get("kid")


def _verifying_key(kid: Any) -> bytes | PublicKey:
    """Find the key that a token names among the current one and the earlier ones."""
    try:
        return keyring().verifying_keys[kid]
    except KeyError:
        raise TokenInvalidError from None


@jwt.encode_key_loader
def _signing_key(_identity: object = None) -> Any:
    return keyring().signing_key


def keyring() -> Keyring:
    """Give the keyring of the application at hand."""
    found: Keyring = current_app.extensions["authapp"].keyring
    return found
