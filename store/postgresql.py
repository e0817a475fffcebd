"""How a transaction of PostgreSQL begins, and how long it may take, on both ends of a connection: nothing waits without
a bound.

The server's own limits come first: they end a statement, a wait for a lock, and a transaction whose client has vanished
and would otherwise keep its locks until TCP gives up, after hours. Against a server that has itself gone silent there
are keepalives, and where something in between still acknowledges bytes, a limit on this side for each answer.
"""

from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.abc import PQGen
from sqlalchemy.engine import Connection

from store import receipts
from store.settings import StoreSettings

READ, WRITE, LONG = "read", "write", "long"
"""Kinds of transaction. A long one has no limit: a migration, which moves every row."""

BEGIN = {READ: "BEGIN ISOLATION LEVEL REPEATABLE READ", WRITE: "BEGIN", LONG: "BEGIN"}
"""A read is several statements, and has to see one moment: under READ COMMITTED a job could be retried between two of
them, and its documents be read as cancelled. A transaction of SQLite sees one moment anyhow."""

KEEPALIVES = 3
"""Keepalives without an answer after which a connection is given up."""


class BoundedConnection(psycopg.Connection[Any]):
    """A connection on which every answer has to come in time; else it is closed, and OperationalError raised."""

    answer_seconds: float | None = None
    """How long one answer may take, from now on. None: any time."""

    def wait(self, gen: PQGen[Any], interval: float = 0.1, timeout: float | None = None) -> Any:
        """Every exchange with the server comes through here (psycopg's own extension point)."""
        limit = self.answer_seconds if timeout is None else timeout
        try:
            return super().wait(gen, interval, timeout=limit)
        except psycopg.errors._WaitTimeout:
            # Whatever still comes would be taken for the answer to the next question.
            self.pgconn.finish()
            raise psycopg.OperationalError(f"the server did not answer within {limit:g} s") from None


def connect_args(settings: StoreSettings) -> dict[str, Any]:
    """What libpq is told: TCP's own limits. On a Unix socket they mean nothing."""
    seconds = settings.database_silence_seconds
    return {
        "fallback_application_name": "textmill",
        "connect_timeout": max(2, round(settings.database_connect_seconds)),  # libpq takes no less
        "keepalives": 1,
        "keepalives_idle": max(1, round(seconds / 2)),
        "keepalives_interval": max(1, round(seconds / 2 / KEEPALIVES)),
        "keepalives_count": KEEPALIVES,
        "tcp_user_timeout": round(seconds * 1000),
    }


def bound(engine: sa.Engine, settings: StoreSettings) -> None:
    """Begin every transaction of the engine with its limits, and set those of every connection."""
    between = settings.database_connect_seconds

    @sa.event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, args: Any, parameters: Any) -> psycopg.Connection[Any]:
        # Autocommit: the driver begins no transaction by itself, which would be a round trip before our own.
        connection = BoundedConnection.connect(*args, autocommit=True, **parameters)
        connection.answer_seconds = between
        if _is_pooled(connection):
            connection.prepare_threshold = None
        return connection

    @sa.event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        kind = connection.get_execution_options().get("textmill_kind", WRITE)
        seconds = {READ: settings.database_read_seconds, WRITE: settings.database_write_seconds, LONG: 0.0}[kind]
        # LOCAL, each time, and not once for the connection: a pooler that shares connections between clients would mix
        # up what was set, and it refuses settings in the start-up packet. All in one round trip.
        limits = {
            "statement_timeout": seconds,
            "lock_timeout": settings.database_lock_seconds if kind != LONG else 0,
            "idle_in_transaction_session_timeout": settings.database_idle_seconds if kind != LONG else 0,
        }
        first = [BEGIN[kind], *(f"SET LOCAL {name} = {round(s * 1000)}" for name, s in limits.items())]
        if token := connection.get_execution_options().get("textmill_receipt"):
            first.append(receipts.statement("postgresql", token))
        connection.exec_driver_sql("; ".join(first))
        # The server's limit comes first, where there is still a server.
        _raw(connection).answer_seconds = seconds + between if seconds else None

    @sa.event.listens_for(engine, "checkin")
    def checkin(connection: Any, _record: Any) -> None:
        if isinstance(connection, BoundedConnection):  # None where it was closed
            connection.answer_seconds = between


def _is_pooled(connection: BoundedConnection) -> bool:
    """Whether a pooler is in between, which may give each transaction another session of the server's: what one had
    prepared is unknown in the next, or already there.

    A pooler greets with a number of its own where a server names its process. A setting instead would be forgotten,
    and the failures come only with the sixth call.
    """
    (process,) = connection.execute("SELECT pg_backend_pid()").fetchone() or (None,)
    return bool(process != connection.info.backend_pid)


def _raw(connection: Connection) -> BoundedConnection:
    raw = connection.connection.driver_connection
    assert isinstance(raw, BoundedConnection)
    return raw
