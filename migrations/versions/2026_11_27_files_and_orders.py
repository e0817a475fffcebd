"""files of requests, and orders: what becomes of them

Processes of the previous release know nothing of them.

Revises: 2026_11_27_fleeting_jobs
"""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_27_files_and_orders"
down_revision = "2026_11_27_fleeting_jobs"
branch_labels = None
depends_on = None

big_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
timestamp = sa.DateTime(timezone=True).with_variant(sa.String(23), "sqlite")


def upgrade() -> None:
    op.create_table(
        "file_chunks",
        sa.Column("file_id", big_id, autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("file_id", "number", name=op.f("pk_file_chunks")),
    )
    op.create_table(
        "order_jobs",
        sa.Column("order_id", big_id, autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(32), nullable=False),
        sa.Column("task", sa.String(32), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("options", sa.Text(), nullable=False),
        sa.Column("form", sa.Text(), nullable=False),
        sa.Column("job_id", big_id, nullable=True),
        sa.Column("job_uuid", sa.String(36), nullable=True),
        sa.PrimaryKeyConstraint("order_id", "number", name=op.f("pk_order_jobs")),
    )
    op.create_table(
        "order_lines",
        sa.Column("order_id", big_id, autoincrement=False, nullable=False),
        sa.Column("line", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("custom_id", sa.Text(), nullable=True),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("param", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("order_id", "line", name=op.f("pk_order_lines")),
    )
    op.create_table(
        "files",
        sa.Column("id", big_id, nullable=False),
        sa.Column("uuid", sa.String(32), nullable=False),
        sa.Column("key_id", big_id, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("purpose", sa.String(16), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.Column("chunks", sa.Integer(), nullable=False),
        sa.Column("order_id", big_id, nullable=True),
        sa.Column("part", sa.String(8), nullable=True),
        sa.Column("created_at", timestamp, nullable=False),
        sa.Column("touched_at", timestamp, nullable=False),
        sa.Column("expires_at", timestamp, nullable=True),
        sa.Column("deleted_at", timestamp, nullable=True),
        sa.CheckConstraint("part IN ('output', 'errors')", name=op.f("ck_files_part")),
        sa.ForeignKeyConstraint(["key_id"], ["keys.id"], name=op.f("fk_files_key_id_keys")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_files")),
        sa.UniqueConstraint("uuid", name=op.f("uq_files_uuid")),
    )
    op.create_index(
        "ix_files_deleted",
        "files",
        ["deleted_at"],
        postgresql_where=sa.text("deleted_at IS NOT NULL"),
        sqlite_where=sa.text("deleted_at IS NOT NULL"),
    )
    op.create_index(
        "ix_files_expires",
        "files",
        ["expires_at"],
        postgresql_where=sa.text("deleted_at IS NULL"),
        sqlite_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index("ix_files_key_newest", "files", ["key_id", "id"])
    op.create_index("ix_files_order", "files", ["order_id"])
    op.create_index(
        "ix_files_uploading",
        "files",
        ["touched_at"],
        postgresql_where=sa.text("bytes IS NULL AND deleted_at IS NULL"),
        sqlite_where=sa.text("bytes IS NULL AND deleted_at IS NULL"),
    )

    op.create_table(
        "orders",
        sa.Column("id", big_id, nullable=False),
        sa.Column("uuid", sa.String(32), nullable=False),
        sa.Column("key_id", big_id, nullable=False),
        sa.Column("file_id", big_id, nullable=False),
        sa.Column("file_uuid", sa.String(32), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("completion_window", sa.String(16), nullable=False),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.Column("output_seconds", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("ending", sa.String(12), nullable=True),
        sa.Column("token", sa.String(32), nullable=True),
        sa.Column("due_at", timestamp, nullable=True),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("refused", sa.Integer(), nullable=False),
        sa.Column("documents", sa.Integer(), nullable=False),
        sa.Column("fed", sa.Boolean(name="fed"), nullable=False),
        sa.Column("succeeded", sa.Integer(), nullable=True),
        sa.Column("failed", sa.Integer(), nullable=True),
        sa.Column("errors", sa.Text(), nullable=True),
        sa.Column("created_at", timestamp, nullable=False),
        sa.Column("expires_at", timestamp, nullable=False),
        sa.Column("in_progress_at", timestamp, nullable=True),
        sa.Column("cancelling_at", timestamp, nullable=True),
        sa.Column("finalizing_at", timestamp, nullable=True),
        sa.Column("ended_at", timestamp, nullable=True),
        sa.CheckConstraint(
            "state IN ('validating', 'in_progress', 'cancelling', 'finalizing', 'completed', 'failed', 'cancelled', "
            "'expired')",
            name=op.f("ck_orders_state"),
        ),
        sa.ForeignKeyConstraint(["key_id"], ["keys.id"], name=op.f("fk_orders_key_id_keys")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_orders")),
        sa.UniqueConstraint("uuid", name=op.f("uq_orders_uuid")),
    )
    op.create_index(
        "ix_orders_due",
        "orders",
        ["due_at"],
        postgresql_where=sa.text("ended_at IS NULL"),
        sqlite_where=sa.text("ended_at IS NULL"),
    )
    op.create_index("ix_orders_ended", "orders", ["ended_at"])
    op.create_index("ix_orders_file", "orders", ["file_id"])
    op.create_index("ix_orders_key_newest", "orders", ["key_id", "id"])


def downgrade() -> None:
    op.drop_table("orders")
    op.drop_table("files")
    op.drop_table("order_lines")
    op.drop_table("order_jobs")
    op.drop_table("file_chunks")
