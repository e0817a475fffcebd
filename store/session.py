"""The database engine, transactions that are retried, and the database's own clock.

The differences between PostgreSQL and SQLite live here and in `bulk.py`.
"""

import contextlib
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Dialect, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from store import postgresql, receipts
from store.faults import READ_ONLY, Meaning, TransactionOutrun, meaning
from store.postgresql import LONG, READ
from store.settings import StoreSettings
from textmill.errors import StoreBusy

P = ParamSpec("P")
T = TypeVar("T")

RETRIES = 12
"""How often one transaction is tried before its caller hears of it."""

BUSY_SECONDS = 10
"""How long SQLite waits for another process's write to end, in one try."""

MESSAGES = {
    Meaning.CONFLICT: "the database kept refusing the transaction: others were in its way each time",
    Meaning.OUTAGE: "the database does not answer",
    Meaning.FULL: "the database cannot write: its disk is full, or fails",
}


class Timestamp(sa.types.TypeDecorator[datetime]):
    """A moment in UTC: `timestamptz` on PostgreSQL, sortable text with milliseconds on SQLite."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> sa.types.TypeEngine[Any]:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(sa.String(23))
        return dialect.type_descriptor(sa.DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "milliseconds")

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if isinstance(value, str):
            return datetime.fromisoformat(value).replace(tzinfo=UTC)
        assert isinstance(value, datetime)
        return value.astimezone(UTC)


class db_time(FunctionElement[datetime]):  # noqa: N801 - reads as the SQL function that it is
    """The database's own time, now or some seconds from now (negative: ago).

    Never `now()` on PostgreSQL: that is the transaction's start. Never `unixepoch('subsec')` on SQLite: before 3.42 it
    silently answers NULL.
    """

    type = Timestamp()
    inherit_cache = True
    name = "db_time"

    def __init__(self, seconds: "float | sa.BindParameter[float]" = 0) -> None:
        super().__init__(seconds if isinstance(seconds, sa.BindParameter) else sa.literal(float(seconds), sa.Float))


@compiles(db_time, "postgresql")
def _db_time_postgresql(element: db_time, compiler: Any, **kw: Any) -> str:
    return f"(clock_timestamp() + make_interval(secs => {compiler.process(element.clauses, **kw)}))"


@compiles(db_time, "sqlite")
def _db_time_sqlite(element: db_time, compiler: Any, **kw: Any) -> str:
    return f"strftime('%Y-%m-%d %H:%M:%f', 'now', {compiler.process(element.clauses, **kw)} || ' seconds')"


class db_minute(FunctionElement[int]):  # noqa: N801 - as db_time
    """The minute of the database's own time, now or some seconds from now, counted from 1970."""

    type = sa.BigInteger()
    inherit_cache = True
    name = "db_minute"

    def __init__(self, seconds: float = 0) -> None:
        super().__init__(sa.literal(float(seconds), sa.Float))


@compiles(db_minute, "postgresql")
def _db_minute_postgresql(element: db_minute, compiler: Any, **kw: Any) -> str:
    seconds = compiler.process(element.clauses, **kw)
    return f"CAST(floor((extract(epoch FROM clock_timestamp()) + {seconds}) / 60) AS BIGINT)"


@compiles(db_minute, "sqlite")
def _db_minute_sqlite(element: db_minute, compiler: Any, **kw: Any) -> str:
    seconds = compiler.process(element.clauses, **kw)
    return f"CAST(strftime('%s', 'now', {seconds} || ' seconds') AS INTEGER) / 60"


def engine_url(url: str) -> sa.URL:
    """The URL with the driver that Textmill uses: psycopg 3, or Python's own sqlite3."""
    parsed = make_url(re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", url))
    if parsed.get_backend_name() not in ("postgresql", "sqlite"):
        raise ValueError(f"DATABASE_URL must be postgresql:// or sqlite://, not {parsed.get_backend_name()}://")
    return parsed


class Store:
    """A database and its transactions. Threads share one; it is made in the entry file of a process."""

    def __init__(self, url: str, settings: StoreSettings | None = None) -> None:
        parsed = engine_url(url)
        settings = settings or StoreSettings()
        pool_size = settings.database_pool
        self.url = url
        self.settings = settings
        self.dialect = parsed.get_backend_name()
        if self.dialect == "sqlite":
            if not parsed.database or parsed.database == ":memory:":
                raise ValueError("an SQLite ledger needs a file: a database in memory survives nothing")
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
            self.engine = sa.create_engine(
                parsed,
                poolclass=sa.pool.QueuePool,
                pool_size=pool_size,
                max_overflow=0,
                pool_timeout=settings.database_patience_seconds,
                connect_args={"check_same_thread": False, "timeout": BUSY_SECONDS, "isolation_level": None},
            )
            sa.event.listen(self.engine, "connect", _configure_sqlite)
            sa.event.listen(self.engine, "begin", _begin_sqlite)
        else:
            self.engine = sa.create_engine(
                parsed,
                pool_size=pool_size,
                # None beyond them: a connection more for a moment is a process more of the server's, made and ended
                # for one transaction, and so many of them that a server with many clients has none left.
                max_overflow=0,
                # No ping before each transaction: a dead connection fails at its BEGIN, and that is tried again.
                pool_timeout=settings.database_patience_seconds,
                connect_args=postgresql.connect_args(settings),
            )
            postgresql.bound(self.engine, settings)
        self.engine = self.engine.execution_options(textmill_settings=settings)
        self._reader = self.engine.execution_options(textmill_kind=READ)
        # Threads of one process queue here and not in SQLite's busy handler, which polls and is unfair.
        self._writer = threading.Lock() if self.dialect == "sqlite" else contextlib.nullcontext()

    def write(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work(tx, ...)` in one transaction, as a whole again where the database asks for it.

        Raises StoreBusy when that keeps failing or the database cannot write at all, and whatever `work` raises (after
        rolling back).
        """
        return self._retried(self._write_transaction, work, args, kwargs)

    def write_once(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `write`, for what a second try would do again: one that follows a COMMIT whose answer was lost finds out
        whether it was done, and then returns what was returned there."""
        once = receipts.Once(work)
        return self._retried(lambda: self._once_transaction(once), once, args, kwargs)

    def read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work(tx, ...)`, which only reads and sees one moment, in a short transaction. Errors as in `write`."""
        return self._retried(self._read_transaction, work, args, kwargs)

    def write_long(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `write`, for what may take any time: migrations."""
        return self._retried(self._long_transaction, work, args, kwargs)

    @property
    def connections(self) -> int:
        """Connections that are open, at work or not: at most `database_pool`."""
        pool = self.engine.pool
        assert isinstance(pool, sa.pool.QueuePool)
        return pool.checkedin() + pool.checkedout()

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()

    @contextlib.contextmanager
    def _write_transaction(self) -> Iterator[Connection]:
        with self._writer, self.engine.begin() as tx:
            yield tx

    @contextlib.contextmanager
    def _once_transaction(self, once: receipts.Once[Any]) -> Iterator[Connection]:
        with self._writer, self.engine.execution_options(textmill_receipt=once.token).begin() as tx:
            yield tx

    @contextlib.contextmanager
    def _long_transaction(self) -> Iterator[Connection]:
        with self._writer, self.engine.execution_options(textmill_kind=LONG).begin() as tx:
            yield tx

    @contextlib.contextmanager
    def _read_transaction(self) -> Iterator[Connection]:
        with self._reader.begin() as tx:
            yield tx

    def _retried(
        self,
        transaction: Callable[[], contextlib.AbstractContextManager[Connection]],
        work: Callable[..., T],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> T:
        begun = time.monotonic()
        for attempt in range(RETRIES):
            try:
                with transaction() as tx:
                    return work(tx, *args, **kwargs)
            except (SQLAlchemyError, TransactionOutrun) as error:
                found = meaning(error)
                if found is Meaning.FAULT:
                    raise
                last = error
                self._let_go_of_a_replica(error)
                patient = time.monotonic() - begun < self.settings.database_patience_seconds
                if found is Meaning.FULL or (found is Meaning.OUTAGE and not patient):
                    break
            time.sleep(random.uniform(0, min(1.0, 0.01 * 2**attempt)))  # nosec B311 # a pause, no secret
        # The cause stays out of the message, which producers see: it names hosts and files. `brief` shows it to logs.
        raise StoreBusy(MESSAGES[found]) from last

    def _let_go_of_a_replica(self, error: Exception) -> None:
        """After a failover the pool's connections are to what was the primary: the next try makes new ones."""
        if isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) == READ_ONLY:
            self.engine.dispose()


def settings_of(tx: Connection) -> StoreSettings:
    """The settings of the store that this transaction belongs to."""
    settings = tx.get_execution_options()["textmill_settings"]
    assert isinstance(settings, StoreSettings)
    return settings


def _configure_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA cache_size = -16384")
    cursor.execute("PRAGMA temp_store = MEMORY")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A deferred transaction that turns into a writer midway fails at once with SQLITE_BUSY; IMMEDIATE waits its turn.
    options = connection.get_execution_options()
    connection.exec_driver_sql("BEGIN" if options.get("textmill_kind") == READ else "BEGIN IMMEDIATE")
    if token := options.get("textmill_receipt"):
        connection.exec_driver_sql(receipts.statement("sqlite", token))


def migrate(url: str) -> None:
    """Bring the database's schema to the newest revision, in this process."""
    from alembic import command
    from alembic.config import Config

    root = Path(__file__).resolve().parent.parent
    config = Config()
    config.set_main_option("script_location", str(root / "migrations"))
    config.attributes["url"] = url
    command.upgrade(config, "head")
