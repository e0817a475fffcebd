"""csv and tsv: a document a row, a result a row. Both quote as RFC 4180 says; tsv has tabs for commas.

Values are written as they are: a text that begins with `=` stays that text, so that what is read back is what was
there, and entities' offsets count in it. A spreadsheet may take such a cell for a formula: import the column as text.
"""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, time
from typing import IO, Any, Literal

from textmill import tasks, wire
from textmill.errors import InvalidRequest
from textmill.files import encodings
from textmill.files.columns import Columns, one_of
from textmill.files.parts import NO_FIELDS, Parts
from textmill.wire import INSTEAD_OF_TEXT

DELIMITERS = {"csv": ",", "tsv": "\t"}

MAX_FIELD = 64 * 1024 * 1024
"""Characters of one field. What is longer is a quotation mark that was left open, and the rest of the file in it."""


def csv_rows(file: IO[bytes], name: str, columns: Columns, encoding: str | None) -> Iterator[tuple[int, Parts]]:
    """(line, document) for each row after the first one; empty lines are skipped.

    Raises InvalidRequest with the line for what is not of this form.
    """
    return _rows(file, name, "csv", columns, encoding)


def tsv_rows(file: IO[bytes], name: str, columns: Columns, encoding: str | None) -> Iterator[tuple[int, Parts]]:
    """The same between tabs."""
    return _rows(file, name, "tsv", columns, encoding)


def _rows(file: IO[bytes], name: str, kind: str, columns: Columns, encoding: str | None) -> Iterator[tuple[int, Parts]]:
    # The module's own limit, of 128 Ki characters, holds for the process.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_FIELD))
    with encodings.stream(file, name, encoding, "") as text:
        reader = csv.reader(text, delimiter=DELIMITERS[kind], strict=True)
        header = next((row for _, row in _lines(reader, name) if row), None)
        if header is None:
            raise InvalidRequest(f"{name} has no first row with the names of its columns", file=name)
        # A cell is a text: what stands in for one (messages, a list) is in no cell.
        columns = replace(columns, fields=tuple(one for one in columns.fields or () if one not in INSTEAD_OF_TEXT))
        columns.chosen(header, name)
        text_at, id_name = header.index(columns.text_name), columns.id_name(header)
        id_at = None if id_name is None else header.index(id_name)
        fields = {field: one_of(header, field, "", name) for field in columns.beside(header)}
        for line, row in _lines(reader, name):
            if not row:
                continue
            if len(row) != len(header):
                message = f"{name}, line {line}: {len(row)} fields where the first row has {len(header)}"
                raise InvalidRequest(message, file=name, line=line)
            # An empty cell is an absent field: a table has no other way to say so.
            beside = {field: row[at] for field, at in fields.items() if row[at]}
            kept = dict(zip(header, row, strict=True)) if columns.keep else NO_FIELDS
            yield line, Parts(None if id_at is None else row[id_at], row[text_at], beside, kept)


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


# --- results ----------------------------------------------------------------------------------------------------------


def header(task: str, kind: str) -> str:
    """The first row of a file of results."""
    return row(columns(task), kind)


def result_row(result: wire.Result, task: str, kind: str) -> str:
    """A result as a row: what is absent is empty, entities are JSON text, times are ISO 8601."""
    told = flat(result, mode="json")
    return row([cell(told.get(column)) for column in columns(task)], kind)


def flat(result: wire.Result, mode: Literal["json", "python"]) -> dict[str, Any]:
    """A result without its inner objects: the output's fields and the error's beside the others. mode: pydantic's."""
    told = result.model_dump(mode=mode)
    told |= result.output or {}
    told["output"] = json.dumps(dict(result.output), ensure_ascii=False) if result.output is not None else None
    if result.error:
        told |= {"error_code": result.error.code, "error_message": result.error.message}
    return told


NOT_COLUMNS = ("id", "position", "state", "output", "error", "text", "fields")
"""Fields of a result that have columns of their own, and the text, which whoever writes a file has already."""


def output_columns(task: str) -> list[str]:
    """Those that the task gives. The output of a task that is newer than this client is one column, as JSON."""
    return list(tasks.get(task).output.model_fields) if task in tasks.NAMES else ["output"]


def columns(task: str) -> list[str]:
    """All columns of the results of a task."""
    after = [name for name in wire.Result.model_fields if name not in NOT_COLUMNS]
    return ["id", "position", "state", *output_columns(task), "error_code", "error_message", *after]


def cell(value: Any) -> str:
    """A value as text: what JSON knows and is no text as JSON, times as ISO 8601, the rest as Python writes it."""
    if isinstance(value, (bool, int, float, list, dict)):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=cell)
    if isinstance(value, (date, time)):
        return value.isoformat()
    return "" if value is None else str(value)


def row(cells: list[str], kind: str) -> str:
    """A row with its newline."""
    made = io.StringIO()
    # Either character of "\r\n" in a text makes the writer quote it; the lines themselves end as all of our files' do.
    csv.writer(made, delimiter=DELIMITERS[kind], lineterminator="\r\n").writerow(cells)
    return made.getvalue().removesuffix("\r\n") + "\n"
