"""where a worker's process id means something

Null in rows of processes of the previous release: nobody takes them for dead by their process id, and their leases run
out by themselves.

Revises: 2026_11_24_workers_failed
"""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_24_workers_machine"
down_revision = "2026_11_24_workers_failed"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("workers", sa.Column("machine", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("workers", "machine")
