"""receipts of transactions that must not be done twice

Processes of the previous release write none.

Revises: 2026_11_27_document_fields
"""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_27_receipts"
down_revision = "2026_11_27_document_fields"
branch_labels = None
depends_on = None

timestamp = sa.DateTime(timezone=True).with_variant(sa.String(23), "sqlite")


def upgrade() -> None:
    op.create_table(
        "receipts",
        sa.Column("token", sa.String(32), nullable=False),
        sa.Column("written_at", timestamp, nullable=False),
        sa.PrimaryKeyConstraint("token", name=op.f("pk_receipts")),
    )
    op.create_index("ix_receipts_written", "receipts", ["written_at"])


def downgrade() -> None:
    op.drop_table("receipts")
