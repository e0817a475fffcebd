"""Results: a page, one, or all of them streamed. The stored output is spliced into the answer without being parsed."""

from collections.abc import Iterator
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse
from starlette.convertors import Convertor, register_url_convertor

from api.services import JobId, Key, Parts, Services
from api.v1 import cursors
from api.v1.jobs import check_page
from store import results, texts
from textmill import wire
from textmill.errors import DocumentNotFound, InvalidRequest


class AnyText(Convertor[str]):
    """The rest of an address: as starlette's `path`, but an id may have newlines, too."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        """As it is."""
        return value

    def to_string(self, value: str) -> str:
        """As it is."""
        return value


register_url_convertor("any_text", AnyText())

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["results"])

Code = Annotated[str | None, Query(description="Those that failed with this error code")]

Include = Annotated[Literal["text"] | None, Query(description="`text`: each result has its document's text")]

STEP = 100
"""Results that one transaction reads of a stream."""


@router.get("/results", response_model=wire.ResultsPage)
def page(
    services: Services,
    key: Key,
    job_id: JobId,
    limit: Annotated[int, Query(ge=1)] = 100,
    cursor: str | None = None,
    state: wire.ResultState | None = None,
    code: Code = None,
    include: Include = None,
) -> Response:
    """Results in document order, up to the first document without an outcome while the job runs.

    `next_cursor` is null only after the last page of an ended job. A page can be shorter than `limit`, even empty.
    """
    _check_code(state, code)
    check_page(limit, services.settings.max_page)
    start = 0 if cursor is None else cursors.decode("results", cursor)
    limits = (limit, state, services.settings.page_bytes)
    text = include == "text"
    found = services.store.read(results.page, key, job_id, start, *limits, code=code, text=text)
    end = b"null" if found.next is None else f'"{cursors.encode("results", found.next)}"'.encode()
    body = b'{"results":[' + b",".join(row.json() for row in found.rows) + b'],"next_cursor":' + end + b"}"
    return Response(body, media_type="application/json")


@router.get("/results.jsonl", response_class=StreamingResponse)
def stream(
    services: Services,
    key: Key,
    job_id: JobId,
    state: wire.ResultState | None = None,
    code: Code = None,
    include: Include = None,
) -> StreamingResponse:
    """All results so far, one JSON object a line. An error midway aborts the connection: what ends well is complete."""
    _check_code(state, code)
    lines = _lines(services, key, job_id, state, code, include == "text")
    first = next(lines)  # before the status line, so that an unknown job is a 404 and not an aborted 200
    return StreamingResponse(_chained(first, lines), media_type="application/x-ndjson")


@router.get("/results/{document_id:any_text}", response_model=wire.Result)
def one(services: Services, key: Key, job_id: JobId, document_id: str) -> Response:
    """The result of one document."""
    if wire.unstorable(document_id) is not None:
        raise DocumentNotFound()
    return Response(services.store.read(results.one, key, job_id, document_id).json(), media_type="application/json")


@router.get("/documents")
def documents(
    services: Services,
    key: Key,
    job_id: JobId,
    limit: Annotated[int, Query(ge=1)] = 100,
    cursor: str | None = None,
) -> wire.DocumentsPage:
    """The documents as they were submitted, in their order. `next_cursor` is null at the end of what the job has."""
    check_page(limit, services.settings.max_page)
    start = 0 if cursor is None else cursors.decode("documents", cursor)
    found = services.store.read(texts.page, key, job_id, start, limit, services.settings.page_bytes)
    end = None if found.next is None else cursors.encode("documents", found.next)
    return wire.DocumentsPage(documents=found.documents, next_cursor=end)


@router.get("/documents/{document_id:any_text}")
def document(services: Services, key: Key, job_id: JobId, document_id: str) -> wire.StoredDocument:
    """One document as it was submitted."""
    if wire.unstorable(document_id) is not None:
        raise DocumentNotFound()
    return services.store.read(texts.one, key, job_id, document_id)


def _check_code(state: wire.ResultState | None, code: str | None) -> None:
    if code is None:
        return
    if state not in (None, "failed"):
        raise InvalidRequest(f"code: what is {state} has none; leave the state out")
    if wire.unstorable(code) is not None:
        raise InvalidRequest("code: no code has such characters")


def _lines(
    services: Parts, key: int, job_id: str, state: wire.ResultState | None, code: str | None, text: bool
) -> Iterator[bytes]:
    """The results so far in pages of lines; the first may be empty."""
    start: int | None = 0
    while start is not None:
        limits = (STEP, state, services.settings.page_bytes)
        found = services.store.read(results.page, key, job_id, start, *limits, code=code, text=text)
        yield b"".join(row.json() + b"\n" for row in found.rows)
        if not found.full:
            return
        start = found.next


def _chained(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest
