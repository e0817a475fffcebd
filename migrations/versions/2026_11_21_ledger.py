"""the ledger

Revises:
"""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_21_ledger"
down_revision = None
branch_labels = None
depends_on = None


# Written out, and not imported from the tables: a migration must not change when they do.
timestamp = sa.DateTime(timezone=True).with_variant(sa.String(23), "sqlite")
big_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "documents",
        sa.Column("job_id", big_id, autoincrement=False, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("document_id", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "position", name=op.f("pk_documents")),
        sa.UniqueConstraint("job_id", "document_id", name=op.f("uq_documents_job_id_document_id")),
    )
    op.create_table(
        "duties",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("holder", sa.String(length=36), nullable=True),
        sa.Column("held_until", timestamp, nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_duties")),
    )
    op.create_table(
        "keys",
        sa.Column("id", big_id, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("secret_hash", sa.String(length=64), nullable=False),
        sa.Column("created_at", timestamp, nullable=False),
        sa.Column("revoked_at", timestamp, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_keys")),
        sa.UniqueConstraint("secret_hash", name=op.f("uq_keys_secret_hash")),
    )
    op.create_table(
        "results",
        sa.Column("job_id", big_id, autoincrement=False, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("output", sa.Text(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("model_revision", sa.Text(), nullable=True),
        sa.Column("input_tokens", sa.Integer(), nullable=True),
        sa.Column("output_tokens", sa.Integer(), nullable=True),
        sa.Column("pieces", sa.Integer(), nullable=True),
        sa.Column("truncated", sa.Boolean(name="truncated"), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("finished_at", timestamp, nullable=False),
        sa.CheckConstraint("state IN ('succeeded', 'failed')", name=op.f("ck_results_state")),
        sa.PrimaryKeyConstraint("job_id", "position", name=op.f("pk_results")),
    )
    with op.batch_alter_table("results", schema=None) as batch_op:
        batch_op.create_index(
            "ix_results_failed",
            ["job_id", "position"],
            unique=False,
            postgresql_where=sa.text("state = 'failed'"),
            sqlite_where=sa.text("state = 'failed'"),
        )

    op.create_table(
        "workers",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("models", sa.Text(), nullable=False),
        sa.Column("resident", sa.Text(), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("load", sa.Float(), nullable=False),
        sa.Column("started_at", timestamp, nullable=False),
        sa.Column("heartbeat_at", timestamp, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
    )
    op.create_table(
        "jobs",
        sa.Column("id", big_id, nullable=False),
        sa.Column("uuid", sa.String(length=36), nullable=False),
        sa.Column("key_id", big_id, nullable=False),
        sa.Column("task", sa.String(length=32), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("options", sa.Text(), nullable=False),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("state", sa.String(length=24), nullable=False),
        sa.Column("open", sa.Boolean(name="open"), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("succeeded", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("cancelled", sa.Integer(), nullable=False),
        sa.Column("remaining_shards", sa.Integer(), nullable=False),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("body_hash", sa.String(length=64), nullable=True),
        sa.Column("created_at", timestamp, nullable=False),
        sa.Column("appended_at", timestamp, nullable=False),
        sa.Column("started_at", timestamp, nullable=True),
        sa.Column("finished_at", timestamp, nullable=True),
        sa.Column("deleted_at", timestamp, nullable=True),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'completed', 'completed_with_errors', 'failed', 'cancelled')",
            name=op.f("ck_jobs_state"),
        ),
        sa.CheckConstraint("remaining_shards >= 0", name=op.f("ck_jobs_remaining_shards")),
        sa.CheckConstraint("succeeded + failed + cancelled <= total", name=op.f("ck_jobs_counts")),
        sa.ForeignKeyConstraint(["key_id"], ["keys.id"], name=op.f("fk_jobs_key_id_keys")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
        sa.UniqueConstraint("key_id", "idempotency_key", name=op.f("uq_jobs_key_id_idempotency_key")),
        sa.UniqueConstraint("uuid", name=op.f("uq_jobs_uuid")),
    )
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.create_index(
            "ix_jobs_active",
            ["model", "key_id"],
            unique=False,
            postgresql_where=sa.text("state IN ('queued', 'running')"),
            sqlite_where=sa.text("state IN ('queued', 'running')"),
        )
        batch_op.create_index(
            "ix_jobs_deleted",
            ["deleted_at"],
            unique=False,
            postgresql_where=sa.text("deleted_at IS NOT NULL"),
            sqlite_where=sa.text("deleted_at IS NOT NULL"),
        )
        batch_op.create_index("ix_jobs_finished", ["finished_at"], unique=False)
        batch_op.create_index("ix_jobs_key_newest", ["key_id", "id"], unique=False)

    op.create_table(
        "shards",
        sa.Column("id", big_id, nullable=False),
        sa.Column("job_id", big_id, nullable=False),
        sa.Column("first", sa.Integer(), nullable=False),
        sa.Column("last", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("token", sa.String(length=32), nullable=True),
        sa.Column("worker_id", sa.String(length=36), nullable=True),
        sa.Column("lease_expires_at", timestamp, nullable=True),
        sa.Column("released_at", timestamp, nullable=True),
        sa.Column("published_at", timestamp, nullable=True),
        sa.Column("losses", sa.Integer(), nullable=False),
        sa.Column("suspect", sa.Integer(), nullable=True),
        sa.Column("suspect_attempts", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "state IN ('pending', 'queued', 'leased', 'done', 'cancelled')", name=op.f("ck_shards_state")
        ),
        sa.CheckConstraint("first <= last", name=op.f("ck_shards_range")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_shards_job_id_jobs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shards")),
    )
    with op.batch_alter_table("shards", schema=None) as batch_op:
        batch_op.create_index("ix_shards_job_first", ["job_id", "first"], unique=False)
        batch_op.create_index("ix_shards_job_served", ["job_id", "released_at"], unique=False)
        batch_op.create_index(
            "ix_shards_leased",
            ["lease_expires_at"],
            unique=False,
            postgresql_where=sa.text("state IN ('leased')"),
            sqlite_where=sa.text("state IN ('leased')"),
        )
        batch_op.create_index(
            "ix_shards_pending",
            ["job_id", "first"],
            unique=False,
            postgresql_where=sa.text("state IN ('pending')"),
            sqlite_where=sa.text("state IN ('pending')"),
        )
        batch_op.create_index(
            "ix_shards_out",
            ["job_id"],
            unique=False,
            postgresql_where=sa.text("state IN ('queued', 'leased')"),
            sqlite_where=sa.text("state IN ('queued', 'leased')"),
        )

    op.execute("INSERT INTO duties (name) VALUES ('sweep')")


def downgrade() -> None:
    with op.batch_alter_table("shards", schema=None) as batch_op:
        batch_op.drop_index("ix_shards_out")
        batch_op.drop_index("ix_shards_pending")
        batch_op.drop_index("ix_shards_leased")
        batch_op.drop_index("ix_shards_job_served")
        batch_op.drop_index("ix_shards_job_first")

    op.drop_table("shards")
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_index("ix_jobs_key_newest")
        batch_op.drop_index("ix_jobs_finished")
        batch_op.drop_index(
            "ix_jobs_deleted",
            postgresql_where=sa.text("deleted_at IS NOT NULL"),
            sqlite_where=sa.text("deleted_at IS NOT NULL"),
        )
        batch_op.drop_index(
            "ix_jobs_active",
            postgresql_where=sa.text("state IN ('queued', 'running')"),
            sqlite_where=sa.text("state IN ('queued', 'running')"),
        )

    op.drop_table("jobs")
    op.drop_table("workers")
    with op.batch_alter_table("results", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_results_failed", postgresql_where=sa.text("state = 'failed'"), sqlite_where=sa.text("state = 'failed'")
        )

    op.drop_table("results")
    op.drop_table("keys")
    op.drop_table("duties")
    op.drop_table("documents")
