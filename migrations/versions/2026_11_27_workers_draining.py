"""whether a worker process takes no more shards, and ends when those that it has are done

Null in rows of processes of the previous release, which do not say so.

Revises: 2026_11_27_key_roles
"""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_27_workers_draining"
down_revision = "2026_11_27_key_roles"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("workers", sa.Column("draining", sa.Boolean(name="draining"), nullable=True))


def downgrade() -> None:
    op.drop_column("workers", "draining")
