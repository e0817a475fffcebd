"""Files and iterables -> documents, and documents -> chunks for the wire. Nothing here holds more than one chunk."""

import glob
import os
import sys
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal, TypeAlias

from pydantic import ValidationError
from pydantic_core import to_json

from textmill.errors import InvalidRequest, InvalidText
from textmill.wire import CHUNK_BYTES, CHUNK_DOCUMENTS, Document, unstorable

DocumentLike: TypeAlias = str | tuple[str | None, str] | Mapping[str, str | None] | Document | os.PathLike[str]
"""A text; (id, text); {"id"?, "text"}; a Document; or a path, see `from_file`."""

Documents: TypeAlias = Iterable[DocumentLike] | IO[str]
"""What `submit` takes. An open text file gives a document a line."""

Format = Literal["auto", "text", "lines", "jsonl"]

JSONL_SUFFIXES = (".jsonl", ".ndjson")


@dataclass(slots=True)
class Chunk:
    """What one request carries: documents as JSON, one a line without its newline."""

    lines: list[bytes] = field(default_factory=list)
    size: int = 0
    """Bytes of the lines, each with a byte between it and the next."""

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

    def push(self, line: bytes) -> Chunk | None:
        """Add a document; returns the chunk before it where this one does not fit in."""
        full = None
        chunk = self._chunk
        if len(chunk.lines) >= self._max_documents or (chunk.lines and chunk.size + len(line) + 1 > self._max_bytes):
            full, chunk = chunk, Chunk()
            self._chunk = chunk
        chunk.lines.append(line)
        chunk.size += len(line) + 1
        return full

    def rest(self) -> Chunk | None:
        """The last chunk, or None where nothing is left."""
        chunk, self._chunk = self._chunk, Chunk()
        return chunk if chunk.lines else None


def chunks(documents: Documents, chunker: Chunker, skip: int = 0) -> Iterator[Chunk]:
    """The documents from number `skip` on, in chunks. Raises InvalidRequest, InvalidText with the document's number."""
    for number, document in enumerate(each(documents)):
        if number >= skip and (full := chunker.push(encode(document, number))):
            yield full
    if last := chunker.rest():
        yield last


async def async_chunks(documents: AsyncIterable[DocumentLike], chunker: Chunker, skip: int = 0) -> AsyncIterator[Chunk]:
    """The same for an asynchronous source."""
    number = 0
    async for item in documents:
        for document in _expanded(item, number):
            if number >= skip and (full := chunker.push(encode(document, number))):
                yield full
            number += 1
    if last := chunker.rest():
        yield last


def encode(document: tuple[str | None, str], number: int) -> bytes:
    """The document as JSON. Raises InvalidText: early, and before anything of its chunk is sent."""
    name, text = document
    for what, value in (("text", text), ("id", name or "")):
        if (position := unstorable(value)) is not None:
            message = f"document {number}: {what} has a character that cannot be stored at character {position}"
            raise InvalidText(message, index=number, field=what, character=position)
    return to_json({"text": text} if name is None else {"id": name, "text": text})


def each(documents: Documents) -> Iterator[tuple[str | None, str]]:
    """(id or None, text) for each document. Raises InvalidRequest for what is none."""
    if isinstance(documents, (str, bytes, Mapping, Document, os.PathLike)):
        # Iterating over them would make a document of each character, or of each key.
        kind = type(documents).__name__
        raise InvalidRequest(f"documents: give a list or another iterable of documents, not one {kind}")
    if _is_frame(documents):
        raise InvalidRequest(
            'documents: a table gives the names of its columns; give one column, df["text"], or the rows of two: '
            'df[["id", "text"]].itertuples(index=False, name=None) in pandas, df.select("id", "text").rows() in polars'
        )
    if hasattr(documents, "read"):
        yield from ((None, _line(str(line))) for line in documents)
        return
    number = 0
    for item in documents:
        for document in _expanded(item, number):
            yield document
            number += 1


def _is_frame(documents: object) -> bool:
    """Whether this is a table of pandas, polars, Arrow or alike: most of them iterate over the names of their columns.

    A column (a Series) has the Arrow protocol too, and a type of its elements: it iterates over its values.
    """
    frame = hasattr(documents, "columns") or hasattr(documents, "__dataframe__")
    return frame or (hasattr(documents, "__arrow_c_stream__") and not hasattr(documents, "dtype"))


def _expanded(item: DocumentLike, number: int) -> Iterable[tuple[str | None, str]]:
    """The one document that the item is, or those of the file that it names."""
    if isinstance(item, str):
        return ((None, item),)
    if isinstance(item, os.PathLike):
        return from_file(Path(item))
    if isinstance(item, Document):
        return ((item.id, item.text),)
    if isinstance(item, tuple) and len(item) == 2:
        name, text = item
        if (name is None or isinstance(name, str)) and isinstance(text, str):
            return ((name, text),)
    if isinstance(item, Mapping):
        try:
            document = Document.model_validate(item)
        except ValidationError as error:
            raise InvalidRequest(f"document {number}: {_first(error)}", index=number) from error
        return ((document.id, document.text),)
    kind = type(item).__name__
    raise InvalidRequest(f"document {number} is a {kind}; it must be a text, (id, text) or {{id, text}}", index=number)


# --- files ------------------------------------------------------------------------------------------------------------


def expand(patterns: Iterable[str]) -> list[str]:
    """File names and patterns (`reports/**/*.txt`) -> files in order; `-` stays. Raises InvalidRequest for no match."""
    found: list[str] = []
    for pattern in patterns:
        if pattern == "-" or os.path.isfile(pattern):
            found.append(pattern)
            continue
        matches = sorted(name for name in glob.iglob(pattern, recursive=True) if os.path.isfile(name))
        if not matches:
            raise InvalidRequest(f"{pattern}: no such file")
        found += matches
    return found


def from_files(names: Iterable[str], format: Format = "auto") -> Iterator[tuple[str | None, str]]:
    """The documents of the files, one file after the other; `-` is the standard input."""
    for name in names:
        if name != "-":
            yield from from_file(Path(name), format)
        elif format == "text":
            yield None, sys.stdin.read()
        elif format == "jsonl":
            yield from _jsonl(sys.stdin, "standard input")
        else:
            yield from ((None, _line(line)) for line in sys.stdin)


def from_file(path: Path, format: Format = "auto") -> Iterator[tuple[str | None, str]]:
    """The documents of a file in UTF-8.

    auto:  `.jsonl` and `.ndjson` as jsonl, anything else as text
    text:  the whole file is one document, its id is the path
    lines: a document a line, blank ones too, so that positions are line numbers
    jsonl: {"id"?, "text"} a line; blank lines are skipped

    Raises InvalidText where the file is not UTF-8, InvalidRequest with the line where it is not what the format says.
    """
    if format == "auto":
        format = "jsonl" if path.suffix in JSONL_SUFFIXES else "text"
    try:
        # newline="\n": offsets in the results must be offsets in the file, so nothing is translated.
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            if format == "text":
                yield str(path), file.read()
            elif format == "lines":
                yield from ((None, _line(line)) for line in file)
            else:
                yield from _jsonl(file, str(path))
    except UnicodeDecodeError as error:
        raise InvalidText(f"{path} is not UTF-8: {error.reason} at byte {error.start}", file=str(path)) from error


def _jsonl(file: IO[str], name: str) -> Iterator[tuple[str | None, str]]:
    for number, line in enumerate(file, start=1):
        if line.isspace():
            continue
        try:
            document = Document.model_validate_json(line)
        except ValidationError as error:
            raise InvalidRequest(f"{name}, line {number}: {_first(error)}", file=name, line=number) from error
        yield document.id, document.text


def _line(line: str) -> str:
    return line.removesuffix("\n").removesuffix("\r")


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}" if place else str(first["msg"])
