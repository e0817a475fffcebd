"""Trying a text, and sending files up."""

import json
import subprocess
import sys

from playwright.sync_api import Route, expect

from tests.browser.conftest import Visitor
from tests.browser.test_jobs import drop


def test_the_answer_and_the_request_as_code(visitor: Visitor) -> None:
    page = visitor.open("try")
    page.get_by_label("Text").fill('Ada Lovelace lived in London. It\'s \\ "quoted".')
    page.get_by_label("Task").select_option("ner")
    page.get_by_role("button", name="Run").click()
    expect(page.locator(".answer mark").first).to_contain_text("Ada Lovelace")
    page.get_by_role("button", name="Python").click()
    code = page.locator("tm-code code").inner_text().replace('api_key="..."', f'api_key="{visitor.key}"')
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "Ada Lovelace" in done.stdout
    page.get_by_role("button", name="curl").click()
    script = page.locator("tm-code code").inner_text().replace("API_KEY=...", f"API_KEY={visitor.key}")
    said = subprocess.run(["bash", "-c", script], check=True, capture_output=True, text=True).stdout
    assert json.loads(said)["results"][0]["output"]["entities"][0]["word"] == "Ada Lovelace"


def test_options_have_their_meaning_and_limits_and_refusals_are_told(visitor: Visitor) -> None:
    page = visitor.open("try")
    page.get_by_label("Task").select_option("ner")
    page.get_by_text("More options").click()
    score = page.get_by_label("min_score")
    expect(score).to_have_attribute("max", "1")
    expect(page.locator(".option", has=score)).to_contain_text("Only entities with at least this score")
    page.get_by_label("labels").fill("PER, NOBODY")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("alert")).to_contain_text("NOBODY")


def test_a_column_of_a_table_is_chosen(visitor: Visitor) -> None:
    page = visitor.open("new")
    page.get_by_label("Task").select_option("summarization")
    page.get_by_label("Model").select_option("echo")
    drop(page, {"news.csv": 'nr,headline,body\n1,Small,"It says ""no"",\nand ends."\n\n2,Large,Plain\n'})
    page.get_by_label("Column of the texts").select_option("body")
    page.get_by_label("Column of the ids").select_option("nr")
    page.get_by_role("button", name="Submit").click()
    expect(page.locator(".head tm-state")).to_have_attribute("value", "completed")
    expect(page.get_by_role("article", name="Document 1").locator(".text").first).to_have_text(
        'It says "no",\nand ends.', use_inner_text=True
    )
    expect(page.get_by_role("article", name="Document 2")).to_contain_text("Plain")


def test_what_is_wrong_with_a_file_is_said_and_no_job_stays_open(visitor: Visitor) -> None:
    page = visitor.open("new")
    drop(page, {"some.pdf": "%PDF"})
    expect(page.get_by_role("alert")).to_contain_text("some.pdf")
    page = visitor.open("jobs")
    page = visitor.open("new")
    page.get_by_label("Model").select_option("echo")
    drop(page, {"broken.jsonl": '{"text": "fine"}\n{"text": 7}\n'})
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("alert")).to_contain_text("broken.jsonl, line 2")
    expect(page.get_by_role("button", name="Submit")).to_be_visible()
    with visitor.client() as mill:
        assert [job.info.open for job in mill.jobs()] in ([], [False])


def test_an_upload_goes_on_after_a_lost_connection(visitor: Visitor) -> None:
    """It begins without a network, and in its middle an answer is lost whose chunk the server has stored."""
    page = visitor.open("new")
    page.get_by_label("Model").select_option("echo")
    drop(page, {"lines.txt": "".join(f"line {n}\n" for n in range(2_500))})
    page.get_by_label("A text file is").select_option("a document a line")
    lost: list[str] = []

    def lose_one_answer(route: Route) -> None:
        offset = route.request.headers["upload-offset"]
        if offset == "1000" and not lost:
            lost.append(offset)
            route.fetch()
            route.abort("connectionreset")
        else:
            route.continue_()

    page.route("**/documents", lose_one_answer)
    visitor.context.set_offline(True)
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_text("The connection is lost.")).to_be_visible()
    visitor.context.set_offline(False)
    expect(page.locator(".head tm-state")).to_have_attribute("value", "completed")
    assert lost == ["1000"]
    with visitor.client() as mill:
        [job] = mill.jobs()
        assert job.counts.total == 2_500
        texts = [result.output.summary_text for result in job.results() if result.output]
        assert texts == [f"line {n}" for n in range(2_500)]


def test_what_the_modules_make_of_texts(visitor: Visitor) -> None:
    """The pure parts, by themselves: [module, function, arguments, answer]."""
    table = [
        ["lib/recipes.js", "shell", ["it's"], "'it'\\''s'"],
        ["lib/recipes.js", "python", [{"a": [True, None, 1.5, 'x"\n']}], '{"a": [True, None, 1.5, "x\\"\\n"]}'],
        ["lib/format.js", "duration", [0.042], "0.042 s"],
        ["lib/format.js", "duration", [59.7], "60 s"],
        ["lib/format.js", "duration", [200], "3 min 20 s"],
        ["lib/format.js", "duration", [7500], "2 h 5 min"],
        ["lib/format.js", "bytes", [1_234_567], "1.2 MB"],
        ["lib/download.js", "row", [["a,b", 'c"', None, "d\n", 1]], '"a,b","c""",,"d\n",1\n'],
        # Two blocks, one of two sentences over a soft line end; then layouts that differ.
        [
            "outputs/translation.js", "aligned", ["One.\nTwo.\n\nThree.", "Um. Dois.\n\nTrês.", "en", "pt"],
            [["One.", "Um."], ["Two.", "Dois."], ["Three.", "Três."]],
        ],
        ["outputs/translation.js", "aligned", ["One.\n\nTwo.", "Um e dois.", "en", "pt"], None],
        [
            "outputs/translation.js", "aligned", ["One. Two.", "Um e dois.", "en", "no such language"],
            [["One. Two.", "Um e dois."]],
        ],
        [
            "outputs/entities.js", "placed", ["🙂 Ada", [{"start": 2, "end": 5, "entity_group": "PER", "score": 1}]],
            [{"start": 3, "end": 6, "label": "PER", "score": 1}],
        ],
    ]  # fmt: skip
    call = "async ([file, name, given]) => (await import(new URL(file, document.baseURI)))[name](...given)"
    for file, name, given, answer in table:
        assert visitor.page.evaluate(call, [file, name, given]) == answer, (name, given)
