"""The caller's own account."""

from typing import Any

from authapp import cookies, credentials, database, errors, users
from authapp.auth.blueprint import blueprint
from authapp.auth.schemas import MessageSchema, PasswordSchema, ProfileSchema, UserDataSchema
from authapp.document import refuses
from authapp.protect import caller, current_user, login_required


@blueprint.route("/me")
@blueprint.response(200, UserDataSchema)
@login_required
def get_me() -> dict[str, Any]:
    """Show the caller's account."""
    return {"user": caller()._asdict()}


@blueprint.route("/me", methods=["PATCH"])
@login_required
@blueprint.arguments(ProfileSchema)
@blueprint.response(200, UserDataSchema)
def update_me(changes: dict[str, str | None]) -> dict[str, Any]:
    """Change the caller's name or photo."""
    user = users.change_profile(current_user.id, **changes)
    database.commit()
    return {"user": user}


@blueprint.route("/me", methods=["DELETE"])
@refuses(errors.InvalidCredentialsError, errors.RateLimitedError, errors.ServerBusyError)
@login_required
@blueprint.arguments(PasswordSchema)
@blueprint.response(200, MessageSchema)
def delete_me(body: dict[str, str]) -> dict[str, Any]:
    """Delete the caller's account and all that hangs on it; the address is free again."""
    credentials.delete_account(current_user.id, body["password"])
    database.commit()
    cookies.take_back()
    return {"message": "Your account is deleted."}
