"""Changing the e-mail address."""

from typing import Any

from authapp import addresses, database, errors
from authapp.auth.blueprint import blueprint, client
from authapp.auth.schemas import ChangeEmailSchema, ConfirmedSchema, LinkTokenSchema, MessageSchema
from authapp.document import refuses
from authapp.protect import current_user, login_required


@blueprint.route("/change-email", methods=["POST"])
@refuses(errors.InvalidCredentialsError, errors.RateLimitedError, errors.ServerBusyError, errors.EmailNotSentError)
@refuses(errors.UserAlreadyExistsError, unless="AUTH_GENERIC_RESPONSES")
@login_required
@blueprint.arguments(ChangeEmailSchema)
@blueprint.response(202, MessageSchema)
def change_email(body: dict[str, str]) -> dict[str, Any]:
    """Mail a link to the new address and a notice to the present one; nothing changes until the link is confirmed."""
    addresses.request_change(current_user.id, **body)
    database.commit()
    return {"message": "A mail is on its way to the new address."}


@blueprint.route("/change-email/confirm", methods=["POST"])
@refuses(errors.LinkInvalidError, errors.LinkExpiredError, errors.RateLimitedError, errors.UserAlreadyExistsError)
@blueprint.arguments(LinkTokenSchema)
@blueprint.response(200, ConfirmedSchema)
def confirm_email_change(body: dict[str, str]) -> dict[str, Any]:
    """Take on the address that the link was mailed to; the same link again is no error."""
    user = addresses.confirm_change(body["token"], client=client())
    database.commit()
    return {"user": user, "message": "Your e-mail address has been changed."}
