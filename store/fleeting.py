"""Fleeting jobs: they last as long as somebody waits for their answer, and are in no list.

The api makes one for a request that is answered with its results, and removes it when it has answered, or when nobody
waits any more. `expires_at` is for those whose api died meanwhile: the sweep removes what is older.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from store import jobs
from store.session import db_time
from store.tables import documents, error_counts, results, shards
from store.tables import jobs as jobs_table
from store.views import owned
from textmill.wire import ENDED_STATES


def forget(tx: Connection, key_id: int, job_id: str) -> None:
    """Cancel the job, unless it has ended, and remove all of it. One that is gone is left in peace.

    At once and not in the steps of a purge: it is small.
    """
    row = tx.execute(sa.select(jobs_table.c.id, jobs_table.c.state).where(owned(key_id, job_id))).one_or_none()
    if row is None:
        return
    if row.state not in ENDED_STATES:
        jobs.cancel(tx, key_id, job_id)  # fences the shards: nobody writes to the job from here on
    _remove(tx, [row.id])


def forget_ended(tx: Connection, job_ids: Sequence[str]) -> None:
    """Remove all of those of the jobs that have ended, which many requests can do together."""
    ended = sa.and_(jobs_table.c.uuid.in_(job_ids), jobs_table.c.state.in_(ENDED_STATES))
    _remove(tx, tx.execute(sa.select(jobs_table.c.id).where(ended)).scalars().all())


def _remove(tx: Connection, ids: Sequence[int]) -> None:
    for table in (shards, results, documents, error_counts):
        tx.execute(sa.delete(table).where(table.c.job_id.in_(ids)))
    tx.execute(sa.delete(jobs_table).where(jobs_table.c.id.in_(ids)))


def forget_expired(tx: Connection) -> bool:
    """Forget one job that nobody waits for any more: the process that made it is gone. False: there is none."""
    # In a subquery: PostgreSQL looks a time that could change from row to row up in no index.
    now = sa.select(db_time()).scalar_subquery()
    expired = sa.and_(jobs_table.c.expires_at < now, jobs_table.c.deleted_at.is_(None))
    # One a transaction: shards are locked before jobs, and another job's would follow this job's row.
    row = tx.execute(sa.select(jobs_table.c.key_id, jobs_table.c.uuid).where(expired).limit(1)).one_or_none()
    if row is None:
        return False
    forget(tx, row.key_id, row.uuid)
    return True
