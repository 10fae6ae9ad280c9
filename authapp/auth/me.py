"""The caller's own account."""

from typing import Any

from authapp import database, users
from authapp.auth.blueprint import blueprint
from authapp.auth.schemas import ProfileSchema, UserDataSchema
from authapp.protect import current_user, login_required


@blueprint.route("/me")
@blueprint.response(200, UserDataSchema)
@login_required
def me() -> dict[str, Any]:
    """Show the caller's account."""
    return {"user": current_user}


@blueprint.route("/me", methods=["PATCH"])
@login_required
@blueprint.arguments(ProfileSchema)
@blueprint.response(200, UserDataSchema)
def change_me(changes: dict[str, str | None]) -> dict[str, Any]:
    """Change the caller's name or photo."""
    user = users.change_profile(current_user.id, **changes)
    database.commit()
    return {"user": user}
