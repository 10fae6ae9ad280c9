"""users, sessions, links, revoked tokens, outbox

Revision ID: 0001
Revises:
Created: 2026-11-21
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from authapp.columns import TABLE_OPTIONS, ExactString, Identifier, UTCDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

LONG_TEXT = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")


def upgrade() -> None:
    op.create_table(
        "auth_user",
        sa.Column("id", Identifier(), nullable=False),
        sa.Column("email", ExactString(254), nullable=False),
        sa.Column("password_hash", sa.String(255), nullable=False),
        sa.Column("name", sa.String(100)),
        sa.Column("photo", sa.String(2048)),
        sa.Column("role", sa.String(32), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("is_verified", sa.Boolean(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.Column("updated_at", UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_auth_user"),
        sa.UniqueConstraint("email", name="uq_auth_user_email"),
        **TABLE_OPTIONS,
    )
    op.create_table(
        "auth_session",
        sa.Column("id", Identifier(), nullable=False),
        sa.Column("user_id", Identifier(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("rotated_at", UTCDateTime(), nullable=False),
        sa.Column("expires_at", UTCDateTime(), nullable=False),
        sa.Column("ends_at", UTCDateTime(), nullable=False),
        sa.Column("authenticated_at", UTCDateTime(), nullable=False),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.Column("ended_at", UTCDateTime()),
        sa.Column("ended_because", sa.String(32)),
        sa.Column("ip", sa.String(45)),
        sa.Column("user_agent", sa.String(255)),
        sa.PrimaryKeyConstraint("id", name="pk_auth_session"),
        sa.ForeignKeyConstraint(
            ["user_id"], ["auth_user.id"], name="fk_auth_session_user_id_auth_user", ondelete="CASCADE"
        ),
        **TABLE_OPTIONS,
    )
    op.create_index("ix_auth_session_user_id", "auth_session", ["user_id"])
    op.create_index("ix_auth_session_ends_at", "auth_session", ["ends_at"])
    op.create_table(
        "auth_link",
        sa.Column("user_id", Identifier(), nullable=False),
        sa.Column("purpose", ExactString(32), nullable=False),
        sa.Column("nonce", ExactString(32), nullable=False),
        sa.Column("expires_at", UTCDateTime(), nullable=False),
        sa.Column("used_at", UTCDateTime()),
        sa.PrimaryKeyConstraint("user_id", "purpose", name="pk_auth_link"),
        sa.ForeignKeyConstraint(
            ["user_id"], ["auth_user.id"], name="fk_auth_link_user_id_auth_user", ondelete="CASCADE"
        ),
        **TABLE_OPTIONS,
    )
    op.create_index("ix_auth_link_expires_at", "auth_link", ["expires_at"])
    op.create_table(
        "auth_revoked_token",
        sa.Column("jti", Identifier(), nullable=False),
        sa.Column("type", sa.String(8), nullable=False),
        sa.Column("expires_at", UTCDateTime(), nullable=False),
        sa.Column("revoked_at", UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("jti", name="pk_auth_revoked_token"),
        **TABLE_OPTIONS,
    )
    op.create_index("ix_auth_revoked_token_expires_at", "auth_revoked_token", ["expires_at"])
    op.create_table(
        "auth_outbox_message",
        sa.Column("id", Identifier(), nullable=False),
        sa.Column("recipient", sa.String(254), nullable=False),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("text", LONG_TEXT, nullable=False),
        sa.Column("html", LONG_TEXT, nullable=False),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.Column("due_at", UTCDateTime()),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("sent_at", UTCDateTime()),
        sa.Column("last_error", sa.String(255)),
        sa.PrimaryKeyConstraint("id", name="pk_auth_outbox_message"),
        **TABLE_OPTIONS,
    )
    op.create_index("ix_auth_outbox_message_due_at", "auth_outbox_message", ["due_at"])
    op.create_index("ix_auth_outbox_message_sent_at", "auth_outbox_message", ["sent_at"])


def downgrade() -> None:
    for table in ("auth_outbox_message", "auth_revoked_token", "auth_link", "auth_session", "auth_user"):
        op.drop_table(table)
