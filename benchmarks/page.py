"""How soon is the page's first view there, and of how many bytes is it? In a real browser, over a system that runs.

    python -m benchmarks.page 'http://127.0.0.1:8000/#key=...'     the address that `make up` prints
    python -m benchmarks.page ADDRESS --times 20

Each time in a browser context of its own, so that nothing is kept from the time before. Prints the median milliseconds
(and the least and the most) from the click to the first paint and to the whole view (its filters and its list are
there), and the bytes that the page's own files took; the API's answers come on top of these.
"""

import argparse
import os
import shutil
import statistics
from typing import NamedTuple

from playwright.sync_api import Browser, sync_playwright

WHOLE = "() => document.querySelector('tm-filters select') && document.querySelector('.jobs li') && performance.now()"
"""The moment, in the page's own time, which begins with the click."""

PAINTED = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime"

BYTES = """() => performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation'))
  .filter(({ name }) => !name.includes('/v1/')).reduce((sum, { transferSize }) => sum + transferSize, 0)"""


class Seen(NamedTuple):
    """One time: milliseconds to the first paint and to the whole view, and bytes with their headers."""

    painted: float
    whole: float
    size: int


def look(browser: Browser, address: str) -> Seen:
    """Open the address as somebody who has never been there."""
    context = browser.new_context()
    try:
        page = context.new_page()
        page.goto(address, wait_until="commit")
        whole = page.wait_for_function(WHOLE).json_value()
        painted = page.wait_for_function(PAINTED).json_value()
        return Seen(painted, whole, page.evaluate(BYTES))
    finally:
        context.close()


def main() -> None:
    """Look so many times, and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address", help="with the key in its fragment")
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--browser", default="chromium", help="the program of a Chromium")
    chosen = parser.parse_args()
    program = shutil.which(chosen.browser)
    if program is None:
        parser.error(f"there is no {chosen.browser}: `make browser` installs one, --browser names another")
    root = os.geteuid() == 0  # the sandbox wants another user; what is opened here is our own page
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"] if root else [])
        look(browser, chosen.address)  # the browser's own first time
        seen = [look(browser, chosen.address) for _ in range(chosen.times)]
        browser.close()
    for what, times in (("first paint", [one.painted for one in seen]), ("whole view", [one.whole for one in seen])):
        print(f"{what}: {statistics.median(times):.0f} ms ({min(times):.0f} to {max(times):.0f})")
    print(f"files: {max(one.size for one in seen):,} bytes")


if __name__ == "__main__":
    main()
