"""jobs that last as long as somebody waits for their answer, and when they are given up

Null in jobs of before, and in those that processes of the previous release go on making meanwhile: these are kept. Such
a process shows fleeting jobs in lists, and its sweep leaves them to that of a newer one.

Revises: 2026_11_27_workers_draining
"""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_27_fleeting_jobs"
down_revision = "2026_11_27_workers_draining"
branch_labels = None
depends_on = None

timestamp = sa.DateTime(timezone=True).with_variant(sa.String(23), "sqlite")


def upgrade() -> None:
    op.add_column("jobs", sa.Column("expires_at", timestamp, nullable=True))
    expiring = sa.text("expires_at IS NOT NULL")
    op.create_index("ix_jobs_expires", "jobs", ["expires_at"], postgresql_where=expiring, sqlite_where=expiring)


def downgrade() -> None:
    op.drop_index("ix_jobs_expires", "jobs")
    op.drop_column("jobs", "expires_at")
