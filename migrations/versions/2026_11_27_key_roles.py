"""keys have roles, limits, the time of their last use, and a second secret while they are rotated

Processes of the previous release go on: they name their columns, and know every key by its newest secret. The one of
before a rotation is known to new processes alone, and no role or limit binds the old ones: rotate and limit when all
run this release.

Revises: 2026_11_27_retries
"""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_27_key_roles"
down_revision = "2026_11_27_retries"
branch_labels = None
depends_on = None

timestamp = sa.DateTime(timezone=True).with_variant(sa.String(23), "sqlite")
big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("keys", sa.Column("role", sa.String(16), nullable=False, server_default="producer"))
    op.add_column("keys", sa.Column("requests_per_minute", sa.Integer(), nullable=True))
    op.add_column("keys", sa.Column("open_jobs", sa.Integer(), nullable=True))
    op.add_column("keys", sa.Column("documents_per_day", big, nullable=True))
    op.add_column("keys", sa.Column("last_used_at", timestamp, nullable=True))
    op.add_column("keys", sa.Column("previous_hash", sa.String(64), nullable=True))
    op.add_column("keys", sa.Column("previous_until", timestamp, nullable=True))
    op.create_index("ix_keys_previous_hash", "keys", ["previous_hash"], unique=True)
    op.create_table(
        "key_days",
        sa.Column("key_id", big, nullable=False, autoincrement=False),
        sa.Column("day", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("documents", big, nullable=False),
        sa.PrimaryKeyConstraint("key_id", "day", name=op.f("pk_key_days")),
    )


def downgrade() -> None:
    op.drop_table("key_days")
    op.drop_index("ix_keys_previous_hash", "keys")
    for column in ("previous_until", "previous_hash", "last_used_at", "documents_per_day", "open_jobs"):
        op.drop_column("keys", column)
    op.drop_column("keys", "requests_per_minute")
    op.drop_column("keys", "role")
