"""Which shards are released: SQL alone, inside the transaction that makes room.

Publishing them follows its commit (`store/dispatcher.py`). What a crash in between loses is published by the sweep.
"""

import collections
import logging
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from store import workers
from store.session import db_time, settings_of
from store.settings import StoreSettings
from store.tables import ACTIVE, OUT, PENDING, jobs, shards

log = logging.getLogger(__name__)


class Released(NamedTuple):
    """A shard that is to be published."""

    shard_id: int
    job: str
    task: str
    model: str
    first: int
    last: int
    priority: int


@dataclass
class Candidate:
    """A job with pending shards, and what it has out already."""

    job_id: int
    key_id: int
    out: int
    served_at: datetime
    """When one of its shards was last released; until then, when the job was made."""


@dataclass(frozen=True)
class Caps:
    """How many shards may be out (queued or leased)."""

    job: int
    key: int
    queue: int


def caps(slots: int, settings: StoreSettings) -> Caps:
    """The window is twice the live task slots: one shard running and one waiting for each."""
    window = max(settings.minimum_window, 2 * slots)
    return Caps(window, window * settings.key_windows, window * settings.queue_windows)


def choose(candidates: Sequence[Candidate], key_out: Mapping[int, int], queue_out: int, caps: Caps) -> dict[int, int]:
    """How many shards each job gets: each place goes to the key with the fewest shards out, then to its job least
    recently served, so that neither a huge job nor a key with a thousand jobs starves anybody. Keys with as many out
    come in the order of the candidates.

    Returns {job_id: shards}. Pure; `candidates` is not changed.
    """
    turn = {key_id: n for n, key_id in enumerate(dict.fromkeys(c.key_id for c in candidates))}
    waiting: dict[int, collections.deque[Candidate]] = collections.defaultdict(collections.deque)
    for candidate in sorted(candidates, key=lambda c: (c.served_at, c.job_id)):
        waiting[candidate.key_id].append(candidate)
    out = {key_id: key_out.get(key_id, 0) for key_id in waiting}
    job_out = {c.job_id: c.out for c in candidates}
    chosen: Counter[int] = Counter()
    places = caps.queue - queue_out
    while places > 0:
        open_keys = [key_id for key_id in waiting if waiting[key_id] and out[key_id] < caps.key]
        if not open_keys:
            break
        key_id = min(open_keys, key=lambda k: (out[k], turn[k]))
        candidate = waiting[key_id].popleft()
        if job_out[candidate.job_id] >= caps.job:
            continue
        chosen[candidate.job_id] += 1
        job_out[candidate.job_id] += 1
        out[key_id] += 1
        places -= 1
        waiting[key_id].append(candidate)
    return dict(chosen)


def release(tx: Connection, model: str) -> list[Released]:
    """Turn pending shards of the model's jobs into queued ones, as far as the window has room. Publish what it returns
    after the commit.

    Takes rows with SKIP LOCKED and never waits, so it may run while other shards or a job are locked. Two of them at
    once may exceed a cap by a few shards, which the next one makes up for.
    """
    limits = caps(workers.slots(tx, model), settings_of(tx))
    released: list[Released] = []
    exhausted: set[int] = set()
    while True:
        job_out, key_out = _out(tx, model)
        candidates = [c for c in _candidates(tx, model, job_out) if c.job_id not in exhausted]
        # Keys with as many out draw lots. In any fixed order, by their ids or by the age of their jobs, the last of
        # more keys than places would starve.
        lot = {c.key_id: random.random() for c in candidates}
        candidates.sort(key=lambda c: lot[c.key_id])
        chosen = choose(candidates, key_out, sum(key_out.values()), limits)
        if not chosen:
            return released
        for job_id, places in chosen.items():
            taken = _take(tx, job_id, places)
            released += taken
            if len(taken) < places:
                exhausted.add(job_id)
        if not exhausted:
            return released


def _out(tx: Connection, model: str) -> tuple[Counter[int], Counter[int]]:
    """Shards of the model that are out, by job and by key."""
    by_job: Counter[int] = Counter()
    by_key: Counter[int] = Counter()
    for job_id, key_id, count in tx.execute(_OUT_OF_MODEL, {"model": model}):
        by_job[job_id] = count
        by_key[key_id] += count
    return by_job, by_key


def _candidates(tx: Connection, model: str, job_out: Mapping[int, int]) -> list[Candidate]:
    rows = tx.execute(_CANDIDATES, {"model": model})
    return [Candidate(job_id, key_id, job_out.get(job_id, 0), served_at) for job_id, key_id, served_at in rows]


def _take(tx: Connection, job_id: int, places: int) -> list[Released]:
    pending = (
        sa.select(shards.c.id)
        .where(shards.c.job_id == job_id, PENDING)
        .order_by(shards.c.first)
        .limit(places)
        .with_for_update(skip_locked=True)
    )
    ids = tx.execute(pending).scalars().all()
    now = db_time()
    return mark_published(tx, ids, state="queued", released_at=now) if ids else []


def mark_published(tx: Connection, shard_ids: Sequence[int], **changes: Any) -> list[Released]:
    """Note that these shards are about to be published now, with any further changes to their rows."""
    if not shard_ids:
        return []
    tx.execute(sa.update(shards).where(shards.c.id.in_(shard_ids)).values(published_at=db_time(), **changes))
    rows = tx.execute(
        sa.select(shards.c.id, jobs.c.uuid, jobs.c.task, jobs.c.model, shards.c.first, shards.c.last, jobs.c.priority)
        .join_from(shards, jobs)
        .where(shards.c.id.in_(shard_ids))
        .order_by(shards.c.id)
    )
    return [Released(*row) for row in rows]


_OUT_OF_MODEL = (
    sa.select(jobs.c.id, jobs.c.key_id, sa.func.count())
    .join_from(shards, jobs)
    .where(OUT, ACTIVE, jobs.c.model == sa.bindparam("model"))
    .group_by(jobs.c.id, jobs.c.key_id)
)
_CANDIDATES = sa.select(
    jobs.c.id,
    jobs.c.key_id,
    # By an index on (job, released_at). Not a column of the job: updating another job's row here would break the
    # order in which rows are locked.
    sa.func.coalesce(
        sa.select(sa.func.max(shards.c.released_at)).where(shards.c.job_id == jobs.c.id).scalar_subquery(),
        # Not as if long ago: then a key's new jobs, as long as some come, would starve its old ones.
        jobs.c.created_at,
    ),
).where(
    ACTIVE,
    jobs.c.model == sa.bindparam("model"),
    sa.exists().where(shards.c.job_id == jobs.c.id, PENDING),
)
