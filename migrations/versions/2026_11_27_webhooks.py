"""ends of jobs are told to webhooks: where, the deliveries with their attempts, the secrets that sign them

A process of the previous release knows nothing of them. The job that it ends owes its delivery still, which the sweep
of a process of this release makes; and what it purges takes its deliveries along, by the foreign key.

Revises: 2026_11_27_worker_batches
"""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_27_webhooks"
down_revision = "2026_11_27_worker_batches"
branch_labels = None
depends_on = None

timestamp = sa.DateTime(timezone=True).with_variant(sa.String(23), "sqlite")
big_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

PARTIAL = (
    ("ix_deliveries_due", ["due_at"], "due_at IS NOT NULL"),
    ("ix_deliveries_key_due", ["key_id", "due_at"], "due_at IS NOT NULL"),
    ("ix_deliveries_out", ["key_id"], "token IS NOT NULL"),
)


def upgrade() -> None:
    op.add_column("jobs", sa.Column("webhook", sa.Text(), nullable=True))
    op.add_column("jobs", sa.Column("webhook_owed", sa.Boolean(name="webhook_owed"), nullable=True))
    op.create_index(
        "ix_jobs_untold",
        "jobs",
        ["id"],
        postgresql_where=sa.text("webhook_owed AND finished_at IS NOT NULL"),
        sqlite_where=sa.text("webhook_owed = 1 AND finished_at IS NOT NULL"),
    )
    op.create_table(
        "webhook_secrets",
        sa.Column("id", big_id, nullable=False),
        sa.Column("key_id", big_id, nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("created_at", timestamp, nullable=False),
        sa.Column("expires_at", timestamp, nullable=True),
        sa.ForeignKeyConstraint(["key_id"], ["keys.id"], name=op.f("fk_webhook_secrets_key_id_keys")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_secrets")),
    )
    op.create_index(op.f("ix_webhook_secrets_key_id"), "webhook_secrets", ["key_id"])
    op.create_table(
        "deliveries",
        sa.Column("id", big_id, nullable=False),
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("job_id", big_id, nullable=False),
        sa.Column("key_id", big_id, nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("type", sa.String(32), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("token", sa.String(32), nullable=True),
        sa.Column("due_at", timestamp, nullable=True),
        sa.Column("created_at", timestamp, nullable=False),
        sa.Column("ended_at", timestamp, nullable=True),
        sa.CheckConstraint("state IN ('pending', 'delivered', 'failed')", name=op.f("ck_deliveries_state")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_deliveries_job_id_jobs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint("uuid", name=op.f("uq_deliveries_uuid")),
    )
    op.create_index(op.f("ix_deliveries_job_id"), "deliveries", ["job_id"])
    for name, columns, which in PARTIAL:
        op.create_index(name, "deliveries", columns, postgresql_where=sa.text(which), sqlite_where=sa.text(which))
    op.create_table(
        "delivery_attempts",
        sa.Column("delivery_id", big_id, autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", timestamp, nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["deliveries.id"], name=op.f("fk_delivery_attempts_delivery_id_deliveries"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("delivery_id", "number", name=op.f("pk_delivery_attempts")),
    )  # fmt: skip


def downgrade() -> None:
    op.drop_table("delivery_attempts")
    op.drop_table("deliveries")
    op.drop_table("webhook_secrets")
    op.drop_index("ix_jobs_untold", "jobs")
    op.drop_column("jobs", "webhook_owed")
    op.drop_column("jobs", "webhook")
