"""Counting: requests as they are answered, waits for a hash, and of all else the lines of the log."""

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import Flask, Response, request, request_finished, request_started
from prometheus_client import Counter

from authapp import errors, limits
from authapp.limiter import Limit
from authapp.lines import ERROR_CODE, REQUEST_ID, ROUTE
from authapp.metrics import series

_BEGAN = "authapp.metrics.began"
_METHODS = ("GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS")
_EVENT = re.compile("[a-z_]+")

_TOKEN_CODES = (errors.TokenInvalidError, errors.TokenExpiredError, errors.TokenRevokedError, errors.TokenReusedError)
_LOGIN_CODES = (errors.InvalidCredentialsError, errors.EmailNotVerifiedError, errors.AccountDisabledError)

# Of these events a field is counted too.
_BY_FIELD: dict[str, tuple[Counter, str]] = {
    "rate_limited": (series.RATE_LIMITED, "limit"),
    "server_busy": (series.HASHES_REFUSED, "reason"),
    "session_ended": (series.SESSIONS_ENDED, "reason"),
    "login_failed": (series.LOGINS, "code"),
}

# What is counted from zero on: a counter that begins with its first event shows Prometheus no increase.
KNOWN: dict[Counter, tuple[str, ...]] = {
    series.RATE_LIMITED: tuple(limit.name for limit in vars(limits).values() if isinstance(limit, Limit)),
    series.HASHES_REFUSED: ("queue_full", "waited_too_long"),
    series.SESSIONS_ENDED: ("deactivated", "logged_out", "password_changed", "replaced", "revoked", "token_reused"),
    series.TOKENS_REFUSED: tuple(kind.code for kind in _TOKEN_CODES),
    series.LOGINS: ("success", *(kind.code for kind in _LOGIN_CODES)),
    series.EVENTS: (
        "after_sending_failed",
        "afterwards_failed",
        "commit_failed",
        "database_unavailable",
        "development_mail",
        "email_changed",
        "email_not_sent",
        "internal_error",
        "limits_not_shared",
        "limits_shared_again",
        "login_failed",
        "mail_delivery_failed",
        "mail_given_up",
        "mail_put_off",
        "mail_request_failed",
        "mail_sent",
        "mail_server_unreachable",
        "password_changed",
        "rate_limited",
        "refresh_repeated_elsewhere",
        "schema_of_another_version",
        "server_busy",
        "session_ended",
        "session_refreshed",
        "token_reused",
        "transaction_retried",
        "user_changed",
        "user_deleted",
        "user_logged_in",
        "user_registered",
        "user_verified",
    ),
}


class _Listener(logging.Handler):
    """Counts the lines of the log."""

    def emit(self, record: logging.LogRecord) -> None:
        event = str(record.msg)
        if not _EVENT.fullmatch(event):
            return
        series.EVENTS.labels(event).inc()
        if event in _BY_FIELD:
            counter, field = _BY_FIELD[event]
            counter.labels(getattr(record, field)).inc()
        elif event == "user_logged_in":
            series.LOGINS.labels("success").inc()


LISTENER = _Listener(logging.INFO)


def begin(app: Flask) -> None:
    """Count what this application does."""
    for counter, known in KNOWN.items():
        for value in known:
            counter.labels(value)
    request_started.connect(_begin, app)
    request_finished.connect(_finish, app)
    app.extensions["authapp"].gate.waiting = _waiting
    logging.getLogger("authapp").addHandler(LISTENER)


def _begin(app: Flask, **_: Any) -> None:
    request.environ[_BEGAN] = time.perf_counter()


def _finish(app: Flask, response: Response, **_: Any) -> None:
    environ = request.environ
    code = environ.get(ERROR_CODE, "")
    if code in KNOWN[series.TOKENS_REFUSED]:
        series.TOKENS_REFUSED.labels(code).inc()
    if REQUEST_ID not in environ:
        # A page of a host application.
        return
    route = environ.get(ROUTE) or ""
    method = request.method if request.method in _METHODS else "other"
    series.REQUESTS.labels(method, route, str(response.status_code), code).inc()
    series.REQUEST_SECONDS.labels(route).observe(time.perf_counter() - environ[_BEGAN])


@contextmanager
def _waiting() -> Iterator[None]:
    began = time.perf_counter()
    series.HASH_WAITING.inc()
    try:
        yield
    finally:
        series.HASH_WAITING.dec()
        series.HASH_WAIT_SECONDS.observe(time.perf_counter() - began)
