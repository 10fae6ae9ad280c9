"""The public keys at `/.well-known/jwks.json` (RFC 7517), with which other services check our tokens."""

import flask
from flask import Flask, Response, jsonify

from authapp import api, tokens

PATH = "/.well-known/jwks.json"
_CACHED_SECONDS = 300


def init_app(app: Flask) -> None:
    """Add the route; one of the host application's own, added before this, is asked first."""
    blueprint = flask.Blueprint(f"{api.OWN_BLUEPRINT}jwks", __name__)
    blueprint.add_url_rule(PATH, "jwks", jwks)
    api.handle_errors(blueprint)
    app.register_blueprint(blueprint)


def jwks() -> Response:
    """Give the public keys, the current one first; none under HS256, whose key is a secret. Not in the envelope."""
    response = jsonify(keys=tokens.keyring().jwks)
    response.headers["Cache-Control"] = f"public, max-age={_CACHED_SECONDS}"
    return response
