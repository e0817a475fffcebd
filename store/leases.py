"""A worker's time-limited right to a shard: claim, renew, settle, release, expire.

The token is a fence. Every write of a worker names it, and a cancelled, expired or re-claimed shard no longer has it,
so a worker that was given up for dead writes nothing when it comes back.
"""

import json
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from store import dispatch, endings, tallies
from store.bulk import DocumentOutcome, insert_results
from store.dispatch import Released, mark_published
from store.session import db_time, settings_of
from store.tables import ACTIVE, DECIDED, LEASED, documents, results, shards, workers
from store.tables import jobs as jobs_table
from textmill.errors import LeaseLost

__all__ = ["DocumentOutcome", "Lease", "Settled", "Text"]

_BY_ID = shards.c.id + 0
"""The order in which shards are locked. Plus nothing: rather than sort the few that are leased, SQLite would read the
whole table in the order of its key."""

AT_ONCE = 10_000
"""Shards that one transaction takes from their workers, more than one worker ever holds; the next sweep takes the rest.
Each is a parameter of a statement: SQLite takes 32,766, PostgreSQL 65,535."""

SINGLE_FILE_AFTER = 2
"""Losses after which a shard runs one document at a time, so that the one that kills the worker is known."""


@dataclass(frozen=True)
class Lease:
    """The right to decide the documents first..last of a job that have no result yet."""

    shard_id: int
    token: str
    worker_id: str
    job_id: int
    job: str
    task: str
    model: str
    options: dict[str, Any]
    first: int
    last: int
    losses: int
    suspect: int | None
    suspect_attempts: int
    key_id: int
    priority: int
    queued_seconds: float | None = None
    """How long it had been released when it was claimed; None, also below: nobody noted it."""
    age_seconds: float | None = None
    """How long before the claim its documents were accepted."""
    traceparent: str | None = None
    """Of the request that the work is done for."""

    @property
    def single_file(self) -> bool:
        """Whether each document runs alone and is settled before the next one starts."""
        return self.losses >= SINGLE_FILE_AFTER


class Text(NamedTuple):
    """A document to process."""

    position: int
    text: str
    fields: Mapping[str, Any]
    """What it has beside the text."""
    characters: int
    """Of both, as its shard was sized."""


class Expired(NamedTuple):
    """The shards that were taken from a worker, and whether those are all that it held."""

    released: list[Released]
    all: bool


class Settled(NamedTuple):
    """Whether the job ended with this, and which shards took the freed place."""

    ended: bool
    released: list[Released]


def claim(tx: Connection, shard_id: int, worker_id: str, token: str | None = None) -> Lease | None:
    """Take the shard, if it is queued or its lease has expired, and its job is active. None: there is nothing to do.

    Taking an expired lease counts as a loss, exactly as `expire` does. With a token that the caller has made, and gives
    again with the next try, a claim whose answer was lost is found and returned.
    """
    token = token or uuid.uuid4().hex
    whose = {"shard": shard_id, "its_token": token, "by_worker": worker_id, **_lease_time(tx)}
    shard = tx.execute(_CLAIM, whose).one_or_none()
    if shard is None:
        return None
    of_job = {"job": shard.job_id}
    job = tx.execute(_JOB, of_job).one()
    if job.state == "queued":  # most shards are of jobs that run: no statement is sent that changes nothing
        tx.execute(_START, of_job)
    return Lease(
        shard_id=shard_id,
        token=token,
        worker_id=worker_id,
        job_id=shard.job_id,
        job=job.uuid,
        task=job.task,
        model=job.model,
        options=json.loads(job.options),
        first=shard.first,
        last=shard.last,
        losses=shard.losses,
        suspect=shard.suspect,
        suspect_attempts=shard.suspect_attempts,
        key_id=job.key_id,
        priority=job.priority,
        queued_seconds=_seconds(shard.released_at, shard.now),
        age_seconds=_seconds(shard.created_at, shard.now),
        traceparent=job.traceparent,
    )


def _seconds(since: datetime | None, now: datetime) -> float | None:
    return None if since is None else (now - since).total_seconds()


def undecided(tx: Connection, lease: Lease, after: int, limit: int) -> list[Text]:
    """Documents of the shard that have no result, at positions above `after`, in order."""
    where = {"job": lease.job_id, "first": max(lease.first, after + 1), "last": lease.last, "most": limit}
    # All at once: row by row the same takes three times as long.
    rows = tx.execute(_UNDECIDED, where).all()
    return [
        Text(position, text, json.loads(fields) if fields else {}, len(text) + len(fields or ""))
        for position, text, fields in rows
    ]


def renew(tx: Connection, worker_id: str, tokens: Collection[str]) -> set[str]:
    """Extend the worker's leases. Returns the tokens that still hold: a missing one was cancelled or lost."""
    if not tokens:
        return set()
    held = sa.and_(LEASED, shards.c.worker_id == worker_id, shards.c.token.in_(list(tokens)))
    # Not SKIP LOCKED: a shard that is being settled would look lost. That settle is short, and is waited for.
    in_order = sa.select(shards.c.id).where(held).order_by(_BY_ID)
    ids = tx.execute(in_order.with_for_update()).scalars().all()
    expires = db_time(settings_of(tx).lease_seconds)
    still = sa.and_(shards.c.id.in_(ids), held)
    return set(
        tx.execute(sa.update(shards).where(still).values(lease_expires_at=expires).returning(shards.c.token)).scalars()
    )


def attempt(tx: Connection, lease: Lease, position: int) -> int:
    """Note, before it runs alone, that this document is tried. Returns the attempt's number, from 1.

    Noted beforehand and not when the lease is lost: another shard may wait in the same process for its turn, and its
    first undecided document is innocent. Raises LeaseLost.
    """
    # From what the claim found and not from the row: noted a second time, as the answer was lost, it is the same one.
    number = 1 + (lease.suspect_attempts if lease.suspect == position else 0)
    noted = sa.update(shards).where(_HELD).values(suspect=position, suspect_attempts=number)
    if tx.execute(noted, _of(lease)).rowcount == 0:
        raise LeaseLost
    return number


def settle(tx: Connection, lease: Lease, outcomes: Sequence[DocumentOutcome], close: bool) -> Settled:
    """Commit outcomes under the lease; `close` when every document of the shard has one.

    An outcome that exists already is left as it is and not counted again. Raises LeaseLost, and nothing was written.
    """
    held = {**_of(lease), "to_state": "done" if close else "leased", **_lease_time(tx)}
    if tx.execute(_SETTLE, held).rowcount == 0:
        if close and _closed_by(tx, lease):
            return Settled(False, [])  # the answer to this very commit was lost
        raise LeaseLost
    new = insert_results(tx, lease.job_id, outcomes)
    released: list[Released] = []
    if close:
        _require_all_decided(tx, lease)
        released = dispatch.release(tx, lease.model)
    tallies.count(tx, lease.job_id, lease.key_id, lease.worker_id, new)
    ended = endings.count_settled(tx, lease.job_id, new, closed=int(close))
    return Settled(ended, released)


def _of(lease: Lease) -> dict[str, Any]:
    return {"shard": lease.shard_id, "its_token": lease.token}


def _lease_time(tx: Connection) -> dict[str, float]:
    return {"lease_seconds": settings_of(tx).lease_seconds}


def _closed_by(tx: Connection, lease: Lease) -> bool:
    mine = sa.and_(shards.c.id == lease.shard_id, shards.c.state == "done", shards.c.token == lease.token)
    return tx.execute(sa.select(shards.c.id).where(mine)).scalar() is not None


def _require_all_decided(tx: Connection, lease: Lease) -> None:
    in_range = {"job": lease.job_id, "first": lease.first, "last": lease.last}
    decided = tx.execute(_COUNT_DECIDED, in_range).scalar_one()
    if decided != lease.last - lease.first + 1:
        raise RuntimeError(f"shard {lease.shard_id} was to be closed with documents undecided: nothing was written")


def release(tx: Connection, lease: Lease) -> list[Released]:
    """Give the shard back: the worker is draining. No loss is counted. Empty where the lease was lost meanwhile."""
    as_claimed = sa.and_(
        shards.c.suspect.is_not_distinct_from(lease.suspect), shards.c.suspect_attempts == lease.suspect_attempts
    )
    # An attempt that was noted under this lease is taken back: its document did not get to show what it does.
    attempts = shards.c.suspect_attempts - sa.case((as_claimed, 0), else_=1)
    back = {"state": "queued", "token": None, "worker_id": None, "suspect_attempts": attempts}
    if tx.execute(sa.update(shards).where(_HELD).values(**back), _of(lease)).rowcount == 0:
        return []
    return mark_published(tx, [lease.shard_id])


def fail_job(tx: Connection, lease: Lease, code: str, message: str) -> None:
    """Record that the job's model is at fault. Its documents still get their outcomes, by `settle`.

    Raises LeaseLost.
    """
    # Locked, not just looked at: a claim that comes in between would let a dead worker's verdict in.
    held = sa.select(shards.c.id).where(_HELD).with_for_update()
    if tx.execute(held, _of(lease)).scalar() is None:
        raise LeaseLost
    first = sa.and_(jobs_table.c.id == lease.job_id, jobs_table.c.error_code.is_(None))
    tx.execute(sa.update(jobs_table).where(first).values(error_code=code, error_message=message))


def expire(tx: Connection) -> list[Released]:
    """Queue again the shards whose lease has run out, with a loss counted."""
    return _lose(tx, shards.c.lease_expires_at < db_time())


def spare(tx: Connection, seconds: float) -> int:
    """Give leases that have run out so long again: nobody could renew them. Returns how many."""
    out = sa.and_(LEASED, shards.c.lease_expires_at < db_time())
    in_order = sa.select(shards.c.id).where(out).order_by(_BY_ID).limit(AT_ONCE).with_for_update(skip_locked=True)
    ids = tx.execute(in_order).scalars().all()
    longer = sa.update(shards).where(shards.c.id.in_(ids), LEASED).values(lease_expires_at=db_time(seconds))
    return tx.execute(longer).rowcount


def expire_worker(tx: Connection, worker_id: str) -> list[Released]:
    """Queue again, at once, what a worker held that is known to be dead."""
    return _lose(tx, shards.c.worker_id == worker_id)


def expire_process(tx: Connection, machine: str, pid: int) -> Expired:
    """Queue again, at once, what a process held that is known to be dead, and strike it off the registry when that is
    all: shards that the dead process itself has locked wait until the server notices its end."""
    dead = tx.execute(sa.select(workers.c.id).where(workers.c.machine == machine, workers.c.pid == pid)).scalars().all()
    lost = _lose(tx, shards.c.worker_id.in_(dead)) if dead else []
    if tx.execute(sa.select(shards.c.id).where(LEASED, shards.c.worker_id.in_(dead)).limit(1)).scalar() is not None:
        return Expired(lost, False)
    tx.execute(sa.delete(workers).where(workers.c.id.in_(dead)))
    return Expired(lost, True)


def _lose(tx: Connection, which: sa.ColumnElement[bool]) -> list[Released]:
    lost = sa.select(shards.c.id).where(LEASED, which).order_by(_BY_ID).limit(AT_ONCE)
    # Skipped where locked: it is being settled, renewed or cancelled this very moment.
    ids = tx.execute(lost.with_for_update(skip_locked=True)).scalars().all()
    return mark_published(tx, ids, state="queued", token=None, worker_id=None, losses=shards.c.losses + 1)


# --- statements of every shard, built once: building one takes longer than sending it ---------------------------------

_SHARD = shards.c.id == sa.bindparam("shard", type_=sa.BigInteger)
_TOKEN = sa.bindparam("its_token", type_=sa.String)
_IN_RANGE = (sa.bindparam("first", type_=sa.Integer), sa.bindparam("last", type_=sa.Integer))
_OF_JOB = sa.bindparam("job", type_=sa.BigInteger)
_LEASE_END = db_time(sa.bindparam("lease_seconds", type_=sa.Float))
_IS_LEASED = shards.c.state == "leased"

_HELD = sa.and_(_SHARD, _IS_LEASED, shards.c.token == _TOKEN)
_CLAIM = (
    sa.update(shards)
    .where(
        _SHARD,
        sa.or_(
            shards.c.state == "queued",
            sa.and_(_IS_LEASED, shards.c.lease_expires_at < db_time()),
            sa.and_(_IS_LEASED, shards.c.token == _TOKEN),
        ),
        sa.exists().where(jobs_table.c.id == shards.c.job_id, ACTIVE),
    )
    .values(
        losses=shards.c.losses + sa.case((sa.and_(_IS_LEASED, shards.c.token != _TOKEN), 1), else_=0),
        state="leased",
        token=_TOKEN,
        worker_id=sa.bindparam("by_worker"),
        lease_expires_at=_LEASE_END,
    )
    .returning(
        *(shards.c[name] for name in ("job_id", "first", "last", "losses", "suspect", "suspect_attempts")),
        *(shards.c[name] for name in ("created_at", "released_at")),
        db_time().label("now"),
    )
)
_JOB = sa.select(
    *(jobs_table.c[name] for name in ("uuid", "task", "model", "options", "key_id", "priority", "state", "traceparent"))
).where(jobs_table.c.id == _OF_JOB)
_START = (
    sa.update(jobs_table)
    .where(jobs_table.c.id == _OF_JOB, jobs_table.c.state == "queued")
    .values(state="running", started_at=db_time())
)
_UNDECIDED = (
    sa.select(documents.c.position, documents.c.text, documents.c.fields)
    .join_from(documents, results, DECIDED, isouter=True)
    .where(documents.c.job_id == _OF_JOB, results.c.position.is_(None), documents.c.position.between(*_IN_RANGE))
    .order_by(documents.c.position)
    .limit(sa.bindparam("most", type_=sa.Integer))
)
_SETTLE = (
    sa.update(shards)
    .where(_HELD)
    .values(state=sa.bindparam("to_state"), lease_expires_at=_LEASE_END)
)  # fmt: skip
_COUNT_DECIDED = (
    sa.select(sa.func.count())
    .select_from(results)
    .where(results.c.job_id == _OF_JOB, results.c.position.between(*_IN_RANGE))
)
