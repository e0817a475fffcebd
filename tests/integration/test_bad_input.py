"""Bad input by HTTP, from Python and by the command line; by the page it is in `tests/browser/test_bad_files.py`.

Each row of the tables ends in a stable code with a hint, or is processed right. Nothing of what is refused is stored,
no open job is left behind, and the documents beside go on. `docs/files.md` has the table for people.
"""

import gzip
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from store.session import Store
from tests.integration.serving import Running, serving, work
from tests.integration.test_api_cli import Worker, lines, run
from tests.unit.made_files import as_docx, as_parquet, as_pdf
from textmill import AsyncClient, Client, errors, wire

LARGE = "x" * 5_000_000
"""More than one upload has."""

ODD_IDS = ["a/b", "two\nlines", "..", "a\tb\r", "é %2F?#", "-"]


@pytest.fixture(params=["sqlite"])
def backend(request: pytest.FixtureRequest) -> str:
    """SQLite alone: what differs between the databases lies behind the doors."""
    return str(request.param)


@pytest.fixture
def api(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.chdir(tmp_path)
    with serving(store) as running:
        yield running


def left_open(api: Running) -> list[str]:
    with Client(api.url, api.secret) as mill:
        return [job.id for job in mill.jobs() if job.info.open]


# --- HTTP -------------------------------------------------------------------------------------------------------------

JSON = {"Content-Type": "application/json"}
NDJSON = {"Content-Type": "application/x-ndjson"}
PACKED = NDJSON | {"Content-Encoding": "gzip"}
GOOD = b'{"text": "fine"}'
PARQUET, PDF = as_parquet([{"text": "x"}]), as_pdf("x")

APPENDED: list[tuple[str, bytes, dict[str, str], int, str, str]] = [
    ("invalid UTF-8", GOOD + b'\n{"text": "caf\xe9"}', NDJSON, 422, "invalid_request", "not UTF-8 at byte 13"),
    ("NUL", GOOD + b'\n{"text": "a\\u0000"}', NDJSON, 422, "invalid_text", "document 1 .*NUL character at character 1"),
    ("half of a pair", GOOD + b'\n{"text": "\\ud800"}', NDJSON, 422, "invalid_text", "document 1 .*surrogate pair"),
    ("NUL in an id", b'{"id": "a\\u0000", "text": ""}', NDJSON, 422, "invalid_text", "id has a NUL"),
    ("an id twice", b'{"id": "a", "text": ""}\n' * 2, NDJSON, 422, "duplicate_document_id", "0 and 1 .*the id 'a'"),
    ("an id that is there", b'{"id": "there", "text": ""}', NDJSON, 422, "duplicate_document_id", "'there'"),
    ("no text", GOOD + b'\n{"id": "b", "body": "x"}', NDJSON, 422, "invalid_request", "line 2: text: Field required"),
    ("no object", GOOD + b'\n"text"', NDJSON, 422, "invalid_request", "line 2: "),
    ("an id that is empty", b'{"id": "", "text": "x"}', NDJSON, 422, "invalid_request", "id: .*at least 1 character"),
    ("an id that is long", b'{"id": "%s", "text": ""}' % (b"9" * 513), NDJSON, 422, "invalid_request", "at most 512"),
    ("5 MB", b'{"text": "' + LARGE.encode() + b'"}', NDJSON, 413, "request_too_large", "4194304 bytes: .*chunks"),
    ("a cut gzip", gzip.compress(GOOD)[:-4], PACKED, 422, "invalid_request", "gzip body is cut short"),
    ("no gzip", GOOD, PACKED, 422, "invalid_request", "not gzip"),
    ("a bad byte in a gzip", gzip.compress(GOOD)[:-8] + b"\0" * 8, PACKED, 422, "invalid_request", "not gzip"),
    ("nothing as JSON", b"", JSON, 422, "invalid_request", "not JSON"),
    ("white space as JSON", b" \n", JSON, 422, "invalid_request", "not JSON"),
    ("a parquet", PARQUET, {"Content-Type": "application/vnd.apache.parquet"}, 415, "unsupported_media_type", "ndjson"),
    ("a pdf", PDF, {"Content-Type": "application/pdf"}, 415, "unsupported_media_type", "application/x-ndjson"),
    ("a parquet that says it is lines", PARQUET, NDJSON, 422, "invalid_request", "the body is not"),
    ("a form", b"text=x", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "unsupported_media_type", "json"),
]
"""(what, body, headers, status, code, what the detail says)."""


def test_what_is_appended(api: Running) -> None:
    with api.http() as http:
        there = {"task": "summarization", "model": "echo", "open": True, "documents": [{"id": "there", "text": "x"}]}
        job = http.post("/v1/jobs", json=there).json()["id"]
        for what, body, headers, status, code, hint in APPENDED:
            answer = http.post(f"/v1/jobs/{job}/documents", content=body, headers=headers)
            found = problem(answer, what)
            assert (found.status, found.code) == (status, code), (what, found)
            assert re.search(hint, found.detail or ""), (what, found)
        for nothing in (b"", b" \n\n"):
            answer = http.post(f"/v1/jobs/{job}/documents", content=nothing, headers=NDJSON)
            assert answer.json() == {"accepted": 0, "total": 1}
        odd_texts = ["", " \n\t", "\ufeff", "x", "y", "z"]
        odd = [{"id": name, "text": text} for name, text in zip(ODD_IDS, odd_texts, strict=True)]
        answer = http.post(f"/v1/jobs/{job}/documents", json={"documents": odd})
        assert answer.json() == {"accepted": len(odd), "total": 1 + len(odd)}
        http.post(f"/v1/jobs/{job}/close").raise_for_status()
        work(api.store)
        for document in odd:
            path = f"/v1/jobs/{job}/results/{escaped(document['id'])}"
            assert http.get(path).json()["output"] == {"summary_text": document["text"]}
        listed = http.get(f"/v1/jobs/{job}/results").json()["results"]
    assert [one["id"] for one in listed] == ["there", *ODD_IDS]


def test_what_is_submitted(api: Running) -> None:
    """The same, with the documents in the body that makes the job; and a text of 5 MB, which goes in there."""
    with api.http() as http:
        for what, body, headers, _, code, _ in APPENDED:
            if headers is not NDJSON or what in ("an id that is there", "5 MB"):
                continue
            whole = b'{"task": "ner", "model": "echo", "documents": [' + body.strip().replace(b"\n", b",") + b"]}"
            assert problem(http.post("/v1/jobs", content=whole, headers=JSON), what).code == code, what
        assert http.get("/v1/jobs").json()["jobs"] == []
        asked = {"task": "summarization", "model": "echo", "documents": [{"text": LARGE}, {"text": ""}]}
        job = http.post("/v1/jobs", json=asked).json()["id"]
        work(api.store)
        results = http.get(f"/v1/jobs/{job}/results").json()["results"]
        assert [one["output"]["summary_text"] for one in results] == [LARGE, ""]
    assert left_open(api) == []


def escaped(name: str) -> str:
    return "".join(f"%{byte:02X}" for byte in name.encode())


def problem(answer: httpx.Response, what: str) -> wire.Problem:
    assert answer.headers["content-type"] == "application/problem+json", (what, answer.text)
    return wire.Problem.model_validate_json(answer.content)


# --- Python -----------------------------------------------------------------------------------------------------------

ENCRYPTED, PICTURES = as_pdf("secret", password="secret"), as_pdf("", "")

REFUSED: list[tuple[Any, str, str]] = [
    (["fine", "nul\0"], "invalid_text", "document 1: text .*character 3"),
    (["fine", "half \udc00"], "invalid_text", "document 1: text .*character 5"),
    ([("nul\0", "x")], "invalid_text", "document 0: id"),
    ([("a", "x"), ("a", "y")], "duplicate_document_id", "the id 'a'"),
    ([{"id": "a", "body": "x"}], "invalid_request", "document 0: .*text"),
    ([b"bytes"], "invalid_request", "document 0 is a bytes"),
    (["fine", None], "invalid_request", "document 1 is a NoneType; it must be a text"),
    (["fine", LARGE, "fine"], "request_too_large", "document 1 alone has 5000011 bytes"),
    ([Path("two.csv")], "invalid_request", r"two\.csv: no column is named 'text'; it has: id, body"),
    ([Path("latin.csv")], "invalid_text", r"latin\.csv is not UTF-8: .* at byte 8"),
    ([Path("gone.txt")], "invalid_request", r"gone\.txt: no such file"),
    ("one text", "invalid_request", "not one str"),
]
"""(documents, code, what it says)."""

TAKEN: list[tuple[Any, list[tuple[str, str]]]] = [
    ([], []),
    (["", " \n\t"], [("0", ""), ("1", " \n\t")]),
    ([LARGE], [("0", LARGE)]),
    ([(name, "x") for name in ODD_IDS], [(name, "x") for name in ODD_IDS]),
    (
        [Path(name) for name in ("cut.parquet", "cut.csv.gz", "locked.pdf", "pictures.pdf", "latin.txt", "nul.txt")]
        + [Path("large.txt"), "fine"],
        [
            ("cut.parquet", "file_damaged"), ("cut.csv.gz", "file_damaged"), ("locked.pdf", "file_encrypted"),
            ("pictures.pdf", "file_without_text"), ("latin.txt", "file_encoding_unknown"), ("nul.txt", "file_not_text"),
            ("large.txt", "file_too_large"), ("7", "fine"),
        ],
    ),
]  # fmt: skip
"""(documents, [(id, the text that came back, or the code that it failed with)])."""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """What the tables name."""
    for name, content in {
        "two.csv": b"id,body\n1,x\n",
        "latin.csv": b"text\ncaf\xe9\n",
        "cut.parquet": PARQUET[:-20],
        "cut.csv.gz": gzip.compress(b"text\n" + bytes(range(48, 100)) * 500)[:-30],
        "locked.pdf": ENCRYPTED,
        "pictures.pdf": PICTURES,
        "latin.txt": b"caf\xe9",
        "nul.txt": b"nul\0",
        "large.txt": LARGE.encode(),
        "ok.docx": as_docx("fine"),
    }.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def said(error: errors.TextmillError) -> str:
    return "\n".join([error.message, *getattr(error, "__notes__", ())])


@pytest.mark.usefixtures("files")
@pytest.mark.filterwarnings("ignore::textmill.files.encodings.FileNotice")
def test_from_python(api: Running) -> None:
    with Client(api.url, api.secret) as mill:
        for documents, code, hint in REFUSED:
            with pytest.raises(errors.TextmillError) as raised:
                mill.submit("summarization", documents, model="echo")
            assert raised.value.code == code, (hint, raised.value)
            assert re.search(hint, said(raised.value)), (hint, said(raised.value))
        for documents, outcomes in TAKEN:
            job = mill.submit("summarization", documents, model="echo")
            work(api.store)
            assert told(job.wait().results()) == outcomes
            assert [job.result(name).id for name, _ in outcomes] == [name for name, _ in outcomes]
    assert left_open(api) == []


@pytest.mark.usefixtures("files")
@pytest.mark.filterwarnings("ignore::textmill.files.encodings.FileNotice")
def test_from_python_awaited(api: Running) -> None:
    async def coming(documents: Sequence[Any]) -> AsyncIterator[Any]:
        for document in documents:
            yield document

    async def talk() -> None:
        async with AsyncClient(api.url, api.secret) as mill:
            for documents, code, hint in REFUSED:
                given = documents if isinstance(documents, str) else coming(documents)
                with pytest.raises(errors.TextmillError) as raised:
                    await mill.submit("summarization", given, model="echo")
                assert raised.value.code == code, (hint, raised.value)
                assert re.search(hint, said(raised.value)), (hint, said(raised.value))
            for documents, outcomes in TAKEN:
                job = await mill.submit("summarization", coming(documents), model="echo")
                await anyio.to_thread.run_sync(work, api.store)
                await job.wait()
                assert told([result async for result in job.results()]) == outcomes

    anyio.run(talk)
    assert left_open(api) == []


def told(results: Iterator[wire.Result] | list[wire.Result]) -> list[tuple[str, str]]:
    return [(one.id, one.error.code if one.error else one.output["summary_text"]) for one in results]  # type: ignore[index]


# --- the command line -------------------------------------------------------------------------------------------------

WRONG: list[tuple[str, bytes, Sequence[str], str]] = [
    ("empty.csv", b"", (), "empty.csv has no first row with the names of its columns"),
    ("white.csv", b" \n\t\n", (), "white.csv: no column is named 'text'"),
    ("latin.csv", b"text\ncaf\xe9\n", (), "latin.csv is not UTF-8: .* at byte 8; --encoding names another"),
    ("nul.csv", b"text\nfine\nb\0\n", (), "nul.csv, line 3: the text has a NUL character at character 1"),
    ("half.jsonl", b'{"text": "\\ud800"}\n', (), "half.jsonl, line 1: "),
    ("twice.csv", b"id,text\n1,a\n2,b\n1,c\n", (), "twice.csv, line 4: the id '1' is that of twice.csv, line 2, too"),
    ("body.csv", b"id,body\n1,a\n", (), "no column is named 'text'; it has: id, body. --text-column names another"),
    ("body.parquet", as_parquet([{"body": "x"}]), (), "no column is named 'text'; it has: body. --text-column"),
    ("ids.csv", b"id,text\n,a\n", (), "ids.csv, line 2: an id has 1 to 512 characters, this one 0"),
    ("short.csv", b"id,text\n1\n", (), "short.csv, line 2: 1 fields where the first row has 2"),
    ("open.csv", b'text\n"open\n', (), "open.csv, line 2: .*is a quotation mark left open"),
    ("bad.json", b"[1]", (), "bad.json, row 1: "),
    ("list.json", b'{"text": "a"}', (), "list.json: JSON of documents is a list"),
    ("a.txt", b"x", ("--encoding", "klingon"), "there is no encoding 'klingon'"),
    ("a.xlsx", b"PK", (), "xlsx files are not read: write it as csv, jsonl or parquet first"),
    ("large.csv", b"text\nfine\n" + LARGE.encode() + b"\n", (), "document 1 alone has 5000011 bytes: split it"),
]
"""(file, content, options, what is said)."""


@pytest.mark.parametrize("command", ["run", "submit"])
def test_by_the_command_line(command: str, api: Running, tmp_path: Path) -> None:
    for name, content, options, hint in WRONG:
        (tmp_path / name).write_bytes(content)
        out = ("-o", f"{name}.out.jsonl") if command == "run" else ()
        told = run(api, command, "summarization", name, "-m", "echo", *options, *out, code=2)
        assert re.search(hint, told), (name, told)
    with Client(api.url, api.secret) as mill:
        assert {job.state for job in mill.jobs()} <= {"cancelled"}
    assert left_open(api) == []


def test_by_the_standard_input(api: Running) -> None:
    for format_, given, hint in (
        ("lines", "fine\nb\0\n", "standard input, line 2: the text has a NUL"),
        ("jsonl", '{"id": "a", "text": "x"}\n' * 2, "duplicate_document_id"),
        ("csv", "id,body\n1,x\n", "standard input: no column is named 'text'; it has: id, body"),
        ("csv", "", "standard input has no first row"),
        ("parquet", "PAR1", "standard input is damaged"),
    ):
        assert re.search(hint, run(api, "submit", "ner", "-", "--format", format_, "-m", "echo", code=2, given=given))
    assert left_open(api) == []


def test_files_of_a_folder_by_the_command_line(api: Running, files: Path) -> None:
    """Each fails as its own document, and those beside it are processed."""
    folder = files / "in"
    folder.mkdir()
    for name in (*dict(TAKEN[-1][1][:-1]), "ok.docx"):
        (files / name).rename(folder / name)
    (folder / "empty.txt").write_bytes(b"")
    (folder / "white.txt").write_bytes(b" \n")
    (folder / "odd\nname.txt").write_bytes(b"x")
    with Worker(api.store):
        run(api, "run", "summarization", "in", "-m", "echo", "-o", "in/out.jsonl", code=1)
    found = lines(folder / "out.jsonl")
    outcomes = {one["id"]: one["error"]["code"] if one["error"] else one["output"]["summary_text"] for one in found}  # type: ignore[index]
    assert outcomes == {
        f"in/{name}": outcome for name, outcome in {**dict(TAKEN[-1][1][:-1]), "ok.docx": "fine\nleft\tright",
                                                   "empty.txt": "", "white.txt": " \n", "odd\nname.txt": "x"}.items()
    }  # fmt: skip
    assert left_open(api) == []
