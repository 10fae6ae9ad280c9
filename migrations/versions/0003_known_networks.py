"""networks that accounts sign in from

Revision ID: 0003
Revises: 0002
Created: 2026-11-21
"""

import sqlalchemy as sa
from alembic import op

from authapp.columns import TABLE_OPTIONS, ExactString, Identifier, UTCDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "auth_known_network",
        sa.Column("user_id", Identifier(), nullable=False),
        sa.Column("network", ExactString(45), nullable=False),
        sa.Column("seen_at", UTCDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["auth_user.id"], name="fk_auth_known_network_user_id_auth_user", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "network", name="pk_auth_known_network"),
        **TABLE_OPTIONS,
    )
    op.create_index("ix_auth_known_network_seen_at", "auth_known_network", ["seen_at"])
    op.add_column("auth_mail_request", sa.Column("network", sa.String(45)))


def downgrade() -> None:
    with op.batch_alter_table("auth_mail_request") as requests:
        requests.drop_column("network")
    op.drop_table("auth_known_network")
