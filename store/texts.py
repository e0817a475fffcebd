"""Reading a job's documents as they were submitted."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from store.results import FETCHED
from store.tables import documents, jobs
from store.views import owned
from textmill.errors import DocumentNotFound, JobNotFound
from textmill.wire import StoredDocument


class Page(NamedTuple):
    """Documents in their order, and the position to go on from; None at the end of what the job has now."""

    documents: list[StoredDocument]
    next: int | None


def page(tx: Connection, key_id: int, job_id: str, start: int, limit: int, max_bytes: int) -> Page:
    """Documents from position `start` on, until there are `limit` of them or their texts reach `max_bytes`; one at
    least. Raises JobNotFound."""
    internal_id, total = _find(tx, key_id, job_id)
    query = _documents(internal_id).where(documents.c.position >= start).order_by(documents.c.position).limit(limit)
    found: list[StoredDocument] = []
    size = 0
    with tx.execute(query.execution_options(yield_per=FETCHED)) as rows:
        for row in rows:
            found.append(_stored(row))
            size += len(row.text.encode()) + len((row.fields or "").encode())
            if size >= max_bytes:
                break
    after = found[-1].position + 1 if found else total
    return Page(found, after if after < total else None)


def one(tx: Connection, key_id: int, job_id: str, document_id: str) -> StoredDocument:
    """One document. Raises JobNotFound, DocumentNotFound."""
    internal_id, _ = _find(tx, key_id, job_id)
    row = tx.execute(_documents(internal_id).where(documents.c.document_id == document_id)).one_or_none()
    if row is None:
        raise DocumentNotFound
    return _stored(row)


def taken(tx: Connection, key_id: int, job_id: str, ids: Sequence[str]) -> str | None:
    """The first of the ids that a document of the job has. Raises JobNotFound."""
    internal_id, _ = _find(tx, key_id, job_id)
    mine = sa.select(documents.c.document_id).where(documents.c.job_id == internal_id)
    there = set(tx.execute(mine.where(documents.c.document_id.in_(ids))).scalars())
    return next((one for one in ids if one in there), None)


def _stored(row: Any) -> StoredDocument:
    fields = json.loads(row.fields) if row.fields else {}
    return StoredDocument(id=row.document_id, position=row.position, text=row.text, fields=fields)


def _find(tx: Connection, key_id: int, job_id: str) -> tuple[int, int]:
    row = tx.execute(sa.select(jobs.c.id, jobs.c.total).where(owned(key_id, job_id))).one_or_none()
    if row is None:
        raise JobNotFound
    return row.id, row.total


def _documents(internal_id: int) -> sa.Select[tuple[str, int, str, str | None]]:
    columns = (documents.c.document_id, documents.c.position, documents.c.text, documents.c.fields)
    return sa.select(*columns).where(documents.c.job_id == internal_id)
