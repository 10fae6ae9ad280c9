"""Whether this process is up, and whether it can serve: for load balancers and orchestrators."""

import flask
from flask import Flask, Response, jsonify

from authapp import api, schema
from authapp.errors import ServiceUnavailableError


def init_app(app: Flask) -> None:
    """Add `/healthz` and `/readyz`."""
    blueprint = flask.Blueprint(f"{api.OWN_BLUEPRINT}health", __name__)
    blueprint.add_url_rule("/healthz", "healthz", healthz)
    blueprint.add_url_rule("/readyz", "readyz", readyz)
    api.handle_errors(blueprint)
    app.register_blueprint(blueprint)


def healthz() -> Response:
    """Say that the process is up; it asks nothing of anybody."""
    return jsonify(success=True, data={"status": "ok"})


def readyz() -> Response:
    """Say that the database answers and has the schema that this version wants."""
    if problem := schema.problem():
        raise ServiceUnavailableError(problem)
    return jsonify(success=True, data={"status": "ready"})
