"""the request that a job came by, as W3C's Trace Context names it, and when a shard's documents were accepted

Null in rows of before, and in those that processes of the previous release go on making: their spans are in traces of
their own, and the age of their documents is not counted.

Revises: 2026_11_27_files_and_orders
"""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_27_traces"
down_revision = "2026_11_27_files_and_orders"
branch_labels = None
depends_on = None

timestamp = sa.DateTime(timezone=True).with_variant(sa.String(23), "sqlite")


def upgrade() -> None:
    op.add_column("jobs", sa.Column("traceparent", sa.String(55), nullable=True))
    op.add_column("shards", sa.Column("created_at", timestamp, nullable=True))


def downgrade() -> None:
    op.drop_column("shards", "created_at")
    op.drop_column("jobs", "traceparent")
