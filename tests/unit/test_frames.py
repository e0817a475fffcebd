"""Data frames: what goes in, and the same kind with new columns."""

import datetime
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from tests.unit.test_files_written import result
from textmill.errors import InvalidRequest
from textmill.frames import Frame, to_arrow

ROWS = {"text": ["Ada", "", "Rome"], "n": [3, 1, 2], "question": ["Who?", None, None]}
ENTITY = {"entity_group": "PER", "score": 0.5, "word": "Ada", "start": 0, "end": 3}
RESULTS = [result(0, {"entities": [ENTITY]}), result(1), result(2, {"entities": []})]

KINDS = {
    "pandas": lambda: pd.DataFrame(ROWS, index=pd.Index([7, 7, 3], name="key")),
    "polars": lambda: pl.DataFrame(ROWS),
    "arrow": lambda: pa.table(ROWS),
}


def as_rows(frame: Any) -> list[dict[str, Any]]:
    if isinstance(frame, pd.DataFrame):
        frame = pa.Table.from_pandas(frame, preserve_index=False)
    return (frame.to_arrow() if isinstance(frame, pl.DataFrame) else frame).to_pylist()


@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_comes_back_with_new_columns(kind: str) -> None:
    given = KINDS[kind]()
    frame = Frame(given, "ner", "text", None)
    assert [(one.id, one.text, dict(one.fields)) for one in frame.documents()] == [
        (None, "Ada", {}), (None, "", {}), (None, "Rome", {}),
    ]  # fmt: skip
    made = frame.with_results(RESULTS)
    assert type(made) is type(given)
    rows = as_rows(made)
    assert list(rows[0]) == ["text", "n", "question", "entities", "error_code", "error_message"]
    assert [row["n"] for row in rows] == ROWS["n"]
    assert [row["entities"] for row in rows] == [[ENTITY], None, []]
    assert [row["error_code"] for row in rows] == [None, "document_empty", None]
    if isinstance(made, pd.DataFrame):
        assert list(made.index) == [7, 7, 3]
    again = Frame(made, "ner", "text", None).with_results(RESULTS)
    assert list(as_rows(again)[0])[-3:] == ["result_entities", "result_error_code", "result_error_message"]
    with pytest.raises(InvalidRequest, match="3 rows, and its job 1 documents"):
        frame.with_results(RESULTS[:1])


@pytest.mark.parametrize("kind", KINDS)
def test_ids_and_fields_are_columns_where_they_are_named(kind: str) -> None:
    found = list(Frame(KINDS[kind](), "question-answering", "text", "n").documents())
    assert [(one.id, dict(one.fields)) for one in found] == [("3", {"question": "Who?"}), ("1", {}), ("2", {})]
    with pytest.raises(InvalidRequest, match="no column is named 'body'; the frame has: text, n, question"):
        Frame(KINDS[kind](), "ner", "body", None)
    with pytest.raises(InvalidRequest, match="row 0: n is of type int and no text"):
        list(Frame(KINDS[kind](), "ner", "n", None).documents())


@pytest.mark.parametrize("id_type", ["Int64", "int32", "string", "int64[pyarrow]"])
def test_the_newer_types_of_pandas_are_read(id_type: str) -> None:
    frame = pd.DataFrame(
        {
            "text": pd.array(["Ada", pd.NA], dtype="string"),
            "key": pd.array(["1", "2"] if id_type == "string" else [1, 2], dtype=id_type),
            "question": pd.array([pd.NA, "Who?"], dtype="string"),
        }
    )
    found = list(Frame(frame, "question-answering", "text", "key").documents())
    assert [one[:3] for one in found] == [("1", "Ada", {}), ("2", "", {"question": "Who?"})]


def test_messages_are_lists_however_a_frame_keeps_them() -> None:
    talk = [{"role": "user", "content": "Olá"}]
    table = pa.table({"key": [1, 2], "messages": [talk, None], "text": [None, "x"]})
    for frame in (table.to_pandas(), table.to_pandas(types_mapper=pd.ArrowDtype), table, pl.from_arrow(table)):
        found = list(Frame(frame, "text-generation", "text", "key").documents())
        assert [one[:3] for one in found] == [("1", None, {"messages": talk}), ("2", "x", {})]
        assert type(found[0].fields["messages"]) is list
    alone = Frame(table.select(["messages"]).slice(0, 1).to_pandas(), "text-generation", "text", None)
    assert [one[:3] for one in alone.documents()] == [(None, None, {"messages": talk})]


def test_what_is_no_frame_is_refused() -> None:
    for given in (["a"], pl.DataFrame(ROWS).lazy(), pd.Series(["a"])):
        with pytest.raises(InvalidRequest, match="no data frame"):
            Frame(given, "ner", "text", None)


def test_missing_texts_are_empty() -> None:
    frame = pd.DataFrame({"text": ["a", None, float("nan"), pd.NA]})
    assert [one.text for one in Frame(frame, "ner", "text", None).documents()] == ["a", "", "", ""]


def test_results_as_a_table() -> None:
    table = to_arrow("ner", RESULTS)
    assert table["entities"].to_pylist() == [[ENTITY], None, []]
    assert table["finished_at"].to_pylist()[0] == datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    assert to_arrow("ner", []).num_rows == 0
