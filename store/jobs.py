"""What a producer does to a job: submit, append, close, look, cancel, retry, delete.

Lock order: shards by id, then the rows that say what waits, a job's row last. `submit`, `append` and `retry` (in
`store/retrying.py`) add shards after they have locked the job's row, but lock none that anybody else can hold: they
wait for nothing afterwards.
"""

import json
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from store import bulk, deliveries, dispatch, line, quota, retrying, sharding, traces, webhook_secrets, workers
from store.dispatch import Released
from store.endings import end_if_finished
from store.faults import TransactionOutrun
from store.keys import UNLIMITED, Limits
from store.line import Newcomer
from store.queue import PRIORITY
from store.retrying import Retried as Retried
from store.retrying import retry as retry
from store.session import db_time
from store.tables import ACTIVE, RUNNING, jobs, shards
from store.views import owned, view
from textmill.errors import (
    IdempotencyMismatch,
    JobClosed,
    JobNotEnded,
    JobNotFound,
    UploadOffsetMismatch,
)
from textmill.wire import ENDED_STATES, Job, Priority

NewDocument = bulk.NewDocument

Check = Callable[[str, str, dict[str, Any]], None]
"""Gets a job's task, model and canonical options, and raises where what is to be appended does not fit them."""


@dataclass(frozen=True)
class NewJob:
    """A validated request for a job."""

    key_id: int
    task: str
    model: str
    options: dict[str, Any] = field(default_factory=dict)
    priority: Priority = "normal"
    metadata: dict[str, Any] = field(default_factory=dict)
    open: bool = False
    idempotency_key: str | None = None
    body_hash: str | None = None
    id: str | None = None
    """A UUID of the caller's choice; None: a new one."""
    expires_seconds: float | None = None
    """It is fleeting (`store/fleeting.py`), and gone so long after its submission at the latest; None: it is kept."""
    limits: Limits = UNLIMITED
    """Of the key."""
    webhook: str | None = None
    """Where its end is told."""


class Submitted(NamedTuple):
    """The job; `created` is False where the idempotency key had made it before."""

    job: Job
    created: bool
    released: list[Released]


class Appended(NamedTuple):
    """How many documents were new, and the job's total. `traceparent`: that of the job."""

    accepted: int
    total: int
    released: list[Released]
    traceparent: str | None


# --- submit, append, close --------------------------------------------------------------------------------------------


def submit(tx: Connection, new: NewJob, batch: Sequence[NewDocument]) -> Submitted:
    """Store a job with its first documents and release its first shards.

    Raises IdempotencyMismatch, DuplicateDocument, TooManyOpenJobs, DailyLimitReached, WebhookSecretMissing.
    """
    insert = postgresql.insert(jobs) if tx.dialect.name == "postgresql" else sqlite.insert(jobs)
    now = db_time()
    values = {
        "uuid": new.id or str(uuid.uuid4()),
        "key_id": new.key_id,
        "task": new.task,
        "model": new.model,
        "options": json.dumps(new.options),
        "metadata": json.dumps(new.metadata),
        "priority": PRIORITY[new.priority],
        "state": "queued",
        "open": new.open,
        "total": len(batch),
        "remaining_shards": 0,
        "idempotency_key": new.idempotency_key,
        "body_hash": new.body_hash,
        "created_at": now,
        "appended_at": now,
        "expires_at": None if new.expires_seconds is None else db_time(new.expires_seconds),
        "webhook": new.webhook,
        "webhook_owed": None if new.webhook is None else True,
        "traceparent": traces.current(),
    }
    unique = [jobs.c.key_id, jobs.c.idempotency_key]
    statement = insert.values(**values).on_conflict_do_nothing(index_elements=unique).returning(jobs.c.id)
    job_id = tx.execute(statement).scalar()
    if job_id is None:
        return _submitted_before(tx, new)
    if new.webhook is not None:
        webhook_secrets.require(tx, new.key_id)
    quota.admit_job(tx, new.key_id, new.limits)
    quota.admit_documents(tx, new.key_id, new.limits, len(batch))
    job = Newcomer(job_id, new.key_id, new.model, PRIORITY[new.priority])
    _add_documents(tx, job, 0, batch)
    if batch:
        line.wait(tx, job)
    end_if_finished(tx, job_id)
    released = dispatch.release(tx, new.model, job)
    return Submitted(view(tx, jobs.c.id == job_id), True, released)


def _submitted_before(tx: Connection, new: NewJob) -> Submitted:
    same = sa.and_(jobs.c.key_id == new.key_id, jobs.c.idempotency_key == new.idempotency_key)
    row = tx.execute(sa.select(jobs.c.body_hash).where(same)).one_or_none()
    if row is None:
        raise TransactionOutrun  # it was deleted this moment, which frees the key
    if row.body_hash != new.body_hash:
        raise IdempotencyMismatch
    return Submitted(view(tx, same), False, [])


def append(
    tx: Connection,
    key_id: int,
    job_id: str,
    batch: Sequence[NewDocument],
    offset: int | None,
    check: Check | None = None,
    limits: Limits = UNLIMITED,
) -> Appended:
    """Store documents at `offset`, the job's total so far (None: wherever the job ends now).

    A range that is stored already is accepted again with no effect, so that a lost answer can be asked for again.
    Raises JobNotFound, JobClosed, UploadOffsetMismatch (details: total), DuplicateDocument, DailyLimitReached, and what
    `check` raises.
    """
    count = len(batch)
    mine = owned(key_id, job_id)
    names = ("id", "key_id", "model", "priority", "total", "open", "task", "options", "traceparent")
    columns = [jobs.c[name] for name in names]
    row = tx.execute(sa.select(*columns).where(mine)).one_or_none()
    if row is None:
        raise JobNotFound
    if offset is not None and offset + count <= row.total:
        return Appended(0, row.total, [], row.traceparent)  # it is there already; and a total never falls
    if not row.open:
        raise JobClosed
    if offset is not None and offset != row.total:
        raise UploadOffsetMismatch(f"the job has {row.total} documents, not {offset}: continue there", total=row.total)
    if check is not None:
        check(row.task, row.model, json.loads(row.options))
    quota.admit_documents(tx, row.key_id, limits, count)
    job = Newcomer(*row[:4])
    if batch:
        line.wait(tx, job, served_before=row.total > 0)
    at_the_end = sa.true() if offset is None else jobs.c.total == offset
    grow = (
        sa.update(jobs)
        .where(jobs.c.id == row.id, jobs.c.open, at_the_end)
        .values(total=jobs.c.total + count, appended_at=db_time())
        .returning(jobs.c.total)
    )
    total = tx.execute(grow).scalar()
    if total is None:
        raise TransactionOutrun  # by another append, or by what ended the job
    _add_documents(tx, job, total - count, batch)
    return Appended(count, total, dispatch.release(tx, row.model, job), row.traceparent)


def _add_documents(tx: Connection, job: Newcomer, first: int, batch: Sequence[NewDocument]) -> None:
    if not batch:
        return
    bulk.insert_documents(tx, job.job_id, first, batch)
    sizes = [(position, sum(map(len, texts))) for position, (_, *texts) in enumerate(batch, first)]
    sharding.add_sized(tx, job.job_id, job.model, sizes)


def close(tx: Connection, key_id: int, job_id: str) -> Job:
    """No more documents follow. Closing a closed or ended job changes nothing. Raises JobNotFound."""
    mine = owned(key_id, job_id)
    closed = sa.update(jobs).where(mine, jobs.c.open).values(open=False).returning(jobs.c.id)
    internal_id = tx.execute(closed).scalar()
    if internal_id is not None:
        end_if_finished(tx, internal_id)
    return view(tx, mine)


# --- look -------------------------------------------------------------------------------------------------------------


def get(tx: Connection, key_id: int, job_id: str) -> Job:
    """The job, with a notice where it waits for somebody who is not there, or for its model to be loaded. Raises
    JobNotFound."""
    job = view(tx, owned(key_id, job_id))
    if job.state in ENDED_STATES or not job.counts.pending:
        return job
    if not workers.served(tx, job.model):
        return job.model_copy(update={"notice": f"no live worker serves {job.model}: the job waits until one does"})
    if job.counts.pending == job.counts.total and not workers.loaded(tx, job.model):
        return job.model_copy(update={"notice": f"{job.model} is loaded first: no worker has it ready yet"})
    return job


def ended(tx: Connection, job_ids: Collection[str]) -> set[str]:
    """Those of the jobs that have ended or are gone."""
    active = sa.select(jobs.c.uuid).where(jobs.c.uuid.in_(job_ids), ACTIVE)
    return set(job_ids) - set(tx.execute(active).scalars())


# --- cancel, retry, delete --------------------------------------------------------------------------------------------

UNFINISHED = shards.c.state.in_(("pending", "queued", "leased"))


def cancel(tx: Connection, key_id: int, job_id: str) -> Job:
    """Fence all unfinished shards and end the job; its undecided documents read as cancelled from now on.

    Cancelling an ended job changes nothing. Raises JobNotFound.
    """
    mine = owned(key_id, job_id)
    columns = [jobs.c[name] for name in ("id", "key_id", "model", "state", "webhook")]
    row = tx.execute(sa.select(*columns).where(mine)).one_or_none()
    if row is None:
        raise JobNotFound
    if row.state in ENDED_STATES:
        return view(tx, mine)
    unfinished = sa.and_(shards.c.job_id == row.id, UNFINISHED)
    fence = sa.update(shards).where(unfinished).values(state="cancelled", token=None)
    # By job and state, not by the ids that were locked: a statement takes 65,535 parameters, and a job has more shards.
    _lock(tx, unfinished)
    fenced = tx.execute(fence).rowcount
    line.forget(tx, row.model, row.key_id, row.id)
    running = sa.select(jobs.c.remaining_shards).where(jobs.c.id == row.id, RUNNING)
    remaining = tx.execute(running.with_for_update()).scalar()
    if remaining is None:
        raise TransactionOutrun  # the job has just ended
    remaining -= retrying.stop(tx, row.id)
    # From here on no append adds shards. Those of appends that came in between are fenced out of order, and therefore
    # not waited for; to begin again each time instead would never end while a job is uploaded.
    if remaining > fenced:
        if _lock(tx, unfinished, skip_locked=True) != remaining - fenced:
            raise TransactionOutrun
        tx.execute(fence)
    cancelled = {
        "state": "cancelled",
        "open": False,
        "remaining_shards": 0,
        "cancelled": jobs.c.total - jobs.c.succeeded - jobs.c.failed,
        "finished_at": db_time(),
        "webhook_owed": None,
    }
    tx.execute(sa.update(jobs).where(jobs.c.id == row.id).values(**cancelled))
    if row.webhook is not None:
        deliveries.announce(tx, row.id)
    return view(tx, mine)


def _lock(tx: Connection, which: sa.ColumnElement[bool], skip_locked: bool = False) -> int:
    """Lock shards in the order of their ids. Returns how many; the ids themselves, maybe millions, stay there."""
    in_order = sa.select(shards.c.id).where(which).order_by(shards.c.id).with_for_update(skip_locked=skip_locked)
    return tx.execute(sa.select(sa.func.count()).select_from(in_order.subquery())).scalar_one()


def delete(tx: Connection, key_id: int, job_id: str) -> None:
    """Hide an ended job at once; the sweep removes its rows in steps. Raises JobNotFound, JobNotEnded."""
    mine = owned(key_id, job_id)
    gone = (
        sa.update(jobs).where(mine, jobs.c.state.in_(ENDED_STATES)).values(deleted_at=db_time(), idempotency_key=None)
    )
    if tx.execute(gone).rowcount == 0:
        view(tx, mine)
        raise JobNotEnded("cancel the job before deleting it")
