"""Results -> a file, in the form that its name or `--to` asks for."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from textmill import wire
from textmill.errors import InvalidRequest
from textmill.files import delimited, entities, tables
from textmill.files.formats import FOREIGN, SUFFIXES
from textmill.files.jsonl import result_line
from textmill.files.parts import Parts
from textmill.files.sources import PACKED, need

To = Literal["auto", "jsonl", "csv", "tsv", "parquet", "conll", "spacy"]

NAMED: dict[str, To] = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv", ".tab": "tsv",
    ".parquet": "parquet", ".pq": "parquet", ".conll": "conll",
}  # fmt: skip

Rows = Callable[[], Iterator[Parts]]
"""The documents of the input with their rows, from the first one on each time that it is called."""


Results = Callable[[], Iterable[wire.Result]]


@dataclass(frozen=True)
class Form:
    """How a file of results is written: line by line, or as a whole when all of them are there."""

    kind: To
    task: str
    line: Callable[[wire.Result], str] = result_line
    header: str = ""
    whole: bool = False
    with_text: bool = False
    """Whether a result is needed with its document's text."""

    def write(self, results: Results, path: Path) -> None:
        """All results into a new file."""
        if self.kind == "parquet":
            tables.write_parquet(
                partial(self._rows, results), delimited.columns(self.task), path, tables.schema_of(self.task)
            )
            return
        with path.open("w", encoding="utf-8", newline="") as file:
            file.write(self.header)
            file.writelines(map(self.line, results()))

    def write_joined(self, rows: Rows, results: Results, path: Path, schema: Any = None) -> None:
        """The rows of the input with the columns of their results into a new file. schema: the input's, where it has
        one: its columns keep their types, where the output has types."""
        header = list(dict.fromkeys([*(schema.names if schema else ()), *tables.header_of(rows())]))
        names = tables.new_columns(header, self.task)

        def both() -> Iterator[tables.Row]:
            return tables.joined(rows(), results(), names)

        if self.kind == "parquet":
            schema = tables.joined_schema(rows, header, schema, names, self.task)
        tables.WRITERS[self.kind](both, [*header, *names.values()], path, schema)

    def _rows(self, results: Results) -> Iterator[tables.Row]:
        return tables.result_rows(results(), self.task)


def form_of(name: str, task: str, to: To = "auto", join: bool = False) -> Form:
    """The form of a file of results: by its name where nothing else is said; JSON lines for a suffix that says nothing.

    Raises InvalidRequest for a suffix of a format that is not written: JSON lines in an .xlsx would be a surprise.
    """
    suffix = Path(name).suffix.lower()
    if suffix in PACKED:
        raise InvalidRequest(f"{name}: results are not written packed: name it without {suffix}, and pack it then")
    kind = NAMED.get(suffix, "jsonl") if to == "auto" else to
    if to == "auto" and suffix not in NAMED and (suffix in FOREIGN or SUFFIXES.get(suffix, "text") != "text"):
        raise InvalidRequest(f"{name}: {suffix} files are not written: name it .jsonl, .csv, .tsv or .parquet")
    if kind == "parquet":
        need("pyarrow", name)
        return Form(kind, task, whole=True)
    if kind in ("conll", "spacy"):
        if join or not entities.are_given(task):
            what = "goes with no --join" if join else "is for tasks that give entities (ner)"
            raise InvalidRequest(f"{name}: {kind} {what}")
        return Form(kind, task, entities.conll if kind == "conll" else entities.spacy, with_text=True)
    if kind == "jsonl":
        return Form(kind, task)
    delimiter = kind
    return Form(
        kind, task, lambda result: delimited.result_row(result, task, delimiter), delimited.header(task, delimiter)
    )
