"""Rows in bulk: a database as it is after a while, most of it alive and some of it past its time."""

from datetime import timedelta
from typing import Any

from flask import Flask
from sqlalchemy import insert, text

from authapp import clock, database
from authapp.columns import new_id
from authapp.extensions import Model, db
from authapp.mail.models import MailRequest, OutboxMessage
from authapp.models import KnownNetwork, Link, RevokedToken, Session, User

ALIVE, PAST = 2000, 20
_NETWORK = "192.0.2.7"
_DAY = timedelta(days=1)


def fill(app: Flask) -> None:
    """Fill every table, and have MariaDB look at how full they are, as it does by itself after a while."""
    with app.app_context():
        users = _users()
        _write(User, users)
        for model, alive, past in _kinds():
            rows = [{**alive, **(past if number < PAST else {})} for number in range(ALIVE)]
            _write(model, [_own(model, row, user) for row, user in zip(rows, users, strict=True)])
        database.commit()
        if db.engine.dialect.name != "sqlite":
            tables = ", ".join(table.name for table in db.metadata.sorted_tables)
            db.session.execute(text(f"ANALYZE TABLE {tables}"))


def _users() -> list[dict[str, Any]]:
    given = {"password_hash": "", "role": "user", "is_active": True, "is_verified": True, "epoch": 0}
    return [{"id": new_id(), "email": f"person-{number}@example.com", **given} for number in range(ALIVE)]


def _kinds() -> list[tuple[type[Model], dict[str, Any], dict[str, Any]]]:
    """Give each kind of what hangs on a user: a row that is alive, and how one differs that may be purged."""
    now = clock.now()
    soon, long_ago = now + _DAY, now - 40 * _DAY
    times = dict.fromkeys(("rotated_at", "authenticated_at", "created_at"), now)
    mail = {"to": "x@example.com", "subject": "x", "text": "", "html": "", "attempts": 1, "created_at": now}
    given_up = {"sent_at": None, "attempts": 100, "created_at": long_ago}
    return [
        (Session, {"epoch": 0, "expires_at": soon, "ends_at": soon, **times}, {"ends_at": long_ago}),
        (Session, {"epoch": 0, "expires_at": soon, "ends_at": soon, "ended_at": None, **times},
         {"expires_at": long_ago, "ended_at": long_ago}),
        (RevokedToken, {"type": "access", "expires_at": soon}, {"expires_at": long_ago}),
        (KnownNetwork, {"network": _NETWORK, "seen_at": now}, {"seen_at": long_ago}),
        (Link, {"purpose": "verify-email", "nonce": "x", "expires_at": soon}, {"expires_at": long_ago}),
        (OutboxMessage, {**mail, "sent_at": now}, {"sent_at": long_ago}),
        (OutboxMessage, {**mail, "sent_at": now}, given_up),
        (MailRequest, {"kind": "none", "email": "x@example.com", "created_at": now}, {"created_at": long_ago}),
    ]  # fmt: skip


def _own(model: type[Model], row: dict[str, Any], user: dict[str, Any]) -> dict[str, Any]:
    """Give a row of this user's, where the kind is somebody's, with an id where it has one."""
    columns = model.__table__.columns
    key = {"jti": new_id()} if "jti" in columns else {"id": new_id()} if "id" in columns else {}
    return {**row, **key, **({"user_id": user["id"]} if "user_id" in columns else {})}


def _write(model: type[Model], rows: list[dict[str, Any]]) -> None:
    db.session.execute(insert(model), rows)
