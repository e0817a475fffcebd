"""how far retries have come that are made in steps

A process of the previous release knows nothing of them, and cannot end a job whose retry is under way: the job counts
one shard more than it has. Its cancel of such a job is answered 503 until the last step.

Revises: 2026_11_27_receipts
"""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_27_retries"
down_revision = "2026_11_27_receipts"
branch_labels = None
depends_on = None

big_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "retries",
        sa.Column("job_id", big_id, autoincrement=False, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("codes", sa.Text(), nullable=True),
        sa.Column("undecided", sa.Boolean(name="undecided"), nullable=False),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_retries")),
    )


def downgrade() -> None:
    op.drop_table("retries")
