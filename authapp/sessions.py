"""Sessions: a sign-in is a row, a refresh is one compare-and-set on it, and ending it kills its tokens."""

import logging
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, cast

from flask import current_app
from sqlalchemy import ColumnElement, Table, and_, bindparam, exists, orm, select, update

from authapp import clock, database, signals, tokens
from authapp.clients import Client
from authapp.errors import USER_GONE, TokenExpiredError, TokenInvalidError, TokenReusedError, TokenRevokedError
from authapp.extensions import db
from authapp.models import RevokedToken, Session, User
from authapp.tokens import Claims, TokenPair

log = logging.getLogger(__name__)

_MOST_LISTED = 100
_SESSIONS = cast("Table", Session.__table__)


def start(user: User, client: Client) -> Session:
    """Begin a session of the user's present epoch; its absolute end never moves."""
    now, config = clock.now(), current_app.config
    lifetime, most = (timedelta(days=config[name]) for name in ("REFRESH_TOKEN_EXPIRE_DAYS", "SESSION_MAX_DAYS"))
    ends = {"expires_at": now + min(lifetime, most), "ends_at": now + most}
    session = Session.begin(user, now, ip=client.ip, user_agent=client.user_agent, **ends)
    db.session.add(session)
    db.session.flush()
    signals.announce(signals.user_logged_in, user_id=user.id, sid=session.id)
    return session


class Identity(NamedTuple):
    """Who is calling: the public fields of `User`, and the id of the session that the access token speaks for."""

    id: uuid.UUID
    email: str
    name: str | None
    photo: str | None
    role: str
    is_active: bool
    is_verified: bool
    created_at: datetime
    updated_at: datetime
    sid: uuid.UUID


def identify(claims: Claims) -> Identity:
    """Give the user and the session that an access token speaks for, in one SELECT on primary keys.

    Raises `TokenInvalidError` (the user is gone) and `TokenRevokedError`.
    """
    found = database.row(_IDENTITY, sid=claims.sid, access_jti=claims.jti)
    if found is None:
        raise TokenInvalidError(USER_GONE)
    if found.id != claims.user_id:
        raise TokenInvalidError
    if not found.is_good:
        raise TokenRevokedError
    # The last column is no field of it.
    return Identity._make((*found[:-1], claims.sid))


def rotate(claims: Claims, client: Client) -> TokenPair:
    """Exchange a refresh token (RFC 9700, 4.14.2): move its session to the next generation, and mint its tokens.

    Whoever presents the token of the current generation and wins the compare-and-set moves it. Whoever comes
    just behind, within `REFRESH_REUSE_LEEWAY_SECONDS` and before the successor was used, gets that successor.
    Raises `TokenInvalidError`, `TokenRevokedError`, `TokenExpiredError`, and for anybody else `TokenReusedError`:
    the session ends.
    """
    with database.reading() as reader:
        user, session = _load(claims, reader)
    if claims.jti == tokens.jti(session.id, session.generation, tokens.REFRESH):
        if pair := _advance(user, session, claims, client):
            return pair
        # On the connection that lost: many losers that each wanted a second one would wait for each other.
        user, session = _load(claims, db.session(), latest=True)
    if not _is_just_behind(claims, session):
        end(session.id, user.id, reason="token_reused")
        signals.announce(signals.token_reused, user_id=user.id, sid=session.id)
        raise TokenReusedError
    if (client.ip, client.user_agent) != (session.ip, session.user_agent):
        # A lost answer comes back from where it was asked for; from elsewhere it may be a copy.
        log.warning("refresh_repeated_elsewhere", extra={"sid": session.id, "ip": client.ip})
    return tokens.pair(user, session)


def list_alive(user_id: uuid.UUID) -> Sequence[Session]:
    """List the user's sessions that can still be used, newest first, and no more than anybody would read."""
    mine = select(Session).join(User).where(User.id == user_id, is_alive(), Session.expires_at > clock.now())
    with database.reading() as reader:
        return reader.scalars(mine.order_by(Session.id.desc()).limit(_MOST_LISTED)).all()


def end(sid: uuid.UUID, user_id: uuid.UUID, *, reason: str, shown: Claims | None = None) -> bool:
    """End one session of this user; `False` when there is none such that is still going on.

    `shown` is the token that asks for it, which may not be the session's latest.
    """
    return bool(_end(Session.id == sid, Session.user_id == user_id, reason=reason, shown=shown))


def end_all(user_id: uuid.UUID, *, reason: str, but: uuid.UUID | None = None) -> int:
    """End every session of the user, or every one `but` this, and give their number."""
    others = () if but is None else (Session.id != but,)
    return _end(Session.user_id == user_id, *others, reason=reason)


def is_alive() -> ColumnElement[bool]:
    """Say in SQL, over `Session` joined with `User`, that the session has not been ended in any way."""
    return and_(Session.ended_at.is_(None), Session.epoch == User.epoch, User.is_active)


def _load(claims: Claims, reader: orm.Session, *, latest: bool = False) -> tuple[User, Session]:
    # At a host's REPEATABLE READ any other read would show the row as it was before it was lost.
    statement = _LOADING.with_for_update(read=True) if latest else _LOADING
    found = reader.execute(statement, {"sid": claims.sid}).first()
    if found is None:
        raise TokenInvalidError(USER_GONE)
    if found[0].id != claims.user_id:
        raise TokenInvalidError
    user, session, alive = found
    if not alive:
        raise TokenRevokedError
    # The leeway between clocks may let a token past its time in, but nothing past the session's end can be minted.
    if session.ends_at <= clock.now():
        raise TokenExpiredError
    return user, session


def _advance(user: User, session: Session, claims: Claims, client: Client) -> TokenPair | None:
    """Move the row one generation on, if it still stands where it was read."""
    now, was = clock.now(), session.generation
    lifetime = timedelta(days=current_app.config["REFRESH_TOKEN_EXPIRE_DAYS"])
    moved = {
        "generation": was + 1,
        "rotated_at": now,
        "expires_at": min(now + lifetime, session.ends_at),
        "ip": client.ip,
        "user_agent": client.user_agent,
    }
    # It belongs to no transaction. To sign takes longer than to write: on SQLite everybody would wait for it.
    for name, value in moved.items():
        setattr(session, name, value)
    pair = tokens.pair(user, session)
    if not database.change(_MOVING, sid=session.id, was=was, **moved):
        return None
    tokens.revoke(claims)
    signals.announce(signals.session_refreshed, user_id=session.user_id, sid=session.id)
    return pair


def _is_just_behind(claims: Claims, session: Session) -> bool:
    leeway = timedelta(seconds=current_app.config["REFRESH_REUSE_LEEWAY_SECONDS"])
    predecessor = tokens.jti(session.id, session.generation - 1, tokens.REFRESH)
    return claims.jti == predecessor and clock.now() - session.rotated_at <= leeway


def _end(*which: ColumnElement[bool], reason: str, shown: Claims | None = None) -> int:
    """End the sessions that `which` finds in one UPDATE, and put their latest tokens on record.

    One that has expired is over already; not so within the leeway that its tokens are still read in.
    """
    now = clock.now()
    going_on = (Session.ended_at.is_(None), Session.expires_at > now - timedelta(seconds=tokens.LEEWAY_SECONDS))
    ending = update(Session).where(*which, *going_on)
    number = database.change(ending.values(ended_at=now, ended_because=reason))
    # Read after the UPDATE, whose locks now keep every other request from moving these rows on.
    ended = select(Session).where(*which, Session.ended_at == now).execution_options(populate_existing=True)
    sessions = db.session.scalars(ended).all() if number else ()
    tokens.revoke(*(claims for session in sessions for claims in (*tokens.latest(session), shown) if claims))
    for session in sessions:
        signals.announce(signals.session_ended, user_id=session.user_id, sid=session.id, reason=reason)
    return number


# Built once: no request should pay for composing them. Nor for columns that it does not need: PyMySQL takes its time.
_LOADING = (
    select(User, Session, is_alive())
    .options(
        orm.defer(User.password_hash),
        orm.defer(User.epoch),
        orm.load_only(
            Session.user_id,
            Session.generation,
            Session.rotated_at,
            Session.expires_at,
            Session.ends_at,
            Session.authenticated_at,
            Session.ip,
            Session.user_agent,
        ),
    )
    .join(Session)
    .where(Session.id == bindparam("sid"))
    .execution_options(populate_existing=True)
)
_MOVING = (
    update(_SESSIONS)
    .where(_SESSIONS.c.id == bindparam("sid"))
    .where(_SESSIONS.c.generation == bindparam("was"), _SESSIONS.c.ended_at.is_(None))
)
_IDENTITY = (
    select(
        User.id,
        User.email,
        User.name,
        User.photo,
        User.role,
        User.is_active,
        User.is_verified,
        User.created_at,
        User.updated_at,
        and_(is_alive(), ~exists().where(RevokedToken.jti == bindparam("access_jti"))).label("is_good"),
    )
    .join(Session, Session.user_id == User.id)
    .where(Session.id == bindparam("sid"))
)
