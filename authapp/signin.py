"""The one door: every way of signing in ends here."""

from flask import current_app

from authapp import clients, sessions, tokens
from authapp.clients import Client
from authapp.errors import TokenInvalidError, UnauthorizedError
from authapp.models import User
from authapp.tokens import Claims, TokenPair


def sign_in(user: User, client: Client, *, instead_of: Claims | None = None) -> TokenPair:
    """Start a session for a user whose credentials were checked just now, and mint its tokens.

    It takes the place of the session that `instead_of` speaks for, which may be anybody's, and ends (OWASP ASVS 7.2.4).
    """
    if instead_of:
        _end(instead_of, reason="replaced")
    session = sessions.start(user, client)
    clients.remember(user, client)
    return tokens.pair(user, session)


def welcome(user: User, client: Client, *, instead_of: Claims | None = None) -> TokenPair | None:
    """Sign a new user in where that needs no verified address."""
    if current_app.config["AUTH_REQUIRE_VERIFIED_EMAIL"]:
        return None
    return sign_in(user, client, instead_of=instead_of)


def sign_out(*, refresh_token: str | None, access_token: str | None) -> None:
    """End the sessions of these tokens, of which one good one is enough; a session that is over already stays so.

    Raises `UnauthorizedError` without a token, and what is wrong with it where none is good.
    """
    refused: UnauthorizedError | None = UnauthorizedError()
    for type, token in ((tokens.ACCESS, access_token), (tokens.REFRESH, refresh_token)):
        if token:
            try:
                _end(tokens.read(token, type=type, expired=True), reason="logged_out")
                refused = None
            except TokenInvalidError as error:
                refused = refused and error
    if refused:
        raise refused


def _end(claims: Claims, *, reason: str) -> None:
    sessions.end(claims.sid, claims.user_id, reason=reason, shown=claims)
