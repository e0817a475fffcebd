"""how many characters fill a batch of each model in a worker process

Null in rows of processes of the previous release, which do not say so: time alone decides then what they are given.

Revises: 2026_11_27_traces
"""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_27_worker_batches"
down_revision = "2026_11_27_traces"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("workers", sa.Column("batches", sa.Text, nullable=True))


def downgrade() -> None:
    op.drop_column("workers", "batches")
