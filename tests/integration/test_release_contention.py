"""Producers, workers and sweeps at once on one model and on two keys: nobody waits for ever, nothing is lost."""

import random
import threading
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from store import dispatch, jobs, leases, sweep
from store.jobs import NewJob
from store.session import Store
from store.tables import WAITING, shards, turns, waiting
from store.tables import jobs as jobs_table
from tests.integration.interleaving import PATIENCE, row_locks
from tests.integration.ledger_steps import MODEL, documents, finish, new_key
from textmill.errors import JobNotEnded, LeaseLost, NothingToRetry

MakeStore = Callable[..., Store]


def produce(store: Store, keys: list[int], draw: random.Random) -> None:
    """Submit, append to, cancel and retry jobs."""
    for _ in range(25):
        key = draw.choice(keys)
        new = NewJob(key, "ner", MODEL, priority=draw.choice(["high", "normal", "low"]), open=True)
        job = store.write(jobs.submit, new, documents(draw.randint(0, 3))).job
        for _ in range(draw.randint(0, 2)):
            store.write(jobs.append, key, job.id, [(None, "more")], None)
        if draw.random() < 0.3:
            store.write(jobs.cancel, key, job.id)
            try:
                store.write(jobs.retry, key, job.id, None)
            except (NothingToRetry, JobNotEnded):
                continue
        store.write(jobs.close, key, job.id)


def work(store: Store, stopped: threading.Event, draw: random.Random) -> None:
    """Claim and finish what is queued, and release now and then."""
    queued = sa.select(shards.c.id).where(shards.c.state == "queued")
    while True:
        ids = store.read(lambda tx: tx.execute(queued).scalars().all())
        if not ids and stopped.is_set():
            return
        for shard_id in draw.sample(ids, min(3, len(ids))):
            lease = store.write(leases.claim, shard_id, "w")
            try:
                if lease is not None:
                    finish(store, lease)
            except LeaseLost:
                continue
        if draw.random() < 0.2:
            store.write(dispatch.release, MODEL)
            store.write(sweep.adopt)


@row_locks
def test_many_at_once_neither_deadlock_nor_lose_anything(make_store: MakeStore, key_id: int) -> None:
    store = make_store(shard_documents=1, unserved_shards=3, database_pool=12)
    keys = [key_id, new_key(store)]
    errors: list[str] = []
    sa.event.listen(store.engine, "handle_error", lambda context: errors.append(str(context.original_exception)))
    failed: list[BaseException] = []
    stopped = threading.Event()

    def run(what: Callable[..., None], *args: Any) -> None:
        try:
            what(store, *args)
        except BaseException as error:  # noqa: BLE001 - told by the assertion below
            failed.append(error)

    producers = [threading.Thread(target=run, args=(produce, keys, random.Random(n))) for n in range(3)]
    workers = [threading.Thread(target=run, args=(work, stopped, random.Random(n))) for n in range(3)]
    for thread in (*producers, *workers):
        thread.start()
    for thread in producers:
        thread.join(PATIENCE)
    stopped.set()
    for thread in workers:
        thread.join(PATIENCE)
    assert not failed, failed
    assert not any("deadlock" in error for error in errors), errors
    store.write(dispatch.release, MODEL)
    work(store, stopped, random.Random(0))
    left = sa.select(shards.c.state).where(shards.c.state.in_(("pending", "queued", "leased")))
    assert store.read(lambda tx: tx.execute(left).scalars().all()) == []
    running = sa.select(jobs_table.c.id).where(jobs_table.c.state.in_(("queued", "running")))
    assert store.read(lambda tx: tx.execute(running).scalars().all()) == []
    assert store.read(lambda tx: tx.execute(sa.select(waiting.c.job_id)).scalars().all()) == []
    assert store.read(lambda tx: tx.execute(sa.select(turns.c.key_id).where(WAITING)).scalars().all()) == []
