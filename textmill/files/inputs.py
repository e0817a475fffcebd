"""Files, folders, addresses and the standard input -> documents, by their format.

Two kinds of fault: rows that are not what the command says of them are refused, with their place, before the job has
begun or with the job cancelled. A file that cannot be read is a document that fails by itself, and the rest goes on.
"""

import codecs
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from textmill.errors import (
    FileNotText,
    FileTooLarge,
    FileUnreadable,
    InvalidRequest,
    InvalidText,
)
from textmill.files import arrow, encodings, sources
from textmill.files.columns import BY_NAME, Columns
from textmill.files.formats import FOREIGN, FORMATS, SUFFIXES, FileFormat, Format
from textmill.files.parts import Parts, unreadable
from textmill.files.sources import STDIN, shown
from textmill.wire import MAX_DOCUMENT_ID, unstorable

MAX_FILE = 256 * 1024 * 1024
"""Bytes of a file that is one document: a PDF of pictures is large, and its text is not."""

Numbered = tuple[int | None, Parts]
"""The line or row of a document, None where the file is one, and the document."""


def format_of(name: str, format: Format = "auto") -> FileFormat:
    """How a file is read. Raises FileNotText for a suffix of a format that is none of ours."""
    if format == "auto":
        suffix, _ = sources.suffixes(name)
        if suffix in FOREIGN:
            reason = f"{suffix} files are not read: {FOREIGN[suffix]} (--format text takes it as text)"
            raise FileNotText(f"{name}: {reason}")
        format = "lines" if name == STDIN else SUFFIXES.get(suffix, "text")  # type: ignore[assignment]
    return FORMATS[format]


def check(names: Iterable[str], format: Format, columns: Columns, encoding: str | None = None) -> None:
    """Look at all names before the first file is read. Raises InvalidRequest, MissingExtra.

    Files of foreign formats fail one by one, unless there are no others: that is a mistake of the command.
    """
    names = list(names)
    encodings.check(encoding)
    formats, foreign = [], None
    for name in names:
        if unstorable(name) is not None or len(name) > MAX_DOCUMENT_ID:
            raise InvalidRequest(f"{name!r} cannot be an id: it has over {MAX_DOCUMENT_ID} characters, or is not UTF-8")
        try:
            found = format_of(name, format)
        except FileNotText as error:
            foreign = foreign or error
            continue
        formats.append(found)
        if found.needs:
            sources.need(found.needs, name)
        if sources.suffixes(name)[1] == ".zst":
            sources.need("zstandard", name)
    if foreign and not formats:
        raise InvalidRequest(foreign.message, file=names[0])
    if columns.named and not any(found.columns for found in formats):
        raise InvalidRequest("--text-column and --id-column are for tables (csv, jsonl, parquet, ...): there is none")


def from_files(
    names: Iterable[str], format: Format = "auto", columns: Columns = BY_NAME, encoding: str | None = None
) -> Iterator[Parts]:
    """The documents of the files, one file after the other; `-` is the standard input. See `from_file`."""
    for name in names:
        for _, parts in _read(name, format, columns, encoding):
            yield parts


def from_file(path: Path | str, format: Format = "auto", columns: Columns = BY_NAME) -> Iterator[Parts]:
    """The documents of a file, or of an address that fsspec knows.

    auto: by the suffix, see `textmill.files.formats.FORMATS`, also below .gz and .zst; lines for the standard input. A
    document is a row (csv, tsv, jsonl, json, parquet, arrow, lines), or the file, whose id is its path.

    Raises InvalidRequest with the line or row where a table is not what it should be. A file that cannot be read gives
    a document without a text that says why: it fails with that, and the others go on.
    """
    return from_files([str(path)], format, columns)


def same_id(names: Iterable[str], format: Format, columns: Columns, encoding: str | None = None) -> str | None:
    """Where two documents have the same id, for a message: it reads the files once more and keeps all ids."""
    first: dict[str, str] = {}
    for name in names:
        if name == STDIN:
            return None  # gone
        for line, parts in _read(name, format, columns, encoding):
            place = _place(name, line, format)
            if parts.id is not None and first.setdefault(parts.id, place) != place:
                return f"{place}: the id {parts.id!r} is that of {first[parts.id]}, too"
    return None


def schema_of(names: Iterable[str], format: Format) -> Any:
    """The Arrow schema of the files' columns, where all of them are of formats that have one; else None."""
    found = []
    for name in names:
        try:
            form = format_of(name, format)
            if form.schema is None:
                return None
            with sources.opened(name) as file:
                found.append(form.schema(file, name))
        except FileUnreadable:
            continue  # it fails by itself, and says nothing of the others
    return arrow.unified(found) if found else None


def _read(name: str, format: Format, columns: Columns, encoding: str | None) -> Iterator[Numbered]:
    """(line, document) of each, checked."""
    try:
        found = format_of(name, format)
        with sources.opened(name) as file:
            if found.rows is not None:
                yield from _rows(found, file, name, columns, encoding)
            else:
                yield None, _whole(found, file, name, encoding)
    except FileUnreadable as error:
        # The standard input has no name to fail under, and nothing comes after it.
        if name == STDIN:
            raise InvalidRequest(error.message, file=shown(name)) from error
        encodings.say(f"{error.message} [{error.code}]: it fails by itself, the rest goes on")
        yield None, unreadable(name, error)


def _whole(found: FileFormat, file: IO[bytes], name: str, encoding: str | None) -> Parts:
    assert found.whole is not None
    data = file.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise FileTooLarge(f"{name} has more than {MAX_FILE} bytes")
    text = found.whole(data, shown(name), encoding)
    is_plain = found is FORMATS["text"]
    if (position := unstorable(text)) is not None:
        if is_plain:
            raise FileNotText(f"{name}: the text has {_bad(text[position])} at character {position}")
        # What a font or a converter made of a glyph that it does not know: no text of anybody's.
        text = text.encode("utf-8", "surrogatepass").decode("utf-8", "replace").replace("\0", "\ufffd")
    document_id = None if name == STDIN else name
    return Parts(document_id, text, row={"id": name, "text": text}, is_file=document_id is not None)


def _rows(found: FileFormat, file: IO[bytes], name: str, columns: Columns, encoding: str | None) -> Iterator[Numbered]:
    assert found.rows is not None
    try:
        for line, parts in found.rows(file, shown(name), columns, encoding):
            _check(f"{shown(name)}, {found.unit} {line}", parts)
            yield line, parts
    except UnicodeDecodeError as error:
        # Rows may have been sent already, so nothing is tried: whoever knows the encoding says it.
        wanted = encoding or "UTF-8"
        if name == STDIN:
            message = f"{shown(name)} is not {wanted}: {error.reason}"
        else:
            at, sample = _undecodable_at(name, encoding)
            message = f"{name} is not {wanted}: {error.reason} at byte {at}; {encodings.hint(encodings.guess(sample))}"
        raise InvalidText(message, file=shown(name)) from error
    except UnicodeError as error:  # without a place: utf-16 that does not begin with its mark
        raise InvalidText(f"{shown(name)} is not {encoding or 'UTF-8'}: {error}", file=shown(name)) from error


def _undecodable_at(name: str, encoding: str | None) -> tuple[int, bytes]:
    """The first byte of the file that is not of the encoding, where a character is cut off its first one; and what is
    around it. The error's own place counts from the block that was being decoded."""
    decoder = codecs.getincrementaldecoder(encoding or "utf-8")()
    at, block, before = 0, b"", b""
    with sources.opened(name) as file:
        while block := file.read(sources.BLOCK):
            held = len(decoder.getstate()[0])
            try:
                decoder.decode(block)
            except UnicodeDecodeError as error:
                return at - held + error.start, block
            at, before = at + len(block), block
    return at - len(decoder.getstate()[0]), before


def _check(place: str, parts: Parts) -> None:
    """Raises early and with the place in the file what would be refused later with a number."""
    document_id = parts.id
    for what, value in (("the text", parts.text or ""), ("the id", document_id or "")):
        if (position := unstorable(value)) is not None:
            raise InvalidText(
                f"{place}: {what} has {_bad(value[position])} at character {position}", character=position
            )
    if document_id is not None and not 0 < len(document_id) <= MAX_DOCUMENT_ID:
        raise InvalidRequest(f"{place}: an id has 1 to {MAX_DOCUMENT_ID} characters, this one {len(document_id)}")


def _bad(character: str) -> str:
    return "a NUL character" if character == "\0" else "half of a surrogate pair"


def _place(name: str, line: int | None, format: Format) -> str:
    return name if line is None else f"{name}, {format_of(name, format).unit} {line}"
