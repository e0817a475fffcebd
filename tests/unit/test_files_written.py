"""What is made of results: tables, rows with new columns, entities for others' tools, one file a document."""

import csv
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from tests.unit.made_files import as_parquet
from textmill import cli_options, notes, tasks, wire
from textmill.errors import InvalidRequest
from textmill.files import entities, split, tables
from textmill.files.columns import Columns
from textmill.files.encodings import FileNotice
from textmill.files.inputs import from_files, schema_of
from textmill.files.jsonl import result_line
from textmill.files.parts import Parts
from textmill.files.results import To, form_of
from textmill.outputs import Outputs


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def result(position: int = 0, output: dict[str, Any] | None = None, **given: Any) -> wire.Result:
    told = {
        "id": str(position), "position": position, "state": "succeeded", "output": output, "error": None, "model": "m",
        "model_revision": "1", "input_tokens": 3, "output_tokens": None, "pieces": 1, "truncated": False, "attempts": 1,
        "finished_at": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    if output is None:
        told |= {"state": "failed", "error": {"code": "document_empty", "message": "nothing"}}
    return wire.Result.model_validate(told | given)


def found_in(text: str, *names: tuple[str, str]) -> dict[str, Any]:
    """An output with these names, in their order."""
    made, at = [], 0
    for word, label in names:
        at = text.index(word, at)
        made.append({"entity_group": label, "score": 0.5, "word": word, "start": at, "end": at + len(word)})
        at += len(word)
    return {"entities": made}


def test_the_choices_are_those_of_the_command() -> None:
    assert get_args(To) == cli_options.TOS


@pytest.mark.parametrize("to", ["auto", "csv"])
@pytest.mark.parametrize("name", ["out.csv.gz", "out.jsonl.zst", "out.GZ"])
def test_a_packed_output_is_refused(name: str, to: To) -> None:
    with pytest.raises(InvalidRequest, match="not written packed"):
        form_of(name, "ner", to)


# --- tables -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", tasks.NAMES)
def test_every_task_has_a_parquet_of_its_own(task: str, here: Path) -> None:
    form_of("out.parquet", task).write(lambda: [result()], here / "out.parquet")
    table = pq.read_table("out.parquet")
    assert table.column_names[:3] == ["id", "position", "state"]
    assert set(tasks.get(task).output.model_fields) <= set(table.column_names)
    assert table.to_pylist()[0]["error_code"] == "document_empty"
    assert not any(pa.types.is_null(field.type) for field in table.schema)


def test_parquet_has_types_and_is_read_back_as_it_was(here: Path) -> None:
    output = found_in("Ada in Rome", ("Ada", "PER"), ("Rome", "LOC"))
    given = [result(0, output), result(1), result(2, {"entities": []})]
    form_of("out.parquet", "ner").write(lambda: given, here / "out.parquet")
    rows = pq.read_table("out.parquet").to_pylist()
    assert [row["entities"] for row in rows] == [output["entities"], None, []]
    assert [row["state"] for row in rows] == ["succeeded", "failed", "succeeded"]
    assert [row["finished_at"] for row in rows] == [one.finished_at for one in given]
    form_of("out.pq", "feature-extraction").write(lambda: [result(0, {"embedding": [0.5, 1.0]})], here / "v.parquet")
    assert pq.read_schema("v.parquet").field("embedding").type == pa.list_(pa.float64())


def test_parquet_is_written_row_group_by_row_group(here: Path) -> None:
    held = 0

    def many() -> Iterator[wire.Result]:
        nonlocal held
        for n in range(3 * tables.ROW_GROUP + 1):
            held = max(held, pa.total_allocated_bytes())
            yield result(n, {"summary_text": "x" * 1_000})

    form_of("out.parquet", "summarization").write(many, here / "out.parquet")
    file = pq.ParquetFile("out.parquet")
    assert (file.num_row_groups, file.metadata.num_rows) == (4, 3 * tables.ROW_GROUP + 1)
    assert held < 3_000 * tables.ROW_GROUP


def join(name: str, out: str, results: list[wire.Result], **columns: str) -> None:
    form = form_of(out, "summarization", join=True)
    source, given = Columns(**columns, keep=True), schema_of([name], "auto")
    form.write_joined(lambda: from_files([name], columns=source), lambda: results, Path(out), given)


OUTCOMES = [result(0, {"summary_text": "short"}), result(1)]


def test_rows_meet_their_results(here: Path) -> None:
    rows = [
        {"n": 1, "body": "a", "when": {"y": 2}, "error_code": "mine"},
        {"n": 2, "body": "b", "when": None, "error_code": None},
    ]
    (here / "t.parquet").write_bytes(as_parquet(rows))
    join("t.parquet", "out.parquet", OUTCOMES, text="body")
    expected = [
        {**rows[0], "summary_text": "short", "result_error_code": None, "error_message": None},
        {**rows[1], "summary_text": None, "result_error_code": "document_empty", "error_message": "nothing"},
    ]
    assert pq.read_table("out.parquet").to_pylist() == expected
    join("t.parquet", "out.jsonl", OUTCOMES, text="body")
    assert [json.loads(line) for line in (here / "out.jsonl").open()] == expected
    join("t.parquet", "out.csv", OUTCOMES, text="body")
    with open("out.csv", newline="") as file:
        shown = list(csv.DictReader(file, strict=True))
    assert (shown[0]["when"], shown[1]["when"], shown[1]["result_error_code"]) == ('{"y":2}', "", "document_empty")
    assert list(shown[0]) == list(expected[0])


TYPED = pa.table(
    {
        "text": pa.array(["a", "b"], pa.large_string()),
        "small": pa.array([1, None], pa.int8()),
        "number": pa.array([1, 2], pa.int32()),
        "unsigned": pa.array([2**63, 1], pa.uint64()),
        "half": pa.array([0.1, None], pa.float32()),
        "none": pa.array([None, None], pa.null()),
        "nobody": pa.array([None, None], pa.int16()),
        "day": pa.array([date(2026, 1, 2), None], pa.date32()),
        "at": pa.array([datetime(2026, 1, 2, 3, 4, 5), None], pa.timestamp("ms")),
        "there": pa.array([datetime(2026, 1, 2, 3, 4, 5), None], pa.timestamp("us", "Europe/Lisbon")),
        "exact": pa.array([1767323045000000001, None], pa.timestamp("ns")),
        "price": pa.array([Decimal("1.50"), None], pa.decimal128(9, 2)),
        "kind": pa.array(["x", "y"], pa.dictionary(pa.int16(), pa.string())),
        "bytes": pa.array([b"\0", None], pa.binary(1)),
        "inside": pa.array([{"n": [1]}, None], pa.struct([("n", pa.list_(pa.int8()))])),
    }
)


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_columns_keep_the_types_of_their_input(form: str, here: Path) -> None:
    if form == "parquet":
        pq.write_table(TYPED, "t.parquet")
    else:
        with pa.ipc.new_file("t.arrow", TYPED.schema) as writer:
            writer.write_table(TYPED)
    join(f"t.{form}", "out.parquet", OUTCOMES)
    made = pq.read_table("out.parquet")
    added = {"summary_text": pa.string(), "error_code": pa.string(), "error_message": pa.string()}
    assert {field.name: field.type for field in made.schema} == {
        field.name: field.type for field in TYPED.schema
    } | added
    assert made.select(TYPED.column_names).to_pylist() == TYPED.to_pylist()


def test_columns_of_several_inputs_have_a_type_for_all(here: Path) -> None:
    pq.write_table(pa.table({"text": ["a"], "n": pa.array([1], pa.int8())}), "a.parquet")
    pq.write_table(pa.table({"text": ["b"], "n": pa.array([2], pa.int32())}), "b.parquet")
    names = ["a.parquet", "b.parquet"]
    source = Columns(keep=True)

    def joined(*names: str, ids: tuple[str, ...] = ("0", "1")) -> pa.Schema:
        results = [one.model_copy(update={"id": name}) for one, name in zip(OUTCOMES[: len(names)], ids, strict=False)]
        form = form_of("out.parquet", "summarization", join=True)
        given = schema_of(names, "auto")
        form.write_joined(lambda: from_files(names, columns=source), lambda: results, Path("out.parquet"), given)
        return pq.read_schema("out.parquet")

    assert joined(*names).field("n").type == pa.int32()
    # A text in the one and a number in the other go together nowhere.
    pq.write_table(pa.table({"text": ["b"], "n": ["x"]}), "b.parquet")
    with pytest.raises(InvalidRequest, match=r"do not go together.*\.jsonl"):
        joined(*names)
    # One of the two has no types of its own: all are found out.
    (here / "b.csv").write_text("text,m\nb,1\n")
    assert joined("a.parquet", "b.csv").field("n").type == pa.int64()
    # One cannot be read: its row has its name, and the others keep their types.
    (here / "b.parquet").write_bytes(b"PAR1")
    with pytest.warns(FileNotice):
        made = joined(*names, ids=("0", "b.parquet"))
    assert (made.field("n").type, made.field("id").type) == (pa.int8(), pa.string())
    pq.write_table(TYPED.slice(0, 0), "a.parquet")
    form = form_of("out.parquet", "summarization", join=True)
    form.write_joined(lambda: iter(()), lambda: (), Path("out.parquet"), schema_of(["a.parquet"], "auto"))
    assert pq.read_schema("out.parquet").names == [*TYPED.column_names, "summary_text", "error_code", "error_message"]


def test_an_index_of_pandas_and_its_kinds_come_back(here: Path) -> None:
    frame = pd.DataFrame(
        {"text": ["a", "b"], "kind": pd.Categorical(["x", "y"]), "n": pd.array([1, None], "Int32")}, index=["i", "j"]
    )
    frame.to_parquet("t.parquet")
    join("t.parquet", "out.parquet", OUTCOMES)
    made = pd.read_parquet("out.parquet")
    pd.testing.assert_frame_equal(made[list(frame)], frame)
    assert made["summary_text"].isna().tolist() == [False, True]


def test_two_columns_of_one_name_are_not_joined(here: Path) -> None:
    pq.write_table(pa.table([["a"], [1], [2]], ["text", "n", "n"]), "t.parquet")
    with pytest.raises(InvalidRequest, match="two columns have one name; it has: text, n, n"):
        join("t.parquet", "out.jsonl", OUTCOMES[:1])


def test_rows_need_not_have_the_same_columns(here: Path) -> None:
    (here / "t.jsonl").write_text('{"text": "a", "x": 1}\n{"text": "b", "y": "z", "x": 2.5}\n')
    join("t.jsonl", "out.parquet", OUTCOMES)
    table = pq.read_table("out.parquet")
    assert table.column_names == ["text", "x", "y", "summary_text", "error_code", "error_message"]
    assert table["x"].to_pylist() == [1.0, 2.5]
    (here / "t.jsonl").write_text('{"text": "a", "x": 1}\n{"text": "b", "x": {"y": 1}}\n')
    with pytest.raises(InvalidRequest, match=r"do not go together.*\.jsonl"):
        join("t.jsonl", "out.parquet", OUTCOMES)
    (here / "t.jsonl").write_text(f'{{"text": "a", "x": 1}}\n{{"text": "b", "x": {2**70}}}\n')
    with pytest.raises(InvalidRequest, match=r"do not go together.*\.jsonl"):
        join("t.jsonl", "out.parquet", OUTCOMES)
    for few in (OUTCOMES[:1], [*OUTCOMES, result(2)]):
        with pytest.raises(InvalidRequest, match="the input has other rows"):
            join("t.jsonl", "out.jsonl", few)


def test_cells_of_any_type_are_bare(here: Path) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    row = {"at": moment, "day": moment.date(), "hour": moment.time(), "price": Decimal("1.50"), "is": True, "n": [1]}
    (here / "t.parquet").write_bytes(as_parquet([{"text": "a", **row, "inside": {"day": moment.date()}}]))
    join("t.parquet", "out.csv", OUTCOMES[:1])
    with open("out.csv", newline="") as file:
        [shown] = csv.DictReader(file, strict=True)
    assert [shown[name] for name in (*row, "inside")] == [
        "2026-01-02T03:04:05+00:00", "2026-01-02", "03:04:05", "1.50", "true", "[1]", '{"day":"2026-01-02"}',
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("when", "content", "said"),
    [
        ("before", "id,text\n0,a\n1,b\n2,c\n", "in.csv was changed"),
        ("between", "id,text\n1,b\n0,a\n", "has '1' where the job has '0'"),
        ("meanwhile", "id,text\n0,A\n1,B\n", "in.csv was changed"),
    ],
)
def test_rows_of_a_changed_input_are_not_joined(
    when: str, content: str, said: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = here / "in.csv"
    source.write_text(content if when == "between" else "id,text\n0,a\n1,b\n")
    plan = notes.plan("summarization", ["in.csv"], "auto", None, "normal", None, {}, Columns(keep=True), join=True)
    outputs = Outputs(plan, here / "out.csv")
    outputs.collected.write_text("".join(map(result_line, OUTCOMES)))

    def read(*given: Any) -> Iterator[Parts]:
        yield from from_files(*given)
        source.write_text(content + "\n")

    if when == "before":
        source.write_text(content)
    if when == "meanwhile":
        monkeypatch.setattr("textmill.outputs.from_files", read)
    with pytest.raises(InvalidRequest, match=said):
        outputs.make()
    assert {one.name for one in here.iterdir()} == {"in.csv", "out.csv.job.jsonl"}


# --- entities ---------------------------------------------------------------------------------------------------------

TEXT = "Ada Lovelace, born in\nLondon-upon-Thames.\n\n  D'Arcy"
OUTPUT = found_in(TEXT, ("Ada Lovelace", "PER"), ("London", "LOC"), ("Thames", "LOC"), ("Arcy", "PER"))


def test_conll() -> None:
    shown = entities.conll(result(0, OUTPUT, id="a b/\n1", text=TEXT))
    assert shown.splitlines() == [
        "-DOCSTART- a%20b/%0A1 O O", "",
        "Ada -X- _ B-PER", "Lovelace -X- _ I-PER", ", -X- _ O", "born -X- _ O", "in -X- _ O", "",
        "London -X- _ B-LOC", "- -X- _ O", "upon -X- _ O", "- -X- _ O", "Thames -X- _ B-LOC", ". -X- _ O", "",
        "D -X- _ O", "' -X- _ O", "Arcy -X- _ B-PER", "",
    ]  # fmt: skip
    assert entities.conll(result(0, text=TEXT)) == "-DOCSTART- 0 O O\n\n"
    together = found_in("AdaRome", ("Ada", "B-PER"), ("Rome", "B-PER"))
    assert "Ada -X- _ B-PER\nRome -X- _ B-PER\n" in entities.conll(result(0, together, text="AdaRome"))


@pytest.mark.parametrize("text", [TEXT, " a  b ", "a\tb", "\n\nx", "", "  ", "a \n b", "é́ 日本 x"])
def test_spacy_tokens_and_the_spaces_after_them_are_the_text(text: str) -> None:
    told = json.loads(entities.spacy(result(0, OUTPUT if text == TEXT else {"entities": []}, text=text)))
    rebuilt = ""
    for token in told["tokens"]:
        assert token["start"] == len(rebuilt)
        word = text[token["start"] : token["end"]]
        assert word
        rebuilt += word + (" " if text[token["end"] : token["end"] + 1] == " " else "")
    assert rebuilt == text
    borders = {token["start"] for token in told["tokens"]}, {token["end"] for token in told["tokens"]}
    assert all(one["start"] in borders[0] and one["end"] in borders[1] for one in told["ents"])
    assert entities.spacy(result(0, text=text)) == ""


def test_brat() -> None:
    text = "in New\nYork"
    shown = entities.brat(result(0, found_in(text, ("New\nYork", "LOC")), text=text))
    assert shown == "T1\tLOC 3 6;7 11\tNew York\n"


def test_entities_are_for_tasks_that_give_them() -> None:
    for name, to in (("out.conll", "auto"), ("out.jsonl", "spacy")):
        assert form_of(name, "ner", to).with_text
        for task, joined in (("summarization", False), ("ner", True)):
            with pytest.raises(InvalidRequest, match=r"entities|--join"):
                form_of(name, task, to, joined)


# --- one file a document ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document_id", "path"),
    [
        ("in/a.txt", "in/a.txt"),
        ("a.pdf", "a.pdf.txt"),
        ("/etc/passwd", "etc/passwd.txt"),
        ("../../up.txt", "%2E./%2E./up.txt"),
        ("a/./../b", "a/%2E/%2E./b.txt"),
        (".hidden", "%2Ehidden.txt"),
        ("two\nlines\0\\", "two%0Alines%00%5C.txt"),
        ("a.txt/b", "a%2Etxt/b.txt"),
        ("100%", "100%25.txt"),
        ("/", "%.txt"),
        (".txt", "%.txt"),
        ("https://x.org/a?b", "https%3A/x.org/a%3Fb.txt"),
    ],
)
def test_a_name_stays_what_it_is_and_inside_its_folder(document_id: str, path: str, here: Path) -> None:
    assert split.path_of(document_id, ".txt") == path
    split.write([result(0, {"translation_text": "Olá"}, id=document_id)], here / "out", "translation")
    assert [str(one.relative_to(here)) for one in here.rglob("*") if one.is_file()] == [f"out/{path}"]
    assert (here / "out" / path).read_text() == "Olá"


def test_no_document_takes_another_s_file(here: Path) -> None:
    ids = ["a", "a.txt", "a.txt/b", "a/b", "A", "x" * 500, "x" * 499 + "y", "é" * 250, "a%2Etxt/b", "a.txt.txt"]
    given = [result(n, {"summary_text": str(n)}, id=one) for n, one in enumerate(ids)]
    assert split.write([*given, result(99)], here / "out", "summarization") == len(ids)
    files = sorted(one.read_text() for one in (here / "out").rglob("*.txt"))
    assert files == [str(n) for n in range(len(ids))]
    split.write(given, here / "out", "summarization")
    assert len(list((here / "out").rglob("*.txt"))) == len(ids)


def test_a_text_and_its_entities_stay_a_pair(here: Path) -> None:
    ids = ["a", "a.txt", "a.ann", "a.ann/b", "a.txt/b", "a.txt.txt", "a.ann.txt", "x" * 500]
    given = [result(n, found_in(f"Ada {n}", ("Ada", "PER")), id=one, text=f"Ada {n}") for n, one in enumerate(ids)]
    given[1] = result(1, found_in("In Ada", ("Ada", "PER")), id=ids[1], text="In Ada")
    split.write(given, here / "out", "ner")
    texts = {one.with_suffix(""): one.read_text() for one in (here / "out").rglob("*.txt")}
    named = {one.with_suffix(""): one.read_text().split()[2] for one in (here / "out").rglob("*.ann")}
    assert sorted(texts.values()) == sorted(str(one.text) for one in given)
    assert named == {stem: str(text.index("Ada")) for stem, text in texts.items()}


def test_a_link_leads_nowhere(here: Path) -> None:
    (here / "out").mkdir()
    (here / "away").mkdir()
    (here / "out" / "in").symlink_to(here / "away")
    with pytest.raises(InvalidRequest, match="leads out of"):
        split.write([result(0, {"summary_text": "x"}, id="in/a")], here / "out", "summarization")
    assert list((here / "away").iterdir()) == []


def test_entities_are_split_as_brat_reads_them_and_the_rest_as_json(here: Path) -> None:
    split.write([result(0, OUTPUT, id="a.txt", text=TEXT)], here / "out", "ner")
    assert (here / "out/a.txt").read_text() == TEXT
    for line in (here / "out/a.ann").read_text().splitlines():
        _, place, word = line.split("\t")
        _, start, end = place.split()
        assert TEXT[int(start) : int(end)] == word
    split.write([result(0, {"labels": []}, id="b")], here / "out", "text-classification")
    assert json.loads((here / "out/b.json").read_text())["output"] == {"labels": []}
