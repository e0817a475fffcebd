"""JSON lines: a document a line, a result a line. JSON: a list of documents."""

import json
from collections.abc import Iterator
from typing import IO, Any

from pydantic import ValidationError

from textmill import wire
from textmill.errors import InvalidRequest
from textmill.files import encodings, parts
from textmill.files.columns import Columns
from textmill.files.parts import Known, Parts


def jsonl(file: IO[bytes], name: str, columns: Columns, encoding: str | None) -> Iterator[tuple[int, Parts]]:
    """(line, document) of each; blank lines are skipped. Raises InvalidRequest with the line that is none.

    A line has the fields of a document and no others. Where a column is named, or rows are kept, it is a row of a table
    whose other columns may be anything.
    """
    with encodings.stream(file, name, encoding, "\n") as text:
        for number, line in enumerate(text, start=1):
            if line.isspace():
                continue
            place = f"{name}, line {number}"
            try:
                found = (
                    _row(json.loads(line), columns, place) if _is_table(columns) else _document(line, columns.fields)
                )
            except (InvalidRequest, ValueError) as error:
                message = _said(error, place)
                raise InvalidRequest(message, file=name, line=number) from error
            yield number, found


def json_list(file: IO[bytes], name: str, columns: Columns, encoding: str | None) -> Iterator[tuple[int, Parts]]:
    """(number, document) of a list of objects as in JSON lines, or of texts. The whole list is held in memory."""
    with encodings.stream(file, name, encoding, "\n") as text:
        whole = text.read()
    try:
        items = json.loads(whole)
    except ValueError as error:
        raise InvalidRequest(f"{name} is not JSON: {error}", file=name) from error
    if not isinstance(items, list):
        raise InvalidRequest(f"{name}: JSON of documents is a list of objects or of texts", file=name)
    for number, item in enumerate(items, start=1):
        place = f"{name}, row {number}"
        item = {columns.text_name: item} if isinstance(item, str) else item
        try:
            found = _row(item, columns, place) if _is_table(columns) else _document(json.dumps(item), columns.fields)
        except (InvalidRequest, ValueError) as error:
            raise InvalidRequest(_said(error, place), file=name, line=number) from error
        yield number, found


def _is_table(columns: Columns) -> bool:
    return columns.named or columns.keep


def _row(row: Any, columns: Columns, place: str) -> Parts:
    if not isinstance(row, dict):
        raise InvalidRequest("a row is a JSON object")
    return columns.parts(row, place)


def _document(line: str, known: Known) -> Parts:
    return parts.of(wire.Document.model_validate_json(line), known)


def _said(error: Exception, place: str) -> str:
    if isinstance(error, InvalidRequest):
        return error.message if error.message.startswith(place) else f"{place}: {error.message}"
    return f"{place}: {first_problem(error) if isinstance(error, ValidationError) else f'not JSON: {error}'}"


def result_line(result: wire.Result) -> str:
    """A result as a line of JSON, its output as the server gave it; with its document's text if it was asked for."""
    absent = {"text": result.text is None, "fields": not result.fields}
    return result.model_dump_json(exclude={name for name, is_absent in absent.items() if is_absent}) + "\n"


def first_problem(error: ValidationError) -> str:
    """The first thing that is wrong, with its place in the document."""
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}" if place else str(first["msg"])
