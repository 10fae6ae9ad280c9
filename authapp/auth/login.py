"""Logging in, refreshing, logging out."""

from typing import Any

from flask import Response

from authapp import cookies, database, errors, protect, sessions, signin, users
from authapp.auth import oauth2
from authapp.auth.blueprint import blueprint, client
from authapp.auth.schemas import LoginSchema, MessageSchema, RefreshTokenSchema, TokensSchema
from authapp.document import refuses
from authapp.tokens import TokenPair


def _log_in(email: str, password: str) -> TokenPair:
    user = users.authenticate_user(email, password, client=client())
    pair = signin.sign_in(user, client(), instead_of=cookies.overwritten())
    database.commit()
    cookies.hand_over(pair)
    return pair


def log_in_by_form() -> Response:
    """Log in with a form, the OAuth2 password grant."""
    return oauth2.answer(_log_in(*oauth2.read_grant()))


@blueprint.route("/login/json", methods=["POST"], endpoint="login_json")
@refuses(errors.InvalidCredentialsError, errors.AccountDisabledError, errors.RateLimitedError, errors.ServerBusyError)
@refuses(errors.EmailNotVerifiedError, unless="AUTH_GENERIC_RESPONSES")
@blueprint.arguments(LoginSchema)
@blueprint.response(200, TokensSchema)
def login(credentials: dict[str, str]) -> TokenPair:
    """Log in with an e-mail address and a password."""
    return _log_in(credentials["email"], credentials["password"])


oauth2.blueprint.add_url_rule("/login", "login", oauth2.or_form(log_in_by_form)(login), methods=["POST"])


@blueprint.route("/refresh", methods=["POST"])
@refuses(
    errors.UnauthorizedError,
    errors.TokenInvalidError,
    errors.TokenExpiredError,
    errors.TokenRevokedError,
    errors.TokenReusedError,
    errors.CSRFFailedError,
)
@blueprint.arguments(RefreshTokenSchema, required=False)
@blueprint.response(200, TokensSchema)
def refresh_tokens(body: dict[str, str]) -> TokenPair:
    """Exchange a refresh token for a new access token and a new refresh token.

    The refresh token is in the body, else in the Authorization header, else in its cookie. It is good once: presented
    again after its successor was used, or too late, it ends the session.
    """
    pair = sessions.rotate(protect.refresh_claims(body.get("refresh_token")), client())
    database.commit()
    cookies.hand_over(pair)
    return pair


@blueprint.route("/logout", methods=["POST"])
@refuses(errors.UnauthorizedError, errors.TokenInvalidError, errors.CSRFFailedError)
@blueprint.arguments(RefreshTokenSchema, required=False)
@blueprint.response(200, MessageSchema)
def logout(body: dict[str, str]) -> dict[str, Any]:
    """End the session: its access and refresh tokens are dead at once.

    Needs the refresh token in the body, or the access token in the Authorization header, or both; without either,
    their cookies count. One that is good is enough, and may have expired. Logging out again is no error.
    """
    signin.sign_out(**protect.tokens_to_end(body.get("refresh_token")))
    database.commit()
    cookies.take_back()
    return {"message": "You are logged out."}
