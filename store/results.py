"""Reading the outcomes of a job's documents. Outputs are JSON text and pass through without being parsed."""

import json
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from store.tables import documents, jobs, results, shards
from textmill.errors import DocumentNotFound, JobNotFound, ResultNotReady
from textmill.wire import ENDED_STATES, ResultState


class ResultRow(NamedTuple):
    """The outcome of one document, ready to be sent."""

    position: int
    document_id: str
    state: ResultState
    output: str | None
    error_code: str | None
    error_message: str | None
    model: str
    model_revision: str | None
    input_tokens: int | None
    output_tokens: int | None
    pieces: int | None
    truncated: bool
    attempts: int
    finished_at: str | None

    def json(self) -> bytes:
        """The result object of the HTTP contract."""
        error = None if self.error_code is None else {"code": self.error_code, "message": self.error_message}
        head = {"id": self.document_id, "position": self.position, "state": self.state}
        tail = {
            "error": error,
            "model": self.model,
            "model_revision": self.model_revision,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "pieces": self.pieces,
            "truncated": self.truncated,
            "attempts": self.attempts,
            "finished_at": self.finished_at,
        }
        text = f'{_dump(head)[:-1]},"output":{self.output or "null"},{_dump(tail)[1:]}'
        return text.encode()


def _dump(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class Page(NamedTuple):
    """Outcomes in document order. `next` is the position to go on from; None only at the end of an ended job."""

    rows: list[ResultRow]
    next: int | None


class _JobFacts(NamedTuple):
    id: int
    model: str
    state: str
    total: int


def page(tx: Connection, key_id: int, job_id: str, start: int, limit: int, state: ResultState | None = None) -> Page:
    """Up to `limit` outcomes from position `start` on. While the job runs they end before the first undecided document,
    so that a reader who goes on from `next` sees every outcome once, in order.

    Raises JobNotFound.
    """
    job = _find(tx, key_id, job_id)
    ended = job.state in ENDED_STATES
    end = job.total if ended else _first_undecided(tx, job)
    query = _select(job).where(documents.c.position >= start, documents.c.position < end)
    if state is not None:
        query = query.where(results.c.position.is_(None) if state == "cancelled" else results.c.state == state)
    rows = [_row(row, job) for row in tx.execute(query.order_by(documents.c.position).limit(limit))]
    if len(rows) == limit:
        after = rows[-1].position + 1
        return Page(rows, None if ended and after >= job.total else after)
    return Page(rows, None if ended else max(start, end))


def one(tx: Connection, key_id: int, job_id: str, document_id: str) -> ResultRow:
    """The outcome of one document. Raises JobNotFound, DocumentNotFound, ResultNotReady."""
    job = _find(tx, key_id, job_id)
    row = tx.execute(_select(job).where(documents.c.document_id == document_id)).one_or_none()
    if row is None:
        raise DocumentNotFound
    if row.state is None and job.state != "cancelled":
        raise ResultNotReady
    return _row(row, job)


def _find(tx: Connection, key_id: int, job_id: str) -> _JobFacts:
    query = sa.select(jobs.c.id, jobs.c.model, jobs.c.state, jobs.c.total)
    mine = sa.and_(jobs.c.uuid == job_id, jobs.c.key_id == key_id, jobs.c.deleted_at.is_(None))
    row = tx.execute(query.where(mine)).one_or_none()
    if row is None:
        raise JobNotFound
    return _JobFacts(*row)


_DECIDED = sa.and_(results.c.job_id == documents.c.job_id, results.c.position == documents.c.position)


def _first_undecided(tx: Connection, job: _JobFacts) -> int:
    """The position of the first document without an outcome, or the job's total."""
    unfinished = (
        sa.select(shards.c.first, shards.c.last)
        .where(shards.c.job_id == job.id, shards.c.state.in_(("pending", "queued", "leased")))
        .order_by(shards.c.first)
    )
    # The first unfinished shard may have all its outcomes, a moment before it is closed: then the next one decides.
    for first, last in tx.execute(unfinished):
        undecided = (
            sa.select(documents.c.position)
            .join_from(documents, results, _DECIDED, isouter=True)
            .where(documents.c.job_id == job.id, documents.c.position.between(first, last))
            .where(results.c.position.is_(None))
            .order_by(documents.c.position)
            .limit(1)
        )
        position: int | None = tx.execute(undecided).scalar()
        if position is not None:
            return position
    return job.total


def _select(job: _JobFacts) -> sa.Select[Any]:
    return (
        sa.select(
            documents.c.position,
            documents.c.document_id,
            results.c.state,
            results.c.output,
            results.c.error_code,
            results.c.error_message,
            results.c.model_revision,
            results.c.input_tokens,
            results.c.output_tokens,
            results.c.pieces,
            results.c.truncated,
            results.c.attempts,
            results.c.finished_at,
        )
        .join_from(documents, results, _DECIDED, isouter=True)
        .where(documents.c.job_id == job.id)
    )


def _row(row: Row[Any], job: _JobFacts) -> ResultRow:
    if row.state is None:  # only in a cancelled job
        error = "the job was cancelled before this document was processed"
        return ResultRow(
            row.position, row.document_id, "cancelled", None, "cancelled", error, job.model,
            None, None, None, None, False, 0, None,
        )  # fmt: skip
    return ResultRow(
        position=row.position,
        document_id=row.document_id,
        state=row.state,
        output=row.output,
        error_code=row.error_code,
        error_message=row.error_message,
        model=job.model,
        model_revision=row.model_revision,
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        pieces=row.pieces,
        truncated=row.truncated,
        attempts=row.attempts,
        finished_at=row.finished_at.isoformat().replace("+00:00", "Z"),
    )
