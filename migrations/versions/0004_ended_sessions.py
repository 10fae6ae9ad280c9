"""an index by which a purge finds ended sessions

Revision ID: 0004
Revises: 0003
Created: 2026-11-22
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_auth_session_ended_at", "auth_session", ["ended_at"])


def downgrade() -> None:
    op.drop_index("ix_auth_session_ended_at", "auth_session")
