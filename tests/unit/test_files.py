"""Files -> documents, results -> files."""

import csv
import io
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

import pytest

from textmill import tasks, wire
from textmill.documents import each
from textmill.errors import InvalidRequest, InvalidText
from textmill.files import delimited
from textmill.files.columns import Columns
from textmill.files.encodings import FileNotice
from textmill.files.formats import FOREIGN, FORMATS, Format
from textmill.files.inputs import check, from_file, from_files, same_id
from textmill.files.parts import UNREADABLE, Parts
from textmill.files.results import form_of
from textmill.files.sources import PACKED, expand


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pairs(documents: Iterable[Parts]) -> list[tuple[str | None, str]]:
    """Of documents that have nothing beside their text."""
    found = list(documents)
    assert not any(parts.fields for parts in found)
    return [(parts.id, parts.text) for parts in found]


def failing(documents: Iterable[Parts]) -> list[tuple[str | None, str]]:
    """(id, code) of documents of which none could be read, each of which is said."""
    with pytest.warns(FileNotice, match="fails by itself"):
        found = list(documents)
    assert not any(parts.text for parts in found)
    return [(parts.id, parts.fields[UNREADABLE]["code"]) for parts in found]


def give(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    # The locale's encoding, as Python opens it: nothing may depend on it.
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content), encoding="ascii", errors="surrogateescape"))


def test_files_by_their_kind(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "b.txt").write_bytes("\ufeffzwei\r\nZeilen\n".encode())
    (here / "sub").mkdir()
    (here / "sub" / "a.txt").write_text("eins")
    (here / "c.JSONL").write_text('{"id": "x", "text": "drei"}\n\n{"text": "vier"}\n')
    (here / "empty.txt").touch()
    (here / "readme.md").write_text("# Titel")
    names = expand(["c.JSONL", "**/*.txt"])
    assert names == ["c.JSONL", "b.txt", "empty.txt", "sub/a.txt"]
    whole = [("b.txt", "zwei\r\nZeilen\n"), ("empty.txt", ""), ("sub/a.txt", "eins")]  # offsets count in the file
    assert pairs(from_files(names)) == [("x", "drei"), (None, "vier"), *whole]
    assert pairs(from_files(["readme.md"])) == [("readme.md", "# Titel")]
    assert pairs(from_file(Path("b.txt"), "lines")) == [(None, "zwei"), (None, "Zeilen")]
    assert pairs(each([Path("sub/a.txt"), "text"])) == [("sub/a.txt", "eins"), (None, "text")]
    with pytest.raises(InvalidRequest, match="no such file"):
        expand(["*.pdf"])


@pytest.mark.parametrize(
    ("content", "format", "found"),
    [
        (b"l1\nl2\r\n", "auto", [(None, "l1"), (None, "l2")]),
        ("\ufeffé\n".encode(), "text", [(None, "é\n")]),
        (b'{"text": "l1"}\n', "jsonl", [(None, "l1")]),
        (b'text,id\n"a\r\nb",1\n', "csv", [("1", "a\r\nb")]),
        (b"", "auto", []),
        (b"", "text", [(None, "")]),
    ],
)
def test_the_standard_input(
    content: bytes, format: Format, found: list[tuple[str | None, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    give(monkeypatch, content)
    assert pairs(from_files(["-"], format)) == found
    assert sys.stdin.read() == ""  # still open


@pytest.mark.parametrize(
    ("content", "format", "message"),
    [
        (b"fine\ncaf\xe9\n", "lines", "standard input is not UTF-8: invalid continuation byte$"),
        (b"a\nb\0\n", "lines", "standard input, line 2: the text has a NUL"),
        (b'{"text": 5}', "jsonl", "standard input, line 1: text"),
        (b"a,b\n", "csv", "standard input: no column is named 'text'; it has: a, b"),
    ],
)
def test_a_bad_standard_input_says_where(
    content: bytes, format: Format, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(monkeypatch, content)
    with pytest.raises(InvalidRequest, match=message):
        list(from_files(["-"], format))


@pytest.mark.parametrize("suffix", [".xlsx", ".RTF", ".xml", ".zip", ".tar.bz2", ".png"])
def test_a_format_that_is_none_of_ours_fails_by_itself_and_is_refused_alone(suffix: str, here: Path) -> None:
    name = f"data{suffix}"
    (here / name).write_text('[{"text": "a"}]')
    last = Path(suffix.lower()).suffix or suffix.lower()
    with pytest.raises(InvalidRequest, match=f"{last} files are not read: .*--format text"):
        check([name], "auto", Columns())
    check(["-", name], "auto", Columns())
    [failed] = failing(from_files([name]))
    assert failed == (name, "file_not_text")
    assert pairs(from_files([name], "text")) == [(name, '[{"text": "a"}]')]
    with pytest.raises(InvalidRequest, match="not written"):
        form_of(f"out{suffix}", "ner")


def test_no_suffix_means_two_formats() -> None:
    suffixes = [suffix for one in FORMATS.values() for suffix in one.suffixes]
    assert len(set(suffixes)) == len(suffixes)
    assert not set(suffixes) & (FOREIGN.keys() | PACKED.keys())
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in (*suffixes, *FOREIGN))
    assert set(get_args(Format)) == {"auto", *FORMATS}


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("x.jsonl", b'{"text": "fine"}\n{"txt": "x"}\n', InvalidRequest, "x.jsonl, line 2: text: Field required"),
        ("x.jsonl", b'{"text": "\\ud800"}\n', InvalidRequest, "x.jsonl, line 1: "),
        ("x.jsonl", b'{"text": "fine"}\n\n{"text": "a\\u0000"}\n', InvalidText, "line 3: the text has a NUL"),
        ("x.jsonl", b'{"id": "", "text": "x"}\n', InvalidRequest, "line 1: id: .*at least 1"),
        ("x.jsonl", b'["text"]\n', InvalidRequest, "line 1: "),
        ("x.csv", b"", InvalidRequest, "x.csv has no first row"),
        ("x.csv", b"\n\n", InvalidRequest, "no first row"),
        ("x.csv", b"id,body\n1,a\n", InvalidRequest, "no column is named 'text'; it has: id, body. --text-column"),
        ("x.csv", b"text,text\na,b\n", InvalidRequest, "2 columns are named 'text'"),
        ("x.csv", b"id,text\n1,a\n2\n", InvalidRequest, "line 3: 1 fields where the first row has 2"),
        ("x.csv", b"id,text\n1,a,b\n", InvalidRequest, "line 2: 3 fields"),
        ("x.csv", b'id,text\n1,"two\nlines"\n,b\n', InvalidRequest, "line 4: an id has 1 to 512 characters"),
        ("x.csv", b"id,text\n" + b"9" * 513 + b",a\n", InvalidRequest, "line 2: an id has 1 to 512 characters"),
        ("x.csv", b'text\nfine\n"open\nfor ever\n', InvalidRequest, "line 3: unexpected end of data; is a quotation"),
        ("x.csv", b'text\n"a"b\n', InvalidRequest, "line 2: "),
        ("x.csv", b"text\na\nb\0\n", InvalidText, "x.csv, line 3: the text has a NUL character at character 1"),
        ("x.csv", b"id,text\na\0,b\n", InvalidText, "line 2: the id has a NUL"),
        ("x.tsv", b"id,text\n1,a\n", InvalidRequest, "no column is named 'text'; it has: id,text"),
        ("x.csv", b"text\ncaf\xe9\n", InvalidText, "x.csv is not UTF-8: .* at byte 8; --encoding names another$"),
        (
            "x.jsonl",
            b'{"text": "fine"}\n' * 99_999 + b"\xe9",
            InvalidText,
            "x.jsonl is not UTF-8: .* at byte 1699983; --enc",
        ),
        ("x.jsonl", "é".encode() * 600_000 + b"\xff", InvalidText, "x.jsonl is not UTF-8: .* at byte 1200000; --enc"),
    ],
)
def test_broken_files_say_where(
    name: str, content: bytes, error: type[InvalidRequest], message: str, here: Path
) -> None:
    (here / name).write_bytes(content)
    with pytest.raises(error, match=message):
        list(from_files([name]))


def test_a_file_that_cannot_be_opened_says_why(here: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"gone.txt: no such file"):
        list(each([Path("gone.txt")]))
    (here / "a").mkdir()
    assert failing(from_files(["gone.txt", "a", "gone.csv"])) == [
        ("gone.txt", "file_unreadable"), ("a", "file_unreadable"), ("gone.csv", "file_unreadable"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "columns", "found"),
    [
        ("x.csv", '\ufefftext,id,other\n"a, ""b""\nc",1,x\n\nd,2,\n', Columns(), [("1", 'a, "b"\nc'), ("2", "d")]),
        ("x.csv", "body,key\r\na,1\r\n", Columns("body"), [(None, "a")]),
        ("x.csv", "body,key\na,1\n", Columns("body", "key"), [("1", "a")]),
        ("x.csv", "text\n\"\"\n' '\n", Columns(), [(None, ""), (None, "' '")]),
        ("x.csv", "id,text\na/b,=1+1\n\"c\nd\",é\n", Columns(), [("a/b", "=1+1"), ("c\nd", "é")]),
        ("x.tsv", 'id\ttext\n1\ta, b\n2\t"c\td"\n', Columns(), [("1", "a, b"), ("2", "c\td")]),
        ("x.csv", "text\n", Columns(), []),
        ("x.csv", "text\n" + "x" * 5_000_000 + "\n", Columns(), [(None, "x" * 5_000_000)]),
    ],
)  # fmt: skip
def test_a_row_is_a_document(
    name: str, content: str, columns: Columns, found: list[tuple[str | None, str]], here: Path
) -> None:
    (here / name).write_bytes(content.encode())
    assert pairs(from_files([name], columns=columns)) == found


def test_a_field_without_an_end_is_not_read_to_the_end(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = csv.field_size_limit(1_000)
    monkeypatch.setattr(delimited, "MAX_FIELD", 2_000)
    (here / "x.csv").write_text('text\nfine\n"open' + "\nfor ever" * 1_000)
    try:
        with pytest.raises(InvalidRequest, match=r"line 3: field larger than .*; is a quotation mark left open"):
            list(from_files(["x.csv"]))
    finally:
        csv.field_size_limit(before)


def test_columns_of_nothing_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="--text-column"):
        check(["a.txt"], "auto", Columns("body"))
    check(["a.txt", "b.csv"], "auto", Columns("body"))


def test_two_documents_of_one_id_are_found_by_their_lines(here: Path) -> None:
    (here / "a.csv").write_text('id,text\n1,"two\nlines"\n2,x\n')
    (here / "b.jsonl").write_text('{"id": "0", "text": "x"}\n{"id": "2", "text": "y"}\n')
    assert (
        same_id(["a.csv", "b.jsonl"], "auto", Columns()) == "b.jsonl, line 2: the id '2' is that of a.csv, line 4, too"
    )
    assert same_id(["a.csv"], "auto", Columns()) is None


# --- results ----------------------------------------------------------------------------------------------------------


def result(**given: Any) -> wire.Result:
    told = {
        "id": "a", "position": 0, "state": "succeeded", "output": None, "error": None, "model": "m",
        "model_revision": "1", "input_tokens": 3, "output_tokens": None, "pieces": 1, "truncated": False, "attempts": 1,
        "finished_at": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    return wire.Result.model_validate(told | given)


@pytest.mark.parametrize("task", tasks.TASKS, ids=lambda task: task.name)
def test_every_task_has_columns_of_its_own(task: tasks.Task) -> None:
    columns = delimited.header(task.name, "csv").strip().split(",")
    assert columns[:3] == ["id", "position", "state"]
    assert set(columns) >= set(task.output.model_fields)
    assert len(columns) == len(set(columns))


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_rows_of_results_are_read_back_as_they_were(kind: str) -> None:
    entity = {"entity_group": "PER", "score": 0.5, "word": 'É "x"', "start": 0, "end": 5}
    texts = ["a,b\tc", 'say "x"', "two\r\nlines", "one\rreturn", "=1+1", "", " é "]
    given = [result(id="x/\n1", output={"summary_text": text}) for text in texts]
    failed = result(state="failed", error={"code": "document_empty", "message": "no, text"})
    form = form_of(f"out.{kind}", "summarization")
    written = form.header + "".join(form.line(one) for one in [*given, failed])
    assert written.count("\r\n") == 1  # that of the text
    rows = list(csv.DictReader(io.StringIO(written, newline=""), delimiter=delimited.DELIMITERS[kind], strict=True))
    assert [row["summary_text"] for row in rows] == [*texts, ""]
    assert {row["id"] for row in rows} == {"x/\n1", "a"}
    assert (rows[0]["truncated"], rows[0]["output_tokens"], rows[0]["input_tokens"]) == ("false", "", "3")
    assert (rows[-1]["state"], rows[-1]["error_code"], rows[-1]["error_message"]) == (
        "failed", "document_empty", "no, text",
    )  # fmt: skip
    newer = form_of(f"out.{kind}", "of-tomorrow")
    row = next(csv.DictReader(io.StringIO(newer.header + newer.line(given[0])), delimiter=delimited.DELIMITERS[kind]))
    assert json.loads(row["output"]) == {"summary_text": texts[0]}
    form = form_of(f"out.{kind}", "ner")
    written = form.header + form.line(result(output={"entities": [entity]}))
    row = next(csv.DictReader(io.StringIO(written), delimiter=delimited.DELIMITERS[kind]))
    assert json.loads(row["entities"]) == [entity]


def test_any_other_name_holds_json_lines() -> None:
    for name in ("out.jsonl", "out.ndjson", "out", "out.txt", "<stdout>"):
        assert json.loads(form_of(name, "summarization").line(result(output={"summary_text": "x"})))["output"] == {
            "summary_text": "x"
        }


def test_a_column_of_the_tasks_is_kept(here: Path) -> None:
    (here / "x.csv").write_text("id,question,text,other\na,Who?,Maria,1\nb,,Olá,2\n")
    known = Columns(fields=("question",))
    assert [(p.id, p.text, dict(p.fields)) for p in from_files(["x.csv"], columns=known)] == [
        ("a", "Maria", {"question": "Who?"}), ("b", "Olá", {}),
    ]  # fmt: skip
    assert pairs(from_files(["x.csv"])) == [("a", "Maria"), ("b", "Olá")]
    (here / "y.csv").write_text("question,text,question\n")
    with pytest.raises(InvalidRequest, match="2 columns are named 'question'"):
        list(from_files(["y.csv"], columns=known))


def test_a_field_of_another_task_is_refused_with_its_line(here: Path) -> None:
    (here / "x.jsonl").write_text('{"text": "a"}\n{"text": "b", "question": "Who?"}\n')
    [_, second] = from_files(["x.jsonl"], columns=Columns(fields=("question",)))
    assert second == Parts(None, "b", {"question": "Who?"})
    assert list(from_files(["x.jsonl"], columns=Columns(fields=None)))[1] == second  # the server knows better
    with pytest.raises(InvalidRequest, match=r"x.jsonl, line 2: question: there is no such field") as raised:
        list(from_files(["x.jsonl"]))
    assert raised.value.details == {"file": "x.jsonl", "line": 2}
