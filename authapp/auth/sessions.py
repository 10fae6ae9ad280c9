"""The caller's sign-ins: see them, end them."""

import uuid
from typing import Any

from authapp import database, sessions
from authapp.auth.blueprint import blueprint
from authapp.auth.schemas import MessageSchema, RevokedSchema, SessionsSchema
from authapp.document import refuses
from authapp.errors import NotFoundError
from authapp.protect import current_user, login_required


@blueprint.route("/sessions")
@blueprint.response(200, SessionsSchema)
@login_required
def list_sessions() -> dict[str, Any]:
    """List the caller's sessions, newest first."""
    return {"sessions": sessions.list_alive(current_user.id)}


@blueprint.route("/sessions/<uuid:sid>", methods=["DELETE"])
@refuses(NotFoundError)
@blueprint.response(200, MessageSchema)
@login_required
def end_session(sid: uuid.UUID) -> dict[str, Any]:
    """End one of the caller's sessions; anybody else's is not found."""
    if not sessions.end(sid, current_user.id, reason="revoked"):
        raise NotFoundError
    database.commit()
    return {"message": "The session is over."}


@blueprint.route("/sessions", methods=["DELETE"])
@blueprint.response(200, RevokedSchema)
@login_required
def end_other_sessions() -> dict[str, Any]:
    """End every session of the caller but this one."""
    revoked = sessions.end_all(current_user.id, reason="revoked", but=current_user.sid)
    database.commit()
    return {"revoked": revoked}
