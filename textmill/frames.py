"""Data frames in, data frames out: one way for pandas, polars, Arrow and whatever else narwhals knows."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from textmill import tasks, wire
from textmill.errors import InvalidRequest
from textmill.files import tables
from textmill.files.columns import Columns
from textmill.files.parts import Parts
from textmill.files.sources import need

F = TypeVar("F")


class Frame(Generic[F]):
    """A frame whose rows are documents."""

    def __init__(self, frame: F, task: str, column: str, id_column: str | None) -> None:
        """Raises InvalidRequest where it is no frame, or has no such column; MissingExtra."""
        need("narwhals", "a data frame")
        need("pyarrow", "a data frame")
        import narwhals as nw

        try:
            self._frame: Any = nw.from_native(frame, eager_only=True)
        except TypeError as error:
            raise InvalidRequest(f"this is no data frame, or one that has no rows yet (collect it): {error}") from error
        # Without an id column that is named, a column `id` has whatever meaning it has: rows are known by their order.
        self._columns = Columns(column, id_column, tasks.fields_of(task))
        self._task = task
        header = self._frame.columns
        wanted = {column, id_column, *(self._columns.fields or ())} - {None}
        instead = column not in header and self._columns.instead_of_text(header)
        for name in (None if instead else column, id_column):
            if name is not None and header.count(name) != 1:
                raise InvalidRequest(f"no column is named {name!r}; the frame has: {', '.join(map(str, header))}")
        self._used = [name for name in header if name in wanted]

    def documents(self) -> Iterator[Parts]:
        """One for each row, in their order. Raises InvalidRequest with the row's number, from 0."""
        import narwhals as nw

        used = self._frame.select(self._used)
        # By the frame's own kind: of pandas' three ways to say that nothing is there one cannot be compared.
        absent = used.select(nw.all().is_null())
        for number, (row, lacks) in enumerate(zip(used.iter_rows(named=True), absent.iter_rows(), strict=True)):
            told = {name: None if lacking else _plain(row[name]) for name, lacking in zip(row, lacks, strict=True)}
            yield self._columns.parts(told, f"row {number}")

    def with_results(self, results: Iterable[wire.Result]) -> F:
        """The same frame with the columns of their results, in its own kind, and with its own index.

        The columns are the task's, `error_code` and `error_message`; a name that is taken gets `result_` before it.
        """
        import narwhals as nw

        table = to_arrow(self._task, results)
        if table.num_rows != len(self._frame):
            raise InvalidRequest(f"the frame has {len(self._frame)} rows, and its job {table.num_rows} documents")
        names = tables.new_columns(self._frame.columns, self._task)
        added = nw.from_arrow(table.select(list(names)).rename_columns(names), backend=self._frame.implementation)
        made: F = self._frame.with_columns(*(added[name] for name in names.values())).to_native()
        return made


def _plain(value: Any) -> Any:
    """A cell in Python's own types: pandas has numpy's, and lists in Parquet become numpy's arrays. NaN is None."""
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    # A number has it as well as an array, and gives one of Python's.
    value = value.tolist() if hasattr(value, "tolist") else value
    return [_plain(one) for one in value] if isinstance(value, list) else value


def to_arrow(task: str, results: Iterable[wire.Result]) -> Any:
    """All results as one pyarrow.Table, with the columns and types of a Parquet file. Raises MissingExtra."""
    schema = tables.schema_of(task)
    import pyarrow as pa

    batches = [
        pa.RecordBatch.from_pylist(batch, schema=schema) for batch in tables.batches(tables.result_rows(results, task))
    ]
    return pa.Table.from_batches(batches, schema=schema)
