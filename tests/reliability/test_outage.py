"""SQL away for a while in the middle of the work: it costs the time that it was away, and nothing else."""

import contextlib
import resource
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from store import leases, workers
from store.dispatcher import Dispatcher
from store.queue import celery_app
from store.session import Store, db_time
from store.sweep import Sweeper
from store.tables import duties, shards
from tests.integration.ledger_steps import claim, let_lease_run_out, shard_row, submit
from tests.proxy import Proxy, proxied
from tests.worker_process import Producer, Worker, running, wait_until
from workers.settings import WorkerSettings

SLOTS = WorkerSettings.model_fields["concurrency"].default
AWAY_SECONDS = 6


@pytest.fixture
def store(make_store: Callable[..., Store]) -> Store:
    """With leases that a slow machine loses none of."""
    return make_store(lease_seconds=600)


@pytest.fixture
def producer(store: Store, key_id: int) -> Iterator[Producer]:
    producer = Producer(store, key_id)
    yield producer
    producer.close()


@contextlib.contextmanager
def worker_with_a_fragile_database(store: Store, folder: Path) -> Iterator[tuple[Worker, "Fragile"]]:
    """A worker with default settings, and the power to take its database away."""
    if store.dialect == "sqlite":
        with running(store, folder) as worker:
            yield worker, FullDisk(worker)
        return
    proxy, url = proxied(store.url)
    far = Store(url, store.settings.model_copy(update={"database_url": url}))
    try:
        with running(far, folder) as worker:
            yield worker, Server(proxy)
    finally:
        proxy.close()
        far.close()


class Fragile:
    """A database as one worker sees it."""

    def take_away(self) -> None: ...
    def give_back(self) -> None: ...


class Server(Fragile):
    """PostgreSQL, behind a proxy."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy

    def take_away(self) -> None:
        self._proxy.cut()

    def give_back(self) -> None:
        self._proxy.mend()


class FullDisk(Fragile):
    """SQLite, in a process that may write nothing."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def take_away(self) -> None:
        [self._pid] = self._worker.children
        self._before = resource.prlimit(self._pid, resource.RLIMIT_FSIZE)
        # Its log may still grow: it is short, and the ledger is longer than this by now.
        resource.prlimit(self._pid, resource.RLIMIT_FSIZE, (32_768, self._before[1]))

    def give_back(self) -> None:
        resource.prlimit(self._pid, resource.RLIMIT_FSIZE, self._before)


def test_a_short_outage_costs_nothing_but_its_time(store: Store, producer: Producer, tmp_path: Path) -> None:
    with worker_with_a_fragile_database(store, tmp_path) as (worker, database):
        job = producer.submit(["[[echo:sleep=0.005]]" if n % 10 == 0 else "x" for n in range(12_000)])
        wait_until(lambda: producer.get(job).counts.succeeded >= 500, "the job has begun")
        database.take_away()
        small = [producer.submit([f"small {n}"]) for n in range(12)]
        wait_until(lambda: "the work waits for the database" in worker.log, "the worker notices")
        threading.Event().wait(AWAY_SECONDS)
        assert producer.get(small[0]).state == "queued"
        popped = worker.log.count("received") - worker.log.count("] succeeded in")
        assert popped <= SLOTS, "no more messages were popped than there are slots"
        database.give_back()
        assert all(producer.wait(one).state == "completed" for one in small)
        assert producer.wait(job).counts.succeeded == 12_000
        assert losses(store) == {0}
        assert worker.stop() == 0
        for sign in ("Traceback", "handed back", "lease is gone", "raised unexpected"):
            assert sign not in worker.log, worker.log
        assert worker.log.count("the work waits for the database") <= 3, "it is said once, not for each slot"


def losses(store: Store) -> set[int]:
    return set(store.read(lambda tx: tx.execute(sa.select(shards.c.losses)).scalars().all()))


def test_a_worker_that_waits_for_the_database_can_be_stopped(store: Store, producer: Producer, tmp_path: Path) -> None:
    with worker_with_a_fragile_database(store, tmp_path) as (worker, database):
        wait_until(lambda: len(store.read(workers.live)) == 1, "it registers")
        producer.wait(producer.submit(["x" * 100_000] * 3))
        database.take_away()
        producer.submit(["small"])
        wait_until(lambda: "the work waits for the database" in worker.log, "the worker notices")
        assert worker.stop() == 0


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)  # SQLite's file is there, or nothing can start
def test_a_worker_that_starts_waits_for_the_database(store: Store, producer: Producer, tmp_path: Path) -> None:
    proxy, url = proxied(store.url)
    proxy.cut()
    far = Store(url, store.settings.model_copy(update={"database_url": url}))
    with running(far, tmp_path) as worker:
        wait_until(lambda: "the work waits for the database" in worker.log, "it starts, and waits")
        children = worker.children
        proxy.mend()
        assert producer.wait(producer.submit(["a"])).state == "completed"
        assert worker.children == children, "the process lived on"
        assert worker.stop() == 0
    proxy.close()
    far.close()


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_a_worker_that_waits_for_the_database_to_start_can_be_stopped(store: Store, tmp_path: Path) -> None:
    proxy, url = proxied(store.url)
    proxy.cut()
    far = Store(url, store.settings.model_copy(update={"database_url": url}))
    with running(far, tmp_path) as worker:
        wait_until(lambda: "the work waits for the database" in worker.log, "it starts, and waits")
        assert worker.stop() == 0
    proxy.close()
    far.close()


def sweeper(store: Store) -> Sweeper:
    return Sweeper(store, Dispatcher(celery_app(store.settings.redis_url)))


def expired_lease(store: Store, key_id: int, unswept_seconds: float) -> leases.Lease:
    """A lease that has run out, where the last sweep's term ended so long ago."""
    _, released = submit(store, key_id)
    lease = claim(store, released[0].shard_id)
    let_lease_run_out(store, lease.shard_id)
    store.write(lambda tx: tx.execute(sa.update(duties).values(holder="other", held_until=db_time(-unswept_seconds))))
    return lease


def test_leases_that_nobody_could_renew_get_time_to_be_renewed(store: Store, key_id: int) -> None:
    lease = expired_lease(store, key_id, unswept_seconds=30)
    sweep = sweeper(store)
    assert sweep.sweep()
    assert (shard_row(store, lease.shard_id)["state"], shard_row(store, lease.shard_id)["losses"]) == ("leased", 0)
    assert store.write(leases.renew, lease.worker_id, [lease.token]) == {lease.token}
    # From the next sweep on it is the usual thing: whoever did not renew is lost.
    let_lease_run_out(store, lease.shard_id)
    assert sweep.sweep()
    assert (shard_row(store, lease.shard_id)["state"], shard_row(store, lease.shard_id)["losses"]) == ("queued", 1)


def test_a_sweeper_that_was_lost_is_no_outage(store: Store, key_id: int) -> None:
    lease = expired_lease(store, key_id, unswept_seconds=1)
    assert sweeper(store).sweep()
    assert (shard_row(store, lease.shard_id)["state"], shard_row(store, lease.shard_id)["losses"]) == ("queued", 1)
