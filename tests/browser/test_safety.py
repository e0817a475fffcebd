"""Whose page it is: texts stay texts, keys see their own, nothing comes from elsewhere, everybody can read it."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Response, expect

from tests.acceptance.conftest import eventually
from tests.browser.conftest import VIEWS, Visitor
from tests.browser.test_jobs import drop
from textmill import Client

HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>\'"&amp;</textarea>'


def unharmed(page: Page) -> None:
    """Nothing of a text has become a part of the page."""
    assert page.evaluate("window.hacked") is None
    assert page.locator("main").locator("img, script, iframe, object, style, link").count() == 0


def test_a_text_full_of_markup_stays_a_text_in_every_view(visitor: Visitor) -> None:
    page = visitor.page
    noted = {HOSTILE: HOSTILE}
    with visitor.client() as mill:
        shown = [
            mill.submit(task, [(HOSTILE, f"{HOSTILE} Alan Turing {HOSTILE}")], model=model, metadata=noted, **options)
            for task, model, options in (
                ("ner", None, {}),
                ("translation", "echo", {"source_lang": HOSTILE[:30], "target_lang": "<b>"}),
                ("summarization", "echo", {}),
            )
        ]  # fmt: skip
        failing = mill.submit("ner", [(HOSTILE, f"[[echo:raise]] {HOSTILE}")], model="echo", metadata={"a": HOSTILE})
        for job in [*shown, failing]:
            job.wait()
            page = visitor.open(f"jobs/{job.id}")
            expect(page.get_by_role("article").locator("code").first).to_have_text(HOSTILE)
            expect(page.get_by_role("article")).to_contain_text(HOSTILE)
            expect(page.locator("aside")).to_contain_text(HOSTILE)
            page.locator("summary", has_text="Code").click()
            unharmed(page)
            page.get_by_label("Document id").fill(HOSTILE)
            page.get_by_role("button", name="Find").click()
            expect(page.locator(".pager")).to_contain_text("Position 1")
            unharmed(page)
    page = visitor.open("jobs")
    expect(page.locator("tm-job-row").first).to_contain_text(HOSTILE)
    unharmed(page)
    image = "%3Cimg%20src=x%20onerror=hacked=1%3E"
    page = visitor.open(f"jobs?task={image}&id={image}&metadata={image}")
    expect(page.get_by_label("Id begins with")).to_have_value(re.compile("<img"))
    unharmed(page)
    page = visitor.open("jobs/" + "%3Cimg%20src%3Dx%20onerror%3D%22window.hacked%3D1%22%3E")
    expect(page.get_by_role("alert")).to_be_visible()
    unharmed(page)
    page = visitor.open("try")
    page.get_by_label("Model").select_option("echo")
    page.get_by_label("Text").fill(HOSTILE)
    page.get_by_role("button", name="Run").click()
    expect(page.locator(".answer .text")).to_have_text(HOSTILE)
    expect(page.locator(".answer tm-code")).to_contain_text("onerror")
    unharmed(page)
    page = visitor.open("new")
    drop(page, {"<img src=x onerror=hacked=1>.csv": "a,<img src=x onerror=hacked=1>\n1,2\n"})
    expect(page.get_by_label("Column of the texts")).to_have_value("<img src=x onerror=hacked=1>")
    unharmed(page)


def test_a_wrong_key_is_told_and_a_right_one_leads_on(visitor: Visitor) -> None:
    page = visitor.page
    page.get_by_role("button", name="Sign out").click()
    page.goto(f"{visitor.url}/#key=wrong")
    expect(page.get_by_role("alert")).to_contain_text("does not accept this key")
    page.get_by_label("API key").fill("also wrong")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("alert")).to_contain_text("does not accept this key")
    page.get_by_label("API key").fill(visitor.key)
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_text("No jobs yet.")).to_be_visible()


def test_the_key_leaves_the_address_and_stays_in_the_tab(visitor: Visitor) -> None:
    page = visitor.page
    expect(page.get_by_text("No jobs yet.")).to_be_visible()
    assert visitor.key not in page.url
    assert visitor.context.cookies() == []
    page.reload()
    expect(page.get_by_text("No jobs yet.")).to_be_visible()
    other = visitor.context.new_page()  # of the same browser
    other.goto(visitor.url)
    expect(other.get_by_label("API key")).to_be_visible()


def test_two_keys_see_their_own(visitors: Callable[..., Visitor]) -> None:
    one, other = visitors(), visitors()
    with one.client() as mill:
        job = mill.submit("ner", ["mine alone"], model="echo")
        job.wait()
    expect(one.open("jobs").locator("tm-job-row")).to_have_count(1)
    expect(other.open("jobs").get_by_text("No jobs yet.")).to_be_visible()
    page = other.open(f"jobs/{job.id}")
    expect(page.get_by_role("alert")).to_contain_text("job_not_found")
    assert "mine alone" not in page.content()


def test_the_first_view_is_small_and_all_from_here(visitor: Visitor) -> None:
    page = visitor.context.new_page()
    page.add_init_script(f"sessionStorage.setItem('textmill.key', '{visitor.key}')")
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer))
    page.goto(visitor.url)
    expect(page.get_by_label("Task")).to_be_attached()
    assert {answer.url.startswith(visitor.url) for answer in answers} == {True}
    files = [answer for answer in answers if "/v1/" not in answer.url]
    assert sum(len(answer.body()) for answer in files) < 100_000
    # The page names them beforehand, all and no others.
    named = page.evaluate("Array.from(document.querySelectorAll('[rel=modulepreload]'), (link) => link.href)")
    assert {file.url for file in files if file.url.endswith(".js")} == {*named, f"{visitor.url}/app.js"}
    assert "'unsafe" not in files[0].headers["content-security-policy"]


@pytest.fixture
def jobs_of_all_kinds(visitor: Visitor) -> list[str]:
    """Ids of jobs that show what a job's view can."""
    with visitor.client() as mill:
        made = [
            mill.submit("ner", ["Grace Hopper lived in Arlington and worked for Remington Rand."], metadata={"a": "b"}),
            mill.submit("translation", ["It is small. It is fast."], target_lang="pt"),
            mill.submit("summarization", ["x", "[[echo:too-long]]"], model="echo"),
        ]
        return [job.wait().id for job in made]


HOLD = """() => {
  const { fetch } = window;
  const released = new Promise((release) => (window.release = () => release((window.fetch = fetch))));
  window.fetch = (...asked) => released.then(() => fetch(...asked));
}"""
"""What the page asks for from now on, it asks for when it is released."""

LOOK = """async (asked) => {
  let changed = false;
  const watch = new MutationObserver(() => (changed = true));
  watch.observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true });
  const { violations } = await axe.run(document, asked);
  changed ||= watch.takeRecords().length > 0;
  watch.disconnect();
  return changed ? null : { violations: violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)]) };
}"""


def violations(page: Page, **asked: object) -> list[Any]:
    """What axe finds in the page as it is. A page that is drawn anew meanwhile (views ask again every few seconds) is
    seen half as it was: nothing is told by such a look, and until there was another the page hears nothing new."""
    page.evaluate(HOLD)
    found = eventually(lambda: page.evaluate(LOOK, {"resultTypes": ["violations"], **asked}), "a page that stays")
    page.evaluate("window.release()")
    return list(found["violations"])


def test_axe_finds_nothing(visitor: Visitor, jobs_of_all_kinds: list[str]) -> None:
    page = visitor.page
    Axe().run(page)  # brings axe into the page, where it stays: views change without a load

    def clean(what: str) -> None:
        for scheme, rules in (("light", {}), ("dark", {"runOnly": ["color-contrast"]})):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            assert (what, scheme, violations(page, **rules)) == (what, scheme, [])

    for view in VIEWS:
        visitor.whole(view)
        clean(view)
    for job in jobs_of_all_kinds:
        visitor.whole_job(job)
        clean(f"the job {job}")
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    clean("a question")
    page.keyboard.press("Escape")
    visitor.whole("new")
    drop(page, {"table.csv": "a,b\n1,2\n"})
    expect(page.get_by_label("Column of the ids")).to_be_visible()
    clean("a table's columns")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("API key")).to_be_focused()
    clean("the way in")


def test_it_is_usable_from_the_keyboard(visitor: Visitor) -> None:
    page = visitor.open("try")
    page.reload()
    expect(page.get_by_label("Task")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_label("Text")).to_be_focused()
    page.get_by_label("Model").select_option("echo")
    page.get_by_label("Text").focus()
    page.keyboard.press("Control+Enter")
    expect(page.locator(".answer .text")).to_contain_text("Grace Hopper")


def test_a_phone_shows_all_of_it_without_scrolling_sideways(visitors: Callable[..., Visitor]) -> None:
    phone = visitors(viewport={"width": 360, "height": 740})
    with Client(phone.url, api_key=phone.key) as mill:
        job = mill.submit("summarization", [("a" * 300, "x" * 3000), ("b", "[[echo:too-long]]")], model="echo")
        job.wait()
    for show in (partial(phone.whole_job, job.id), *(partial(phone.whole, view) for view in VIEWS)):
        assert show().evaluate("document.documentElement.scrollWidth") <= 360, show.args
