"""Runs the migrations: for `alembic` on the command line (DATABASE_URL) and for `store.session.migrate`."""

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


def run() -> None:
    """Migrate, tried again while the database is busy or about to start."""
    url = context.config.attributes.get("url") or StoreSettings().database_url
    store = Store(url)
    try:
        store.write_long(migrate)
    finally:
        store.close()


run()
