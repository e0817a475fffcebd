"""Bad input by the page: it is refused with its place and what to do about it, or fails as its own document. The other
entrances' tables are in `tests/integration/test_bad_input.py`."""

import base64
import json

from playwright.sync_api import Page, expect

from tests.browser.conftest import Visitor
from tests.unit.made_files import as_parquet, as_pdf
from textmill.files.formats import FORMATS, SUFFIXES
from textmill.files.sources import EXTRAS, PACKED

DROP = """(files) => {
  const data = new DataTransfer();
  for (const [name, packed] of files) {
    data.items.add(new File([Uint8Array.from(atob(packed), (one) => one.charCodeAt(0))], name));
  }
  const dropped = new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: data });
  document.querySelector(".zone").dispatchEvent(dropped);
}"""


def drop(page: Page, files: dict[str, bytes]) -> None:
    page.locator(".zone").wait_for()
    page.evaluate(DROP, [(name, base64.b64encode(content).decode()) for name, content in files.items()])


def leave_out(page: Page, name: str) -> None:
    page.get_by_role("button", name=f"Leave out {name}").click()
    expect(page.get_by_role("list", name="Chosen files").get_by_text(name)).to_have_count(0)


LARGE = b"x" * 5_000_000

AT_ONCE = [
    ("report.pdf", as_pdf("x"), "textmill run summarization report.pdf -o results.jsonl"),
    ("t.parquet", as_parquet([{"text": "x"}]), "pip install 'textmill[parquet]'"),
    ("t.csv.gz", b"\x1f\x8b", "textmill run"),
    ("table.xlsx", b"PK", "save its texts as txt, csv or jsonl"),
    ("nosuffix", b"x", "save its texts"),
    ("empty.csv", b"", "empty.csv has no first row with the names of its columns"),
    ("latin.csv", b"text\ncaf\xe9\n", "latin.csv is not UTF-8: save it so"),
]
"""(name, content, what is said) of files that are refused when they are dropped."""

SENT = [
    ("nul.csv", b"text\nfine\nb\0\n", "nul.csv, line 3: the text has a NUL character at character 1"),
    (
        "half.jsonl",
        b'{"text": "fine"}\n\n{"text": "\\ud83d\\ude00\\ud800"}',
        "line 3: the text has half of a surrogate pair at character 1",
    ),
    ("latin.jsonl", b'{"text": "fine"}\n{"text": "caf\xe9"}', "latin.jsonl is not UTF-8"),
    ("twice.csv", b"id,text\n1,a\n1,b\n", "duplicate_document_id"),
    ("body.jsonl", b'{"body": "x"}', 'body.jsonl, line 1: no "text"'),
    ("more.jsonl", b'{"text": "x", "question": "Who?"}', "question"),
    ("null.jsonl", b"null", "null.jsonl, line 1: a document is an object"),
    ("half-id.jsonl", b'{"id": 1.5, "text": "x"}', "an id is a text, or a whole number"),
    ("ids.csv", b"id,text\n,x\n", "ids.csv, line 2: an id has 1 to 512 characters, this one 0"),
    ("short.csv", b"id,text\n1\n", "short.csv, line 2: 1 fields where the first row has 2"),
    ("same.csv", b"text,text\nx,y\n", '2 columns are named "text"; it has: text, text'),
    ("open.csv", b'text\n"open\nfor ever', "open.csv, line 2: is a quotation mark left open?"),
    ("bad.json", b"[", "bad.json is not JSON"),
    ("object.json", b'{"text": "x"}', "object.json: JSON of documents is a list"),
    ("head.csv", b"text\n", "There are no documents in it"),
    (
        "large.csv",
        b"text\nfine\n" + LARGE + b"\n",
        "large.csv, line 3 has a text of 5 MB: more than the server takes in one request. Split it.",
    ),
]
"""The same of those that are refused while they are sent."""


def test_what_is_wrong_is_said_with_its_place_and_no_job_stays_open(visitor: Visitor) -> None:
    page = visitor.open("new")
    page.get_by_label("Model").select_option("echo")
    drop(page, {name: content for name, content, _ in AT_ONCE} | {"fine.txt": b"x"})
    expect(page.get_by_role("alert")).to_have_count(5)
    expect(page.get_by_text("and 2 files more that cannot be read here.")).to_be_visible()
    leave_out(page, "fine.txt")  # of all of them the only one that was taken
    for name, content, said in AT_ONCE:
        drop(page, {name: content})
        expect(page.get_by_role("alert").filter(has_text=said)).to_be_visible()
        expect(page.get_by_role("button", name=f"Leave out {name}")).to_have_count(0)
    for name, content, said in SENT:
        drop(page, {name: content})
        expect(page.get_by_role("button", name=f"Leave out {name}")).to_be_visible()
        page.get_by_role("button", name="Submit").click()
        expect(page.get_by_role("alert").filter(has_text=said)).to_be_visible()
        leave_out(page, name)
    page.get_by_text("Or paste texts").click()
    page.get_by_label("Texts, one a line").fill(" \n\t\n")
    page.get_by_role("button", name="Submit").click()
    expect(
        page.get_by_role("alert").filter(has_text="There are no documents: drop a file, or paste texts.")
    ).to_be_visible()
    with visitor.client() as mill:
        jobs = list(mill.jobs())
    assert len(jobs) == len(SENT)
    assert {job.state for job in jobs} == {"cancelled"}


def test_a_file_that_cannot_be_read_fails_by_itself_and_the_others_go_on(visitor: Visitor) -> None:
    page = visitor.open("new")
    page.get_by_label("Task").select_option("summarization")
    page.get_by_label("Model").select_option("echo")
    texts = {"empty.txt": "", "white.txt": " \n\t", "marked.md": "olá", "cjk.txt": "日" * 900_000}
    rows = [("a/b", "one"), ("two\r\nlines", 'say "x"'), ("..", "é")]
    table = "id,text\r\n" + "".join('"{}","{}"\r\n'.format(name, text.replace('"', '""')) for name, text in rows)
    listed = json.dumps([{"id": 7, "text": "seven"}, {"id": "x", "text": " "}])
    drop(
        page,
        {name: text.encode() for name, text in texts.items()}
        | {"latin.txt": b"caf\xe9", "nul.txt": b"nul\0", "large.txt": LARGE, "bom.txt": b"\xef\xbb\xbfbom"}
        | {"rows.csv": table.encode(), "list.json": listed.encode()},
    )
    page.get_by_role("button", name="Submit").click()
    expect(page.locator(".head tm-state")).to_have_attribute("value", "completed_with_errors")
    expect(page.get_by_role("region", name="Errors")).to_contain_text("file_encoding_unknown")
    with visitor.client() as mill:
        [job] = mill.jobs()
        outcomes = {one.id: one.error.code if one.error else one.output["summary_text"] for one in job.results()}  # type: ignore[index]
        reasons = {one.id: one.error.message for one in job.results(state="failed") if one.error}
    assert outcomes == {
        **texts, **dict(rows), "7": "seven", "x": " ", "bom.txt": "bom", "latin.txt": "file_encoding_unknown",
        "nul.txt": "file_not_text", "large.txt": "file_too_large",
    }  # fmt: skip
    assert "save it so" in reasons["latin.txt"]
    assert "NUL character at character 3" in reasons["nul.txt"]


def test_what_a_document_has_beside_its_text_is_sent(visitor: Visitor) -> None:
    page = visitor.open("new")
    page.get_by_label("Task").select_option("question-answering")
    page.get_by_label("Model").select_option("echo")
    drop(
        page,
        {
            "q.csv": b"text,question,note\nAda lived here.,Who?,x\nNobody did.,Why?,\n",
            "q.jsonl": b'{"id": "j", "text": "Ada", "question": "Where?"}',
        },
    )
    page.get_by_role("button", name="Submit").click()
    expect(page.locator(".head tm-state")).to_have_attribute("value", "completed")
    with visitor.client() as mill:
        [job] = mill.jobs()
        assert [(one.id, one.fields) for one in job.documents()] == [
            ("0", {"question": "Who?"}), ("1", {"question": "Why?"}), ("j", {"question": "Where?"}),
        ]  # fmt: skip


def test_every_suffix_that_the_command_reads_is_read_or_sent_to_it(visitor: Visitor) -> None:
    found = visitor.page.evaluate(
        """async (names) => {
          const { kindOf, refuseForeign } = await import(new URL("lib/kinds.js", document.baseURI));
          const said = (file) => {
            try {
              refuseForeign(file, "ner");
              return kindOf(file);
            } catch (error) {
              return error.message;
            }
          };
          return names.map((name) => said({ name }));
        }""",
        [f"it's{suffix}" for suffix in (*SUFFIXES, *PACKED)],
    )
    for suffix, said in zip((*SUFFIXES, *PACKED), found, strict=True):
        form = SUFFIXES.get(suffix)
        if said == form:
            continue
        assert f"""textmill run ner 'it'\\''s{suffix}' -o results.jsonl""" in said
        needs = FORMATS[form].needs if form else {".zst": "zstandard"}.get(suffix)
        assert ("pip install" in said) == (needs is not None)
        assert needs is None or f"textmill[{EXTRAS[needs]}]" in said
