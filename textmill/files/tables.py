"""Results as a table that is written as a whole: parquet, and the rows of the input with new columns (`--join`).

parquet's index stands at the end of the file, so it cannot be appended to, and part files would be cut wherever a run
was interrupted. It is made from the results' JSON lines when the last one is there: the same file, however often the
run was interrupted. Memory is that of one row group.
"""

import io
import itertools
import json
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from textmill import tasks, wire
from textmill.errors import InvalidRequest
from textmill.files import delimited
from textmill.files.parts import Parts
from textmill.files.sources import need

ROW_GROUP = 5_000
"""Rows that are held in memory, and that a reader of the file holds."""

Row = Mapping[str, Any]

OTHER_ROWS = "the input has other rows than the job has documents: it was changed, perhaps"


def result_rows(results: Iterable[wire.Result], task: str) -> Iterator[dict[str, Any]]:
    """A row for each result: the columns of the csv, in their own types."""
    columns = delimited.columns(task)
    for result in results:
        told = delimited.flat(result, mode="python")
        yield {column: told.get(column) for column in columns}


def joined(
    documents: Iterable[Parts], results: Iterable[wire.Result], names: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    """The rows of the input with the columns of their results. names: of a result's columns in the output.

    Raises InvalidRequest where there are not as many of the one as of the other, or where an id is not the result's.
    """
    for document, result in itertools.zip_longest(documents, results):
        if document is None or result is None:
            raise InvalidRequest(OTHER_ROWS)
        if document.id is not None and document.id != result.id:
            raise InvalidRequest(f"{OTHER_ROWS}: it has {document.id!r} where the job has {result.id!r}")
        told = delimited.flat(result, mode="json")
        yield {**document.row, **{name: told.get(column) for column, name in names.items()}}


def new_columns(header: Iterable[str], task: str) -> dict[str, str]:
    """The columns that a result adds to a row, each with its name: one that is taken gets `result_` before it."""
    taken, names = set(header), {}
    for column in (*delimited.output_columns(task), "error_code", "error_message"):
        name = column
        while name in taken:
            name = f"result_{name}"
        names[column] = name
        taken.add(name)
    return names


def header_of(documents: Iterable[Parts]) -> list[str]:
    """The columns of all documents' rows in the order in which they are met: not every row need have all of them."""
    found: dict[str, None] = {}
    for document in documents:
        found.update(dict.fromkeys(document.row))
    return list(found)


# --- written ----------------------------------------------------------------------------------------------------------


def write_jsonl(rows: Callable[[], Iterator[Row]], header: list[str], path: Path, schema: Any = None) -> None:
    """A row a line; columns that a row does not have are left out."""
    with path.open("w", encoding="utf-8") as file:
        for row in rows():
            file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")


def write_csv(rows: Callable[[], Iterator[Row]], header: list[str], path: Path, schema: Any = None) -> None:
    """As `delimited` writes results."""
    _write_delimited(rows(), header, path, "csv")


def write_tsv(rows: Callable[[], Iterator[Row]], header: list[str], path: Path, schema: Any = None) -> None:
    """The same between tabs."""
    _write_delimited(rows(), header, path, "tsv")


def _write_delimited(rows: Iterator[Row], header: list[str], path: Path, kind: str) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(delimited.row(header, kind))
        for row in rows:
            file.write(delimited.row([delimited.cell(row.get(column)) for column in header], kind))


def write_parquet(rows: Callable[[], Iterator[Row]], header: list[str], path: Path, schema: Any = None) -> None:
    """Row group by row group, with the schema, which has the columns of the header.

    Raises InvalidRequest where a column has values that are not of its type.
    """
    import pyarrow as pa
    from pyarrow import parquet as pq

    try:
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for batch in batches(rows()):
                writer.write_table(pa.Table.from_pylist(batch, schema=schema), row_group_size=ROW_GROUP)
    except (pa.ArrowException, OverflowError, ValueError) as error:
        raise InvalidRequest(f"{path.name}: {error}; write .jsonl instead") from error


def joined_schema(
    rows: Callable[[], Iterable[Parts]], header: list[str], given: Any, names: Mapping[str, str], task: str
) -> Any:
    """The Arrow schema of rows with the columns of their results.

    given: the schema of the input, where it has one. What it does not say is found out by reading all rows; columns of
    which nothing is known, since all of them are empty, are of the null type. names: as `joined` has them.

    Raises InvalidRequest where a column has values of kinds that do not go together.
    """
    import pyarrow as pa

    # A row of a file that could not be read has none of them.
    nullable = [field.with_nullable(True) for field in given or ()]
    kept = {field.name: field for field in nullable if _can_be_written(field)}
    if others := [name for name in header if name not in kept]:
        kept |= {field.name: field for field in _found((one.row for one in rows()), others)}
    results = schema_of(task)
    added = [results.field(column).with_name(name) for column, name in names.items()]
    return pa.schema([*(kept[name] for name in header), *added], metadata=given.metadata if given else None)


def _can_be_written(field: Any) -> bool:
    """Whether Parquet has the type, and Arrow makes columns of it from Python's objects: not so of unions."""
    import pyarrow as pa
    from pyarrow import parquet as pq

    try:
        pq.write_table(pa.table([pa.array([None], field.type)], pa.schema([field])), io.BytesIO())
    except (pa.ArrowException, TypeError):
        return False
    return True


def _found(rows: Iterator[Row], header: list[str]) -> Any:
    """The schema of columns whose types nobody knows, by their values."""
    import pyarrow as pa

    found = pa.schema([])
    try:
        for batch in batches(rows):
            # By the header, since Arrow takes the columns of the first row for those of all.
            names = [name for name in header if any(name in row for row in batch)]
            seen = pa.table({name: [row.get(name) for row in batch] for name in names}).schema
            found = pa.unify_schemas([found, seen], promote_options="permissive")
    except (pa.ArrowException, OverflowError, ValueError) as error:
        raise InvalidRequest(f"a column has values that do not go together: {error}; write .jsonl instead") from error
    return pa.schema([found.field(name) if name in found.names else pa.field(name, pa.null()) for name in header])


def batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """As many rows as a row group has, at a time."""
    while batch := list(itertools.islice(rows, ROW_GROUP)):
        yield batch


WRITERS = {"jsonl": write_jsonl, "csv": write_csv, "tsv": write_tsv, "parquet": write_parquet}


# --- the types of results ---------------------------------------------------------------------------------------------


def schema_of(task: str) -> Any:
    """The Arrow schema of a task's results: entities are lists of structs, an embedding is a list of numbers."""
    need("pyarrow", "a table of results")
    import pyarrow as pa

    output = tasks.get(task).output.model_fields if task in tasks.NAMES else {}
    fields = {name: field.annotation for name, field in wire.Result.model_fields.items()}
    fields |= {name: field.annotation for name, field in output.items()}
    return pa.schema([pa.field(column, _arrow(fields.get(column, str))) for column in delimited.columns(task)])


def _arrow(annotation: Any) -> Any:
    """The Arrow type of what a field holds."""
    import datetime

    import pyarrow as pa

    plain = {
        str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_(),
        datetime.datetime: pa.timestamp("us", "UTC"),
    }  # fmt: skip
    if annotation in plain:
        return plain[annotation]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _arrow(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return _arrow(
            next((one for one in arguments if one is str), next(one for one in arguments if one is not type(None)))
        )
    if origin is list:
        return pa.list_(_arrow(arguments[0]))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return pa.struct([pa.field(name, _arrow(one.annotation)) for name, one in annotation.model_fields.items()])
    return pa.string()
