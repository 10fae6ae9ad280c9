"""The tables: users, their sessions, the links mailed to them, and the tokens that were revoked."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from authapp import clock
from authapp.columns import EMAIL_LENGTH, NETWORK_LENGTH, TABLE_OPTIONS, ExactString, Identifier, UTCDateTime, new_id
from authapp.extensions import Model

NAME_LENGTH = 100
ROLE_LENGTH = 32
URL_LENGTH = 2048
USER_AGENT_LENGTH = 255


class User(Model):
    """An account: one e-mail address, in the form that `users.normalize_email` gives it."""

    __tablename__ = "auth_user"
    __table_args__ = TABLE_OPTIONS
    # Whoever deletes an account that somebody else has just deleted has what they wanted.
    __mapper_args__ = {"confirm_deleted_rows": False}  # noqa: RUF012  # As SQLAlchemy declares it.

    id: Mapped[uuid.UUID] = mapped_column(Identifier, primary_key=True, default=new_id)
    email: Mapped[str] = mapped_column(ExactString(EMAIL_LENGTH), unique=True)
    password_hash: Mapped[str] = mapped_column(String(255))
    name: Mapped[str | None] = mapped_column(String(NAME_LENGTH))
    photo: Mapped[str | None] = mapped_column(String(URL_LENGTH))
    role: Mapped[str] = mapped_column(String(ROLE_LENGTH), default="user")
    is_active: Mapped[bool] = mapped_column(default=True)
    is_verified: Mapped[bool] = mapped_column(default=False)
    # Raised whenever every earlier sign-in must die. A session remembers the epoch in which its password was
    # checked, so that a login which was under way while the password changed is dead on arrival.
    epoch: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=clock.now)
    updated_at: Mapped[datetime] = mapped_column(UTCDateTime, default=clock.now, onupdate=clock.now)

    @classmethod
    def create(cls, now: datetime, **values: Any) -> "User":
        """Create a user `now`: one time in both columns, as the defaults would not give it."""
        return cls(created_at=now, updated_at=now, **values)


class Session(Model):
    """A sign-in. Every token carries its id as `sid`; ending the row kills them all, on every node.

    `generation` counts its refresh tokens: the token of the current generation is the one that may be used.
    """

    __tablename__ = "auth_session"
    __table_args__ = (Index("ix_auth_session_ends_at", "ends_at"), TABLE_OPTIONS)

    id: Mapped[uuid.UUID] = mapped_column(Identifier, primary_key=True, default=new_id)
    user_id: Mapped[uuid.UUID] = mapped_column(Identifier, ForeignKey("auth_user.id", ondelete="CASCADE"), index=True)
    epoch: Mapped[int]
    generation: Mapped[int] = mapped_column(default=1)
    rotated_at: Mapped[datetime] = mapped_column(UTCDateTime)
    expires_at: Mapped[datetime] = mapped_column(UTCDateTime)
    ends_at: Mapped[datetime] = mapped_column(UTCDateTime)
    authenticated_at: Mapped[datetime] = mapped_column(UTCDateTime)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UTCDateTime, index=True)
    ended_because: Mapped[str | None] = mapped_column(String(32))
    ip: Mapped[str | None] = mapped_column(String(45))
    user_agent: Mapped[str | None] = mapped_column(String(USER_AGENT_LENGTH))

    @classmethod
    def begin(cls, user: User, now: datetime, **more: Any) -> "Session":
        """Begin a session of the user's present epoch, whose password (or what stands for it) was checked `now`."""
        begun = dict.fromkeys(("rotated_at", "authenticated_at", "created_at"), now)
        return cls(user_id=user.id, epoch=user.epoch, generation=1, **begun, **more)


class KnownNetwork(Model):
    """A network from which an account has signed in: strangers cannot use up the tries of whoever is there."""

    __tablename__ = "auth_known_network"
    __table_args__ = TABLE_OPTIONS

    user_id: Mapped[uuid.UUID] = mapped_column(
        Identifier, ForeignKey("auth_user.id", ondelete="CASCADE"), primary_key=True
    )
    network: Mapped[str] = mapped_column(ExactString(NETWORK_LENGTH), primary_key=True)
    seen_at: Mapped[datetime] = mapped_column(UTCDateTime, index=True)


class Link(Model):
    """The latest link mailed to a user for one purpose; its nonce is in the signed token."""

    __tablename__ = "auth_link"
    __table_args__ = TABLE_OPTIONS

    user_id: Mapped[uuid.UUID] = mapped_column(
        Identifier, ForeignKey("auth_user.id", ondelete="CASCADE"), primary_key=True
    )
    purpose: Mapped[str] = mapped_column(ExactString(32), primary_key=True)
    nonce: Mapped[str] = mapped_column(ExactString(32))
    expires_at: Mapped[datetime] = mapped_column(UTCDateTime, index=True)
    used_at: Mapped[datetime | None] = mapped_column(UTCDateTime)


class RevokedToken(Model):
    """The record of a token that died before its `exp`; it may be deleted once that has passed.

    Most die with their session. This table is also the only way to revoke one access token by itself.
    """

    __tablename__ = "auth_revoked_token"
    __table_args__ = TABLE_OPTIONS

    jti: Mapped[uuid.UUID] = mapped_column(Identifier, primary_key=True)
    type: Mapped[str] = mapped_column(String(8))
    expires_at: Mapped[datetime] = mapped_column(UTCDateTime, index=True)
    revoked_at: Mapped[datetime] = mapped_column(UTCDateTime, default=clock.now)
