"""What a key may still submit. Asked within the transaction that submits, so that no two requests pass together.

Only keys that have a limit pay for it: their row is locked, the day's row is counted up.
"""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from store.keys import Limits
from store.session import db_minute
from store.tables import RUNNING, jobs, key_days, keys
from textmill.errors import DailyLimitReached, TooManyOpenJobs

MINUTES_A_DAY = 1440


def admit_job(tx: Connection, key_id: int, limits: Limits) -> None:
    """A job that was just stored. Raises TooManyOpenJobs, with which it goes again."""
    most = limits.open_jobs
    if most is None:
        return
    # One after the other: who waits here then sees the job of whoever was first. Readers, and the share of this row
    # that a job's foreign key takes, are not kept out.
    tx.execute(sa.select(keys.c.id).where(keys.c.id == key_id).with_for_update(key_share=True))
    unfinished = sa.select(jobs.c.id).where(jobs.c.key_id == key_id, RUNNING, jobs.c.deleted_at.is_(None))
    some = unfinished.limit(most + 1).subquery()
    if tx.execute(sa.select(sa.func.count()).select_from(some)).scalar_one() > most:
        raise TooManyOpenJobs(f"this key may have {most} jobs that have not ended, and has them", limit=most)


def admit_documents(tx: Connection, key_id: int, limits: Limits, count: int) -> None:
    """So many documents more, today. Raises DailyLimitReached, which counts none of them."""
    most = limits.documents_per_day
    if most is None or not count:
        return
    dialect = postgresql if tx.dialect.name == "postgresql" else sqlite
    add = dialect.insert(key_days).values(key_id=key_id, day=db_minute() // MINUTES_A_DAY, documents=count)
    add = add.on_conflict_do_update(
        index_elements=[key_days.c.key_id, key_days.c.day],
        set_={"documents": key_days.c.documents + add.excluded.documents},
    )
    documents, minute = tx.execute(add.returning(key_days.c.documents, db_minute())).one()
    if documents > most:  # the transaction ends with it, and what was added
        seconds = 60 * (MINUTES_A_DAY - minute % MINUTES_A_DAY)
        raise DailyLimitReached(
            f"this key may submit {most} documents a day (UTC), and {max(0, most - documents + count)} are left",
            retry_after_seconds=seconds,
            limit=most,
            left=max(0, most - documents + count),
        )


def forget_days(tx: Connection) -> None:
    """Drop what was counted before yesterday."""
    yesterday = sa.select(db_minute(-86_400) // MINUTES_A_DAY).scalar_subquery()
    tx.execute(sa.delete(key_days).where(key_days.c.day < yesterday))
