"""Orders: another service, which checks authapp's tokens by its public keys and never asks, but where it matters."""

import os
from typing import Any

import httpx
import jwt
from flask import Flask, jsonify, request

AUTH = os.environ.get("AUTH_SERVICE", "https://auth.example.com")
ALGORITHM = os.environ.get("AUTH_ALGORITHM", "RS256")
HEADERS = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "2"}}

app = Flask(__name__)
# It keeps the keys for five minutes. A token that names another has it ask again, but twice a minute at most: that is
# why a new key is announced before it signs (docs/tokens.md).
keys = jwt.PyJWKClient(f"{AUTH}/.well-known/jwks.json", lifespan=300, timeout=5)
auth = httpx.Client(base_url=f"{AUTH}/api/auth", timeout=5)


class RefusedError(Exception):
    """A refusal in authapp's own words, so that clients do here what they do there: refresh, or log in."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


def caller() -> dict[str, Any]:
    """Give the claims of whoever calls: `sub` is the user's id, beside `email` and `role`."""
    try:
        claims: dict[str, Any] = jwt.decode(
            token(),
            keys.get_signing_key_from_jwt(token()),
            algorithms=[ALGORITHM],  # What authapp is set to; never what the token says.
            leeway=10,
            options={"require": ["exp", "sub", "type", "email"]},
            # With JWT_ISSUER and JWT_AUDIENCE set, so that a token for another service is none for this one:
            # issuer="https://auth.example.com", audience="orders",
        )
    except jwt.ExpiredSignatureError:
        raise RefusedError(401, "TOKEN_EXPIRED", "Token has expired") from None
    except jwt.PyJWKClientConnectionError:
        raise RefusedError(503, "SERVICE_UNAVAILABLE", "Logins cannot be checked right now.") from None
    except jwt.PyJWTError:
        raise RefusedError(401, "TOKEN_INVALID", "The token is not valid.") from None
    if claims["type"] != "access":
        raise RefusedError(401, "TOKEN_INVALID", "The token is not valid.")
    return claims


def caller_as_of_now() -> dict[str, Any]:
    """Ask authapp who calls: it knows of logouts, of a new role and of an account that was switched off."""
    try:
        answer = auth.get("/me", headers={"Authorization": f"Bearer {token()}"})
        found: dict[str, Any] = answer.json()
    except (httpx.TransportError, ValueError):
        raise RefusedError(503, "SERVICE_UNAVAILABLE", "Logins cannot be checked right now.") from None
    if not answer.is_success:
        raise RefusedError(answer.status_code, found["error"]["code"], found["error"]["message"])
    user: dict[str, Any] = found["data"]["user"]
    return user


def token() -> str:
    """Give the token of the Authorization header."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not value:
        raise RefusedError(401, "UNAUTHORIZED", "You are not logged in.")
    if not value.isascii():
        raise RefusedError(401, "TOKEN_INVALID", "The token is not valid.")
    return value.strip()


@app.get("/orders")
def list_orders() -> Any:
    """Read: the signature is enough."""
    return {"orders_of": caller()["email"]}


@app.post("/payments")
def pay() -> Any:
    """Move money: nobody who has logged out, or was logged out, since the token was made."""
    return {"paid_by": caller_as_of_now()["email"]}, 201


@app.errorhandler(RefusedError)
def refuse(refused: RefusedError) -> Any:
    """Answer in authapp's envelope."""
    answer = jsonify(success=False, error={"code": refused.code, "message": str(refused)})
    answer.status_code = refused.status
    answer.headers.update(HEADERS.get(refused.status, {}))
    return answer
