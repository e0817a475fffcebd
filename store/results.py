"""Reading the outcomes of a job's documents. Outputs are JSON text and pass through without being parsed."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from store.bulk import DocumentOutcome
from store.tables import DECIDED, FAILED, OUT, PENDING, documents, jobs, results, retries, shards
from textmill.errors import DocumentNotFound, JobNotFound, ResultNotReady
from textmill.wire import ENDED_STATES, ResultState

_AS_RECORDED = DocumentOutcome._fields[DocumentOutcome._fields.index("error_message") + 1 :]
"""What a result shows as it was recorded. The fields before these have forms of their own there."""


class ResultRow(NamedTuple):
    """The outcome of one document with what the job and the ledger say of it, ready to be sent."""

    document_id: str
    state: ResultState
    model: str
    finished_at: str | None
    outcome: DocumentOutcome
    text: str | None = None
    """The document's text, where it was asked for."""
    fields: str | None = None
    """What it has beside, as JSON, where the text was asked for."""

    def size(self) -> int:
        """Bytes of the texts in it; the rest of the result object is some hundred more."""
        return sum(
            len(text.encode()) for text in (self.document_id, self.text, self.fields, *self.outcome[1:4]) if text
        )

    def json(self) -> bytes:
        """The result object of the HTTP contract."""
        position, output, code, message, *recorded = self.outcome
        head = {"id": self.document_id, "position": position, "state": self.state}
        tail = {
            "error": None if code is None else {"code": code, "message": message},
            "model": self.model,
            **dict(zip(_AS_RECORDED, recorded, strict=True)),
            "finished_at": self.finished_at,
        }
        if self.text is not None:
            tail["text"] = self.text
        beside = f'"fields":{self.fields},' if self.fields else ""
        return f'{_dump(head)[:-1]},"output":{output or "null"},{beside}{_dump(tail)[1:]}'.encode()


def _dump(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class Page(NamedTuple):
    """Outcomes in document order. `next` is the position to go on from; None only at the end of an ended job. `full`:
    it ended at one of its limits, and not for want of further outcomes."""

    rows: list[ResultRow]
    next: int | None
    full: bool = False


FETCHED = 8
"""Rows that come from the database at once: a page passes its limit of bytes by no more than these, in memory."""


class _JobFacts(NamedTuple):
    id: int
    model: str
    state: str
    total: int


def page(
    tx: Connection,
    key_id: int,
    job_id: str,
    start: int,
    limit: int,
    state: ResultState | None = None,
    max_bytes: int | None = None,
    *,
    code: str | None = None,
    text: bool = False,
) -> Page:
    """Outcomes from position `start` on, until there are `limit` of them or their texts reach `max_bytes`. While the
    job runs they end before the first undecided document, so that a reader who goes on from `next` sees every outcome
    once, in order. `code`: those that failed with it, whatever the state. `text`: with the texts of the documents, and
    what they have beside.

    Raises JobNotFound.
    """
    job = _find(tx, key_id, job_id)
    ended = job.state in ENDED_STATES
    end = job.total if ended else _first_undecided(tx, job)
    query, position = _select_asked(job, state, code)
    query = query.add_columns(documents.c.text, documents.c.fields) if text else query
    query = query.where(position >= start, position < end).order_by(position).limit(limit)
    rows: list[ResultRow] = []
    size = 0
    # Without a cursor on the server all of the rows would be in this process before the first one is looked at.
    with tx.execute(query.execution_options(yield_per=FETCHED)) as found:
        for row in found:
            rows.append(_row(row[: len(_COLUMNS)], job))
            if text:
                rows[-1] = rows[-1]._replace(text=row.text, fields=row.fields)
            size += rows[-1].size()
            if len(rows) == limit or (max_bytes is not None and size >= max_bytes):
                after = rows[-1].outcome.position + 1
                return Page(rows, None if ended and after >= job.total else after, full=True)
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


def _first_undecided(tx: Connection, job: _JobFacts) -> int:
    """The position of the first document without an outcome, or the job's total."""
    # What a retry has not come to yet may be about to lose its outcome.
    retried = tx.execute(sa.select(retries.c.position).where(retries.c.job_id == job.id)).scalar()
    end = job.total if retried is None else retried
    ranges = sa.select(shards.c.first, shards.c.last).where(shards.c.job_id == job.id)
    # Not all unfinished shards in one statement, for which no index leaves out those that are done: up to all of them.
    out = tx.execute(ranges.where(OUT)).all()
    pending = tx.execute(ranges.where(PENDING).order_by(shards.c.first).limit(1)).all()
    # A shard that is out may have all its outcomes, a moment before it is closed: then the next one decides. One that
    # is pending was never claimed, so no result of it exists.
    for first, last in sorted((first, last) for first, last in (*out, *pending)):
        undecided = (
            sa.select(documents.c.position)
            .join_from(documents, results, DECIDED, isouter=True)
            .where(documents.c.job_id == job.id, documents.c.position.between(first, last))
            .where(results.c.position.is_(None))
            .order_by(documents.c.position)
            .limit(1)
        )
        position: int | None = tx.execute(undecided).scalar()
        if position is not None:
            return min(position, end)
    return end


_COLUMNS = (
    documents.c.document_id,
    results.c.state,
    results.c.finished_at,
    # Of the document, since in a cancelled job the result may be missing.
    *(documents.c.position if name == "position" else results.c[name] for name in DocumentOutcome._fields),
)


def _select(job: _JobFacts) -> sa.Select[Any]:
    return sa.select(*_COLUMNS).join_from(documents, results, DECIDED, isouter=True).where(documents.c.job_id == job.id)


def _select_asked(
    job: _JobFacts, state: ResultState | None, code: str | None
) -> tuple[sa.Select[Any], sa.ColumnElement[int]]:
    """Those of one code, of one state, or all, and the column that is their position."""
    # From the results, of which indexes hold the failed ones: SQLite would look at every document for them.
    found = sa.select(*_COLUMNS).join_from(results, documents, DECIDED).where(results.c.job_id == job.id)
    if code is not None:
        return found.where(FAILED, results.c.error_code == code), results.c.position
    if state is None:
        return _select(job), documents.c.position
    if state == "cancelled":
        return _select(job).where(results.c.position.is_(None)), documents.c.position
    return found.where(FAILED if state == "failed" else results.c.state == state), results.c.position


def _row(row: Sequence[Any], job: _JobFacts) -> ResultRow:
    document_id, state, finished_at, *recorded = row
    if state is None:  # only in a cancelled job
        message = "the job was cancelled before this document was processed"
        outcome = DocumentOutcome(recorded[0], None, "cancelled", message, attempts=0)
        return ResultRow(document_id, "cancelled", job.model, None, outcome)
    finished = finished_at.isoformat().replace("+00:00", "Z")
    return ResultRow(document_id, state, job.model, finished, DocumentOutcome._make(recorded))
