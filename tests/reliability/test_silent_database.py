"""Machines that vanish and servers that go silent: what they cost is bounded on both ends of a connection.

On PostgreSQL alone: SQLite's locks end with the process that holds them, and nothing lies in between.
"""

import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from store import jobs, leases
from store.dispatcher import Dispatcher
from store.postgresql import BoundedConnection
from store.queue import celery_app
from store.session import Store
from store.settings import StoreSettings
from store.sweep import Sweeper
from store.tables import duties, shards
from store.tables import jobs as jobs_table
from tests.integration.interleaving import PATIENCE
from tests.integration.ledger_steps import claim, finish, let_lease_run_out, outcomes, shard_row, submit
from tests.proxy import Proxy, proxied
from textmill.errors import StoreBusy

MakeStore = Callable[..., Store]

QUICK = {
    "database_connect_seconds": 2,
    "database_read_seconds": 2,
    "database_write_seconds": 10,
    "database_lock_seconds": 8,
    "database_idle_seconds": 1,
    "database_patience_seconds": 3,
}
"""The limits, so short that a test need not wait for the usual ones. Their order is that of the defaults."""


@pytest.fixture(params=["postgresql"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def far(database_url: str, redis_url: str) -> Iterator[tuple[Store, Proxy]]:
    """The ledger as another machine reaches it, and what lies in between."""
    proxy, url = proxied(database_url)
    store = Store(url, StoreSettings(database_url=url, redis_url=redis_url, **QUICK))
    yield store, proxy
    proxy.close()
    store.close()


@pytest.fixture
def near(make_store: MakeStore) -> Store:
    """The ledger as everybody else reaches it."""
    return make_store(shard_documents=1, **QUICK)


def in_time(call: Callable[..., object], *args: object) -> object:
    """What the call returns or raises; a failure where it hangs."""
    found: list[object] = []

    def run() -> None:
        try:
            found.append(call(*args))
        except Exception as error:  # noqa: BLE001 - handed on below
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive(), "the call hangs"
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


def vanish_with(far: tuple[Store, Proxy], row: sa.Select[tuple[int]]) -> None:
    """Another machine locks the row in a transaction, and is not heard of again."""
    store, proxy = far
    vanished = threading.Event()

    def work(tx: Connection) -> None:
        tx.execute(row.with_for_update()).one()
        proxy.vanish()
        vanished.set()
        tx.execute(row)

    def run() -> None:
        with pytest.raises(StoreBusy):
            store.write(work)

    threading.Thread(target=run, daemon=True).start()
    assert vanished.wait(PATIENCE)


def test_a_machine_that_vanishes_with_the_jobs_row_costs_seconds(
    far: tuple[Store, Proxy], near: Store, key_id: int
) -> None:
    job, released = submit(near, key_id)
    lease = claim(near, released[0].shard_id)
    vanish_with(far, sa.select(jobs_table.c.id).where(jobs_table.c.uuid == job.id))
    in_time(finish, near, lease)
    in_time(claim, near, released[1].shard_id)
    in_time(near.write, jobs.cancel, key_id, job.id)
    assert near.read(jobs.get, key_id, job.id).counts.succeeded == 1


def test_a_machine_that_vanishes_with_a_shards_row_costs_seconds(
    far: tuple[Store, Proxy], near: Store, key_id: int
) -> None:
    job, released = submit(near, key_id)
    shard_id = released[0].shard_id
    claim(near, shard_id)
    let_lease_run_out(near, shard_id)
    vanish_with(far, sa.select(shards.c.id).where(shards.c.id == shard_id))

    def expire() -> None:
        while not near.write(leases.expire):  # which skips what is locked
            pass

    in_time(expire)
    assert shard_row(near, shard_id)["state"] == "queued"
    in_time(near.write, jobs.cancel, key_id, job.id)


def test_a_machine_that_vanishes_with_the_duty_to_sweep_costs_seconds(
    far: tuple[Store, Proxy], near: Store, key_id: int
) -> None:
    _, released = submit(near, key_id)
    claim(near, released[0].shard_id)
    let_lease_run_out(near, released[0].shard_id)
    vanish_with(far, sa.select(sa.literal(1)).select_from(duties).where(duties.c.name == "sweep"))
    in_time(Sweeper(near, Dispatcher(celery_app(near.settings.redis_url))).sweep)
    assert shard_row(near, released[0].shard_id)["state"] == "queued"


def test_a_call_on_a_connection_that_goes_silent_comes_back(far: tuple[Store, Proxy], near: Store, key_id: int) -> None:
    """What is in between acknowledges every byte: neither TCP nor the server can help."""
    _, released = submit(near, key_id)
    store, proxy = far
    lease = claim(store, released[0].shard_id)
    silent: list[int] = []

    def goes_silent(*_: object) -> None:
        if not silent:
            silent.append(1)
            proxy.vanish()

    sa.event.listen(store.engine, "before_cursor_execute", goes_silent)
    with pytest.raises(StoreBusy):
        in_time(store.write, leases.settle, lease, outcomes([0]), True)
    proxy.mend()
    in_time(store.write, leases.settle, lease, outcomes([0]), True)
    assert shard_row(near, lease.shard_id)["state"] == "done"


def test_a_pooled_connection_that_went_silent_and_new_ones_come_back(far: tuple[Store, Proxy]) -> None:
    store, proxy = far
    assert store.read(jobs.ended, []) == set()
    proxy.vanish()
    with pytest.raises(StoreBusy, match="does not answer"):
        in_time(store.read, jobs.ended, [])
    proxy.mend()
    assert in_time(store.read, jobs.ended, []) == set()


def test_more_calls_than_connections_come_back_too(far: tuple[Store, Proxy]) -> None:
    store, proxy = far
    proxy.vanish()
    with ThreadPoolExecutor(40) as callers:
        calls = [callers.submit(store.read, jobs.ended, []) for _ in range(40)]
        assert {type(call.exception(PATIENCE)) for call in calls} == {StoreBusy}


def attempts_of(store: Store, first: Callable[[Connection], object]) -> int:
    """How many attempts a transaction takes whose first does something that must not end it."""
    attempts: list[int] = []

    def work(tx: Connection) -> None:
        attempts.append(1)
        if len(attempts) == 1:
            first(tx)
        tx.execute(sa.update(duties).values(holder=None))

    store.write(work)
    return len(attempts)


def test_a_statement_that_takes_too_long_is_tried_again(make_store: MakeStore) -> None:
    store = make_store(database_write_seconds=0.2, database_patience_seconds=PATIENCE)
    assert attempts_of(store, lambda tx: tx.exec_driver_sql("SELECT pg_sleep(60)")) == 2


def test_reading_has_a_limit_of_its_own(make_store: MakeStore) -> None:
    store = make_store(database_read_seconds=0.2, database_patience_seconds=0.1)
    with pytest.raises(StoreBusy):
        in_time(store.read, lambda tx: tx.exec_driver_sql("SELECT pg_sleep(60)"))


def test_a_lock_that_is_not_given_up_is_not_waited_for_for_ever(make_store: MakeStore) -> None:
    store = make_store(database_lock_seconds=0.2, database_patience_seconds=0.1)
    with store.engine.begin() as holder:
        holder.execute(sa.update(duties).values(holder=None))
        with pytest.raises(StoreBusy):
            in_time(store.write, lambda tx: tx.execute(sa.update(duties).values(holder=None)))


def test_a_transaction_that_lay_idle_is_tried_again(make_store: MakeStore) -> None:
    store, observer = make_store(database_idle_seconds=0.2, database_patience_seconds=PATIENCE), make_store()

    def idle(tx: Connection) -> None:
        pid = tx.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        there = sa.text("SELECT count(*) FROM pg_stat_activity WHERE pid = :pid")
        while observer.read(lambda tx: tx.execute(there, {"pid": pid}).scalar_one()):
            pass

    assert attempts_of(store, idle) == 2


def test_after_a_failover_the_connections_to_what_was_the_primary_are_left(store: Store) -> None:
    with store.engine.connect() as connection:
        connection.exec_driver_sql("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
        connection.commit()
    assert attempts_of(store, lambda _: None) == 2


def test_a_host_that_is_not_found_is_an_outage() -> None:
    url = "postgresql://nobody@database.invalid/textmill"
    store = Store(url, StoreSettings(database_url=url, **QUICK))
    with pytest.raises(StoreBusy, match="does not answer"):
        in_time(store.read, jobs.ended, [])


def test_long_work_has_no_limits(make_store: MakeStore) -> None:
    store = make_store(database_write_seconds=0.1, database_connect_seconds=2, database_lock_seconds=0.1)
    limits = "SELECT setting::int FROM pg_settings WHERE name IN ('statement_timeout', 'lock_timeout', :idle)"
    idle = {"idle": "idle_in_transaction_session_timeout"}
    assert store.write_long(lambda tx: set(tx.execute(sa.text(limits), idle).scalars())) == {0}
    assert store.write_long(lambda tx: tx.exec_driver_sql("SELECT 7 FROM pg_sleep(0.2)").scalar_one()) == 7


@pytest.mark.parametrize("kind", ["read", "write"])
def test_a_transaction_takes_two_round_trips_besides_its_statements(make_store: MakeStore, kind: str) -> None:
    """One to begin it and set its limits, one to commit: by the driver's own log of what goes over the wire."""
    store = make_store(database_pool=1)
    transaction = getattr(store, kind)

    def raw(tx: Connection) -> BoundedConnection:
        found = tx.connection.driver_connection
        assert isinstance(found, BoundedConnection)
        return found

    same = transaction(raw)
    with tempfile.TemporaryFile("w+b") as log:
        same.pgconn.trace(log.fileno())
        shown = transaction(lambda tx: (raw(tx) is same, tx.exec_driver_sql("SHOW statement_timeout").scalar_one()))
        same.pgconn.untrace()
        log.seek(0)
        lines = log.read().decode().splitlines()
    assert shown == (True, "20s")
    assert sum("ReadyForQuery" in line for line in lines) == 3, lines
    assert same.execute("SHOW statement_timeout").fetchone() == ("0",), "a pooler's next client finds nothing of it"


def test_tcp_gives_a_silent_machine_up(far: tuple[Store, Proxy]) -> None:
    store, _ = far
    with store.engine.connect() as connection:
        raw = connection.connection.driver_connection
        assert isinstance(raw, BoundedConnection)
        with socket.socket(fileno=os.dup(raw.fileno())) as line:
            assert line.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 10_000
            assert line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert line.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 5
