"""What the tests of the ledger do again and again: submit, claim, decide, look at rows, let time pass."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from store import jobs, keys, leases
from store.dispatch import Released
from store.jobs import NewDocument, NewJob
from store.leases import DocumentOutcome, Lease, Settled
from store.session import Store, db_time
from store.tables import jobs as jobs_table
from store.tables import results, shards
from textmill.wire import Job

WORKER = "worker-1"
MODEL = "echo"


def documents(count: int) -> list[NewDocument]:
    """Texts of ten characters that say their position."""
    return [(None, f"text {position:05}") for position in range(count)]


def new_key(store: Store, name: str = "test") -> int:
    return store.write(keys.create, name).id


def submit(store: Store, key_id: int, count: int = 3, **new: Any) -> tuple[Job, list[Released]]:
    """A job of `count` documents, and its shards that were released."""
    request = NewJob(key_id, "ner", new.pop("model", MODEL), **new)
    submitted = store.write(jobs.submit, request, documents(count))
    return submitted.job, submitted.released


def claim(store: Store, shard_id: int, worker: str = WORKER) -> Lease:
    lease = store.write(leases.claim, shard_id, worker)
    assert lease is not None, f"shard {shard_id} could not be claimed"
    return lease


def outcomes(positions: Iterable[int], failing: Sequence[int] = (), mark: str = "") -> list[DocumentOutcome]:
    """One outcome for each position; `mark` tells who wrote it."""
    return [
        DocumentOutcome(position, None, "processing_failed", mark)
        if position in failing
        else DocumentOutcome(position, json.dumps({"entities": [], "mark": mark}))
        for position in positions
    ]


def finish(store: Store, lease: Lease, failing: Sequence[int] = ()) -> Settled:
    """Decide what is left of the shard and close it."""
    left = [text.position for text in store.read(leases.undecided, lease, -1, 10_000)]
    return store.write(leases.settle, lease, outcomes(left, failing), True)


def run(store: Store, shard_id: int, failing: Sequence[int] = ()) -> Settled:
    """Claim and finish."""
    return finish(store, claim(store, shard_id), failing)


def shard_row(store: Store, shard_id: int) -> RowMapping:
    return store.read(lambda tx: tx.execute(sa.select(shards).where(shards.c.id == shard_id)).mappings().one())


def job_row(store: Store, job: Job) -> RowMapping:
    return store.read(lambda tx: tx.execute(sa.select(jobs_table).where(jobs_table.c.uuid == job.id)).mappings().one())


def shard_states(store: Store, job: Job) -> list[str]:
    """States of the job's shards, in document order."""
    query = sa.select(shards.c.state).join(jobs_table).where(jobs_table.c.uuid == job.id).order_by(shards.c.first)
    return list(store.read(lambda tx: tx.execute(query).scalars().all()))


def stretch(store: Store, job_id: str, seconds: float) -> None:
    """As if the ended job had taken so long, and its documents were decided one after the other in equal times."""

    def spread(tx: Connection) -> None:
        mine = jobs_table.c.uuid == job_id
        tx.execute(sa.update(jobs_table).where(mine).values(started_at=db_time(-seconds), finished_at=db_time()))
        job = tx.execute(sa.select(jobs_table).where(mine)).one()
        result = sa.and_(results.c.job_id == job.id, results.c.position == sa.bindparam("at"))
        step = (job.finished_at - job.started_at) / job.total
        times = [{"at": at, "when": job.started_at + step * (at + 1)} for at in range(job.total)]
        tx.execute(sa.update(results).where(result).values(finished_at=sa.bindparam("when")), times)

    store.write(spread)


def result_marks(store: Store, job: Job) -> dict[int, str]:
    """Position -> the mark of the result that is stored."""
    query = sa.select(results.c.position, results.c.output, results.c.error_message).join_from(
        results, jobs_table, jobs_table.c.id == results.c.job_id
    )
    rows = store.read(lambda tx: tx.execute(query.where(jobs_table.c.uuid == job.id)).all())
    return {row.position: json.loads(row.output)["mark"] if row.output else row.error_message for row in rows}


def change(store: Store, table: sa.Table, where: sa.ColumnElement[bool], **values: Any) -> None:
    """Put rows into a state that only time or another process would bring about."""
    store.write(lambda tx: tx.execute(sa.update(table).where(where).values(**values)))


def let_lease_run_out(store: Store, shard_id: int) -> None:
    """As if a minute had passed since the last renewal."""
    change(store, shards, shards.c.id == shard_id, lease_expires_at=db_time(-1))
