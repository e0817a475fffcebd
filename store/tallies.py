"""What was settled, counted in the settling transaction: errors of a job by code, and outcomes by the minute.

A settle adds one row a code at most to each of the two tables, and waits for few others: the errors of a job are behind
the same settles as the job's own row, and the minutes have a row for each worker process. One row a minute for all of
them would make every settle of an installation wait for the one before it; counts in the workers' heartbeats would be
lost with a worker, and would say nothing about a key.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from store.bulk import Inserted
from store.session import db_minute, settings_of
from store.tables import error_counts, minutes

SUCCEEDED = ""
"""The outcome of documents that did not fail."""


def count(tx: Connection, job_id: int, key_id: int, worker_id: str, new: Inserted) -> None:
    """Count new results. Called before the job's row is locked: each of these rows is waited for as that one is."""
    codes = sorted(new.errors.items())  # in one order, as all locks
    _add(tx, error_counts, [{"job_id": job_id, "code": code, "documents": number} for code, number in codes])
    outcomes = [(SUCCEEDED, new.succeeded)] if new.succeeded else []
    row = {"key_id": key_id, "minute": db_minute(), "worker_id": worker_id}
    _add(tx, minutes, [{**row, "outcome": outcome, "documents": number} for outcome, number in outcomes + codes])


def _add(tx: Connection, table: sa.Table, rows: list[dict[str, object]]) -> None:
    if not rows:
        return
    new = (postgresql.insert if tx.dialect.name == "postgresql" else sqlite.insert)(table)
    more = {"documents": table.c.documents + new.excluded.documents}
    tx.execute(new.values(rows).on_conflict_do_update(index_elements=list(table.primary_key), set_=more))


def errors_of(tx: Connection, job_ids: Collection[int]) -> Mapping[int, dict[str, int]]:
    """Failed documents by code, of each of the jobs that has some."""
    found: dict[int, dict[str, int]] = defaultdict(dict)
    if job_ids:
        query = sa.select(error_counts).where(error_counts.c.job_id.in_(job_ids)).order_by(error_counts.c.code)
        for job_id, code, number in tx.execute(query):
            found[job_id][code] = number
    return found


def forget_errors(tx: Connection, job_id: int, codes: Collection[str] | None = None) -> None:
    """The job has no failed documents of these codes any more, or none at all."""
    gone = error_counts.c.job_id == job_id
    if codes is not None:
        gone = sa.and_(gone, error_counts.c.code.in_(list(codes)))
    tx.execute(sa.delete(error_counts).where(gone))


def forget_minutes(tx: Connection) -> None:
    """Drop what is older than the settings keep."""
    # In a subquery: PostgreSQL looks a value that could change from row to row up in no index.
    oldest = sa.select(db_minute(-3600 * settings_of(tx).stats_hours)).scalar_subquery()
    tx.execute(sa.delete(minutes).where(minutes.c.minute < oldest))
