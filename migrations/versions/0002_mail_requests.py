"""requests for mails

Revision ID: 0002
Revises: 0001
Created: 2026-11-21
"""

import sqlalchemy as sa
from alembic import op

from authapp.columns import TABLE_OPTIONS, ExactString, Identifier, UTCDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "auth_mail_request",
        sa.Column("id", Identifier(), nullable=False),
        sa.Column("kind", ExactString(32), nullable=False),
        sa.Column("email", ExactString(254), nullable=False),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_auth_mail_request"),
        **TABLE_OPTIONS,
    )
    op.create_index("ix_auth_mail_request_created_at", "auth_mail_request", ["created_at"])


def downgrade() -> None:
    op.drop_table("auth_mail_request")
