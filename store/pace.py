"""How fast a job went, over its time: read from when its documents were decided, of which a sample is enough.

A sample of bounded size, spread evenly over the positions that are decided, is looked up by the key of `results`, so
that a job of millions costs what one of hundreds does. A tally by time in every settle would be exact, and was
rejected: settling is what bounds the throughput of a job, and a chart is looked at now and then. An index by job and
time would have to be paid for by every result, too.
"""

import math
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from store.session import db_time
from store.tables import jobs, results
from store.views import owned
from textmill.errors import JobNotFound
from textmill.wire import Pace, PaceBucket

SAMPLE = 500
"""Documents that are looked at. Where no more are decided, the pace is exact."""

MOST_BUCKETS = 60


def look(tx: Connection, key_id: int, job_id: str) -> Pace:
    """The job's pace from when it started last to its end or now. Raises JobNotFound."""
    columns = [jobs.c[name] for name in ("id", "started_at", "finished_at", "succeeded", "failed")]
    job = tx.execute(sa.select(*columns, db_time().label("now")).where(owned(key_id, job_id))).one_or_none()
    if job is None:
        raise JobNotFound
    if job.started_at is None:
        return Pace(bucket_seconds=1, exact=True, buckets=[])
    until = max(job.started_at, job.finished_at or job.now)
    first, last = tx.execute(_ends(job.id)).one()
    decided = 0 if last is None else last - first + 1
    times = _sampled(tx, job.id, first, decided) if decided else []
    exact = decided <= SAMPLE
    # All that were found count here, also those that an earlier run decided: these fall into no bucket.
    each = 1.0 if exact else (job.succeeded + job.failed) / max(1, len(times))
    width = width_of((until - job.started_at).total_seconds())
    return Pace(bucket_seconds=width, exact=exact, buckets=buckets(job.started_at, until, width, times, each))


def width_of(seconds: float) -> int:
    """Seconds of a bucket, a power of two, so that there are at most MOST_BUCKETS of them.

    At least one: a worker settles what it has about once a second, and shorter ones would show nothing but that.
    """
    width = 1
    while seconds > width * MOST_BUCKETS:
        width *= 2
    return width


def buckets(start: datetime, until: datetime, width: int, times: list[datetime], each: float) -> list[PaceBucket]:
    """Documents per second in each bucket, where each of the times stands for so many documents."""
    seconds = (until - start).total_seconds()
    number = max(1, math.ceil(seconds / width))
    shortest = min(1.0, max(0.001, seconds))  # of the last bucket: what is decided at once looks very fast in a moment
    counted = Counter(int((time - start).total_seconds() // width) for time in times if start <= time <= until)
    counted[number - 1] += counted.pop(number, 0)  # decided as the job ended, at the very end of the last bucket
    found = []
    for index in range(number):
        begins = start + timedelta(seconds=index * width)
        lasted = max(shortest, min(width, (until - begins).total_seconds()))
        found.append(PaceBucket(start=begins, documents_per_second=round(counted[index] * each / lasted, 3)))
    return found


def _ends(number: int) -> sa.Select[Any]:
    """The first and the last position that is decided: all the others that are lie between them, and nearly all that
    lie between them are, since documents are handed out in their order."""
    mine = sa.select(results.c.position).where(results.c.job_id == number)
    return sa.select(
        mine.order_by(results.c.position).limit(1).scalar_subquery(),
        mine.order_by(results.c.position.desc()).limit(1).scalar_subquery(),
    )


def _sampled(tx: Connection, number: int, first: int, decided: int) -> list[datetime]:
    size = min(decided, SAMPLE)
    positions = [first + index * decided // size for index in range(size)]
    query = sa.select(results.c.finished_at).where(results.c.job_id == number, results.c.position.in_(positions))
    return list(tx.execute(query).scalars())
