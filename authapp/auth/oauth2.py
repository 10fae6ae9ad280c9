"""The OAuth2 password grant: how a form login is read and answered (RFC 6749, 4.3 and 5).

Its answers are not in the envelope: OAuth2 clients, the Authorize button of Swagger UI among them, know their own form.
"""

from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Any

import marshmallow as ma
from flask import Response, jsonify, request

from authapp import api, body, document
from authapp.auth.fields import EMAIL, PASSWORD, Text
from authapp.auth.schemas import TokensSchema
from authapp.body import MAY_BE_BLANK
from authapp.errors import AccountDisabledError, BadRequestError, EmailNotVerifiedError, InvalidCredentialsError
from authapp.tokens import TokenPair

blueprint = api.Blueprint(f"{api.OWN_BLUEPRINT}login", __name__, description="Logging in, with JSON or a form.")

_KEPT_HEADERS = ("Retry-After", "Connection")
_REFUSED_GRANTS = (InvalidCredentialsError, EmailNotVerifiedError, AccountDisabledError)
_JSON = "application/json"
_ERRORS = ["invalid_grant", "invalid_request", "server_error", "temporarily_unavailable", "unsupported_grant_type"]
# The statuses with which a form login is refused.
_REFUSING = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
_NOT_NOW = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)


class UnsupportedGrantTypeError(BadRequestError):
    """A form login with a grant other than the password."""

    message = "The only grant type here is password."


def _check_grant_type(name: str) -> None:
    if name != "password":
        raise UnsupportedGrantTypeError


class GrantSchema(ma.Schema):
    """An e-mail address as the user name, and a password. An empty field counts as not sent (RFC 6749, 3.2).

    There are no clients to tell apart and no scopes: what a client says of them is not looked at.
    """

    class Meta:
        unknown = ma.EXCLUDE

    grant_type = Text(validate=_check_grant_type, metadata={MAY_BE_BLANK: True, "enum": ["password"]})
    username = Text(
        required=True, metadata={MAY_BE_BLANK: True, "description": "The e-mail address.", "examples": [EMAIL]}
    )
    password = Text(required=True, metadata={MAY_BE_BLANK: True, "format": "password", "examples": [PASSWORD]})
    scope = Text(metadata={MAY_BE_BLANK: True})


class GrantedSchema(ma.Schema):
    """An access token, a refresh token, and the seconds that the access token lives."""

    access_token = ma.fields.String(required=True)
    refresh_token = ma.fields.String(required=True)
    token_type = ma.fields.Constant("bearer", required=True)
    expires_in = ma.fields.Integer(required=True)


class GrantRefusedSchema(ma.Schema):
    """Why a form login was refused (RFC 6749, 5.2)."""

    error = ma.fields.String(required=True, metadata={"enum": _ERRORS})
    error_description = ma.fields.String(required=True)


def or_form(form_view: Callable[[], Response]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Have a form answered by this view, everything else by the one that is decorated."""

    def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(view)
        def either(*args: Any, **kwargs: Any) -> Any:
            return form_view() if body.is_form(request) else view(*args, **kwargs)

        described: Callable[..., Any] = blueprint.doc(**_description())(either)
        return described

    return decorate


def _description() -> dict[str, Any]:
    """Tell the API's document what the form adds to the description of the view for JSON."""
    refused = {"oneOf": [document.FailureSchema, GrantRefusedSchema]}
    answer = {"description": "A form is refused as RFC 6749 says.", "content": {_JSON: {"schema": refused}}}
    answers = dict.fromkeys((*_REFUSING, "default"), answer)
    granted = {"oneOf": [document.answer_schema(TokensSchema), GrantedSchema]}
    return {
        "description": "JSON is answered in the envelope. A form is OAuth2's password grant, answered as RFC 6749 "
        "says. Clients made from this document do better with `login_json`, which has only one form.",
        "requestBody": {"content": {body.FORM: {"schema": GrantSchema}}},
        "responses": {HTTPStatus.OK: {"content": {_JSON: {"schema": granted}}}, **answers},
    }


def read_grant() -> tuple[str, str]:
    """Read the user name and the password of a form login.

    Raises `UnsupportedGrantTypeError`, `ValidationError` and `BadRequestError`.
    """
    parser = api.Blueprint.ARGUMENTS_PARSER
    grant = parser.parse(GrantSchema(), request, location="json_or_form", unknown=None)
    return grant["username"], grant["password"]


def answer(pair: TokenPair) -> Response:
    """Tell the tokens at the top level, as RFC 6749, 5.1 says."""
    return _uncached(jsonify(GrantedSchema().dump(pair)))


def answer_error(error: Exception) -> Response:
    """Tell a form login what went wrong as RFC 6749, 5.2 says, and everybody else in the envelope."""
    envelope = api.answer_error(error)
    if not body.is_form(request):
        return envelope
    status, code = _status_and_code(error, envelope.status_code)
    response = jsonify(error=code, error_description=_describe(**envelope.get_json()["error"]))
    response.status_code = status
    response.headers.update({name: value for name, value in envelope.headers.items() if name in _KEPT_HEADERS})
    return _uncached(response)


def _status_and_code(error: Exception, status: int) -> tuple[int, str]:
    if isinstance(error, _REFUSED_GRANTS):
        return HTTPStatus.BAD_REQUEST, "invalid_grant"
    if isinstance(error, UnsupportedGrantTypeError):
        return HTTPStatus.BAD_REQUEST, "unsupported_grant_type"
    # RFC 6749 has these two codes for its other endpoint only; here it leaves nothing to say them with.
    if status in _NOT_NOW:
        return status, "temporarily_unavailable"
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return status, "server_error"
    kept = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    return kept if status == kept else HTTPStatus.BAD_REQUEST, "invalid_request"


def _describe(message: str, details: dict[str, list[str]] | None = None, **_: object) -> str:
    # The rule knows the address by its own name.
    fields = {"username" if name == "email" else name: lines for name, lines in (details or {}).items()}
    return " ".join([message, *(f"{name}: {' '.join(lines)}" for name, lines in fields.items())])


def _uncached(response: Response) -> Response:
    # `Cache-Control: no-store` is on every answer; the RFC wants the word of HTTP/1.0 too.
    response.headers["Pragma"] = "no-cache"
    return response


api.handle_errors(blueprint, answer_error)
