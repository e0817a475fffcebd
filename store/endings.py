"""What ends a job: its last shard, its close, or time."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from store import bulk, deliveries
from store.session import db_time, settings_of
from store.tables import ACTIVE, RUNNING, jobs


def end_if_finished(tx: Connection, internal_id: int) -> bool:
    """End the job where nothing remains and nothing follows. Whoever makes that true calls this, in the same
    transaction and with the job's row locked, so that exactly one of them ends it."""
    ended = tx.execute(_END, {"job": internal_id}).one_or_none()
    if ended is not None and ended.webhook is not None:
        deliveries.announce(tx, internal_id)
    return ended is not None


def count_settled(tx: Connection, internal_id: int, new: bulk.Inserted, closed: int) -> bool:
    """Add new results and closed shards to the counts, last in the settling transaction. True if that ended the job."""
    more = {"job": internal_id, "more_succeeded": new.succeeded, "more_failed": new.failed, "closed": closed}
    remaining = tx.execute(_COUNT_SETTLED, more).scalar_one()
    # All settles of the job wait for its row from here to the commit: only the last one has a second look at it.
    return bool(closed) and remaining == 0 and end_if_finished(tx, internal_id)


def close_abandoned(tx: Connection) -> int:
    """Close open jobs to which nothing was appended for the time in the settings. Returns how many."""
    # In a subquery: PostgreSQL looks a time that could change from row to row up in no index.
    too_long_ago = sa.select(db_time(-settings_of(tx).open_job_ttl_seconds)).scalar_subquery()
    abandoned = sa.select(jobs.c.id).where(ACTIVE, jobs.c.open, jobs.c.appended_at < too_long_ago).limit(100)
    closed = 0
    for internal_id in tx.execute(abandoned).scalars().all():
        still = sa.and_(jobs.c.id == internal_id, jobs.c.open, jobs.c.appended_at < too_long_ago)
        closed += tx.execute(sa.update(jobs).where(still).values(open=False)).rowcount
        end_if_finished(tx, internal_id)
    return closed


# --- statements of every shard, built once ----------------------------------------------------------------------------

_JOB = jobs.c.id == sa.bindparam("job", type_=sa.BigInteger)
_END = (
    sa.update(jobs)
    .where(_JOB, RUNNING, sa.not_(jobs.c.open), jobs.c.remaining_shards == 0)
    .values(
        state=sa.case(
            (jobs.c.succeeded == jobs.c.total, "completed"),
            (jobs.c.succeeded == 0, "failed"),
            else_="completed_with_errors",
        ),
        finished_at=db_time(),
        webhook_owed=None,
    )
    .returning(jobs.c.webhook)
)
_COUNT_SETTLED = (
    sa.update(jobs)
    .where(_JOB)
    .values(
        succeeded=jobs.c.succeeded + sa.bindparam("more_succeeded", type_=sa.Integer),
        failed=jobs.c.failed + sa.bindparam("more_failed", type_=sa.Integer),
        remaining_shards=jobs.c.remaining_shards - sa.bindparam("closed", type_=sa.Integer),
    )
    .returning(jobs.c.remaining_shards)
)
