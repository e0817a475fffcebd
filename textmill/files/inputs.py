"""Files and the standard input -> documents, by their format. What is not understood is refused, never guessed."""

import codecs
import contextlib
import glob
import io
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Literal

from textmill.errors import InvalidRequest, InvalidText
from textmill.files.delimited import BY_NAME, Columns, are_named, rows
from textmill.files.jsonl import document_lines
from textmill.files.parts import Parts
from textmill.wire import MAX_DOCUMENT_ID, unstorable

Format = Literal["auto", "text", "lines", "jsonl", "csv", "tsv"]

SUFFIXES: dict[str, Format] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv"}

_TABLE = "write it as csv or jsonl first"
_MARKUP = "its texts are among something else: take them out, into a text file or as jsonl"
_PACKED = "unpack it first, or give its contents on the standard input"
_NO_TEXT = "it is no text"

FOREIGN: dict[str, str] = {
    **dict.fromkeys((".parquet", ".arrow", ".feather", ".orc", ".avro", ".xlsx", ".xls", ".ods"), _TABLE),
    **dict.fromkeys((".sqlite", ".sqlite3", ".db"), _TABLE),
    # Markup taken as text would have its tags translated and its scripts summarized.
    **dict.fromkeys((".json", ".xml", ".html", ".htm", ".xhtml", ".eml", ".mbox"), _MARKUP),
    **dict.fromkeys((".pdf", ".doc", ".docx", ".odt", ".rtf", ".epub", ".ppt", ".pptx", ".odp", ".msg"), _MARKUP),
    **dict.fromkeys((".gz", ".tgz", ".zst", ".bz2", ".xz", ".lz4", ".br", ".zip", ".tar", ".7z"), _PACKED),
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".gif", ".webp", ".tif", ".tiff"), _NO_TEXT),
    **dict.fromkeys((".mp3", ".wav", ".flac", ".mp4", ".bin", ".pkl", ".npy", ".pt", ".safetensors"), _NO_TEXT),
}
"""Suffixes of formats that are none of ours, and what to do with such a file. Markdown is text."""


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


def format_of(name: str, format: Format = "auto") -> Format:
    """The format in which a file is read. Raises InvalidRequest for a suffix of a format that is none of ours."""
    if format != "auto":
        return format
    if name == "-":
        return "lines"
    suffix = Path(name).suffix.lower()
    if suffix in FOREIGN:
        message = f"{name}: {suffix} files are not read: {FOREIGN[suffix]} (--format text takes it as text)"
        raise InvalidRequest(message, file=name)
    return SUFFIXES.get(suffix, "text")


def check(names: Iterable[str], format: Format, columns: Columns) -> None:
    """Look at all names before the first file is read. Raises InvalidRequest."""
    formats = {format_of(name, format) for name in names}
    if are_named(columns) and formats.isdisjoint(("csv", "tsv")):
        raise InvalidRequest("--text-column and --id-column are for csv and tsv, and none of the files is one")


def from_files(names: Iterable[str], format: Format = "auto", columns: Columns = BY_NAME) -> Iterator[Parts]:
    """The documents of the files, one file after the other; `-` is the standard input. See `from_file`."""
    for name in names:
        for _, parts in _read(name, format, columns):
            yield parts


def from_file(path: Path, format: Format = "auto", columns: Columns = BY_NAME) -> Iterator[Parts]:
    """The documents of a file in UTF-8.

    auto:  by the suffix: csv, tsv, jsonl (`.ndjson` too); suffixes of formats that are none of these are refused, see
           `FOREIGN`, anything else is text
    text:  the whole file is one document, its id is the path
    lines: a document a line, blank ones too, so that positions are line numbers
    jsonl: {"id"?, "text"} a line, with the fields that the task has beside it or in its place; blank lines are skipped
    csv, tsv: a document a row after the first one, which names the columns; empty lines are skipped

    Raises InvalidText where the file is not UTF-8 or has characters that cannot be stored, InvalidRequest with the line
    where it is not what the format says or cannot be read.
    """
    return from_files([str(path)], format, columns)


def same_id(names: Iterable[str], format: Format, columns: Columns) -> str | None:
    """Where two documents have the same id, for a message: it reads the files once more and keeps all ids."""
    first: dict[str, str] = {}
    for name in names:
        if name == "-":
            return None  # gone
        for line, parts in _read(name, format, columns):
            place = name if line is None else f"{name}, line {line}"
            if parts.id is not None and first.setdefault(parts.id, place) != place:
                return f"{place}: the id {parts.id!r} is that of {first[parts.id]}, too"
    return None


def _read(name: str, format: Format, columns: Columns) -> Iterator[tuple[int | None, Parts]]:
    """(line, document) of each, checked."""
    format = format_of(name, format)
    shown = "standard input" if name == "-" else name
    try:
        # newline: offsets in the results must be offsets in the file, so nothing is translated. csv has its own rule.
        with _opened(name, "" if format in ("csv", "tsv") else "\n") as file:
            for line, parts in _documents(file, shown, format, columns):
                _check(shown if line is None else f"{shown}, line {line}", parts)
                yield line, parts
    except UnicodeDecodeError as error:
        # The error's own place counts from the block that was being decoded.
        place = "" if name == "-" else f" at byte {_undecodable_at(name)}"
        raise InvalidText(f"{shown} is not UTF-8: {error.reason}{place}", file=shown) from error
    except OSError as error:
        raise InvalidRequest(f"{shown} cannot be read: {error.strerror}", file=shown) from error


def _undecodable_at(name: str) -> int:
    """The first byte of the file that is not UTF-8; of a character that is cut off at its end the first one."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    at = 0
    with open(name, "rb") as file:
        while block := file.read(1024 * 1024):
            held = len(decoder.getstate()[0])
            try:
                decoder.decode(block)
            except UnicodeDecodeError as error:
                return at - held + error.start
            at += len(block)
    return at - len(decoder.getstate()[0])


@contextlib.contextmanager
def _opened(name: str, newline: str) -> Iterator[IO[str]]:
    if name != "-":
        with open(name, encoding="utf-8-sig", newline=newline) as file:
            yield file
        return
    # Its bytes, since the text layer has the encoding of the locale, and lets broken characters through in some.
    wrapped = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", newline=newline)
    try:
        yield wrapped
    finally:
        wrapped.detach()  # it would close the standard input


def _documents(file: IO[str], name: str, format: Format, columns: Columns) -> Iterator[tuple[int | None, Parts]]:
    if format == "text":
        yield None, Parts(None if name == "standard input" else name, file.read())
    elif format == "lines":
        for number, line in enumerate(file, start=1):
            yield number, Parts(None, line.removesuffix("\n").removesuffix("\r"))
    elif format == "jsonl":
        yield from document_lines(file, name, columns.fields)
    else:
        yield from rows(file, name, format, columns)


def _check(place: str, parts: Parts) -> None:
    """Raises early and with the place in the file what would be refused later with a number."""
    document_id = parts.id
    for what, value in (("the text", parts.text or ""), ("the id", document_id or "")):
        if (position := unstorable(value)) is not None:
            kind = "a NUL character" if value[position] == "\0" else "half of a surrogate pair"
            raise InvalidText(f"{place}: {what} has {kind} at character {position}", character=position)
    if document_id is not None and not 0 < len(document_id) <= MAX_DOCUMENT_ID:
        raise InvalidRequest(f"{place}: an id has 1 to {MAX_DOCUMENT_ID} characters, this one {len(document_id)}")
