"""Which pages of other origins may call us from a browser (CORS): those of `CLIENT_ORIGIN`, below the prefix only."""

import re

import flask_cors
from flask import Flask, Response, current_app, request

from authapp import api, cookies

_METHODS = ("GET", "POST", "PATCH", "DELETE")
_REQUEST_HEADERS = ("Authorization", "Content-Type", cookies.CSRF_HEADER, "X-Request-ID")
_RESPONSE_HEADERS = (
    "X-Request-ID",
    "Retry-After",
    "WWW-Authenticate",
    cookies.CSRF_HEADER,
    cookies.CSRF_REFRESH_HEADER,
)
_MAX_AGE_SECONDS = 600


def init_app(app: Flask) -> None:
    """Answer OPTIONS without a body and, where `CLIENT_ORIGIN` is set, with what browsers ask before they call."""
    app.before_request(_answer_options)
    if app.config["CLIENT_ORIGIN"]:
        app.after_request(_tell_browsers)


def _answer_options() -> Response | None:
    """Say which methods there are, where no view of a host's says it."""
    is_left_to_flask = getattr(request.url_rule, "provide_automatic_options", False)
    if request.method != "OPTIONS" or not api.is_below_prefix() or not is_left_to_flask:
        return None
    response = current_app.make_default_options_response()
    response.status_code = 204
    del response.headers["Content-Type"]
    return response


def _tell_browsers(response: Response) -> Response:
    """Set the headers that let a front end of ours read this answer, or none.

    A host may have rules of its own for every path. They end here: what they have set before us is removed, and what
    they would set after us they leave alone, since Flask-CORS marks each answer that it has seen.
    """
    if not api.is_below_prefix():
        return response
    for name in {name for name, _ in response.headers if name.lower().startswith("access-control-")}:
        del response.headers[name]
    response.vary.add("Origin")
    is_preflight_of_nothing = request.method == "OPTIONS" and request.routing_exception is not None
    # Compiled: Flask-CORS compares texts without regard to case, and takes one with brackets for a pattern anyway.
    origins = [] if is_preflight_of_nothing else [_exactly(origin) for origin in current_app.config["CLIENT_ORIGIN"]]
    # Every option, since what is left out would come from the host's `CORS_…` settings.
    mark = flask_cors.cross_origin(
        origins=origins,
        methods=_METHODS,
        allow_headers=_REQUEST_HEADERS,
        expose_headers=_RESPONSE_HEADERS,
        supports_credentials=True,
        max_age=_MAX_AGE_SECONDS,
        send_wildcard=False,
        always_send=False,
        automatic_options=False,
        vary_header=False,
        allow_private_network=False,
    )
    marked: Response = mark(lambda: response)()
    return marked


def _exactly(origin: str) -> re.Pattern[str]:
    # Browsers write schemes and hosts in lower case.
    return re.compile(re.escape(origin.lower()) + r"\Z")
