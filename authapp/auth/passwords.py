"""Changing a password, and getting a new one when it is forgotten."""

from typing import Any

from authapp import cookies, credentials, database, errors, signin
from authapp.auth.blueprint import blueprint, client
from authapp.auth.schemas import ChangePasswordSchema, EmailSchema, MessageSchema, ResetPasswordSchema, TokensSchema
from authapp.document import refuses
from authapp.protect import current_user, login_required
from authapp.tokens import TokenPair


@blueprint.route("/change-password", methods=["POST"])
@refuses(errors.InvalidCredentialsError, errors.RateLimitedError, errors.ServerBusyError)
@login_required
@blueprint.arguments(ChangePasswordSchema)
@blueprint.response(200, TokensSchema)
def change_password(body: dict[str, str]) -> TokenPair:
    """Change the caller's password. Every token that was handed out before is dead; the answer has new ones."""
    user = credentials.change_password(current_user.id, **body)
    pair = signin.sign_in(user, client())
    database.commit()
    cookies.hand_over(pair)
    return pair


@blueprint.route("/forgot-password", methods=["POST"])
@refuses(errors.RateLimitedError)
@blueprint.arguments(EmailSchema)
@blueprint.response(202, MessageSchema)
def forgot_password(body: dict[str, str]) -> dict[str, Any]:
    """Mail a link to a new password. Neither the answer nor its time tells whether there is an account."""
    credentials.request_reset(body["email"], client=client())
    database.commit()
    return {"message": "If this address has an account, a mail is on its way."}


blueprint.add_url_rule("/password-reset/request", "request_password_reset", forgot_password, methods=["POST"])


@blueprint.route("/reset-password", methods=["POST"])
@refuses(errors.LinkInvalidError, errors.LinkExpiredError, errors.RateLimitedError, errors.ServerBusyError)
@blueprint.arguments(ResetPasswordSchema)
@blueprint.response(200, MessageSchema)
def reset_password(body: dict[str, str]) -> dict[str, Any]:
    """Set a new password with the token of a mailed link. Every session is over; no tokens are handed out."""
    credentials.reset(**body, client=client())
    database.commit()
    return {"message": "Your password has been changed. You can log in now."}


blueprint.add_url_rule("/password-reset/confirm", "confirm_password_reset", reset_password, methods=["POST"])
