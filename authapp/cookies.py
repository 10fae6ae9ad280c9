"""Cookie mode (`AUTH_COOKIES`): tokens as cookies, for browsers, and the CSRF tokens that go with them.

A CSRF token is an HMAC over the session's id (OWASP CSRF Prevention Cheat Sheet, signed double submit). It stays the
same as long as the session, so that two tabs do not undo each other's; in another session it is worth nothing, and
nobody who can only plant cookies, from a subdomain say, can make one.
"""

import hmac
import uuid
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from urllib.parse import urlsplit

from flask import Flask, Response, current_app, request

from authapp import api, clock, tokens
from authapp.errors import CSRFFailedError, TokenInvalidError
from authapp.tokens import Claims, TokenPair

CSRF_HEADER = "X-CSRF-TOKEN"
CSRF_REFRESH_HEADER = "X-CSRF-REFRESH-TOKEN"
CSRF_FIELD = "csrf_token"
_NAMES = {tokens.ACCESS: "access_token", tokens.REFRESH: "refresh_token"}
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
# What the answer shall do with the cookies; with the request, so that a view that is run again says it anew.
_HANDED_OVER = "authapp.cookies.handed_over"
_TAKEN_BACK = "authapp.cookies.taken_back"
_ASKED_FOR = "authapp.cookies.asked_for"


def init_app(app: Flask) -> None:
    """Set cookies on the answers of the views that say so; nothing at all unless `AUTH_COOKIES`."""
    if app.config["AUTH_COOKIES"]:
        app.after_request(_finish)


def hand_over(pair: TokenPair | None) -> None:
    """Have the answer set the cookies of these tokens, if there are any; an answer that is an error sets none.

    To be called right after the commit. The answer to another site's page sets none either: it could sign its
    visitors in to an account of its own.
    """
    if pair is not None and not _is_from_elsewhere():
        request.environ[_HANDED_OVER] = pair


def overwritten() -> Claims | None:
    """Give what the cookies say that those of a login will take the place of: nobody could use that session again."""
    return _claims(tokens.ACCESS) if _are_read() and not _is_from_elsewhere() else None


def take_back() -> None:
    """Have the answer clear every cookie, unless it tells that we failed (5xx). To be called after the commit."""
    if not _is_from_elsewhere():
        request.environ[_TAKEN_BACK] = True


def token(type: str) -> str | None:
    """Give the token of this type from its cookie.

    A request with an Authorization header is judged by that alone: its cookies are not looked at.
    """
    if not _are_read():
        return None
    request.environ[_ASKED_FOR] = True
    return request.cookies.get(_NAMES[type]) or None


def check_csrf(claims: Claims) -> None:
    """Refuse an unsafe method that nothing but a cookie with these claims speaks for. Raises `CSRFFailedError`."""
    if request.method not in _SAFE_METHODS and not _is_backed(claims):
        raise CSRFFailedError


def tokens_to_end() -> dict[str, str | None]:
    """Give the tokens of the cookies that a logout may end, by name: those that the CSRF token goes with.

    Either CSRF token will do, since both cookies come along. Raises `CSRFFailedError` where it goes with none that
    is good. Where none is good there is nothing to protect, and the answer clears them all the same.
    """
    sent = {name: token(type) for type, name in _NAMES.items()}
    good = {name: claims for type, name in _NAMES.items() if (claims := _claims(type))}
    backed = {name for name, claims in good.items() if _is_backed(claims)}
    if good and not backed:
        raise CSRFFailedError
    if _are_read():
        take_back()
    return {name: value if name in backed or not good else None for name, value in sent.items()}


def csrf_token(type: str, sid: uuid.UUID, secret: str | None = None) -> str:
    """Make the CSRF token of a session for the cookie of this type, with today's secret unless another is given."""
    key = hmac.digest((secret or current_app.config["SECRET_KEY"]).encode(), b"authapp.csrf", "sha256")
    return hmac.digest(key, f"{type}:{sid}".encode(), "sha256").hex()


def csrf_cookie() -> str:
    """Give the CSRF token that the browser has for its access token, if any: a form of the answer may send it back."""
    if not _are_read():
        return ""
    request.environ[_ASKED_FOR] = True
    return request.cookies.get("csrf_access_token", "")


def _are_read() -> bool:
    return current_app.config["AUTH_COOKIES"] and "Authorization" not in request.headers


def _claims(type: str) -> Claims | None:
    """Read the cookie of this type, which may have expired, if it is good."""
    try:
        return tokens.read(token(type) or "", type=type, expired=True)
    except TokenInvalidError:
        return None


def _is_backed(claims: Claims) -> bool:
    config, sent = current_app.config, _sent_csrf_token().encode()
    secrets = (config["SECRET_KEY"], *config["SECRET_KEY_FALLBACKS"])
    good = (csrf_token(claims.type, claims.sid, secret) for secret in secrets)
    return any(hmac.compare_digest(sent, one.encode()) for one in good)


def _sent_csrf_token() -> str:
    """Give what the header says, else the field of a form, which can send no header, to a view of the host's.

    Our own views read their bodies themselves, once.
    """
    header = request.headers.get(CSRF_HEADER)
    if header is not None or (request.blueprint or "").startswith(api.OWN_BLUEPRINT):
        return header or ""
    return request.form.get(CSRF_FIELD, "")


def _is_from_elsewhere() -> bool:
    """Say whether a page of another site sent the request: browsers name it in `Origin` (Fetch standard, 3.2)."""
    origin, config = request.headers.get("Origin"), current_app.config
    if origin is None:
        return False
    ours = (request.host_url, config["AUTH_PUBLIC_URL"], *config["CLIENT_ORIGIN"])
    return _site(origin) is None or _site(origin) not in [_site(url) for url in ours]


def _site(url: str) -> tuple[str, str, int] | None:
    try:
        found = urlsplit(url)
        port = found.port or {"http": 80, "https": 443}[found.scheme]
    except (ValueError, KeyError):
        return None
    return found.scheme, found.hostname or "", port


def _finish(response: Response) -> Response:
    environ = request.environ
    if _ASKED_FOR in environ:
        response.vary.add("Cookie")
    if _TAKEN_BACK in environ and response.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
        _set(response, {}, seconds=0)
    if _HANDED_OVER in environ and response.status_code < HTTPStatus.BAD_REQUEST:
        _set_pair(response, environ[_HANDED_OVER])
    return response


def _set_pair(response: Response, pair: TokenPair) -> None:
    """Set the cookies to the end of the refresh token: a client then hears TOKEN_EXPIRED, and knows to refresh."""
    access, refresh = (csrf_token(type, pair.session.id) for type in (tokens.ACCESS, tokens.REFRESH))
    values = {
        "access_token": pair.access_token,
        "refresh_token": pair.refresh_token,
        "logged_in": "true",
        "csrf_access_token": access,
        "csrf_refresh_token": refresh,
    }
    _set(response, values, seconds=max(0, int((pair.session.expires_at - clock.now()).total_seconds())))
    # A front end on another host cannot read the cookies of this one.
    response.headers[CSRF_HEADER], response.headers[CSRF_REFRESH_HEADER] = access, refresh


def _set(response: Response, values: Mapping[str, str], *, seconds: int) -> None:
    for name, path, is_readable in _places():
        response.set_cookie(
            name,
            values.get(name, ""),
            max_age=seconds,
            expires=None if seconds else 0,
            path=path,
            secure=current_app.config["APP_ENV"] != "development",
            httponly=not is_readable,
            samesite="Lax",
        )


def _places() -> Iterator[tuple[str, str, bool]]:
    """Give each cookie's name, its path, and whether scripts may read it; the refresh token goes to two paths only."""
    config = current_app.config
    # Browsers go by the public path, of which a proxy in front of us may have cut off the beginning.
    prefix = (urlsplit(config["AUTH_PUBLIC_URL"]).path.rstrip("/") or request.script_root) + config["AUTH_URL_PREFIX"]
    yield "access_token", "/", False
    yield "refresh_token", f"{prefix}/refresh", False
    yield "refresh_token", f"{prefix}/logout", False
    for name in ("logged_in", "csrf_access_token", "csrf_refresh_token"):
        yield name, "/", True
