"""Who is calling: the decorators that protect a view, ours or the host application's."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from flask import current_app, has_request_context, request
from sqlalchemy import Row
from werkzeug.local import LocalProxy

from authapp import sessions, tokens
from authapp.api import CURRENT_USER
from authapp.errors import ForbiddenError, UnauthorizedError

P = ParamSpec("P")
R = TypeVar("R")


def _current_user() -> Row[Any] | None:
    return cast("Row[Any] | None", request.environ.get(CURRENT_USER)) if has_request_context() else None


current_user: Row[Any] = cast("Row[Any]", LocalProxy(_current_user))
"""Who is logged in, inside a protected view: the public fields of `User`, and `sid`. Elsewhere it is false.

It is a row that was read for this request, not a `User` object: relate to it by `current_user.id`.
"""


def login_required(view: Callable[P, R]) -> Callable[P, R]:
    """Let only requests with a good access token in.

    Raises `UnauthorizedError`, `TokenInvalidError`, `TokenExpiredError` and `TokenRevokedError` (all 401).
    """

    @wraps(view)
    def protected(*args: P.args, **kwargs: P.kwargs) -> R:
        authenticate()
        return _run(view, *args, **kwargs)

    return protected


def roles_required(*roles: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let only users with one of these roles in; the others get `ForbiddenError` (403)."""

    def decorate(view: Callable[P, R]) -> Callable[P, R]:
        @wraps(view)
        def protected(*args: P.args, **kwargs: P.kwargs) -> R:
            authenticate()
            if current_user.role not in roles:
                raise ForbiddenError
            return _run(view, *args, **kwargs)

        return protected

    return decorate


def authenticate() -> None:
    """Find out who sent the request, once, and set `current_user`."""
    if CURRENT_USER in request.environ:
        return
    token = bearer_token()
    if token is None:
        raise UnauthorizedError
    request.environ[CURRENT_USER] = sessions.identify(tokens.read(token, type=tokens.ACCESS))


def bearer_token() -> str | None:
    """Give the token of the Authorization header; the scheme's name is read in any case (RFC 9110, 11.1)."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _run(view: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a view that may be a coroutine function; Flask sees the decorated one only, which is none."""
    answer: R = current_app.ensure_sync(view)(*args, **kwargs)
    return answer
