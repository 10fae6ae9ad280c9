"""The API's document (OpenAPI 3.1): what flask-smorest tells of the views, and what only we know.

What can go wrong is worked out from the notes on each view (`authapp.document`), and from the settings.
"""

import inspect
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from flask import Flask

from authapp import cookies, document, errors
from authapp.errors import AuthError
from authapp.openapi import service

_ABOUT = """Accounts, tokens and sessions.

A success is `{"success": true, "data": {…}}`, a failure `{"success": false, "error": {"code": …, "message": …}}`: act
on `code`. Every answer carries `X-Request-ID`, which the log has too. Unknown fields in a body are refused.
"""
_JSON = "application/json"
_REQUEST_ID = {"X-Request-ID": {"$ref": "#/components/headers/X-Request-ID"}}
_HEADERS: dict[str, dict[str, Any]] = {
    "X-Request-ID": {
        "description": "The id of the request: its own, where it had a good one, else a new one.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
    },
    "Retry-After": {
        "description": "Seconds to wait before the request is sent again; not with `EMAIL_NOT_SENT`.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "WWW-Authenticate": {
        "description": 'RFC 6750: `Bearer`, with `error="invalid_token"` where a token was sent.',
        "required": True,
        "schema": {"type": "string"},
    },
}
_PARAMETERS: dict[str, dict[str, Any]] = {
    "X-Request-ID": {
        "in": "header",
        "name": "X-Request-ID",
        "description": "An id for the request, to find it by in the log: 1 to 128 letters, digits, dots, underscores "
        "and dashes. Where there is none, or another, one is made.",
        "schema": {"type": "string"},
    },
}
_TOPICS = ("register", "login", "me", "passwords", "change-email", "sessions")
# What any view may meet.
_ALWAYS = (errors.InternalError, errors.ServiceUnavailableError)
_SAFE_METHODS = ("get", "head", "options")
# Refusals that need a setting to be so.
_ONLY_WITH: dict[type[AuthError], Callable[[Mapping[str, Any]], bool]] = {
    errors.CSRFFailedError: lambda config: bool(config["AUTH_COOKIES"]),
    errors.EmailNotSentError: lambda config: bool(config["MAIL_DELIVERY"] == "inline"),
    errors.EmailNotVerifiedError: lambda config: bool(
        config["AUTH_REQUIRE_VERIFIED_EMAIL"] and not config["AUTH_GENERIC_RESPONSES"]
    ),
}


@dataclass
class _Route:
    """One operation: where it is, its view, and what the document says of it so far."""

    path: str
    method: str
    name: str
    view: Callable[..., Any]
    operation: dict[str, Any]


def make(app: Flask) -> dict[str, Any]:
    """Make the document of this application, under its settings."""
    found = app.extensions["authapp"].api.describe()
    found["info"]["description"] = document.paragraphs(_ABOUT)
    public_path = urlsplit(app.config["AUTH_PUBLIC_URL"]).path.rstrip("/")
    # Without it, paths begin at the server's root.
    if public_path:
        found["servers"] = [{"url": public_path}]
    routes = list(_routes(app, found["paths"]))
    for route in routes:
        _complete(route, app.config)
    _name_aliases(routes)
    found["paths"] = dict(sorted(found["paths"].items(), key=_place)) | service.paths(app)
    found["tags"] = [*_tags(routes), *service.TAGS]
    found["components"] = {
        "schemas": found["components"]["schemas"] | service.SCHEMAS,
        "parameters": _PARAMETERS,
        "headers": _HEADERS,
        "examples": {kind.code: _example(kind) for kind in sorted(errors.every_kind(), key=lambda kind: kind.code)},
        "securitySchemes": _security_schemes(app.config),
    }
    return dict(found)


def _routes(app: Flask, paths: dict[str, Any]) -> Iterator[_Route]:
    described = {blueprint.name for blueprint in app.extensions["authapp"].api.blueprints}
    for rule in app.url_map.iter_rules():
        blueprint, _, name = rule.endpoint.rpartition(".")
        if blueprint in described:
            path = re.sub(r"<(?:[^:<>]+:)?([^<>]+)>", r"{\1}", rule.rule)
            for method in sorted((rule.methods or set()) & {"GET", "POST", "PUT", "PATCH", "DELETE"}):
                operation = paths[path][method.lower()]
                yield _Route(path, method.lower(), name, app.view_functions[rule.endpoint], operation)


def _complete(route: _Route, config: Mapping[str, Any]) -> None:
    operation, view = route.operation, route.view
    operation["operationId"] = route.name
    operation["tags"] = [_tag(view)]
    operation.setdefault("parameters", []).append({"$ref": "#/components/parameters/X-Request-ID"})
    _describe_operation(operation, document.paragraphs(inspect.getdoc(view)))
    security = list(_security(route, config))
    if security:
        operation["security"] = security
    _describe_answers(operation["responses"], list(_refusals(route, config)))


def _describe_operation(operation: dict[str, Any], docstring: str) -> None:
    """Take the first sentence as the summary, the others and what else was said as the description."""
    summary, *more = re.split(r"\.(?:\s+|$)", docstring, maxsplit=1)
    told = document.paragraphs(operation.pop("description", ""))
    operation["summary"] = summary
    texts = [text for text in (*more, "" if told in docstring else told) if text]
    if texts:
        operation["description"] = "\n\n".join(texts)


def _describe_answers(answers: dict[str, Any], refusals: list[type[AuthError]]) -> None:
    by_status: dict[int, list[type[AuthError]]] = defaultdict(list)
    for kind in refusals:
        if kind not in by_status[kind.status]:
            by_status[kind.status].append(kind)
    for status, answer in list(answers.items()):
        if "$ref" in answer:
            del answers[status]
        elif status.startswith("2"):
            answer["headers"] = _REQUEST_ID
    for number, kinds in sorted(by_status.items()):
        answers[str(number)] = _failure(kinds, answers.pop(str(number), {}))
    answers["default"] = _failure([], answers.pop("default", {}))


def _failure(kinds: list[type[AuthError]], told: dict[str, Any]) -> dict[str, Any]:
    kinds = sorted(kinds, key=lambda kind: kind.code)
    content = told.get("content") or {_JSON: {"schema": {"$ref": "#/components/schemas/Failure"}}}
    content[_JSON]["examples"] = {kind.code: service.example(kind) for kind in kinds or [errors.BadRequestError]}
    lines = [f"- `{kind.code}`: {document.paragraphs(kind.__doc__)}" for kind in kinds]
    names = ["X-Request-ID"]
    if any(issubclass(kind, errors.UnauthorizedError) for kind in kinds):
        names.append("WWW-Authenticate")
    if any(kind.retry_after_seconds for kind in kinds):
        names.append("Retry-After")
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
    about = "\n".join(lines) or "Any other failure."
    more = told.get("description")
    return {"description": f"{about}\n\n{more}" if more else about, "headers": headers, "content": content}


def _refusals(route: _Route, config: Mapping[str, Any]) -> Iterator[type[AuthError]]:
    for kind in (*document.refusals_of(route.view, config), *_ALWAYS):
        is_safe = kind is errors.CSRFFailedError and route.method in _SAFE_METHODS
        if not is_safe and (kind not in _ONLY_WITH or _ONLY_WITH[kind](config)):
            yield kind


def _security(route: _Route, config: Mapping[str, Any]) -> Iterator[dict[str, list[str]]]:
    login, by_cookie = document.login_of(route.view), config["AUTH_COOKIES"]
    csrf: dict[str, list[str]] = {} if route.method in _SAFE_METHODS else {"csrfToken": []}
    if login == "optional":
        yield {}
    if login:
        yield {"passwordLogin": []}
        yield {"bearerAuth": []}
    if login and by_cookie:
        yield {"accessCookie": [], **csrf}
    elif by_cookie and errors.CSRFFailedError in document.refusals_of(route.view, config):
        # It takes the refresh token from its body first.
        yield {}
        yield {"refreshCookie": [], **csrf}


def _security_schemes(config: Mapping[str, Any]) -> dict[str, Any]:
    public_path = urlsplit(config["AUTH_PUBLIC_URL"]).path.rstrip("/")
    flow = {"tokenUrl": f"{public_path}{config['AUTH_URL_PREFIX']}/login", "scopes": {}}
    schemes: dict[str, Any] = {
        # First, as Swagger UI shows them in this order, and people have a password rather than a token.
        "passwordLogin": {
            "type": "oauth2",
            "description": "An e-mail address and a password (OAuth2's password grant, without a client's id).",
            "flows": {"password": flow},
        },
        "bearerAuth": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "An access token."},
    }
    if config["AUTH_COOKIES"]:
        about = "The value of the `csrf_access_token` cookie (`csrf_refresh_token` for `refresh_tokens`)."
        schemes["accessCookie"] = {"type": "apiKey", "in": "cookie", "name": "access_token"}
        schemes["refreshCookie"] = {"type": "apiKey", "in": "cookie", "name": "refresh_token"}
        schemes["csrfToken"] = {"type": "apiKey", "in": "header", "name": cookies.CSRF_HEADER, "description": about}
    return schemes


def _name_aliases(routes: list[_Route]) -> None:
    """Say of each route that has a shorter one to the same view that it is the same."""
    by_view: dict[Any, list[_Route]] = defaultdict(list)
    for route in routes:
        by_view[inspect.unwrap(route.view), route.method].append(route)
    for first, *aliases in (sorted(same, key=lambda route: len(route.path)) for same in by_view.values()):
        for alias in aliases:
            bodies = [route.operation.get("requestBody", {}).get("content", {}).keys() for route in (first, alias)]
            less = "" if bodies[0] == bodies[1] else ", with JSON alone"
            alias.operation["summary"] = f"Same as {first.path}{less}"
            alias.operation["description"] = f"The same as `{first.name}`{less}, under a path that some clients know."


def _place(path: tuple[str, dict[str, Any]]) -> tuple[int, int, str]:
    """Say where a path stands: by the order in which a person meets the topics, then the shorter ones first."""
    tags = [operation["tags"][0] for method, operation in path[1].items() if method != "parameters"]
    topic = _TOPICS.index(tags[0]) if tags[0] in _TOPICS else len(_TOPICS)
    return topic, path[0].count("/"), path[0]


def _tags(routes: list[_Route]) -> list[dict[str, str]]:
    in_order = sorted(routes, key=lambda route: _place((route.path, {route.method: route.operation})))
    views = {_tag(route.view): inspect.unwrap(route.view) for route in in_order}
    return [{"name": name, "description": inspect.getmodule(view).__doc__ or ""} for name, view in views.items()]


def _tag(view: Callable[..., Any]) -> str:
    module: str = inspect.unwrap(view).__module__
    return module.rpartition(".")[2].replace("_", "-")


def _example(kind: type[AuthError]) -> dict[str, Any]:
    error: dict[str, Any] = {"code": kind.code, "message": kind.message}
    if kind is errors.ValidationError:
        error["details"] = {"email": ["Not a valid e-mail address."]}
    return {"value": {"success": False, "error": error}}
