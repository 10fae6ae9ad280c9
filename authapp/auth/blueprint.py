"""The blueprint that the views of this folder hang on, and what they all ask of a request."""

from flask import request

from authapp import api
from authapp.clients import Client

blueprint = api.Blueprint(f"{api.OWN_BLUEPRINT}auth", __name__, description="Accounts, tokens and sessions.")


def client() -> Client:
    """Say where the request came from."""
    return Client.seen(request.remote_addr, request.headers.get("User-Agent"))
