"""what waits, found by an index; speeds of models; shards that know their size

Nothing is taken away and no row rewritten, so that processes of the previous release live through it. What waits at
this moment is noted here; what they add, and the sizes of their shards, the sweep notes afterwards.

Revises: 2026_11_24_backend_and_dtype
"""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_24_turns"
down_revision = "2026_11_24_backend_and_dtype"
branch_labels = None
depends_on = None

timestamp = sa.DateTime(timezone=True).with_variant(sa.String(23), "sqlite")
big_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "turns",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("key_id", big_id, autoincrement=False, nullable=False),
        sa.Column("waiting", sa.Boolean(name="waiting"), nullable=False),
        sa.Column("tag", sa.Float(), nullable=False),
        sa.Column("high_tag", sa.Float(), nullable=False),
        sa.Column("high_place", big_id, nullable=False),
        sa.Column("normal_tag", sa.Float(), nullable=False),
        sa.Column("normal_place", big_id, nullable=False),
        sa.Column("low_tag", sa.Float(), nullable=False),
        sa.Column("low_place", big_id, nullable=False),
        sa.PrimaryKeyConstraint("model", "key_id", name=op.f("pk_turns")),
    )
    op.create_index("ix_turns_tag", "turns", ["model", "tag"])
    _partial("ix_turns_waiting", "turns", ["model", "tag"], "waiting", "waiting = 1")
    op.create_table(
        "waiting",
        sa.Column("job_id", big_id, autoincrement=False, nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("key_id", big_id, nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("place", big_id, nullable=False),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_waiting")),
    )
    op.create_index("ix_waiting_line", "waiting", ["model", "key_id", "priority", "place", "job_id"])
    op.create_table(
        "speeds",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("characters_per_second", sa.Float(), nullable=False),
        sa.Column("updated_at", timestamp, nullable=False),
        sa.PrimaryKeyConstraint("model", name=op.f("pk_speeds")),
    )
    op.add_column("workers", sa.Column("speeds", sa.Text(), nullable=True))
    op.add_column("shards", sa.Column("characters", sa.Integer(), nullable=True))
    _partial("ix_shards_unmeasured", "shards", ["id"], "state IN ('pending') AND characters IS NULL")
    running = "state IN ('queued', 'running')"
    _partial("ix_jobs_open", "jobs", ["appended_at"], f"{running} AND open", f"{running} AND open = 1")
    op.execute(
        """
        INSERT INTO waiting (job_id, model, key_id, priority, place)
        SELECT id, model, key_id, priority, 0 FROM jobs
        WHERE state IN ('queued', 'running') AND deleted_at IS NULL
          AND EXISTS (SELECT 1 FROM shards WHERE shards.job_id = jobs.id AND shards.state IN ('pending'))
        """
    )
    op.execute(
        """
        INSERT INTO turns
            (model, key_id, waiting, tag, high_tag, high_place, normal_tag, normal_place, low_tag, low_place)
        SELECT DISTINCT model, key_id, TRUE, 0, 0, 0, 0, 0, 0, 0 FROM waiting
        """
    )


def _partial(name: str, table: str, columns: list[str], condition: str, on_sqlite: str = "") -> None:
    on_sqlite = on_sqlite or condition
    op.create_index(name, table, columns, postgresql_where=sa.text(condition), sqlite_where=sa.text(on_sqlite))


def downgrade() -> None:
    op.drop_index("ix_jobs_open", "jobs")
    op.drop_index("ix_shards_unmeasured", "shards")
    op.drop_column("shards", "characters")
    op.drop_column("workers", "speeds")
    op.drop_table("speeds")
    op.drop_table("waiting")
    op.drop_table("turns")
