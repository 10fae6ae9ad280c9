"""Making an account and verifying its e-mail address."""

from typing import Any

from authapp import addresses, cookies, database, errors, signin
from authapp.auth.blueprint import blueprint, client
from authapp.auth.schemas import (
    ConfirmedSchema,
    EmailSchema,
    LinkTokenSchema,
    MessageSchema,
    RegisteredSchema,
    RegisterSchema,
)
from authapp.document import refuses
from authapp.tokens import TokenPair


@blueprint.route("/register", methods=["POST"])
@refuses(errors.RateLimitedError, errors.ServerBusyError, errors.EmailNotSentError)
@refuses(errors.UserAlreadyExistsError, unless="AUTH_GENERIC_RESPONSES")
@blueprint.arguments(RegisterSchema, location="json_or_form")
@blueprint.response(201, RegisteredSchema)
def register(account: dict[str, Any]) -> TokenPair | dict[str, Any]:
    """Make an account and mail a verification link.

    Where no verified address is needed to log in, the answer has tokens as a login has.
    """
    user = addresses.register(**account, client=client())
    pair = signin.welcome(user, client(), instead_of=cookies.overwritten())
    database.commit()
    cookies.hand_over(pair)
    return pair or {"user": user}


@blueprint.route("/verify-email", methods=["POST"])
@refuses(errors.LinkInvalidError, errors.LinkExpiredError, errors.RateLimitedError)
@blueprint.arguments(LinkTokenSchema)
@blueprint.response(200, ConfirmedSchema)
def verify_email(body: dict[str, str]) -> dict[str, Any]:
    """Verify the address that a mailed link speaks of; the same link again is no error."""
    user = addresses.confirm(body["token"], client=client())
    database.commit()
    return {"user": user, "message": "Your account has been activated."}


blueprint.add_url_rule("/email-verification/confirm", "confirm_email_verification", verify_email, methods=["POST"])


@blueprint.route("/resend-verification", methods=["POST"])
@refuses(errors.RateLimitedError)
@blueprint.arguments(EmailSchema)
@blueprint.response(202, MessageSchema)
def resend_verification(body: dict[str, str]) -> dict[str, Any]:
    """Mail a new verification link; earlier ones stop working. The answer never tells whether there is an account."""
    addresses.request_verification(body["email"], client=client())
    database.commit()
    return {"message": "If this address waits for verification, a mail is on its way."}


blueprint.add_url_rule("/email-verification/resend", "resend_email_verification", resend_verification, methods=["POST"])
