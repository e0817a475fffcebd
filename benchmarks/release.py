"""What does a release cost while more and more jobs are active? Submit, append, settle and sweep, on both databases.

    python -m benchmarks.release                            10, 1,000, 10,000 and 100,000 jobs, 125 workers of 8 slots
    python -m benchmarks.release --jobs 10 1000 --repeats 20

Each active job has one document and waits. Prints, for each number of them, the median milliseconds of the whole
transaction and of the release in it (what it takes beyond the same transaction with nothing to release for).
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchmarks import servers
from store import dispatch, endings, jobs, keys, leases, sweep, workers
from store.dispatch import Released
from store.jobs import NewJob
from store.leases import DocumentOutcome
from store.session import Store, db_time, engine_url, migrate
from store.settings import StoreSettings
from store.tables import documents, shards, turns, waiting
from store.tables import jobs as jobs_table
from store.workers import WorkerRow

MODEL = "echo"


def crowd(tx: sa.Connection, key_id: int, count: int) -> None:
    """So many active jobs of one document each, which wait: rows as `submit` writes them, but all at once."""
    first = 1 + (tx.execute(sa.select(sa.func.max(jobs_table.c.id))).scalar() or 0)
    now = tx.execute(sa.select(db_time())).scalar_one()
    job = {
        "key_id": key_id, "task": "ner", "model": MODEL, "options": "{}", "metadata": "{}", "priority": 3,
        "state": "queued", "open": False, "total": 1, "remaining_shards": 1, "created_at": now, "appended_at": now,
    }  # fmt: skip
    ids = range(first, first + count)
    tx.execute(sa.insert(jobs_table), [{**job, "id": n, "uuid": f"crowd-{n}"} for n in ids])
    if tx.dialect.name == "postgresql":
        tx.execute(sa.text("SELECT setval(pg_get_serial_sequence('jobs', 'id'), max(id)) FROM jobs"))
    tx.execute(sa.insert(documents), [{"job_id": n, "position": 0, "document_id": "0", "text": "x" * 200} for n in ids])
    shard = {"first": 0, "last": 0, "characters": 200, "state": "pending"}
    tx.execute(sa.insert(shards), [{**shard, "job_id": n} for n in ids])
    line = {"model": MODEL, "key_id": key_id, "priority": 3, "place": 0}
    tx.execute(sa.insert(waiting), [{**line, "job_id": n} for n in ids])
    known = sa.select(turns.c.key_id).where(turns.c.model == MODEL, turns.c.key_id == key_id)
    if tx.execute(known).scalar() is None:
        tx.execute(sa.insert(turns).values(model=MODEL, key_id=key_id, waiting=True, tag=0))


def sweep_steps(tx: sa.Connection) -> list[Released]:
    """Everything that a sweep does to the ledger, in one transaction."""
    released = leases.expire(tx)
    sweep.adopt(tx)
    for model in sweep.models_that_wait(tx):
        released += dispatch.release(tx, model)
    sweep.queued_shards(tx)
    endings.close_abandoned(tx)
    sweep.retire(tx)
    workers.forget_dead(tx)
    sweep.purge(tx)
    return released


class Trial:
    """A ledger with workers, a key whose jobs wait, and what is timed on it."""

    def __init__(self, store: Store, processes: int) -> None:
        self.store = store
        self.key_id = store.write(keys.create, "crowd").id
        self.queued: list[Released] = []
        for n in range(processes):
            store.write(workers.register, WorkerRow(f"w{n}", "host", n, "cpu", (MODEL,), 8, "machine"))
            store.write(workers.heartbeat, f"w{n}", [MODEL], 1.0, {MODEL: 200.0})

    def fill(self, count: int) -> None:
        """Let so many jobs wait, and the window be full."""
        self.store.write(crowd, self.key_id, count)
        self.queued += self.store.write(dispatch.release, MODEL)
        if self.store.dialect == "postgresql":
            with sa.create_engine(engine_url(self.store.url), isolation_level="AUTOCOMMIT").connect() as connection:
                connection.exec_driver_sql("VACUUM ANALYZE")

    def submit(self) -> None:
        """A job of one document."""
        new = NewJob(self.key_id, "ner", MODEL)
        self.queued += self.store.write(jobs.submit, new, [(None, "x" * 200)]).released

    def prepare_settle(self) -> Callable[[], None]:
        """Claim a shard; the settle of its one document, which makes room for another."""
        lease = self.store.write(leases.claim, self.queued.pop(0).shard_id, "w0")
        assert lease is not None

        def settle() -> None:
            settled = self.store.write(leases.settle, lease, [DocumentOutcome(0, "{}")], True)
            self.queued += settled.released

        return settle

    def prepare_append(self) -> Callable[[], None]:
        """An open job; an append to it of one document."""
        new = NewJob(self.key_id, "ner", MODEL, open=True)
        job = self.store.write(jobs.submit, new, []).job.id

        def append() -> None:
            self.queued += self.store.write(jobs.append, self.key_id, job, [(None, "x" * 200)], 0).released

        return append

    def sweep(self) -> None:
        """One sweep, but for Redis."""
        self.queued += self.store.write(sweep_steps)


class Clock:
    """Times calls, and the releases in them."""

    def __init__(self) -> None:
        self.in_release = 0.0
        self._release = dispatch.release

    def __enter__(self) -> "Clock":
        dispatch.release = self._timed  # type: ignore[assignment]
        return self

    def __exit__(self, *_: object) -> None:
        dispatch.release = self._release

    def _timed(self, *args: Any) -> list[Released]:
        begin = time.perf_counter()
        try:
            return self._release(*args)
        finally:
            self.in_release += time.perf_counter() - begin

    def milliseconds(self, prepare: Callable[[], Callable[[], None]], repeats: int) -> tuple[float, float]:
        """Medians of the whole call and of the release in it."""
        whole, release = [], []
        for _ in range(repeats):
            call = prepare()
            self.in_release = 0.0
            begin = time.perf_counter()
            call()
            whole.append(1000 * (time.perf_counter() - begin))
            release.append(1000 * self.in_release)
        return statistics.median(whole), statistics.median(release)


def measure(store: Store, counts: list[int], processes: int, repeats: int) -> None:
    """Print a row for each number of active jobs."""
    trial, there = Trial(store, processes), 0
    for count in sorted(counts):
        trial.fill(count - there)
        there = count
        row = [f"{store.dialect} | {count}"]
        with Clock() as clock:
            for prepare in (lambda: trial.submit, trial.prepare_append, trial.prepare_settle, lambda: trial.sweep):
                clock.milliseconds(prepare, 5)
                row.append("{:.1f} ({:.1f})".format(*clock.milliseconds(prepare, repeats)))
        print("| " + " | ".join(row) + " |", flush=True)


def main() -> None:
    """Measure on both databases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, nargs="+", default=[10, 1_000, 10_000, 100_000])
    parser.add_argument("--workers", type=int, default=125, help="processes of 8 task slots each")
    parser.add_argument("--repeats", type=int, default=50)
    chosen = parser.parse_args()
    print("| database | active jobs | submit ms (release) | append | settle | sweep |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, servers.postgres(Path(folder) / "pg", "textmill") as server:
        postgresql = server.set(database="textmill").render_as_string(hide_password=False)
        for url in (f"sqlite:///{folder}/textmill.sqlite3", postgresql):
            migrate(url)
            store = Store(url, StoreSettings(database_url=url))
            measure(store, chosen.jobs, chosen.workers, chosen.repeats)
            store.close()


if __name__ == "__main__":
    main()
