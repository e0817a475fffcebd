"""Files and iterables -> documents -> chunks."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from textmill import documents
from textmill.documents import Chunker, chunks, each
from textmill.errors import InvalidRequest, InvalidText
from textmill.files.parts import Parts
from textmill.wire import Document


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (["a", ("1", "b"), {"id": "2", "text": "c"}, {"text": "d"}, Document(id="3", text="e"), (None, "f")],
         [(None, "a"), ("1", "b"), ("2", "c"), (None, "d"), ("3", "e"), (None, "f")]),
        (io.StringIO("one\ntwo\r\n\nlast"), [(None, "one"), (None, "two"), (None, ""), (None, "last")]),
        (iter(()), []),
    ],
)  # fmt: skip
def test_what_can_be_a_document(given: object, found: list[tuple[str | None, str]]) -> None:
    assert [(parts.id, parts.text) for parts in each(given)] == found  # type: ignore[arg-type]


@pytest.mark.parametrize("given", ["one text", b"bytes", {"id": "1", "text": "x"}, Path("x"), Document(text="x")])
def test_one_document_is_not_a_list_of_them(given: object) -> None:
    with pytest.raises(InvalidRequest, match="not one"):
        list(each(given))  # type: ignore[arg-type]


class Series:
    """A column as pandas and polars have it, which are not installed here."""

    dtype = "str"

    def __init__(self, values: list[object]) -> None:
        self.values = values

    def __iter__(self) -> Iterator[object]:
        return iter(self.values)

    def __arrow_c_stream__(self, _schema: object = None) -> None:
        raise AssertionError


class Frame:
    """A table as pandas and polars have it: iterating gives the names of the columns."""

    def __init__(self, *protocol: str) -> None:
        for name in protocol:
            setattr(self, name, ["id", "text"])

    def __iter__(self) -> Iterator[str]:
        return iter(["id", "text"])


@pytest.mark.parametrize("protocol", ["columns", "__dataframe__", "__arrow_c_stream__"])
def test_a_table_is_not_taken_for_the_names_of_its_columns(protocol: str) -> None:
    with pytest.raises(InvalidRequest, match=r'df\["text"\]') as raised:
        list(each(Frame(protocol)))
    assert "itertuples(index=False, name=None)" in raised.value.message


def test_a_column_is_its_texts() -> None:
    assert list(each(Series(["a", "b"]))) == [Parts(None, "a"), Parts(None, "b")]  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest, match="document 1 is a float"):  # how pandas writes a missing value
        list(each(Series(["a", float("nan")])))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong", [5, None, b"x", ("1", "2", "3"), (1, "x"), ["1", "x"], {"text": "x", "title": "y"}, {}]
)
def test_what_cannot_be_a_document_is_named_by_its_number(wrong: object) -> None:
    with pytest.raises(InvalidRequest) as raised:
        list(each(["fine", wrong]))  # type: ignore[list-item]
    assert raised.value.details == {"index": 1}


@pytest.mark.parametrize("text", ["ab\0", "ab\ud800"])
def test_what_cannot_be_stored_is_refused_before_it_is_sent(text: str) -> None:
    with pytest.raises(InvalidText) as raised:
        list(chunks(["fine", text], Chunker()))
    assert raised.value.details == {"index": 1, "field": "text", "character": 2}


@pytest.mark.parametrize(
    ("sizes", "max_documents", "max_bytes", "split"),
    [
        ([1, 1, 1, 1, 1], 2, 1_000, [2, 2, 1]),
        ([10, 10, 10], 100, 2 * (10 + 12), [2, 1]),  # {"text":""} and a newline are 12 bytes
        ([10, 500, 10], 100, 100, [1, 1, 1]),  # larger than a chunk: alone
        ([], 2, 100, []),
    ],
)
def test_chunks(sizes: list[int], max_documents: int, max_bytes: int, split: list[int]) -> None:
    texts = ["x" * size for size in sizes]
    found = list(chunks(texts, Chunker(max_documents, max_bytes)))
    assert [len(chunk.lines) for chunk in found] == split
    assert [json.loads(line)["text"] for chunk in found for line in chunk.ndjson().splitlines()] == texts
    assert [document["text"] for chunk in found for document in json.loads(chunk.array())] == texts


def test_no_more_than_two_chunks_are_read_ahead() -> None:
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield "text"

    source = chunks(endless(), Chunker(max_documents=10))
    next(source)
    next(source)
    assert read == 21


def test_skipped_documents_are_not_encoded() -> None:
    found = list(chunks(["bad \0", "good"], Chunker(), skip=1))
    assert [chunk.lines for chunk in found] == [[b'{"text":"good"}']]


def test_lines_keep_white_space() -> None:
    assert list(each(io.StringIO("  a \n\tb\r\n"))) == [Parts(None, "  a "), Parts(None, "\tb")]
    assert documents.encode(Parts("é", "ü"), 0) == '{"id":"é","text":"ü"}'.encode()
