"""JSON lines: a document a line, a result a line."""

from collections.abc import Iterator
from typing import IO

from pydantic import ValidationError

from textmill import wire
from textmill.errors import InvalidRequest
from textmill.files import parts
from textmill.files.parts import Known, Parts


def document_lines(file: IO[str], name: str, known: Known) -> Iterator[tuple[int, Parts]]:
    """(line, document) of each; blank lines are skipped. Raises InvalidRequest with the line that is none."""
    for number, line in enumerate(file, start=1):
        if line.isspace():
            continue
        try:
            found = parts.of(wire.Document.model_validate_json(line), known)
        except ValidationError as error:
            message = f"{name}, line {number}: {first_problem(error)}"
            raise InvalidRequest(message, file=name, line=number) from error
        except InvalidRequest as error:
            raise InvalidRequest(f"{name}, line {number}: {error.message}", file=name, line=number) from error
        yield number, found


def result_line(result: wire.Result) -> str:
    """A result as a line of JSON, its output as the server gave it; with its document's text if it was asked for."""
    return result.model_dump_json(exclude={"text"} if result.text is None else None) + "\n"


def first_problem(error: ValidationError) -> str:
    """The first thing that is wrong, with its place in the document."""
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}" if place else str(first["msg"])
