"""Runs the migrations: for `alembic` on the command line (DATABASE_URL) and for `store.session.migrate`."""

from typing import Any

import sqlalchemy as sa
from alembic import context
from sqlalchemy.engine import Connection

from store import tables
from store.session import Store
from store.settings import StoreSettings


def migrate(tx: Connection) -> None:
    """One transaction for all revisions: another process that starts at once waits, and then finds nothing to do."""
    if tx.dialect.name == "postgresql":
        tx.exec_driver_sql("SELECT pg_advisory_xact_lock(7496331)")  # ends with the transaction
    context.configure(
        connection=tx,
        target_metadata=tables.metadata,
        render_as_batch=tx.dialect.name == "sqlite",
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()
    if tx.dialect.name == "sqlite" and (broken := tx.exec_driver_sql("PRAGMA foreign_key_check").first()):
        raise RuntimeError(
            f"the migration would leave rows of {broken[0]} without what they refer to: nothing was written"
        )


def _without_foreign_keys(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA foreign_keys = OFF")


def run() -> None:
    """Migrate, tried again while the database is busy or about to start."""
    url = context.config.attributes.get("url") or StoreSettings().database_url
    store = Store(url)
    if store.dialect == "sqlite":
        # A batch operation makes the table anew and drops the old one, whose rows others refer to: SQLite's own recipe
        # is to look at that once, at the end. The pragma says nothing inside a transaction, so each connection has it.
        sa.event.listen(store.engine, "connect", _without_foreign_keys)
    try:
        store.write_long(migrate)
    finally:
        store.close()


run()
