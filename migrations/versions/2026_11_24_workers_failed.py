"""which models a worker could not load

Null in rows of processes of the previous release, which say nothing of it.

Revises: 2026_11_24_turns
"""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_24_workers_failed"
down_revision = "2026_11_24_turns"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("workers", sa.Column("failed", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("workers", "failed")
