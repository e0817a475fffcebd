"""Jobs from the first drop to the last click, in the browser."""

import csv
import io
import json
import os
import re
import signal
from collections.abc import Callable
from typing import Any

from playwright.sync_api import APIResponse, Page, Route, expect

from store import jobs, keys, workers
from store.session import Store
from store.workers import WorkerRow
from tests.acceptance.conftest import Running, eventually
from tests.browser.conftest import Visitor
from tests.integration.ledger_steps import stretch
from tests.integration.serving import work

FAILS = "[[echo:too-long]]"

DROP = """(files) => {
  const zone = document.querySelector(".zone");
  const data = new DataTransfer();
  for (const [name, text] of files) data.items.add(new File([text], name));
  for (const kind of ["dragenter", "dragover", "drop"]) {
    zone.dispatchEvent(new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer: data }));
  }
}"""


def drop(page: Page, files: dict[str, str]) -> None:
    """Files, texts by names, dropped onto the page."""
    page.locator(".zone").wait_for()
    page.evaluate(DROP, list(files.items()))


def submitted(visitor: Visitor, ledger: Store, texts: list[tuple[str, str]], **asked: Any) -> str:
    """A job of a model that no worker has: it goes on when the test does its work, and no sooner. Returns its id."""
    key = ledger.read(keys.authenticate, visitor.key).id
    return ledger.write(jobs.submit, jobs.NewJob(key, "summarization", "nobody", **asked), texts).job.id


def state(page: Page, value: str) -> None:
    expect(page.locator(".head tm-state")).to_have_attribute("value", value)


def test_from_a_dropped_file_to_a_marked_text(visitor: Visitor) -> None:
    page = visitor.open("new")
    page.get_by_label("Task").select_option("ner")
    documents = [
        {"id": "hopper", "text": "Grace Hopper worked in Philadelphia."},
        {"id": "astral", "text": "🙂🙂 Then Alan Turing came to Manchester."},  # places count code points
    ]
    drop(page, {"people.jsonl": "\n".join(map(json.dumps, documents))})
    expect(page.get_by_role("listitem").filter(has_text="people.jsonl")).to_be_visible()
    page.get_by_label("Metadata").fill("project=atlas")
    page.get_by_role("button", name="Submit").click()

    # The page follows the job by itself, from its start to the marked documents.
    page.wait_for_url(re.compile(r"#/jobs/[0-9a-f-]+"))
    state(page, "completed")
    hopper = page.get_by_role("article", name="Document hopper")
    expect(hopper.locator("mark")).to_have_text(
        [re.compile(r"Grace Hopper\sPER 0\.\d\d"), re.compile("Philadelphia\\sLOC")]
    )
    astral = page.get_by_role("article", name="Document astral")
    for name in ("Alan Turing", "Manchester"):
        expect(astral.locator("mark").filter(has_text=re.compile(rf"^{name}\s(PER|LOC)"))).to_have_count(1)
    expect(hopper).to_contain_text("1 attempt")
    expect(page.locator("aside")).to_contain_text("projectatlas")
    expect(page.locator("aside .limitations")).to_contain_text("English only")

    page.get_by_role("link", name="Jobs", exact=True).first.click()
    row = page.locator("tm-job-row")
    expect(row).to_contain_text("ner-en-small")
    expect(row.get_by_role("progressbar")).to_have_attribute("aria-valuetext", "2 of 2, 0 failed")


def test_translations_and_summaries_stand_beside_their_source(visitor: Visitor) -> None:
    with visitor.client() as mill:
        text = "The library is small. It has no dependencies.\n\nIt is fast."
        translation = mill.submit("translation", [text], target_lang="pt")
        summary = mill.submit("summarization", [("a", text)])
        page = visitor.open(f"jobs/{translation.id}")
        rows = page.locator(".aligned tbody tr")
        expect(rows).to_have_count(3)
        expect(rows.first.locator("td")).to_have_text(["The library is small.", re.compile("biblioteca")])
        page = visitor.open(f"jobs/{summary.id}")
        expect(page.locator(".side h4")).to_have_text(["Document", "Summary"])
        summary.wait()
        [result] = summary.results()
        assert result.output is not None
        expect(page.locator(".side .text.strong")).to_have_text(str(result.output.summary_text))


def test_what_a_document_has_beside_its_text_stands_there(visitor: Visitor) -> None:
    with visitor.client() as mill:
        asked = mill.submit("question-answering", [{"text": "t", "question": "<b>Who</b>?"}], model="echo")
        page = visitor.open(f"jobs/{asked.id}")
        expect(page.locator("article .beside")).to_contain_text("question<b>Who</b>?")
        talk = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello?"}]
        told = mill.submit("text-generation", [{"messages": talk}], model="echo")
        page = visitor.open(f"jobs/{told.id}")
        expect(page.locator("article .beside dl dt")).to_have_text(["system", "user"])
        expect(page.locator("article .beside dl dd")).to_have_text(["Be brief.", "Hello?"])


def test_failed_documents_are_shown_by_their_code_and_retried(visitor: Visitor) -> None:
    with visitor.client() as mill:
        job = mill.submit("ner", [("fine", "x"), ("long", FAILS), ("fine too", "y")], model="echo")
        job.wait()
        before = {result.id: result.finished_at for result in job.results()}
        page = visitor.open(f"jobs/{job.id}")
        state(page, "completed_with_errors")
        errors = page.get_by_role("region", name="Errors")
        expect(errors).to_contain_text("document_too_long")
        errors.get_by_role("button", name="Show").click()
        expect(page.get_by_role("article")).to_have_count(1)
        expect(page.get_by_role("article")).to_contain_text("does not fit")
        assert "code=document_too_long" in page.url

        with page.expect_response(lambda answer: answer.url.endswith("/retry")) as answered:
            errors.get_by_role("button", name="Retry these").click()
        assert answered.value.json()["counts"]["pending"] == 1
        assert json.loads(answered.value.request.post_data or "") == {"codes": ["document_too_long"]}
        expect(page.get_by_role("article")).to_have_count(3)  # it ran again, and the page followed
        job.wait()
        after = {result.id: result.finished_at for result in job.results()}
        assert [id for id in before if before[id] != after[id]] == ["long"]


def test_a_job_is_cancelled_and_deleted(visitor: Visitor, ledger: Store) -> None:
    job = submitted(visitor, ledger, [(str(n), "x" * 20_000) for n in range(40)])  # more than one shard
    page = visitor.open(f"jobs/{job}")
    state(page, "queued")
    expect(page.get_by_role("status").filter(has_text="no live worker serves nobody")).to_be_visible()
    work(ledger, most=1)
    state(page, "running")
    expect(page.get_by_role("status").filter(has_text="no live worker serves nobody")).to_be_hidden()
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Leave it").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel the job").click()
    state(page, "cancelled")
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_role("dialog")).to_contain_text("cancelled documents will be processed, too")
    page.get_by_role("dialog").get_by_role("button", name="Leave it").click()
    with visitor.client() as mill:
        counts = mill.job(job).info.counts
        assert counts.succeeded > 0
        assert counts.cancelled == 40 - counts.succeeded
        page.get_by_role("button", name="Delete").click()
        page.get_by_role("dialog").get_by_role("button", name="Delete the job").click()
        expect(page.get_by_text("No jobs yet.")).to_be_visible()
        assert list(mill.jobs()) == []


def test_filters_are_in_the_address_and_actions_say_how_many(visitor: Visitor, ledger: Store) -> None:
    waiting = [submitted(visitor, ledger, [("a", "x")], metadata={"batch": "a"}) for _ in range(2)]
    with visitor.client() as mill:
        other = mill.submit("ner", ["x"], model="echo", metadata={"batch": "b"})
        other.wait()
        page = visitor.open("jobs")
        expect(page.locator("tm-job-row")).to_have_count(3)
        page.get_by_label("Metadata").fill("batch=a")
        expect(page.locator("tm-job-row")).to_have_count(2)
        assert "metadata=batch%3Da" in page.url
        page.reload()  # the address says it all
        expect(page.get_by_label("Metadata")).to_have_value("batch=a")
        expect(page.locator("tm-job-row")).to_have_count(2)
        page.get_by_role("button", name="Cancel all that match").click()
        expect(page.get_by_role("dialog")).to_contain_text("Cancel 2 jobs?")
        page.get_by_role("dialog").get_by_role("button", name="Cancel 2 jobs").click()
        expect(page.get_by_text("2 jobs cancelled.")).to_be_visible()
        expect(page.locator("tm-job-row tm-state[value=cancelled]")).to_have_count(2)
        assert [mill.job(job).state for job in waiting] == ["cancelled"] * 2

    page.get_by_label("Metadata").fill("")
    expect(page.locator("tm-job-row")).to_have_count(3)
    page.get_by_role("checkbox", name="Completed", exact=True).check(force=True)
    expect(page.locator("tm-job-row")).to_have_count(1)
    page.get_by_label("Id begins with").fill(other.id[:6])
    expect(page.locator("tm-job-row")).to_have_count(1)
    page.get_by_label("Task").select_option("summarization")
    expect(page.get_by_text("No job matches.")).to_be_visible()


def test_an_operator_sees_the_jobs_of_all_keys(visitors: Callable[..., Visitor], ledger: Store) -> None:
    producer, operator = visitors(), visitors("operator")
    job = submitted(producer, ledger, [("a", "a text of somebody's")], metadata={"desk": "all keys"})
    expect(producer.whole("jobs").get_by_label("Task")).to_be_visible()
    expect(producer.page.get_by_text("All keys", exact=True)).to_have_count(0)

    page = operator.open("jobs")
    page.get_by_role("checkbox", name="All keys").check(force=True)
    rows = page.locator("tm-job-row").filter(has_text="desk=all keys")
    expect(rows).to_have_count(1)
    assert "keys=all" in page.url
    expect(page.get_by_role("button", name="Cancel all that match")).to_be_hidden()
    page.reload()  # the address says it all
    expect(page.get_by_role("checkbox", name="All keys")).to_be_checked()
    expect(rows.locator("tm-state")).to_have_attribute("value", "queued")
    submitted(producer, ledger, [("b", "b")], metadata={"desk": "all keys"})
    expect(rows).to_have_count(2)  # without a reload
    rows.last.get_by_role("link").click()
    expect(page.locator(".crumbs code")).to_have_text(job)
    work(ledger)
    state(page, "completed")
    expect(page.get_by_role("article")).to_contain_text("a text of somebody's")

    page = operator.open("jobs?keys=all")
    page.get_by_role("checkbox", name="All keys").uncheck(force=True)
    expect(page.get_by_text("No jobs yet.")).to_be_visible()
    expect(page.get_by_role("button", name="Cancel all that match")).to_be_visible()


def test_how_fast_a_job_went_is_seen_although_nobody_watched(visitor: Visitor, ledger: Store) -> None:
    job = submitted(visitor, ledger, [(str(n), "x") for n in range(60)])
    work(ledger)
    stretch(ledger, job, 30)
    page = visitor.open(f"jobs/{job}")
    chart = page.locator("tm-pace").get_by_role("img", name=re.compile("^Documents per second: .*at most"))
    expect(chart).to_be_visible()
    assert chart.locator("rect").count() >= 25, "about two documents in each second"
    expect(page.locator("aside")).to_contain_text("Keyvisitor 0")
    expect(visitor.open("jobs").locator("tm-job-row")).to_contain_text("visitor 0")


def test_a_worker_that_drains_is_told_apart(visitor: Visitor, ledger: Store) -> None:
    ledger.write(workers.register, WorkerRow("drains", "elsewhere", 1, "cpu", ("echo",), 1, "machine"))
    try:
        page = visitor.open("workers")
        card = page.get_by_role("article").filter(has_text="elsewhere")
        expect(card).to_be_visible()
        expect(card).not_to_contain_text("draining")
        ledger.write(workers.heartbeat, "drains", ["echo"], 0.5, draining=True)
        expect(card).to_contain_text("draining")
    finally:
        ledger.write(workers.unregister, "drains")


def test_live_updates_can_be_paused(visitor: Visitor) -> None:
    page = visitor.open("jobs")
    with visitor.client() as mill:
        mill.submit("ner", ["x"], model="echo")
        expect(page.locator("tm-job-row tm-state")).to_have_attribute("value", "completed")  # without a reload
        page.get_by_role("button", name="Live").click()
        mill.submit("ner", ["x"], model="echo").wait()
        assert page.locator("tm-job-row").count() == 1
        page.get_by_role("button", name="Paused").click()
        expect(page.locator("tm-job-row")).to_have_count(2)


def test_a_job_that_is_heard_of_before_an_older_list_comes_stays(visitor: Visitor) -> None:
    page = visitor.page
    expect(page.get_by_text("No jobs yet.")).to_be_visible()
    held: list[tuple[Route, APIResponse]] = []

    def hold_the_first(route: Route) -> None:
        if held:
            route.continue_()
        else:
            held.append((route, route.fetch()))

    page.route(re.compile(r"/v1/jobs\?"), hold_the_first)
    page.reload()
    eventually(lambda: page.evaluate("true") and held, "the list is asked for")
    rows = page.locator("tm-job-row")
    with visitor.client() as mill:
        mill.submit("ner", ["x"], model="echo").wait()
        expect(rows.locator("tm-state")).to_have_attribute("value", "completed")
        mill.submit("ner", ["y"], model="echo").wait()
    expect(rows).to_have_count(2)
    [(route, empty)] = held
    assert empty.json()["jobs"] == []
    route.fulfill(response=empty)
    expect(page.get_by_label("Task")).to_be_attached()  # what comes after the list
    assert rows.count() == 2


def test_a_hundred_thousand_documents_are_paged(visitor: Visitor, ledger: Store) -> None:
    key = ledger.read(keys.authenticate, visitor.key).id
    job = submitted(visitor, ledger, [], open=True)
    for start in range(0, 100_000, 20_000):
        texts = [(f"d{n}", f"fail {n}" if n == 77_777 else f"text {n}") for n in range(start, start + 20_000)]
        ledger.write(jobs.append, key, job, texts, start)
    ledger.write(jobs.close, key, job)
    work(ledger)
    page = visitor.open(f"jobs/{job}")
    state(page, "completed_with_errors")
    expect(page.locator(".pager")).to_contain_text("1 to 20")
    page.get_by_role("button", name="Next").click()
    expect(page.locator(".pager")).to_contain_text("21 to 40")
    expect(page.get_by_role("article").first).to_contain_text("text 20")
    page.get_by_role("button", name="Previous").click()
    expect(page.locator(".pager")).to_contain_text("1 to 20")
    page.get_by_role("button", name=re.compile("^Failed")).click()
    expect(page.get_by_role("article")).to_have_count(1)
    expect(page.get_by_role("article")).to_contain_text("fail 77777")
    page.get_by_label("Document id").fill("d99999")
    page.get_by_role("button", name="Find").click()
    expect(page.locator(".pager")).to_contain_text("Position 100,000")
    assert page.locator("*").count() < 2_000  # a million would not be more


def test_results_are_downloaded(visitor: Visitor) -> None:
    with visitor.client() as mill:
        job = mill.submit("summarization", [("a", 'He said "no",\nand left.'), ("b", FAILS)], model="echo")
        job.wait()
        page = visitor.open(f"jobs/{job.id}")
        menu = page.locator("summary", has_text="Download")
        menu.click()
        page.keyboard.press("Escape")
        expect(page.get_by_role("button", name="CSV")).to_be_hidden()
        expect(menu).to_be_focused()
        menu.click()
        with page.expect_download() as lines:
            page.get_by_role("button", name="JSON lines").click()
        results = [json.loads(line) for line in lines.value.path().read_text().splitlines()]
        assert [(result["id"], result["state"]) for result in results] == [("a", "succeeded"), ("b", "failed")]
        with page.expect_download() as table:
            page.get_by_role("button", name="CSV").click()
        rows = list(csv.reader(io.StringIO(table.value.path().read_text(), newline=""), strict=True))
        assert rows[0][:6] == ["id", "position", "state", "summary_text", "error_code", "error_message"]
        assert rows[1][:5] == ["a", "0", "succeeded", 'He said "no",\nand left.', ""]
        assert rows[2][:5] == ["b", "1", "failed", "", "document_too_long"]


def test_the_page_outlives_a_restart_of_the_server(visitor: Visitor, ledger: Store, system: Running) -> None:
    job = submitted(visitor, ledger, [("a", "x")])
    page = visitor.open(f"jobs/{job}")
    state(page, "queued")
    silence = page.get_by_role("status").filter(has_text="does not answer")
    expect(silence).to_be_hidden()
    [api] = system.state()["pids"]["api"]
    os.kill(api, signal.SIGKILL)
    expect(silence).to_be_visible()
    work(ledger)
    state(page, "completed")  # by itself: nothing was reloaded
    expect(silence).to_be_hidden()
