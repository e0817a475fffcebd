"""A real browser over a real system: `python -m standalone up` with the bundled models, and Debian's Chromium.

One of each for all tests here. They end with this package: a running Playwright keeps an event loop in the main thread,
which tests of other packages could not have their own beside.
"""

import os
import shutil
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from store import keys
from store.session import Store
from tests.acceptance.conftest import SECONDS, Running
from textmill import Client
from textmill.keys import Role

PATIENCE = 1000 * SECONDS
"""Milliseconds for what takes less than a second on an idle machine."""

VIEWS = {
    "jobs": ("Jobs", "tm-job-row"),
    "new": ("New job", "tm-options details"),
    "try": ("Try a text", "tm-options details"),
    "models": ("Models", ".card"),
    "workers": ("Workers", ".card"),
    "system": ("System", ".links li"),
}
"""The heading of each view, and what is there when it is whole."""

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")

expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="package")
def chromium() -> str:
    """The browser's program. Missing it skips, and fails where everything has to be tested."""
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if found is None:
        said = "no Chromium: `make browser` installs it (as root, on Debian)"
        if os.environ.get("CI") or os.environ.get("TEXTMILL_CI"):
            pytest.fail(said)
        pytest.skip(said)
    return found


@pytest.fixture(scope="package")
def browser(chromium: str) -> Iterator[Browser]:
    """Chromium. The sandbox wants another user than root; what is opened here is our own page."""
    arguments = ["--disable-gpu", "--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield started
        started.close()


@pytest.fixture(scope="package")
def system(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The system. One worker process: each would load the models for itself."""
    environment = {"TEXTMILL_CPU_PROCESSES": "1", "TEXTMILL_SHARD_DOCUMENTS": "500", "TEXTMILL_DRAIN_SECONDS": "1"}
    running = Running(tmp_path_factory.mktemp("system"), environment)
    try:
        yield running.start()
    finally:
        running.clean_up()


@pytest.fixture(scope="package")
def ledger(system: Running) -> Iterator[Store]:
    """The system's database."""
    store = Store(system.state()["database_url"])
    yield store
    store.close()


class Visitor:
    """Somebody with a key of their own and a browser."""

    def __init__(self, context: BrowserContext, url: str, key: str) -> None:
        self.context = context
        self.url = url
        self.key = key
        self.page: Page = context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", lambda said: self._hear(said.type, said.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        # The key comes by the address, as `make up` prints it.
        self.page.goto(f"{url}/#key={key}")

    def _hear(self, kind: str, text: str) -> None:
        # An answer that is no success, or none, is told by the browser itself: tests ask for some of these.
        if kind in ("error", "warning") and not text.startswith("Failed to load resource"):
            self.complaints.append(text)

    def open(self, view: str) -> Page:
        """The page, at `#/` and that."""
        self.page.goto(f"{self.url}/#/{view}")
        return self.page

    def whole(self, view: str) -> Page:
        """As `open`, and everything of the view is there. The heading first: what a view is made of is in others, too,
        and the one before goes on to be seen until this one has come."""
        page = self.open(view)
        heading, last = VIEWS[view]
        expect(page.get_by_role("heading", level=1)).to_have_text(heading)
        expect(page.locator(last).first).to_be_visible()
        return page

    def whole_job(self, job_id: str) -> Page:
        """The same, of a job's view."""
        page = self.open(f"jobs/{job_id}")
        expect(page.locator(".crumbs code")).to_have_text(job_id)
        expect(page.get_by_role("article").first).to_be_visible()
        return page

    def client(self) -> Client:
        """The producer's client with the same key."""
        return Client(self.url, api_key=self.key)


@pytest.fixture
def visitors(browser: Browser, system: Running, ledger: Store) -> Iterator[Callable[..., Visitor]]:
    """Makes visitors. In none of their consoles may there be an error, nor a violation of the policy, at the end."""
    made: list[Visitor] = []

    def make(role: Role = "producer", **options: object) -> Visitor:
        secret = ledger.write(keys.create, f"visitor {len(made)}", role).secret
        context = browser.new_context(locale="en-GB", **options)  # type: ignore[arg-type]
        context.set_default_timeout(PATIENCE)
        made.append(Visitor(context, system.state()["api_url"], secret))
        return made[-1]

    yield make
    for visitor in made:
        visitor.context.close()
        assert visitor.complaints == []


@pytest.fixture
def visitor(visitors: Callable[..., Visitor]) -> Visitor:
    """One of them."""
    return visitors()
