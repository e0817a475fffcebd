"""csv and tsv: a document a row, a result a row. Both quote as RFC 4180 says; tsv has tabs for commas.

Values are written as they are: a text that begins with `=` stays that text, so that what is read back is what was
there, and entities' offsets count in it. A spreadsheet may take such a cell for a formula: import the column as text.
"""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from textmill import tasks, wire
from textmill.errors import InvalidRequest
from textmill.files.parts import Parts

DELIMITERS = {"csv": ",", "tsv": "\t"}

MAX_FIELD = 64 * 1024 * 1024
"""Characters of one field. What is longer is a quotation mark that was left open, and the rest of the file in it."""


@dataclass(frozen=True)
class Columns:
    """The columns that make a document, by the names in the first row."""

    text: str | None = None
    """None: `text`, which must be there."""
    id: str | None = None
    """None: `id` where there is such a column, else positions are the ids."""
    fields: tuple[str, ...] | None = ()
    """What documents of the task may have beside: a column of that name is kept, the others are not. None: the task is
    newer than this client, and no column is."""


BY_NAME = Columns()
"""The columns named `text` and `id`."""


def are_named(columns: Columns) -> bool:
    """Whether the producer has named one."""
    return columns.text is not None or columns.id is not None


def rows(file: IO[str], name: str, kind: str, columns: Columns) -> Iterator[tuple[int, Parts]]:
    """(line, document) for each row after the first one; empty lines are skipped.

    file: opened with newline="". Raises InvalidRequest with the line for what is not of this form.
    """
    # The module's own limit, of 128 Ki characters, holds for the process.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_FIELD))
    reader = csv.reader(file, delimiter=DELIMITERS[kind], strict=True)
    header = next((row for _, row in _lines(reader, name) if row), None)
    if header is None:
        raise InvalidRequest(f"{name} has no first row with the names of its columns", file=name)
    text_at = _column(header, columns.text or "text", "--text-column", name)
    has_id = columns.id is not None or "id" in header
    id_at = _column(header, columns.id or "id", "--id-column", name) if has_id else None
    fields = {field: _column(header, field, "", name) for field in columns.fields or () if field in header}
    for line, row in _lines(reader, name):
        if not row:
            continue
        if len(row) != len(header):
            message = f"{name}, line {line}: {len(row)} fields where the first row has {len(header)}"
            raise InvalidRequest(message, file=name, line=line)
        # An empty cell is an absent field: a table has no other way to say so.
        beside = {field: row[at] for field, at in fields.items() if row[at]}
        yield line, Parts(None if id_at is None else row[id_at], row[text_at], beside)


def _lines(reader: Any, name: str) -> Iterator[tuple[int, list[str]]]:
    """Each row with the line that it begins in."""
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            hint = "; is a quotation mark left open?" if "limit" in str(error) or "end of data" in str(error) else ""
            raise InvalidRequest(f"{name}, line {line}: {error}{hint}", file=name, line=line) from error
        if row is None:
            return
        yield line, row


def _column(header: list[str], wanted: str, option: str, name: str) -> int:
    if (times := header.count(wanted)) == 1:
        return header.index(wanted)
    shown = ", ".join(header)
    problem = f"{times} columns are named {wanted!r}" if times else f"no column is named {wanted!r}"
    hint = f". {option} names another" if option else ""
    raise InvalidRequest(f"{name}: {problem}; it has: {shown}{hint}", file=name, columns=header)


# --- results ----------------------------------------------------------------------------------------------------------


def header(task: str, kind: str) -> str:
    """The first row of a file of results."""
    return _row(_columns(task), kind)


def result_row(result: wire.Result, task: str, kind: str) -> str:
    """A result as a row: what is absent is empty, entities are JSON text, times are ISO 8601."""
    shown = result.model_dump(mode="json")
    shown |= shown["output"] or {}
    if result.error:
        shown |= {"error_code": result.error.code, "error_message": result.error.message}
    return _row([_cell(shown.get(column)) for column in _columns(task)], kind)


NOT_COLUMNS = ("id", "position", "state", "output", "error", "text")
"""Fields of a result that have columns of their own, and the text, which whoever writes a file has already."""


def _columns(task: str) -> list[str]:
    # The output of a task that is newer than this client is one column, as JSON.
    fields = tasks.get(task).output.model_fields if task in tasks.NAMES else ("output",)
    after = [name for name in wire.Result.model_fields if name not in NOT_COLUMNS]
    return ["id", "position", "state", *fields, "error_code", "error_message", *after]


def _cell(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _row(cells: list[str], kind: str) -> str:
    row = io.StringIO()
    # Either character of "\r\n" in a text makes the writer quote it; the lines themselves end as all of our files' do.
    csv.writer(row, delimiter=DELIMITERS[kind], lineterminator="\r\n").writerow(cells)
    return row.getvalue().removesuffix("\r\n") + "\n"
