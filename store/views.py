"""A job's row as producers see it."""

import json
from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from store import tallies
from store.queue import PRIORITY
from store.session import db_time
from store.tables import jobs, keys
from textmill.errors import JobNotFound
from textmill.wire import ENDED_STATES, Counts, ErrorInfo, Job, Priority

PRIORITY_NAMES: dict[int, Priority] = {PRIORITY["high"]: "high", PRIORITY["normal"]: "normal", PRIORITY["low"]: "low"}


SHOWN = (
    *jobs.c,
    sa.select(keys.c.name).where(keys.c.id == jobs.c.key_id).scalar_subquery().label("key"),
    db_time().label("now"),
)
"""What is read of a job to show it: `all_to_wire`."""


def owned(key_id: int, job_id: str) -> sa.ColumnElement[bool]:
    """The job of that id, where it is the key's and not deleted."""
    return sa.and_(jobs.c.uuid == job_id, jobs.c.key_id == key_id, jobs.c.deleted_at.is_(None))


def view(tx: Connection, which: sa.ColumnElement[bool]) -> Job:
    """The one job that fits. Raises JobNotFound."""
    row = tx.execute(sa.select(*SHOWN).where(which)).mappings().one_or_none()
    if row is None:
        raise JobNotFound
    return all_to_wire(tx, [row])[0]


def all_to_wire(tx: Connection, rows: Sequence[RowMapping]) -> list[Job]:
    """Rows of SHOWN."""
    errors = tallies.errors_of(tx, [row["id"] for row in rows if row["failed"]])
    return [_to_wire(row, errors.get(row["id"], {})) for row in rows]


def _to_wire(row: RowMapping, errors: dict[str, int]) -> Job:
    done = row["succeeded"] + row["failed"]
    pending = row["total"] - done - row["cancelled"]
    rate = eta = None
    if row["started_at"] is not None and done:
        until: datetime = row["finished_at"] or row["now"]
        rate = done / max(0.001, (until - row["started_at"]).total_seconds())
        eta = None if row["state"] in ENDED_STATES else round(pending / rate, 1)
    error = None
    if row["error_code"] is not None:
        error = ErrorInfo(code=row["error_code"], message=row["error_message"])
    return Job(
        id=row["uuid"],
        key=row["key"],
        task=row["task"],
        model=row["model"],
        state=row["state"],
        open=row["open"],
        options=json.loads(row["options"]),
        priority=PRIORITY_NAMES[row["priority"]],
        metadata=json.loads(row["metadata"]),
        counts=Counts(
            total=row["total"],
            pending=pending,
            succeeded=row["succeeded"],
            failed=row["failed"],
            cancelled=row["cancelled"],
        ),
        created_at=row["created_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        documents_per_second=None if rate is None else round(rate, 3),
        eta_seconds=eta,
        error=error,
        errors=errors,
        webhook=row["webhook"],
    )
