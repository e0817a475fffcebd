"""Whether the database has the tables that this release works with: asked when a process starts."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from store.session import Store
from store.tables import metadata

MIGRATE = "run `make migrate` (or `alembic upgrade head`) first"


class NotMigrated(Exception):
    """The database was never migrated, or not since an earlier release."""


def check(store: Store) -> None:
    """Raises NotMigrated where a table or a column is missing; more of them, of a newer release, do no harm.

    Raises StoreBusy where the database does not answer.
    """
    try:
        store.read(_look)
    except DBAPIError as error:
        raise NotMigrated(f"the database lacks tables or columns of this release: {MIGRATE}") from error


def _look(tx: Connection) -> None:
    # Each column is named: a comparison of revision numbers would refuse what a newer release has migrated.
    for table in metadata.sorted_tables:
        tx.execute(sa.select(table).limit(0))
