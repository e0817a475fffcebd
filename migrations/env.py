"""Runs the migrations: for `alembic` on the command line (DATABASE_URL) and for `store.session.migrate`."""

from alembic import context

from store import tables
from store.session import Store
from store.settings import StoreSettings


def run() -> None:
    """Upgrade, one transaction for all revisions where the database can."""
    url = context.config.attributes.get("url") or StoreSettings().database_url
    store = Store(url)
    try:
        with store.engine.begin() as connection:
            if store.dialect == "postgresql":
                # Two processes that start at once must not migrate at once. The lock ends with the transaction.
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7496331)")
            context.configure(
                connection=connection,
                target_metadata=tables.metadata,
                render_as_batch=store.dialect == "sqlite",
                compare_type=True,
            )
            with context.begin_transaction():
                context.run_migrations()
    finally:
        store.close()


run()
