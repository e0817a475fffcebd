"""parquet and arrow (feather): a document a row, read a few rows at a time. pyarrow is imported when it is used."""

from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any

from textmill.errors import FileDamaged, FileUnreadable, InvalidRequest
from textmill.files import sources
from textmill.files.columns import Columns
from textmill.files.parts import Parts

BATCH = 1_000
"""Rows that are turned into Python's objects at once."""


def parquet(file: IO[bytes], name: str, columns: Columns, encoding: str | None) -> Iterator[tuple[int, Parts]]:
    """(row, document) of each, from 1 on; row group by row group. Raises FileDamaged, InvalidRequest."""
    import pyarrow as pa
    from pyarrow import parquet as pq

    with sources.seekable(file) as whole:
        try:
            table = pq.ParquetFile(whole)
            names = columns.chosen(table.schema_arrow.names, name)
            _check_text(table.schema_arrow, columns, name)
            yield from _documents(table.iter_batches(BATCH, columns=names), columns, name)
        except (pa.ArrowException, OSError) as error:
            raise _damaged(error, name) from error


def arrow(file: IO[bytes], name: str, columns: Columns, encoding: str | None) -> Iterator[tuple[int, Parts]]:
    """The same for Arrow's own files (feather) and streams."""
    import pyarrow as pa

    with sources.seekable(file) as whole:
        try:
            reader = _reader(whole)
            names = columns.chosen(reader.schema.names, name)
            _check_text(reader.schema, columns, name)
            is_file = isinstance(reader, pa.ipc.RecordBatchFileReader)
            batches = (reader.get_batch(at) for at in range(reader.num_record_batches)) if is_file else reader
            chosen = (batch.select(names) for batch in batches)
            yield from _documents((part for batch in chosen for part in _sliced(batch)), columns, name)
        except (pa.ArrowException, OSError) as error:
            raise _damaged(error, name) from error


def _reader(whole: IO[bytes]) -> Any:
    import pyarrow as pa

    is_file = whole.read(6) == b"ARROW1"
    whole.seek(0)
    return pa.ipc.open_file(whole) if is_file else pa.ipc.open_stream(whole)


def parquet_schema(file: IO[bytes], name: str) -> Any:
    """The types of its columns. Raises FileDamaged."""
    from pyarrow import parquet as pq

    return _schema(lambda whole: pq.ParquetFile(whole).schema_arrow, file, name)


def arrow_schema(file: IO[bytes], name: str) -> Any:
    """The same of Arrow's own files and streams."""
    return _schema(lambda whole: _reader(whole).schema, file, name)


def _schema(read: Callable[[IO[bytes]], Any], file: IO[bytes], name: str) -> Any:
    import pyarrow as pa

    with sources.seekable(file) as whole:
        try:
            return read(whole)
        except (pa.ArrowException, OSError) as error:
            raise _damaged(error, name) from error


def unified(schemas: Sequence[Any]) -> Any:
    """One schema of all columns; None where one name has types that do not go together, or where there is no schema."""
    import pyarrow as pa

    if len(schemas) < 2:
        return schemas[0] if schemas else None
    try:
        # What is told of one file as a whole (an index of pandas) is not true of several.
        return pa.unify_schemas(list(schemas), promote_options="permissive").remove_metadata()
    except pa.ArrowException:
        return None


def _sliced(batch: Any) -> Iterator[Any]:
    return (batch.slice(at, BATCH) for at in range(0, batch.num_rows, BATCH))


def _documents(batches: Any, columns: Columns, name: str) -> Iterator[tuple[int, Parts]]:
    import pyarrow as pa

    number = 0
    for batch in batches:
        try:
            rows = batch.to_pylist()
        except (pa.ArrowException, UnicodeDecodeError):
            raise  # damaged, or an encoding: told by whoever knows which
        except (OverflowError, ValueError) as error:
            place = f"{name}, rows {number + 1} to {number + batch.num_rows}"
            raise InvalidRequest(f"{place}: a value is none that Python has: {error}", file=name) from error
        for row in rows:
            number += 1
            yield number, columns.parts(row, f"{name}, row {number}")


def _check_text(schema: Any, columns: Columns, name: str) -> None:
    """Said once and before anything is sent, not at the first row."""
    import pyarrow as pa

    if columns.text_name not in schema.names:
        return  # something stands in for it
    kind = schema.field(columns.text_name).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_null(kind)
    ):
        message = f"{name}: the column {columns.text_name!r} is of type {kind} and no text"
        raise InvalidRequest(message, file=name)


def _damaged(error: Exception, name: str) -> FileUnreadable:
    return FileDamaged(f"{name} is damaged: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
