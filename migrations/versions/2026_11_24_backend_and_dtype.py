"""what ran the model that made a result, and in which number format

Both are null in results of before, and in those that processes of the previous release go on writing meanwhile: they
name their columns. Adding such a column rewrites no row, neither on PostgreSQL nor on SQLite.

Revises: 2026_11_21_ledger
"""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_24_backend_and_dtype"
down_revision = "2026_11_21_ledger"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("results", sa.Column("backend", sa.Text(), nullable=True))
    op.add_column("results", sa.Column("dtype", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("results", "dtype")
    op.drop_column("results", "backend")
