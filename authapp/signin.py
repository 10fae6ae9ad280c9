"""The one door: every way of signing in ends here."""

from flask import current_app

from authapp import sessions, tokens
from authapp.errors import TokenInvalidError, UnauthorizedError
from authapp.models import User
from authapp.sessions import Client
from authapp.tokens import Claims, TokenPair


def sign_in(user: User, client: Client) -> TokenPair:
    """Start a session for a user whose credentials were checked just now, and mint its tokens."""
    return tokens.pair(user, sessions.start(user, client))


def welcome(user: User, client: Client) -> TokenPair | None:
    """Sign a new user in where that needs no verified address."""
    return None if current_app.config["AUTH_REQUIRE_VERIFIED_EMAIL"] else sign_in(user, client)


def refresh(claims: Claims, client: Client) -> TokenPair:
    """Carry a sign-in on: rotate its refresh token and mint the successors."""
    user, session = sessions.rotate(claims, client)
    return tokens.pair(user, session)


def sign_out(*, refresh_token: str | None, access_token: str | None) -> None:
    """End the sessions of these tokens, of which one good one is enough; a session that is over already stays so.

    Raises `UnauthorizedError` without a token, and what is wrong with it where none is good.
    """
    refused: UnauthorizedError | None = UnauthorizedError()
    for type, token in ((tokens.ACCESS, access_token), (tokens.REFRESH, refresh_token)):
        if token:
            try:
                _end(tokens.read(token, type=type, expired=True))
                refused = None
            except TokenInvalidError as error:
                refused = refused and error
    if refused:
        raise refused


def _end(claims: Claims) -> None:
    if sessions.end(claims.sid, claims.user_id, reason="logged_out"):
        tokens.revoke(claims)
