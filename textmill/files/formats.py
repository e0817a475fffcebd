"""The formats that are read: one table, a line each. What a format needs is imported when a file of it is met."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any, Literal

from textmill.files import arrow, delimited, jsonl, lines, mail, pdf, web, zipped
from textmill.files.columns import Columns
from textmill.files.parts import Parts

Format = Literal[
    "auto", "text", "lines", "jsonl", "json", "csv", "tsv", "parquet", "arrow",
    "html", "pdf", "docx", "odt", "epub", "eml",
]  # fmt: skip

Rows = Callable[[IO[bytes], str, Columns, str | None], Iterator[tuple[int, Parts]]]
"""(file, its name for messages, columns, encoding) -> (line or row, document) of each."""

Whole = Callable[[bytes, str, str | None], str]
"""(content, its name for messages, encoding) -> the text of a file that is one document. Raises FileUnreadable."""


@dataclass(frozen=True)
class FileFormat:
    """How files of a format are read: a document a row, or one document."""

    suffixes: tuple[str, ...] = ()
    rows: Rows | None = None
    whole: Whole | None = None
    unit: str = "line"
    """What the number of a document counts."""
    columns: bool = False
    """Whether its columns have names."""
    needs: str | None = None
    """A module that an extra of the wheel brings."""
    schema: Callable[[IO[bytes], str], Any] | None = None
    """(file, its name for messages) -> the Arrow schema of a format whose columns have types of their own."""


FORMATS: dict[str, FileFormat] = {
    "text": FileFormat((".txt", ".md", ".markdown", ".text", ".rst", ".log"), whole=lines.text),
    "lines": FileFormat(rows=lines.lines),
    "jsonl": FileFormat((".jsonl", ".ndjson"), rows=jsonl.jsonl, columns=True),
    "json": FileFormat((".json",), rows=jsonl.json_list, unit="row", columns=True),
    "csv": FileFormat((".csv",), rows=delimited.csv_rows, columns=True),
    "tsv": FileFormat((".tsv", ".tab"), rows=delimited.tsv_rows, columns=True),
    "parquet": FileFormat((".parquet", ".pq"), rows=arrow.parquet, unit="row", columns=True, needs="pyarrow",
                          schema=arrow.parquet_schema),
    "arrow": FileFormat((".arrow", ".feather", ".arrows"), rows=arrow.arrow, unit="row", columns=True, needs="pyarrow",
                        schema=arrow.arrow_schema),
    "html": FileFormat((".html", ".htm", ".xhtml"), whole=web.html, needs="trafilatura"),
    "pdf": FileFormat((".pdf",), whole=pdf.pdf, needs="pypdf"),
    "docx": FileFormat((".docx",), whole=zipped.docx, needs="docx"),
    "odt": FileFormat((".odt",), whole=zipped.odt),
    "epub": FileFormat((".epub",), whole=zipped.epub),
    "eml": FileFormat((".eml",), whole=mail.eml),
}  # fmt: skip

SUFFIXES: dict[str, str] = {suffix: name for name, one in FORMATS.items() for suffix in one.suffixes}

_TABLE = "write it as csv, jsonl or parquet first"
_MARKUP = "its texts are among something else: take them out, into a text file or as jsonl"
_PACKED = "unpack it first"
_NO_TEXT = "it is no text"

FOREIGN: dict[str, str] = {
    **dict.fromkeys((".orc", ".avro", ".xlsx", ".xls", ".ods", ".sqlite", ".sqlite3", ".db"), _TABLE),
    # Markup taken as text would have its tags translated and its scripts summarized.
    **dict.fromkeys((".xml", ".mbox", ".doc", ".rtf", ".ppt", ".pptx", ".odp", ".msg"), _MARKUP),
    **dict.fromkeys((".tgz", ".bz2", ".xz", ".lz4", ".br", ".zip", ".tar", ".7z"), _PACKED),
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".gif", ".webp", ".tif", ".tiff"), _NO_TEXT),
    **dict.fromkeys((".mp3", ".wav", ".flac", ".mp4", ".bin", ".pkl", ".npy", ".pt", ".safetensors"), _NO_TEXT),
}
"""Suffixes of formats that are none of ours, and what to do with such a file. What has another suffix is text."""
