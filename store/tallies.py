"""What was settled, counted in the settling transaction: errors of a job by code, and outcomes by the minute;
and how full the batches were, which workers tell with their heartbeats.

A settle adds one row a code at most to each of the two tables, and waits for few others: the errors of a job are behind
the same settles as the job's own row, and the minutes have a row for each worker process. One row a minute for all of
them would make every settle of an installation wait for the one before it; counts in the workers' heartbeats would be
lost with a worker, and would say nothing about a key.
"""

import functools
from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from store.bulk import Inserted
from store.session import db_minute, settings_of
from store.tables import batches, error_counts, minutes

SUCCEEDED = ""
"""The outcome of documents that did not fail."""

RECENT_MINUTES = 3
"""Over so many whole minutes a worker's present pace is measured."""

Row = dict[str, object]


def count(tx: Connection, job_id: int, key_id: int, worker_id: str, new: Inserted) -> None:
    """Count new results. Called before the job's row is locked: each of these rows is waited for as that one is."""
    codes = sorted(new.errors.items())  # in one order, as all locks
    by_code: list[Row] = [{"job_id": job_id, "code": code, "documents": number} for code, number in codes]
    _add(tx, error_counts, by_code, "documents")
    outcomes = [(SUCCEEDED, new.succeeded)] if new.succeeded else []
    row = {"key_id": key_id, "worker_id": worker_id}
    by_outcome: list[Row] = [{**row, "outcome": outcome, "documents": number} for outcome, number in outcomes + codes]
    _add(tx, minutes, by_outcome, "documents")


def _add(tx: Connection, table: sa.Table, rows: list[Row], *counts: str) -> None:
    for row in rows:  # one, but for failures of several codes
        tx.execute(_adding(tx.dialect.name, table, *counts), row)


@functools.cache
def _adding(dialect: str, table: sa.Table, *counts: str) -> Any:
    """The statement that adds a row of this minute, or its counts to those of the row that is there."""
    new = (postgresql.insert if dialect == "postgresql" else sqlite.insert)(table)
    more = {name: table.c[name] + new.excluded[name] for name in counts}
    if "minute" in table.c:
        new = new.values(minute=db_minute())
    return new.on_conflict_do_update(index_elements=list(table.primary_key), set_=more)


def count_batches(tx: Connection, worker_id: str, tokens: int, padded: int) -> None:
    """Count what a worker's batches held, without padding and with it."""
    if padded:
        _add(tx, batches, [{"worker_id": worker_id, "tokens": tokens, "padded": padded}], "tokens", "padded")


def recent(tx: Connection) -> dict[str, dict[str, float]]:
    """Of each worker that did something over the last whole minutes: `batch_fill`, `documents_per_second`."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    now = tx.execute(sa.select(db_minute())).scalar_one()
    for table, what, value in (
        (batches, "batch_fill", sa.func.sum(batches.c.tokens) * 1.0 / sa.func.sum(batches.c.padded)),
        (minutes, "documents_per_second", sa.func.sum(minutes.c.documents) / (60.0 * RECENT_MINUTES)),
    ):
        lately = sa.and_(table.c.minute >= now - RECENT_MINUTES, table.c.minute < now)
        rows = tx.execute(sa.select(table.c.worker_id, value).where(lately).group_by(table.c.worker_id))
        for worker_id, number in rows:
            found[worker_id][what] = round(float(number), 3)
    return found


def errors_of(tx: Connection, job_ids: Collection[int]) -> Mapping[int, dict[str, int]]:
    """Failed documents by code, of each of the jobs that has some."""
    found: dict[int, dict[str, int]] = defaultdict(dict)
    if job_ids:
        query = sa.select(error_counts).where(error_counts.c.job_id.in_(job_ids)).order_by(error_counts.c.code)
        for job_id, code, number in tx.execute(query):
            found[job_id][code] = number
    return found


def hold_errors(tx: Connection, job_id: int) -> None:
    """Lock the counts of the job's errors, in one order: before its row is locked, as settles do."""
    mine = sa.select(error_counts.c.code).where(error_counts.c.job_id == job_id).order_by(error_counts.c.code)
    tx.execute(mine.with_for_update()).all()


def uncount_errors(tx: Connection, job_id: int, errors: Mapping[str, int]) -> None:
    """So many documents of each code have failed no more."""
    for code, number in sorted(errors.items()):
        row = sa.and_(error_counts.c.job_id == job_id, error_counts.c.code == code)
        tx.execute(sa.update(error_counts).where(row).values(documents=error_counts.c.documents - number))
        tx.execute(sa.delete(error_counts).where(row, error_counts.c.documents <= 0))


def forget_errors(tx: Connection, job_id: int) -> None:
    """The job is gone."""
    tx.execute(sa.delete(error_counts).where(error_counts.c.job_id == job_id))


def forget_minutes(tx: Connection) -> None:
    """Drop what is older than the settings keep."""
    # In a subquery: PostgreSQL looks a value that could change from row to row up in no index.
    oldest = sa.select(db_minute(-3600 * settings_of(tx).stats_hours)).scalar_subquery()
    for table in (minutes, batches):
        tx.execute(sa.delete(table).where(table.c.minute < oldest))
