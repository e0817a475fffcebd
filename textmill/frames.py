"""Data frames in, data frames out: one way for pandas, polars, Arrow and whatever else narwhals knows."""

from collections.abc import Iterable, Iterator
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
        for number, row in enumerate(self._frame.select(self._used).iter_rows(named=True)):
            told = {name: None if value != value else value for name, value in row.items()}  # NaN: nothing is there
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


def to_arrow(task: str, results: Iterable[wire.Result]) -> Any:
    """All results as one pyarrow.Table, with the columns and types of a Parquet file. Raises MissingExtra."""
    schema = tables.schema_of(task)
    import pyarrow as pa

    batches = [
        pa.RecordBatch.from_pylist(batch, schema=schema) for batch in tables.batches(tables.result_rows(results, task))
    ]
    return pa.Table.from_batches(batches, schema=schema)
