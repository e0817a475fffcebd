"""what a document has beside its text (a question), as JSON

Null in documents of before, and in those that processes of the previous release go on storing meanwhile: they name
their columns, and know no task that needs a field.

Revises: 2026_11_27_search_and_counts
"""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_27_document_fields"
down_revision = "2026_11_27_search_and_counts"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("documents", sa.Column("fields", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("documents", "fields")
