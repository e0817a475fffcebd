"""Every format that is read: made here by what usually makes it, read, and broken in the ways that files are broken."""

import bz2
import gzip
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import zstandard
from pyarrow import parquet as pq

from tests.unit.made_files import (
    FRENCH,
    PACKINGS,
    PAGE,
    TABLES,
    as_docx,
    as_epub,
    as_mail,
    as_odt,
    as_parquet,
    as_pdf,
    as_zip,
)
from textmill.errors import InvalidRequest, InvalidText
from textmill.files import markup, sources, zipped
from textmill.files.columns import Columns
from textmill.files.encodings import FileNotice
from textmill.files.formats import FORMATS
from textmill.files.inputs import check, from_files
from textmill.files.parts import UNREADABLE, Parts
from textmill.files.sources import expand
from textmill.outputs import Own
from textmill.tasks import fields_of

ROWS = [{"key": 7, "body": "Ela mora em Évora.", "year": 2020}, {"key": 8, "body": None, "year": None}]
KEYED = Columns("body", "key")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def codes(documents: Iterator[Parts]) -> list[tuple[str | None, str]]:
    """(id, code of the failure, or the text)."""
    return [(one.id, one.fields[UNREADABLE]["code"] if UNREADABLE in one.fields else one.text) for one in documents]


# --- tables -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("name", TABLES)
def test_a_row_of_a_table_is_a_document(name: str, packing: str, here: Path) -> None:
    (here / (name + packing)).write_bytes(PACKINGS[packing](TABLES[name](ROWS)))
    found = list(from_files([name + packing], columns=KEYED))
    assert [(one.id, one.text) for one in found] == [("7", "Ela mora em Évora."), ("8", "")]
    assert not any(one.row or one.fields for one in found)
    kept = [dict(one.row) for one in from_files([name + packing], columns=Columns("body", "key", keep=True))]
    typed = name not in ("t.csv", "t.tsv")
    assert kept == (
        ROWS if typed else [{"key": "7", "body": ROWS[0]["body"], "year": "2020"}, {"key": "8", "body": "", "year": ""}]
    )


@pytest.mark.parametrize("name", TABLES)
def test_a_column_that_is_missing_is_named_with_those_that_are_there(name: str, here: Path) -> None:
    (here / name).write_bytes(TABLES[name](ROWS))
    with pytest.raises(InvalidRequest, match=r"no column is named 'words'; it has: key, body, year. --text-column"):
        list(from_files([name], columns=Columns("words")))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"text": 7}], "type int64 and no text"),
        ([{"text": "a", "id": 1.5}], "row 1: id is of type float"),
        ([{"text": "a", "id": True}], "row 1: id is of type bool"),
        ([{"text": "a", "id": "x"}, {"text": "a", "id": ""}], "row 2: an id has 1 to 512 characters"),
        ([{"text": "a"}, {"text": "b\0"}], "row 2: the text has a NUL"),
    ],
)
def test_rows_of_parquet_that_are_no_documents(rows: list[dict[str, Any]], message: str, here: Path) -> None:
    (here / "t.parquet").write_bytes(as_parquet(rows))
    with pytest.raises(InvalidRequest, match=f"t.parquet.*{message}"):
        list(from_files(["t.parquet"]))


def test_the_task_s_columns_go_with_the_row_and_null_is_none(here: Path) -> None:
    rows = [{"text": "Maria", "question": "Who?", "n": 1}, {"text": "Olá", "question": None, "n": 2}]
    (here / "t.parquet").write_bytes(as_parquet(rows))
    assert [dict(one.fields) for one in from_files(["t.parquet"], columns=Columns(fields=("question",)))] == [
        {"question": "Who?"}, {},
    ]  # fmt: skip


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_a_value_that_python_has_no_type_for_is_told_with_its_rows(form: str, here: Path) -> None:
    table = pa.table({"text": ["a", "b"], "at": pa.array([0, 10**14], pa.timestamp("s"))})
    if form == "parquet":
        pq.write_table(table.cast(pa.schema([("text", pa.string()), ("at", pa.timestamp("ms"))])), "t.parquet")
    else:
        with pa.ipc.new_file("t.arrow", table.schema) as writer:
            writer.write_table(table)
    assert codes(from_files([f"t.{form}"])) == [(None, "a"), (None, "b")]  # the column is not read
    with pytest.raises(InvalidRequest, match=f"t.{form}, rows 1 to 2: a value is none that Python has"):
        list(from_files([f"t.{form}"], columns=Columns(keep=True)))


TALK = [{"role": "user", "content": "Olá"}]


@pytest.mark.parametrize("name", [name for name in TABLES if name not in ("t.csv", "t.tsv")])
@pytest.mark.parametrize("keep", [False, True])
def test_messages_stand_in_for_the_text_of_a_row(name: str, keep: bool, here: Path) -> None:
    columns = Columns(id="key", fields=fields_of("text-generation"), keep=keep)
    (here / name).write_bytes(TABLES[name]([{"key": "a", "messages": TALK}]))
    assert [one[:3] for one in from_files([name], columns=columns)] == [("a", None, {"messages": TALK})]
    (here / name).write_bytes(
        TABLES[name]([{"key": "a", "messages": TALK, "text": None}, {"key": "b", "messages": None, "text": "x"}])
    )
    assert [one[:3] for one in from_files([name], columns=columns)] == [("a", None, {"messages": TALK}), ("b", "x", {})]
    (here / name).write_bytes(TABLES[name]([{"key": "a", "messages": None}]))
    with pytest.raises(InvalidRequest, match="no column is named 'text'"):
        list(from_files([name], columns=columns))


@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
def test_a_cell_is_no_conversation(name: str, here: Path) -> None:
    (here / name).write_bytes(TABLES[name]([{"text": "x", "messages": "y"}]))
    columns = Columns(fields=fields_of("text-generation"))
    assert [one[:3] for one in from_files([name], columns=columns)] == [(None, "x", {})]


@pytest.mark.parametrize("name", TABLES)
def test_a_column_is_the_text_or_a_field_and_not_both(name: str, here: Path) -> None:
    (here / name).write_bytes(TABLES[name]([{"question": "Who?", "text": "x"}]))
    assert [one[:3] for one in from_files([name], columns=Columns("question", "text", ("question", "text")))] == [
        ("x", "Who?", {})
    ]


def test_parquet_is_read_a_few_rows_at_a_time(here: Path) -> None:
    (here / "t.parquet").write_bytes(
        as_parquet([{"text": "x" * 1_000, "n": n} for n in range(50_000)], row_group_size=5_000)
    )
    documents = from_files(["t.parquet"])
    next(documents)
    before = pa.total_allocated_bytes()
    assert sum(1 for _ in documents) == 49_999
    assert before < 15_000_000  # of 50 MB
    (here / "odd.json").write_text('["one", {"text": "two", "id": "b"}]')
    assert codes(from_files(["odd.json"])) == [(None, "one"), ("b", "two")]
    for content, said in (('{"text": "a"}', "a list of objects"), ("[1]", "row 1"), ("[", "not JSON")):
        (here / "bad.json").write_text(content)
        with pytest.raises(InvalidRequest, match=said):
            list(from_files(["bad.json"]))


@pytest.mark.parametrize("name", ["t.csv.gz", "t.csv.zst", "t.parquet", "t.arrow", "t.parquet.gz"])
def test_a_damaged_table_fails_by_itself_and_the_rest_goes_on(name: str, here: Path) -> None:
    """A download that was cut off, or an archive in which a byte is wrong."""
    table, _, packing = name.partition(".")[2].partition(".")
    rows = [{"key": n, "body": f"text {n * n}", "year": n} for n in range(5_000)]
    whole = PACKINGS["." + packing if packing else ""](TABLES[f"t.{table}"](rows))
    (here / name).write_bytes(whole[: len(whole) // 2])
    (here / "last.txt").write_text("the rest")
    with pytest.warns(FileNotice, match=f"{name} is damaged.*file_damaged.*fails by itself"):
        found = codes(from_files([name, "last.txt"], columns=KEYED))
    assert found[-2:] == [(name, "file_damaged"), ("last.txt", "the rest")]
    assert all(text == f"text {int(str(key)) ** 2}" for key, text in found[:-2])
    (here / name).write_bytes(b"")
    if table != "csv":
        with pytest.warns(FileNotice):
            assert codes(from_files([name], columns=KEYED)) == [(name, "file_damaged")]


# --- encodings --------------------------------------------------------------------------------------------------------


def test_an_encoding_is_found_out_and_said_or_the_file_fails(here: Path) -> None:
    (here / "french.txt").write_bytes((FRENCH * 3).encode("cp1252"))
    (here / "short.txt").write_bytes(b"caf\xe9")
    (here / "marked.txt").write_bytes("Olá".encode("utf-16"))
    (here / "russian.txt").write_bytes("Это обычный русский текст о погоде и природе.".encode("koi8-r"))
    with pytest.warns(FileNotice) as said:
        found = codes(from_files(["french.txt", "short.txt", "marked.txt", "russian.txt"]))
    assert found == [
        ("french.txt", FRENCH * 3), ("short.txt", "file_encoding_unknown"), ("marked.txt", "Olá"),
        ("russian.txt", "file_encoding_unknown"),
    ]  # fmt: skip
    told = [str(one.message) for one in said]
    assert "french.txt is not UTF-8" in told[0]
    assert "it is read as cp1252, which fits (--encoding names another)" in told[0]
    assert "marked.txt is read as utf-16, by its byte order mark" in told[2]
    assert codes(from_files(["russian.txt"], encoding="koi8-r")) == [
        ("russian.txt", "Это обычный русский текст о погоде и природе.")
    ]
    with pytest.raises(InvalidRequest, match="there is no encoding 'klingon'"):
        check(["russian.txt"], "auto", Columns(), "klingon")


def test_a_table_that_is_not_utf_8_is_refused_with_what_it_looks_like(here: Path) -> None:
    (here / "t.csv").write_bytes(f'text\n"{FRENCH}"\n'.encode("cp1252"))
    with pytest.raises(
        InvalidText, match=r"t.csv is not UTF-8: .* at byte 12; it looks like cp1252: --encoding cp1252"
    ):
        list(from_files(["t.csv"]))
    assert codes(from_files(["t.csv"], encoding="cp1252")) == [(None, FRENCH)]
    (here / "u.tsv").write_bytes("id\ttext\n1\tOlá\n".encode("utf-16"))  # "Unicode text" of a spreadsheet
    with pytest.warns(FileNotice, match="u.tsv is read as utf-16"):
        assert codes(from_files(["u.tsv"])) == [("1", "Olá")]


# --- documents --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.pdf", as_pdf("Hello there", "", "Page three"), "Hello there\n\nPage three"),
        ("a.pdf", as_pdf("No password", password=""), "No password"),
        ("a.docx", as_docx("One", "", "Twö"), "One\n\nTwö\nleft\tright"),
        ("a.odt", as_odt(), "Title\nOne  two\tthree four.\ncell"),
        ("a.epub", as_epub(), "One\n\nText of One.\n\nTwo\n\nText of Two."),
        ("a.epub", as_epub("OEBPS/font.otf"), "One\n\nText of One.\n\nTwo\n\nText of Two."),
        ("a.eml", as_mail("Olá,\nMaria"), "Räumung\n\nOlá,\nMaria"),
        ("a.eml", as_mail(None, "<p>Olá, <b>Maria</b></p><p>x &lt; y</p>"), "Räumung\n\nOlá, Maria\n\nx < y"),
        ("a.eml.gz", gzip.compress(as_mail("Olá"), mtime=0), "Räumung\n\nOlá"),
        ("a.md", "# Título\n".encode(), "# Título\n"),
        ("a.html", b"<p>short</p>", "short"),
    ],
)  # fmt: skip
def test_a_file_is_a_document(name: str, content: bytes, text: str, here: Path) -> None:
    (here / name).write_bytes(content)
    assert codes(from_files([name])) == [(name, text)]


def test_a_page_is_its_main_text_in_the_encoding_that_it_declares(here: Path) -> None:
    (here / "page.html").write_bytes(PAGE.encode("cp1252"))
    [(_, text)] = codes(from_files(["page.html"]))
    assert "Les élèves sont déçus" in text
    assert "Grève" in text
    assert not {"Menu", "no()", "<p>"} & set(text.split())
    assert "Menu" not in text


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("a.pdf", as_pdf("secret", password="secret"), "file_encrypted"),
        ("a.pdf", as_pdf("secret", password="secret", encryption="RC4-128"), "file_encrypted"),
        ("a.pdf", as_pdf("", ""), "file_without_text"),  # pictures
        ("a.pdf", as_pdf("Hello")[:200], "file_damaged"),
        ("a.pdf", b"", "file_damaged"),
        ("a.pdf", b"<html>", "file_damaged"),
        ("a.docx", as_docx("x")[:500], "file_damaged"),
        ("a.docx", as_zip(a_x_txt="no document"), "file_damaged"),
        ("a.docx", zipped.OLE + b"\0" * 512, "file_encrypted"),
        ("a.odt", as_odt("<m><encryption-data/></m>"), "file_encrypted"),
        ("a.odt", as_zip(**{"content_x_xml": "<open>", "META-INF__manifest_x_xml": ""}), "file_damaged"),
        ("a.epub", as_epub("in/one.xhtml"), "file_encrypted"),
        ("a.epub", as_zip(x=""), "file_damaged"),
        ("a.eml", b"", "file_without_text"),
        ("a.eml", b"Content-Type: text/plain; charset=klingon\n\nx", "file_damaged"),
        ("a.html", b"<script>no()</script>", "file_without_text"),
        ("a.txt", b"ab\0", "file_not_text"),
        ("a.txt", b"\xff\xff\x00\x01" * 100, "file_encoding_unknown"),
        ("a.txt.gz", b"no gzip", "file_damaged"),
        ("a.txt.gz", gzip.compress(b"text" * 999, mtime=0)[:-9], "file_damaged"),
        ("a.txt.zst", zstandard.compress(b"text" * 999)[:-3], "file_damaged"),
        ("a.txt.bz2", bz2.compress(b"text"), "file_not_text"),
        ("a.xlsx", b"PK", "file_not_text"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_fails_by_itself(name: str, content: bytes, code: str, here: Path) -> None:
    (here / name).write_bytes(content)
    (here / "z.txt").write_text("the rest")
    with pytest.warns(FileNotice, match=f"{name}.*{code}"):
        assert codes(from_files([name, "z.txt"])) == [(name, code), ("z.txt", "the rest")]


def test_small_archives_of_large_files_are_not_unpacked(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipped, "MAX_UNPACKED", 10_000)
    (here / "a.odt").write_bytes(as_zip(content_x_xml="x" * 10_001))
    with pytest.warns(FileNotice):
        assert codes(from_files(["a.odt"])) == [("a.odt", "file_too_large")]


@pytest.mark.parametrize("name", ["", " \n\t", "x" * 5_000_000])
def test_odd_texts_are_texts(name: str, here: Path) -> None:
    (here / "a.txt").write_text(name)
    assert codes(from_files(["a.txt"])) == [("a.txt", name)]


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl", "t.json"])
def test_utf_16_without_its_mark_is_no_utf_16(name: str, here: Path) -> None:
    (here / name).write_bytes(TABLES[name]([{"text": "Olá"}]).decode().encode("utf-16-le"))
    with pytest.raises(InvalidText, match=f"{name} is not utf-16.*BOM"):
        list(from_files([name], encoding="utf-16"))
    assert codes(from_files([name], encoding="utf-16-le")) == [(None, "Olá")]


def test_a_codec_of_names_reads_no_text(here: Path) -> None:
    (here / "a.txt").write_bytes(b"abc-!!!")
    with pytest.warns(FileNotice):
        assert codes(from_files(["a.txt"], encoding="punycode")) == [("a.txt", "file_encoding_unknown")]


# --- where files are --------------------------------------------------------------------------------------------------


def test_a_folder_is_all_of_its_files_and_a_pattern_those_that_match(here: Path) -> None:
    for name in ("in/b.txt", "in/sub/a.md", "in/.hidden", "in/.git/x", "in/c.png"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(name)
    assert expand(["in", "in/*.txt"]) == ["in/b.txt", "in/c.png", "in/sub/a.md", "in/b.txt"]
    with pytest.warns(FileNotice, match=r"c\.png"):
        assert codes(from_files(expand(["in"])))[1] == ("in/c.png", "file_not_text")
    (here / "empty").mkdir()
    with pytest.raises(InvalidRequest, match="empty: no such file"):
        expand(["empty"])


def test_addresses_are_read_by_fsspec(here: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe(
        {
            "/box/a.csv": b"text\none\n",
            "/box/b.jsonl.gz": gzip.compress(b'{"text": "two"}\n'),
            "/box/t.parquet": as_parquet([{"text": "x"}]),
        }
    )
    try:
        names = expand(["memory://box/*.csv", "memory://box/b.jsonl.gz", "memory://box"])
        assert names == [
            f"memory:///box/{name}" for name in ("a.csv", "b.jsonl.gz", "a.csv", "b.jsonl.gz", "t.parquet")
        ]
        assert codes(from_files(names)) == [(None, text) for text in ("one", "two", "one", "two", "x")]
        before = sources.facts(names[0])
        assert before[1] == 9
        memory.pipe("/box/a.csv", b"text\nother\n")
        assert sources.facts(names[0]) != before
        with pytest.raises(InvalidRequest, match="no such file"):
            expand(["memory://box/*.pdf"])
        assert sources.facts("memory://box/gone.csv") == ("memory://box/gone.csv", None, None)
        with pytest.warns(FileNotice, match="gone.csv cannot be read"):
            assert codes(from_files(["memory://box/gone.csv"])) == [("memory://box/gone.csv", "file_unreadable")]
    finally:
        memory.rm("/box", recursive=True)
    with zipfile.ZipFile("all.zip", "w") as archive:
        archive.writestr("in/a.csv", "text\nin a zip\n")
    [name] = expand(["zip://in/a.csv::all.zip"])
    assert codes(from_files([name])) == [(None, "in a zip")]
    with pytest.raises(InvalidRequest, match="nowhere"):
        expand(["nowhere://x/a.csv"])


def test_what_a_run_writes_is_none_of_its_input(here: Path) -> None:
    own = ["o.csv", "o.csv.job", "o.csv.job.jsonl", "o.csv.provenance.json", "parts/in/a.txt"]
    others = ["a.txt", "o.csv.txt", "oo.csv", "parts.txt", "sub/o.csv"]
    for name in (*own, *others):
        (here / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (here / "in" / name).write_text("x")
    (here / "link").symlink_to(here / "in")
    for out, split in (("in/o.csv", "in/parts"), (str(here / "link" / "o.csv"), "link/parts")):
        found = expand(["in", "link/**/*"], Own(Path(out), split))
        assert found == [f"{folder}/{name}" for folder in ("in", "link") for name in others]
    # What is named is meant.
    assert expand(["in/o.csv"], Own(Path("in/o.csv"), None)) == ["in/o.csv"]
    assert len(expand(["in"], Own(Path("elsewhere/o.csv"), None))) == len(own) + len(others)


def test_what_is_not_installed_is_named_with_its_extra(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources.importlib.util, "find_spec", lambda module: None)
    for name, extra in (("a.parquet", "parquet"), ("a.pdf", "documents"), ("a.csv.zst", "parquet")):
        with pytest.raises(InvalidRequest, match=rf"{name} needs .*: pip install 'textmill\[{extra}\]'"):
            check([name], "auto", Columns())
    with pytest.raises(InvalidRequest, match=r"textmill\[remote\]"):
        expand(["s3://bucket/a.csv"])
    assert {one.needs for one in FORMATS.values()} - {None} <= sources.EXTRAS.keys()


@pytest.mark.parametrize(
    ("odd", "left"),
    [("<![ endif]>", ""), ("<![foo[x]]>", ""), ("<![if !x]>y<![endif]>", "y"), ("<![CDATA[a > b]]>", ""), ("<![", "")],
)
def test_marked_sections_of_any_kind_are_no_text(odd: str, left: str, here: Path) -> None:
    assert markup.text_of(f"<p>before</p><p>{odd}</p><p>after</p>").split() == ["before", *left.split(), "after"]
    (here / "m.eml").write_text(f"Subject: s\nContent-Type: text/html\n\n<p>before {odd}\n")
    assert codes(from_files(["m.eml"]))[0][1].startswith("s\n\nbefore")
