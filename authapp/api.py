"""What every answer has in common: the envelope, the request id, the headers, and how a refusal is told.

All of it acts on authapp's own requests only: those below the prefix and those of its blueprints, and every one
when authapp is the application (`create_app`). Nothing of a host application's other pages is touched.
"""

import functools
import inspect
import logging
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import flask
import flask_smorest
import marshmallow as ma
from flask import Flask, Response, current_app, jsonify, request
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm.exc import StaleDataError
from werkzeug.exceptions import HTTPException, MethodNotAllowed, default_exceptions

from authapp import columns, database, document, errors, lines, schema, traces
from authapp.body import FORM, REFUSALS, BodyParser
from authapp.errors import AuthError

log = logging.getLogger(__name__)

CSP = "default-src 'none'; frame-ancestors 'none'"
REQUEST_ID = lines.REQUEST_ID
# Where `authapp.protect` keeps who is calling: with the request, since `g` may outlive it, where a test holds an
# application context open around several.
CURRENT_USER = "authapp.current_user"
# The names of our blueprints start so, that they meet none of the host's.
OWN_BLUEPRINT = "authapp_"
_GOOD_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class Blueprint(flask_smorest.Blueprint):  # type: ignore[misc]  # It has no types.
    """A blueprint whose answers, good and bad, are in the envelope, and whose views are run again once
    where the database asks for that (a deadlock, a lost race to insert)."""

    ARGUMENTS_PARSER = BodyParser()
    DEFAULT_LOCATION_CONTENT_TYPE_MAPPING = {  # noqa: RUF012  # As flask-smorest declares it.
        **flask_smorest.Blueprint.DEFAULT_LOCATION_CONTENT_TYPE_MAPPING,
        "json_or_form": "application/json",
    }

    def __init__(self, name: str, import_name: str, **options: Any) -> None:
        super().__init__(name, import_name, **options)
        handle_errors(self)

    def add_url_rule(self, rule: str, endpoint: str | None = None, view_func: Any = None, **options: Any) -> None:
        """Register a view function, wrapped so that a transient failure of the database is tried once more."""
        super().add_url_rule(rule, endpoint or view_func.__name__, retrying(view_func), **options)

    def arguments(self, schema: Any, **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Read the body in this shape and hand it to the view, as flask-smorest does."""
        take = super().arguments(schema, **options)
        if options.get("location") == "json_or_form":
            form = self.doc(requestBody={"content": {FORM: {"schema": schema}}})
            return lambda view: document.refuses(*REFUSALS)(form(take(view)))
        return lambda view: document.refuses(*REFUSALS)(take(view))

    @staticmethod
    def _prepare_response_content(data: object) -> object:
        return {"success": True, "data": data}

    @staticmethod
    def _make_doc_response_schema(schema: ma.Schema | None) -> ma.Schema | None:
        return None if schema is None else document.answer_schema(type(schema))()


def handle_errors(views: flask.Blueprint | Flask, answer: Callable[[Exception], Response] | None = None) -> None:
    """Answer every exception of these views: in the envelope, unless `answer` does otherwise."""
    views.register_error_handler(Exception, answer or answer_error)
    # By code too: a host's handler for a code would come before ours for the class.
    for code in default_exceptions:
        views.register_error_handler(code, answer or answer_error)


def init_app(app: Flask, *, owns_all: bool) -> None:
    """Set up the hooks. `owns_all`: every request of this application is authapp's."""

    def is_ours() -> bool:
        return owns_all or (request.blueprint or "").startswith(OWN_BLUEPRINT) or is_below_prefix()

    @app.before_request
    def begin() -> Any:
        if not is_ours():
            return None
        _name_request()
        request.environ[lines.ROUTE] = request.url_rule.rule if request.url_rule else None
        request.max_content_length = app.config["AUTH_MAX_CONTENT_LENGTH"]
        # No blueprint's handlers see a routing failure: it belongs to none.
        return answer_error(request.routing_exception) if request.routing_exception else None

    @app.after_request
    def finish(response: Response) -> Response:
        return _with_headers(response) if is_ours() else response

    if owns_all:
        handle_errors(app)
    # A protected view of the host's raises refusals too; a handler of the host's own for them comes first.
    app.error_handler_spec[None][None].setdefault(AuthError, answer_error)


def is_below_prefix() -> bool:
    """Say whether the request is for a path below `AUTH_URL_PREFIX`, where every answer is ours."""
    prefix = current_app.config["AUTH_URL_PREFIX"]
    return bool(request.path == prefix or request.path.startswith(f"{prefix}/"))


def answer_error(error: Exception) -> Response:
    """Turn any exception into its answer, and undo what the request changed unless its class keeps that."""
    refusal = _refusal(error)
    try:
        database.commit() if refusal.keep_changes else database.rollback()
    except SQLAlchemyError as failure:
        log.error("commit_failed", exc_info=traces.to_log(failure))
        database.rollback()
        refusal = errors.ServiceUnavailableError()
    request.environ[lines.ERROR_CODE] = refusal.code
    body: dict[str, Any] = {"code": refusal.code, "message": refusal.message}
    if refusal.details:
        body["details"] = refusal.details
    response = jsonify(success=False, error=body)
    response.status_code = refusal.status
    response.headers.update(refusal.headers)
    if isinstance(refusal, errors.UnauthorizedError):
        sent_token = isinstance(refusal, _TOKEN_ERRORS)
        response.headers["WWW-Authenticate"] = 'Bearer error="invalid_token"' if sent_token else "Bearer"
    return response


_TOKEN_ERRORS = (
    errors.TokenInvalidError,
    errors.TokenExpiredError,
    errors.TokenRevokedError,
    errors.TokenReusedError,
    errors.FreshLoginRequiredError,
)

_BY_STATUS: dict[int, type[AuthError]] = {
    HTTPStatus.NOT_FOUND: errors.NotFoundError,
    HTTPStatus.METHOD_NOT_ALLOWED: errors.MethodNotAllowedError,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: errors.PayloadTooLargeError,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: errors.UnsupportedMediaTypeError,
}


def _refusal(error: Exception) -> AuthError:
    if isinstance(error, AuthError):
        return error
    if isinstance(error, HTTPException) and error.code and error.code < HTTPStatus.INTERNAL_SERVER_ERROR:
        return _from_http(error, error.code)
    if isinstance(error, DBAPIError | PoolTimeoutError) and database.is_away(error):
        log.warning("database_unavailable", extra={"error": type(error).__name__})
        return errors.ServiceUnavailableError()
    if isinstance(error, DBAPIError) and _is_schema_of_another_version():
        return errors.ServiceUnavailableError()
    log.error("internal_error", exc_info=traces.to_log(error))
    return errors.InternalError()


def _is_schema_of_another_version() -> bool:
    """Say whether a statement may have failed only because the tables are not this version's; then that is logged."""
    # The connection is needed: a pool may have no other.
    database.rollback()
    problem = schema.trouble()
    if problem:
        log.error("schema_of_another_version", extra={"problem": problem})
    return problem is not None


def _from_http(error: HTTPException, status: int) -> AuthError:
    # A redirect would only mend the path's spelling, towards the address in the Host header: nothing is here.
    known = _BY_STATUS.get(status, errors.BadRequestError)
    refusal = errors.NotFoundError() if status < HTTPStatus.BAD_REQUEST else known()
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        refusal.headers["Allow"] = ", ".join(sorted(error.valid_methods))
    return refusal


def _name_request() -> str:
    """Give the request's id; the first who asks settles it (a host may have answered before our hook ran)."""
    if REQUEST_ID not in request.environ:
        given = request.headers.get("X-Request-ID", "")
        request.environ[REQUEST_ID] = given if _GOOD_ID.fullmatch(given) else columns.new_id().hex
    return str(request.environ[REQUEST_ID])


def _with_headers(response: Response) -> Response:
    headers = response.headers
    headers["X-Request-ID"] = _name_request()
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Referrer-Policy"] = "no-referrer"
    headers.setdefault("Content-Security-Policy", CSP)
    headers.setdefault("Cache-Control", "no-store")
    return response


def retrying(view: Callable[..., Any]) -> Callable[..., Any]:
    """Run a view again, once, where the database asks for that; both times it is one transaction."""

    is_async = inspect.iscoroutinefunction(view)

    @functools.wraps(view)
    def twice(*args: Any, **kwargs: Any) -> Any:
        run = current_app.ensure_sync(view) if is_async else view
        try:
            return run(*args, **kwargs)
        except (DBAPIError, StaleDataError) as error:
            if not database.is_transient(error):
                raise
            log.info("transaction_retried", extra={"error": type(error).__name__})
            database.start_over()
            # The caller may be what has changed.
            request.environ.pop(CURRENT_USER, None)
            return run(*args, **kwargs)

    return twice
