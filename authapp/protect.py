"""Who is calling: the decorators that protect a view, ours or the host application's.

A caller shows a token in the Authorization header or, with `AUTH_COOKIES`, in a cookie; a cookie speaks for an unsafe
method only beside its CSRF token. Each decorator may stand on a view of either kind, synchronous or `async`.
"""

from collections.abc import Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import ParamSpec, TypeVar, cast

from flask import current_app, has_request_context, request
from werkzeug.local import LocalProxy

from authapp import cookies, document, sessions, tokens
from authapp.api import CURRENT_USER
from authapp.errors import (
    AuthError,
    CSRFFailedError,
    EmailNotVerifiedError,
    ForbiddenError,
    FreshLoginRequiredError,
    TokenExpiredError,
    TokenInvalidError,
    TokenRevokedError,
    UnauthorizedError,
)
from authapp.sessions import Identity
from authapp.tokens import Claims

P = ParamSpec("P")
R = TypeVar("R")

# What `authenticate` raises.
_REFUSALS = (UnauthorizedError, TokenInvalidError, TokenExpiredError, TokenRevokedError, CSRFFailedError)
# Beside the user: what the token said.
_CLAIMS = "authapp.claims"


def _current_user() -> Identity | None:
    return cast("Identity | None", request.environ.get(CURRENT_USER)) if has_request_context() else None


current_user: Identity = cast("Identity", LocalProxy(_current_user))
"""Who is logged in, inside a protected view: the public fields of `User`, and `sid`. Elsewhere it is false.

It is a row that was read for this request, not a `User` object: relate to it by `current_user.id`.
"""


def caller() -> Identity:
    """Give what `current_user` stands for, inside a protected view: to read much of it costs less so."""
    found: Identity = request.environ[CURRENT_USER]
    return found


def login_required(view: Callable[P, R]) -> Callable[P, R]:
    """Let only requests with a good access token in.

    Raises `UnauthorizedError`, `TokenInvalidError`, `TokenExpiredError`, `TokenRevokedError` (all 401), and
    `CSRFFailedError` (403) for an unsafe method with a cookie.
    """
    return _guarded(view, authenticate)


def roles_required(*roles: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let only users with one of these roles in; the others get `ForbiddenError` (403).

    Raises what `login_required` raises too.
    """

    def check() -> None:
        authenticate()
        if current_user.role not in roles:
            raise ForbiddenError

    return lambda view: _guarded(view, check, ForbiddenError)


def fresh_login_required(view: Callable[P, R]) -> Callable[P, R]:
    """Let only users in who gave their password just now (`AUTH_FRESH_LOGIN_MINUTES`), for what cannot be undone.

    The others get `FreshLoginRequiredError` (401). Raises what `login_required` raises too.
    """

    def check() -> None:
        authenticate()
        if not request.environ[_CLAIMS].fresh:
            raise FreshLoginRequiredError

    return _guarded(view, check, FreshLoginRequiredError)


def verified_required(view: Callable[P, R]) -> Callable[P, R]:
    """Let only users with a verified address in, where `AUTH_REQUIRE_VERIFIED_EMAIL` is off and others may log in.

    The others get `EmailNotVerifiedError` (403). Raises what `login_required` raises too.
    """

    def check() -> None:
        authenticate()
        if not current_user.is_verified:
            raise EmailNotVerifiedError

    return _guarded(view, check, EmailNotVerifiedError)


def optional_login(view: Callable[P, R]) -> Callable[P, R]:
    """Let everybody in: `current_user` is who is logged in, and false for a request without credentials.

    Credentials that are not good are refused, as by `login_required`: a client whose token has expired should hear of
    it and refresh, not be served as a stranger.
    """

    def check() -> None:
        if "Authorization" in request.headers or cookies.token(tokens.ACCESS):
            authenticate()

    return _guarded(view, check, optional=True)


def csrf_token() -> str:
    """Give the value for the field `csrf_token` of a form that posts to a protected view (`AUTH_COOKIES`).

    It is empty for a stranger, and without cookies.
    """
    return cookies.csrf_cookie()


def authenticate() -> None:
    """Find out who sent the request, once, and set `current_user`."""
    if CURRENT_USER in request.environ:
        return
    bearer = bearer_token()
    claims = _read(tokens.ACCESS, bearer)
    user = sessions.identify(claims)
    if not bearer:
        cookies.check_csrf(claims)
    request.environ[CURRENT_USER], request.environ[_CLAIMS] = user, claims


def refresh_claims(body_token: str | None) -> Claims:
    """Read the refresh token of a request: from its body, else the Authorization header, else the cookie.

    Raises `UnauthorizedError`, `TokenInvalidError`, `TokenExpiredError` and `CSRFFailedError`.
    """
    named = body_token or bearer_token()
    claims = _read(tokens.REFRESH, named)
    if not named:
        cookies.check_csrf(claims)
    return claims


def tokens_to_end(body_token: str | None) -> dict[str, str | None]:
    """Give the tokens whose sessions a logout ends: those that the request names itself, else its cookies'.

    Raises `CSRFFailedError`.
    """
    named = {"refresh_token": body_token, "access_token": bearer_token()}
    return named if any(named.values()) else cookies.tokens_to_end()


def bearer_token() -> str | None:
    """Give the token of the Authorization header; the scheme's name is read in any case (RFC 9110, 11.1)."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip(" \t") or None if scheme.lower() == "bearer" else None


def _read(type: str, named: str | None) -> Claims:
    token = named or cookies.token(type)
    if token is None:
        raise UnauthorizedError
    return tokens.read(token, type=type)


def _guarded(
    view: Callable[P, R], check: Callable[[], None], *refusals: type[AuthError], optional: bool = False
) -> Callable[P, R]:
    # Flask would look at every request, and sees the decorated one only, which is none.
    is_async = iscoroutinefunction(view)

    @wraps(view)
    def protected(*args: P.args, **kwargs: P.kwargs) -> R:
        check()
        run: Callable[P, R] = current_app.ensure_sync(view) if is_async else view
        return run(*args, **kwargs)

    return document.guarded(protected, *_REFUSALS, *refusals, optional=optional)
