"""Iterables -> documents, and documents -> chunks for the wire. Nothing here holds more than one chunk."""

import os
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, TypeAlias

from pydantic import ValidationError
from pydantic_core import to_json

from textmill.errors import FileTooLarge, InvalidRequest, InvalidText
from textmill.files import parts
from textmill.files.columns import Columns
from textmill.files.inputs import from_files
from textmill.files.jsonl import first_problem
from textmill.files.parts import Known, Parts
from textmill.files.sources import expand
from textmill.wire import CHUNK_BYTES, CHUNK_DOCUMENTS, Document, unstorable

DocumentLike: TypeAlias = str | tuple[str | None, str] | Mapping[str, Any] | Parts | Document | os.PathLike[str]
"""A text; (id, text); {"id"?, "text"}, with what its task has beside it or in its place; a Document; or a path, see
`textmill.files.inputs.from_file`."""

Documents: TypeAlias = Iterable[DocumentLike] | IO[str]
"""What `submit` takes. An open text file gives a document a line."""


@dataclass(slots=True)
class Chunk:
    """What one request carries: documents as JSON, one a line without its newline."""

    lines: list[bytes] = field(default_factory=list)
    size: int = 0
    """Bytes of the lines, each with a byte between it and the next."""
    instead: bytes | None = None
    """What to send where the server finds this chunk of one document too large: the document, failed by itself."""

    def ndjson(self, skip: int = 0) -> bytes:
        """The body of an append, without the first `skip` documents."""
        return b"\n".join(self.lines[skip:]) + b"\n"

    def array(self) -> bytes:
        """The documents as a JSON array, for the body of a submit."""
        return b"[" + b",".join(self.lines) + b"]"


class Chunker:
    """Collects documents until a chunk is full. A text that is larger than a chunk travels alone."""

    def __init__(self, max_documents: int = CHUNK_DOCUMENTS, max_bytes: int = CHUNK_BYTES - 128 * 1024) -> None:
        # The default leaves room for what surrounds the documents of a submit: options and metadata.
        self._max_documents = max_documents
        self._max_bytes = max_bytes
        self._chunk = Chunk()

    def push(self, line: bytes, instead: bytes | None = None) -> Chunk | None:
        """Add a document; returns the chunk before it where this one does not fit in. instead: see `Chunk`."""
        full = None
        chunk = self._chunk
        if len(chunk.lines) >= self._max_documents or (chunk.lines and chunk.size + len(line) + 1 > self._max_bytes):
            full, chunk = chunk, Chunk()
            self._chunk = chunk
        chunk.instead = None if chunk.lines else instead
        chunk.lines.append(line)
        chunk.size += len(line) + 1
        return full

    def rest(self) -> Chunk | None:
        """The last chunk, or None where nothing is left."""
        chunk, self._chunk = self._chunk, Chunk()
        return chunk if chunk.lines else None


def chunks(documents: Documents, chunker: Chunker, skip: int = 0, known: Known = ()) -> Iterator[Chunk]:
    """The documents from number `skip` on, in chunks. known: the fields that they may have beside their texts.

    Raises InvalidRequest, InvalidText with the document's number.
    """
    for number, document in enumerate(each(documents, known)):
        if number >= skip and (full := _pushed(chunker, document, number)):
            yield full
    if last := chunker.rest():
        yield last


async def async_chunks(
    documents: AsyncIterable[DocumentLike], chunker: Chunker, skip: int = 0, known: Known = ()
) -> AsyncIterator[Chunk]:
    """The same for an asynchronous source."""
    number = 0
    async for item in documents:
        for document in _expanded(item, number, known):
            if number >= skip and (full := _pushed(chunker, document, number)):
                yield full
            number += 1
    if last := chunker.rest():
        yield last


LARGE = 1024 * 1024
"""Bytes from which on a document may be more than a server takes in one request."""


def _pushed(chunker: Chunker, document: Parts, number: int) -> Chunk | None:
    line, instead = encode(document, number), None
    if document.is_file and document.id is not None and len(line) > LARGE:
        reason = f"{document.id} has a text of {len(line)} bytes: more than the server takes in one request"
        instead = encode(parts.unreadable(document.id, FileTooLarge(reason)), number)
    return chunker.push(line, instead)


def encode(document: Parts, number: int) -> bytes:
    """The document as JSON. Raises InvalidText: early, and before anything of its chunk is sent."""
    name, text, fields = document[:3]
    for what, value in (("text", text or ""), ("id", name or "")):
        if (position := unstorable(value)) is not None:
            message = f"document {number}: {what} has a character that cannot be stored at character {position}"
            raise InvalidText(message, index=number, field=what, character=position)
    shown: dict[str, Any] = {} if name is None else {"id": name}
    if text is not None:
        shown["text"] = text
    try:
        return to_json(shown | dict(fields) if fields else shown)
    except ValueError as error:
        raise InvalidRequest(f"document {number}: its fields are not JSON: {error}", index=number) from error


def each(documents: Documents, known: Known = ()) -> Iterator[Parts]:
    """The parts of each document. known: the fields that it may have beside its text.

    Raises InvalidRequest for what is none.
    """
    if isinstance(documents, (str, bytes, Mapping, Document, os.PathLike)):
        # Iterating over them would make a document of each character, or of each key.
        kind = type(documents).__name__
        raise InvalidRequest(f"documents: give a list or another iterable of documents, not one {kind}")
    if _is_frame(documents):
        raise InvalidRequest(
            "documents: a table gives the names of its columns: mill.map(df, task) takes it; or give one"
            ' column, df["text"], or the rows of two: '
            'df[["id", "text"]].itertuples(index=False, name=None) in pandas, df.select("id", "text").rows() in polars'
        )
    if hasattr(documents, "read"):
        yield from (Parts(None, _line(str(line))) for line in documents)
        return
    number = 0
    for item in documents:
        for document in _expanded(item, number, known):
            yield document
            number += 1


def _is_frame(documents: object) -> bool:
    """Whether this is a table of pandas, polars, Arrow or alike: most of them iterate over the names of their columns.

    A column (a Series) has the Arrow protocol too, and a type of its elements: it iterates over its values.
    """
    frame = hasattr(documents, "columns") or hasattr(documents, "__dataframe__")
    return frame or (hasattr(documents, "__arrow_c_stream__") and not hasattr(documents, "dtype"))


def _expanded(item: DocumentLike, number: int, known: Known) -> Iterable[Parts]:
    """The one document that the item is, or those of the file that it names."""
    if isinstance(item, str):
        return (Parts(None, item),)
    if isinstance(item, os.PathLike):
        columns = Columns(fields=None if known is None else tuple(known))
        return from_files(expand([str(item)]), columns=columns)
    if isinstance(item, Parts):
        return (item,)
    if isinstance(item, Document):
        return (_parts(item, number, known),)
    if isinstance(item, tuple) and len(item) == 2:
        name, text = item
        if (name is None or isinstance(name, str)) and isinstance(text, str):
            return (Parts(name, text),)
    if isinstance(item, Mapping):
        try:
            document = Document.model_validate(item)
        except ValidationError as error:
            raise InvalidRequest(f"document {number}: {first_problem(error)}", index=number) from error
        return (_parts(document, number, known),)
    kind = type(item).__name__
    raise InvalidRequest(f"document {number} is a {kind}; it must be a text, (id, text) or {{id, text}}", index=number)


def _parts(document: Document, number: int, known: Known) -> Parts:
    try:
        return parts.of(document, known)
    except InvalidRequest as error:
        raise InvalidRequest(f"document {number}: {error.message}", index=number) from error


def _line(line: str) -> str:
    return line.removesuffix("\n").removesuffix("\r")
