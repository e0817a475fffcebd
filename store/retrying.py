"""Failed documents of an ended job run again, in steps: a job may have millions of them.

The first step, made by the producer's call, sets the job running again; the sweep makes the others. How far it has come
is a row of `retries`, which a crash leaves where it is. Meanwhile the job counts one shard more than it has, so that it
cannot end before all is prepared, whichever release settles its shards. Its shards of before stay: they are done or
cancelled, and only the ledger's purge removes them.
"""

import json
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from store import deliveries, dispatch, line, sharding, tallies, traces
from store.dispatch import Released
from store.endings import end_if_finished
from store.faults import TransactionOutrun
from store.line import Newcomer
from store.tables import DECIDED, FAILED, RUNNING, UNTOLD, documents, jobs, results, retries
from store.views import owned, view
from textmill.errors import JobNotEnded, JobNotFound, NothingToRetry
from textmill.wire import ENDED_STATES, Job

STEP = 5_000
"""Documents in one step."""


class Retried(NamedTuple):
    """The job, running again."""

    job: Job
    released: list[Released]


class Step(NamedTuple):
    """What one step released, and whether another one follows, of this job or another."""

    released: list[Released]
    more: bool


_JOB = (jobs.c.id, jobs.c.key_id, jobs.c.model, jobs.c.priority)
_COUNTS = (jobs.c.succeeded, jobs.c.failed, jobs.c.cancelled)


def retry(tx: Connection, key_id: int, job_id: str, codes: Collection[str] | None) -> Retried:
    """Run failed documents again: all, or those that failed with one of the codes. Documents of a cancelled job that
    have no outcome run again as well, since the job would otherwise stay without one.

    Raises JobNotFound, JobNotEnded, NothingToRetry.
    """
    mine = owned(key_id, job_id)
    row = tx.execute(sa.select(*_JOB, jobs.c.state, *_COUNTS).where(mine)).one_or_none()
    if row is None:
        raise JobNotFound
    if row.state not in ENDED_STATES:
        raise JobNotEnded("only a job that has ended can be retried")
    start = 0 if row.cancelled else _first_failed(tx, row.id, codes)
    if start is None:
        raise NothingToRetry
    job = Newcomer(*row[:4])
    line.wait(tx, job)
    tallies.hold_errors(tx, job.job_id)
    unchanged = (count == row._mapping[count.name] for count in _COUNTS)
    still_ended = sa.and_(mine, jobs.c.state.in_(ENDED_STATES), *unchanged)
    if tx.execute(sa.select(jobs.c.id).where(still_ended).with_for_update()).scalar() is None:
        raise TransactionOutrun  # by another retry, or a deletion
    if tx.execute(sa.select(jobs.c.id).where(jobs.c.id == row.id, UNTOLD)).scalar() is not None:
        deliveries.announce(tx, row.id)  # before the sweep has seen it; it will not any more
    again: dict[str, Any] = {
        "state": "queued",
        "cancelled": 0,
        "remaining_shards": 1,  # the retry itself
        "finished_at": None,
        "started_at": None,
        "error_code": None,
        "error_message": None,
        "webhook_owed": sa.case((jobs.c.webhook.is_not(None), sa.true())),
    }
    if (traceparent := traces.current()) is not None:
        again["traceparent"] = traceparent  # what runs from now on does so because of this request
    tx.execute(sa.update(jobs).where(jobs.c.id == row.id).values(**again))
    values = {"position": start, "codes": None if codes is None else json.dumps(sorted(codes))}
    values["undecided"] = row.cancelled > 0
    insert = postgresql.insert if tx.dialect.name == "postgresql" else sqlite.insert
    # One may be left of a retry that a process of the previous release cancelled.
    begun = insert(retries).values(job_id=row.id, **values)
    tx.execute(begun.on_conflict_do_update(index_elements=[retries.c.job_id], set_=values))
    released = _prepare(tx, job)
    return Retried(view(tx, mine), released)


def go_on(tx: Connection) -> Step:
    """The next step of the retry that has come least far: a small one is not kept waiting by a huge one."""
    row = tx.execute(sa.select(retries.c.job_id).order_by(retries.c.position, retries.c.job_id).limit(1)).one_or_none()
    if row is None:
        return Step([], False)
    found = tx.execute(sa.select(*_JOB, jobs.c.state).where(jobs.c.id == row.job_id)).one_or_none()
    if found is None or found.state in ENDED_STATES:  # by a process of the previous release, which knows no retries
        tx.execute(sa.delete(retries).where(retries.c.job_id == row.job_id))
        return Step([], True)
    job = Newcomer(*found[:4])
    line.wait(tx, job, served_before=True)
    tallies.hold_errors(tx, job.job_id)
    running = sa.select(jobs.c.id).where(jobs.c.id == job.job_id, RUNNING)
    if tx.execute(running.with_for_update()).scalar() is None:
        raise TransactionOutrun  # it was cancelled
    return Step(_prepare(tx, job), True)


def stop(tx: Connection, internal_id: int) -> int:
    """The job is cancelled: what was not prepared stays as it is. Call it with the job's row locked. Returns how many
    of the job's remaining shards were the retry."""
    return tx.execute(sa.delete(retries).where(retries.c.job_id == internal_id)).rowcount


def _prepare(tx: Connection, job: Newcomer) -> list[Released]:
    """One step, with the job's row locked."""
    at = tx.execute(sa.select(retries).where(retries.c.job_id == job.job_id)).one_or_none()
    if at is None:
        return []  # another process has made the last step
    codes = None if at.codes is None else json.loads(at.codes)
    end = at.position + STEP if at.undecided else _end_of_failed(tx, job.job_id, at.position)
    total = tx.execute(sa.select(jobs.c.total).where(jobs.c.id == job.job_id)).scalar_one()
    last = end is None or end >= total
    start, end = at.position, total if end is None else min(end, total)
    sizes = _sizes(tx, job.job_id, codes, at.undecided, start, end)
    in_window = sa.and_(results.c.job_id == job.job_id, results.c.position >= start, results.c.position < end)
    gone = sa.delete(results).where(in_window, _to_retry(codes)).returning(results.c.error_code)
    dropped = Counter(tx.execute(gone).scalars())
    tallies.uncount_errors(tx, job.job_id, dropped)
    counts = {"failed": jobs.c.failed - dropped.total(), "remaining_shards": jobs.c.remaining_shards - int(last)}
    tx.execute(sa.update(jobs).where(jobs.c.id == job.job_id).values(**counts))
    sharding.add_sized(tx, job.job_id, job.model, sizes)
    if last:
        stop(tx, job.job_id)
        end_if_finished(tx, job.job_id)
    else:
        tx.execute(sa.update(retries).where(retries.c.job_id == job.job_id).values(position=end))
    released = dispatch.release(tx, job.model, job)
    if not sizes:
        line.strike(tx, job.model, job.key_id, job.job_id)  # noted before it was known that this step adds none
    return released


def _to_retry(codes: Collection[str] | None) -> sa.ColumnElement[bool]:
    return FAILED if codes is None else sa.and_(FAILED, results.c.error_code.in_(list(codes)))


def _first_failed(tx: Connection, internal_id: int, codes: Collection[str] | None) -> int | None:
    """By the index of failed results; where none has such a code, all of the job's are looked at."""
    failed = sa.and_(results.c.job_id == internal_id, _to_retry(codes))
    found = sa.select(results.c.position).where(failed).order_by(results.c.position).limit(1)
    position: int | None = tx.execute(found).scalar()
    return position


def _end_of_failed(tx: Connection, internal_id: int, start: int) -> int | None:
    """The position after a step's worth of failed documents, whatever their codes. None: fewer are left.

    Every document of the job has an outcome, so those that succeeded, perhaps millions in between, cost nothing.
    """
    failed = sa.and_(results.c.job_id == internal_id, FAILED, results.c.position >= start)
    found = sa.select(results.c.position).where(failed).order_by(results.c.position).offset(STEP - 1).limit(1)
    position: int | None = tx.execute(found).scalar()
    return None if position is None else position + 1


def _sizes(
    tx: Connection, internal_id: int, codes: Collection[str] | None, undecided: bool, start: int, end: int
) -> Sequence[tuple[int, int]]:
    """(position, characters) of the documents from `start` to before `end` that run again, in order."""
    position: Any = documents.c.position if undecided else results.c.position
    size = sa.func.length(documents.c.text) + sa.func.coalesce(sa.func.length(documents.c.fields), 0)
    query = sa.select(position, size).where(position >= start, position < end)
    if undecided:
        query = query.join_from(documents, results, DECIDED, isouter=True)
        query = query.where(sa.or_(results.c.position.is_(None), _to_retry(codes)), documents.c.job_id == internal_id)
    else:
        # From the results, of which an index holds the failed ones.
        query = query.join_from(results, documents, DECIDED)
        query = query.where(_to_retry(codes), results.c.job_id == internal_id)
    return [(place, size) for place, size in tx.execute(query.order_by(position))]
