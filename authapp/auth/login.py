"""Logging in, refreshing, logging out."""

from typing import Any

from authapp import database, signin, tokens, users
from authapp.auth.blueprint import blueprint, client
from authapp.auth.schemas import LoginSchema, MessageSchema, RefreshTokenSchema, TokensSchema
from authapp.errors import UnauthorizedError
from authapp.protect import bearer_token
from authapp.tokens import TokenPair


@blueprint.route("/login", methods=["POST"])
@blueprint.arguments(LoginSchema)
@blueprint.response(200, TokensSchema)
def login(credentials: dict[str, str]) -> TokenPair:
    """Log in with an e-mail address and a password."""
    user = users.authenticate_user(credentials["email"], credentials["password"])
    pair = signin.sign_in(user, client())
    database.commit()
    return pair


blueprint.add_url_rule("/login/json", "login_json", login, methods=["POST"])


@blueprint.route("/refresh", methods=["POST"])
@blueprint.arguments(RefreshTokenSchema, required=False)
@blueprint.response(200, TokensSchema)
def refresh(body: dict[str, str]) -> TokenPair:
    """Exchange a refresh token for a new access token and a new refresh token.

    The refresh token is in the body or in the Authorization header. It is good once: presented again after its
    successor was used, or too late, it ends the session.
    """
    token = body.get("refresh_token") or bearer_token()
    if token is None:
        raise UnauthorizedError
    pair = signin.refresh(tokens.read(token, type=tokens.REFRESH), client())
    database.commit()
    return pair


@blueprint.route("/logout", methods=["POST"])
@blueprint.arguments(RefreshTokenSchema, required=False)
@blueprint.response(200, MessageSchema)
def logout(body: dict[str, str]) -> dict[str, Any]:
    """End the session: its access and refresh tokens are dead at once.

    Needs the refresh token in the body, or the access token in the Authorization header, or both; one that is
    good is enough. They may have expired. Logging out again is no error.
    """
    signin.sign_out(refresh_token=body.get("refresh_token"), access_token=bearer_token())
    database.commit()
    return {"message": "You are logged out."}
