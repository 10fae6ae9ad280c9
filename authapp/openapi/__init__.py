"""The service's own documentation: `/openapi.json`, and Swagger UI at `/docs` from files on this server."""

import functools
import json
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path
from threading import Lock

import flask
from flask import Flask, Response, send_from_directory

from authapp import api
from authapp.errors import NotFoundError
from authapp.openapi import complete

# Swagger UI sets styles on its elements, and has its icons as data.
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_CACHED_SECONDS = 86_400
_OWN_FILES = Path(__file__).parent / "static"
_FILES = {
    "start.js": "ours",
    "docs.css": "ours",
    "swagger-ui.css": "theirs",
    "index.css": "theirs",
    "swagger-ui-bundle.js": "theirs",
    "favicon-32x32.png": "theirs",
}


def init_app(app: Flask) -> None:
    """Add `/openapi.json` and `/docs`; what they need is found when they are first asked for."""
    blueprint = flask.Blueprint(f"{api.OWN_BLUEPRINT}openapi", __name__)
    made, lock = functools.cache(lambda: json.dumps(complete.make(app), ensure_ascii=False)), Lock()

    def document() -> Response:
        # flask-smorest keeps what it makes in one place: the first two who ask must not make it at once.
        with lock:
            return Response(made(), mimetype="application/json")

    blueprint.add_url_rule("/openapi.json", "document", document)
    blueprint.add_url_rule("/docs", "docs", docs)
    blueprint.add_url_rule("/docs/", "docs_with_slash", docs_with_slash)
    blueprint.add_url_rule("/docs/<name>", "file", file)
    if app.config["APP_ENV"] == "development":
        # Who has just started it opens this first. Elsewhere it is the operator's, and nothing is there.
        blueprint.add_url_rule("/", "home", home)
    api.handle_errors(blueprint)
    app.register_blueprint(blueprint)


def docs() -> Response:
    """Show the document in Swagger UI."""
    page = send_from_directory(_OWN_FILES, "index.html", max_age=0)
    page.headers["Content-Security-Policy"] = CSP
    return page


def home() -> Response:
    """Lead whoever opens the service in a browser to what there is to see; relative, as below."""
    return Response(status=HTTPStatus.FOUND, headers={"Location": "docs"})


def docs_with_slash() -> Response:
    """Lead to the page, by an address that is relative: a proxy may serve it below any path, under any name."""
    return Response(status=HTTPStatus.FOUND, headers={"Location": "../docs"})


def file(name: str) -> Response:
    """Give one of the files that the page is made of."""
    if name not in _FILES:
        raise NotFoundError
    folder = _OWN_FILES if _FILES[name] == "ours" else _swagger_ui()
    found = send_from_directory(folder, name, max_age=_CACHED_SECONDS)
    found.cache_control.public = True
    return found


@functools.cache
def _swagger_ui() -> Path:
    """Find the package's files without importing it: it would make a blueprint of its own."""
    spec = find_spec("flask_swagger_ui")
    assert spec
    assert spec.origin
    return Path(spec.origin).parent / "dist"
