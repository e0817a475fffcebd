"""A job's webhook on its view: what was told, and sending it again."""

import re

from playwright.sync_api import expect

from tests.browser.conftest import Visitor

NOWHERE = f"https://{'x' * 64}.invalid/hook"
"""A name that is too long to be one: no resolver is asked for it."""


def test_what_was_told_is_shown_and_sent_again(visitor: Visitor) -> None:
    text = ["Grace Hopper worked in Philadelphia."]
    with visitor.client() as mill:
        mill.new_webhook_secret()
        silent = mill.submit("ner", text).wait()
        job = mill.submit("ner", text, webhook=NOWHERE).wait()
    page = visitor.whole_job(silent.id)
    told = page.locator("tm-deliveries")
    expect(told).to_be_hidden()
    visitor.whole_job(job.id)
    expect(told).to_contain_text(NOWHERE)
    expect(told.get_by_role("listitem")).to_contain_text(re.compile(r"job\.completed.*\((unreachable|timeout)"))
    with page.expect_response(lambda answer: answer.url.endswith("/resend")) as sent:
        told.get_by_role("button", name="Send again").click()
    assert sent.value.ok
    expect(told.get_by_role("listitem")).to_have_count(1)
