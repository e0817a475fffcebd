"""Results -> a file, in the form that its name asks for."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from textmill import wire
from textmill.errors import InvalidRequest
from textmill.files import delimited
from textmill.files.formats import FOREIGN, SUFFIXES
from textmill.files.jsonl import result_line


@dataclass(frozen=True)
class Form:
    """How a file of results is written."""

    line: Callable[[wire.Result], str]
    header: str = ""


def form_of(name: str, task: str) -> Form:
    """The form of a file of results by its name: csv, tsv, else JSON lines.

    Raises InvalidRequest for a suffix of a format that is not written: JSON lines in a .parquet would be a surprise.
    """
    suffix = Path(name).suffix.lower()
    if suffix in FOREIGN:
        raise InvalidRequest(f"{name}: {suffix} files are not written: name it .jsonl, .csv or .tsv")
    kind = SUFFIXES.get(suffix)
    if kind not in delimited.DELIMITERS:
        return Form(result_line)
    return Form(lambda result: delimited.result_row(result, task, kind), delimited.header(task, kind))
