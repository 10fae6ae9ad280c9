"""`/metrics` for Prometheus: there only where `METRICS_TOKEN` is set, and loaded only then."""

import hmac

import flask
from flask import Flask, Response, current_app, request

from authapp import api, protect
from authapp.errors import UnauthorizedError


def init_app(app: Flask) -> None:
    """Add `/metrics`, and begin to count. A host application that wants it calls this after `authapp.init_app`."""
    if not app.config["METRICS_TOKEN"]:
        return
    from authapp.metrics import counting

    counting.begin(app)
    blueprint = flask.Blueprint(f"{api.OWN_BLUEPRINT}metrics", __name__)
    blueprint.add_url_rule("/metrics", "metrics", metrics)
    api.handle_errors(blueprint)
    app.register_blueprint(blueprint)


def metrics() -> Response:
    """Give what was counted, over all workers. Raises `UnauthorizedError` without the token, and for another."""
    from authapp.metrics import scrape

    given, expected = protect.bearer_token() or "", current_app.config["METRICS_TOKEN"]
    if not hmac.compare_digest(given.encode(), expected.encode()):
        raise UnauthorizedError
    body, content_type = scrape.exposition(request.headers.get("Accept", ""))
    return Response(body, content_type=content_type)
