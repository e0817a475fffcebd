"""Files: upload, look, read, delete."""

from collections.abc import Iterator
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import AfterValidator

from api.openai import shapes, uploads
from api.openai.answers import answered
from api.services import Key, Parts, Services
from store import files, orders
from store.files import StoredFile
from textmill.errors import FileNotFound, InvalidCursor, JobNotFound

router = APIRouter(prefix="/openai/v1/files", tags=["openai"])


def _number(file_id: str) -> str:
    # What no file can be called does not reach the database, which refuses NUL with an error of its own.
    number = shapes.number_of(shapes.FILE, file_id)
    if number is None:
        raise FileNotFound
    return number


FileId = Annotated[str, AfterValidator(_number)]
"""The id in the path. Raises FileNotFound for what is none."""


@router.post("")
async def upload(request: Request, services: Services, key: Key) -> shapes.FileObject:
    """Upload a file of requests, a JSON object a line, for a batch."""
    return shapes.file_object(await uploads.receive(request, services, key))


@router.get("")
def page(
    services: Services,
    key: Key,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    after: str | None = None,
    order: Literal["asc", "desc"] = "desc",
    purpose: str | None = None,
) -> shapes.FilesPage:
    """The key's files. A page may be shorter than `limit`: while `has_more`, go on with `after`."""
    limit = min(limit, services.settings.max_page)
    place = after_of(shapes.FILE, after)
    if purpose not in (None, "batch", "batch_output"):
        return shapes.files_page([], False)
    return shapes.files_page(*services.store.read(files.page, key, limit, place, purpose, order == "desc"))


@router.get("/{file_id}")
def get(services: Services, key: Key, file_id: FileId) -> shapes.FileObject:
    """What is known of a file."""
    return shapes.file_object(services.store.read(files.get, key, file_id))


@router.get("/{file_id}/content", response_class=StreamingResponse)
def content(services: Services, key: Key, file_id: FileId) -> StreamingResponse:
    """The file itself. An error midway aborts the connection: what ends well is complete."""
    file = services.store.read(files.get, key, file_id)
    pieces = _uploaded(services, file) if file.part is None else _made(services, file)
    first = next(pieces, b"")  # before the status line, so that a file of deleted results is a 404
    headers = {} if file.part else {"content-length": str(file.bytes)}
    return StreamingResponse(_chained(first, pieces), media_type="application/octet-stream", headers=headers)


@router.delete("/{file_id}")
def delete(services: Services, key: Key, file_id: FileId) -> shapes.Deleted:
    """Delete a file. With the last of those that a batch ended with, its jobs are deleted, with texts and results."""
    services.store.write_once(files.delete, key, file_id)
    return shapes.Deleted(id=shapes.FILE + file_id)


def after_of(kind: str, shown: str | None) -> str | None:
    """The place in a list from its id. Raises InvalidCursor."""
    if shown is None:
        return None
    number = shapes.number_of(kind, shown)
    if number is None:
        raise InvalidCursor(f"after: the last id of the page before, {kind}...")
    return number


def _uploaded(services: Parts, file: StoredFile) -> Iterator[bytes]:
    for number in range(file.chunks):
        data = services.store.read(files.chunk, file.id, number)
        if data is None:
            raise FileNotFound("the file was deleted while it was read")
        yield data


def _made(services: Parts, file: StoredFile) -> Iterator[bytes]:
    """The lines of a file that a batch ended with, several in a piece."""
    assert file.order_id is not None
    order = services.store.read(orders.of_file, file.order_id)
    if order is None:
        raise FileNotFound
    piece = bytearray()
    try:
        for found in answered(services.store, order, services.settings.page_bytes, lambda: None, part=file.part):
            if found.part == file.part:
                piece += found.line
            if len(piece) >= uploads.CHUNK:
                yield bytes(piece)
                piece.clear()
    except JobNotFound as error:
        raise FileNotFound("a job of this batch was deleted, and with it these results") from error
    yield bytes(piece)


def _chained(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest
