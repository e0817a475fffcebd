"""what jobs and results are searched by; errors by code; what was settled, and how full batches were, by the minute

Nothing is taken away, so that processes of the previous release live through it. What they settle is in no count: a
job's `errors` may then be fewer than its failed documents, until it is retried.

Revises: 2026_11_24_workers_machine
"""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_27_search_and_counts"
down_revision = "2026_11_24_workers_machine"
branch_labels = None
depends_on = None

big_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
OF_JOBS = {
    "ix_jobs_key_state": ["key_id", "state", "id"],
    "ix_jobs_key_task": ["key_id", "task", "id"],
    "ix_jobs_key_model": ["key_id", "model", "id"],
    "ix_jobs_key_created_at": ["key_id", "created_at"],
    "ix_jobs_key_finished_at": ["key_id", "finished_at"],
}


def upgrade() -> None:
    for name, columns in OF_JOBS.items():
        op.create_index(name, "jobs", columns)
    failed = sa.text("state = 'failed'")
    columns = ["job_id", "error_code", "position"]
    # There may be hundreds of millions of results: docs/operations.md tells how to make it beforehand.
    op.create_index(
        "ix_results_code", "results", columns, if_not_exists=True, postgresql_where=failed, sqlite_where=failed
    )
    op.create_table(
        "error_counts",
        sa.Column("job_id", big_id, autoincrement=False, nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("documents", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "code", name=op.f("pk_error_counts")),
    )
    op.execute(
        "INSERT INTO error_counts (job_id, code, documents)"
        " SELECT job_id, error_code, count(*) FROM results WHERE state = 'failed' GROUP BY job_id, error_code"
    )
    op.create_table(
        "minutes",
        sa.Column("key_id", big_id, autoincrement=False, nullable=False),
        sa.Column("minute", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("worker_id", sa.String(36), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("documents", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("key_id", "minute", "worker_id", "outcome", name=op.f("pk_minutes")),
    )
    op.create_index("ix_minutes_minute", "minutes", ["minute"])
    op.create_table(
        "batches",
        sa.Column("minute", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("worker_id", sa.String(36), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("padded", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("minute", "worker_id", name=op.f("pk_batches")),
    )


def downgrade() -> None:
    op.drop_table("batches")
    op.drop_table("minutes")
    op.drop_table("error_counts")
    op.drop_index("ix_results_code", "results")
    for name in OF_JOBS:
        op.drop_index(name, "jobs")
