"""What a key's work looks like: what waits of it, and what was settled over the last hours."""

import math
from collections import Counter, defaultdict
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from store.session import db_minute, db_time, settings_of
from store.tables import ACTIVE, batches, jobs, keys, minutes, turns
from store.tallies import SUCCEEDED
from textmill.wire import Queued, Stats, StatsBucket

OLDEST = 10_000
"""Jobs of each state that are looked at for what waits: the oldest. A key with more sees those alone."""

WIDTHS = (1, 5, 15, 60, 120)
"""Minutes that a bucket can have."""

MOST_BUCKETS = 120


def look(tx: Connection, key_id: int, hours: float) -> Stats:
    """The stats of a key over so many hours, or as many as are kept."""
    now, minute = tx.execute(sa.select(db_time(), db_minute())).one()
    back = math.ceil(60 * min(hours, settings_of(tx).stats_hours))
    width = next((width for width in WIDTHS if back <= width * MOST_BUCKETS), WIDTHS[-1])
    last = minute // width
    first = last - math.ceil(back / width) + 1
    counted = _counted(tx, key_id, first, width)
    fill = _fill(tx, first, width)
    buckets = [
        _bucket(number * width, counted[number], width, now, fill.get(number)) for number in range(first, last + 1)
    ]
    key = tx.execute(sa.select(keys.c.name).where(keys.c.id == key_id)).scalar_one()
    return Stats(now=now, key=key, bucket_seconds=60 * width, queued=_queued(tx, key_id, now), buckets=buckets)


def waiting(tx: Connection) -> dict[str, int]:
    """Documents without an outcome, of all keys, by model; of each model `OLDEST` jobs at most, so that it costs the
    same however many there are. One look into an index a model, whatever the number of keys."""
    found: dict[str, int] = {}
    model = tx.execute(_FIRST_MODEL).scalar()
    while model is not None:
        found[model] = int(tx.execute(_PENDING, {"model": model}).scalar() or 0)
        model = tx.execute(_NEXT_MODEL, {"model": model}).scalar()
    return found


def _pending() -> sa.Select[Any]:
    columns = (jobs.c.total, jobs.c.succeeded, jobs.c.failed)
    some = sa.select(*columns).where(ACTIVE, jobs.c.model == sa.bindparam("model")).limit(OLDEST).subquery()
    return sa.select(sa.func.sum(some.c.total - some.c.succeeded - some.c.failed))


_PENDING = _pending()
# Not DISTINCT: neither database skips through an index for it, and a model has a turn for each key that ever used it.
_FIRST_MODEL = sa.select(sa.func.min(turns.c.model))
_NEXT_MODEL = _FIRST_MODEL.where(turns.c.model > sa.bindparam("model"))


def _counted(tx: Connection, key_id: int, first: int, width: int) -> defaultdict[int, Counter[str]]:
    """Documents by outcome in each bucket that has some."""
    number = minutes.c.minute // width
    query = sa.select(number, minutes.c.outcome, sa.func.sum(minutes.c.documents))
    query = query.where(minutes.c.key_id == key_id, minutes.c.minute >= first * width)
    found: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for bucket, outcome, documents in tx.execute(query.group_by(number, minutes.c.outcome)):
        found[bucket][outcome] = documents
    return found


def _fill(tx: Connection, first: int, width: int) -> dict[int, float]:
    """The share of the tokens in all workers' batches that was no padding: of all keys, which share the batches."""
    number = batches.c.minute // width
    query = sa.select(number, sa.func.sum(batches.c.tokens), sa.func.sum(batches.c.padded))
    rows = tx.execute(query.where(batches.c.minute >= first * width).group_by(number))
    return {bucket: round(int(tokens) / int(padded), 3) for bucket, tokens, padded in rows}


def _bucket(minute: int, outcomes: Counter[str], width: int, now: datetime, fill: float | None) -> StatsBucket:
    start = datetime.fromtimestamp(60 * minute, UTC)
    lasted = min(60.0 * width, max(1.0, (now - start).total_seconds()))
    errors = {code: count for code, count in sorted(outcomes.items()) if code != SUCCEEDED}
    return StatsBucket(
        start=start,
        documents_succeeded=outcomes[SUCCEEDED],
        documents_failed=sum(errors.values()),
        documents_per_second=round(outcomes.total() / lasted, 3),
        batch_fill=fill,
        errors=errors,
    )


def _queued(tx: Connection, key_id: int, now: datetime) -> list[Queued]:
    # One state after the other, as the index has them.
    oldest = [
        sa.select(
            sa.select(jobs)
            .where(jobs.c.key_id == key_id, jobs.c.state == state, jobs.c.deleted_at.is_(None))
            .order_by(jobs.c.id)
            .limit(OLDEST)
            .subquery()
        )
        for state in ("queued", "running")
    ]
    active = sa.union_all(*oldest).subquery("active")
    pending = sa.func.sum(active.c.total - active.c.succeeded - active.c.failed)
    shards = sa.func.sum(active.c.remaining_shards)
    query = sa.select(active.c.model, active.c.task, pending, shards, sa.func.min(active.c.created_at))
    by_model = tx.execute(query.group_by(active.c.model, active.c.task).order_by(active.c.model, active.c.task))
    return [
        Queued(
            model=model,
            task=task,
            documents=documents,
            shards=left,
            oldest_seconds=round(max(0.0, (now - accepted).total_seconds()), 3),
        )
        for model, task, documents, left, accepted in by_model
        if documents or left
    ]
