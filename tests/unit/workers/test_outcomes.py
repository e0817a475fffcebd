"""Outcomes as stored: JSON text that every database takes."""

import json

from store.bulk import DocumentOutcome
from tests.unit.workers.echoes import echo
from textmill.errors import DocumentTooLong, ProcessingFailed
from workers.runner import Outcome
from workers.shards.outcomes import failed, succeeded

RUNNER = echo()
RUNNER.open()


def test_output_is_json_text_with_its_letters() -> None:
    outcome = succeeded(3, Outcome({"summary_text": "Olá\u2028 \0"}, 5, 4, 2, True), RUNNER, 2)
    assert outcome.output == '{"summary_text":"Olá\u2028 \\u0000"}'
    assert outcome == DocumentOutcome(3, outcome.output, None, None, "echo", 5, 4, 2, True, 2, "echo", "none")


def test_half_a_surrogate_pair_is_stored_as_its_escape() -> None:
    outcome = succeeded(0, Outcome({"summary_text": "a\ud800"}), RUNNER, 1)
    assert outcome.output == '{"summary_text":"a\\ud800"}'
    assert json.loads(outcome.output) == {"summary_text": "a\ud800"}


def test_a_score_that_is_no_number_fails_its_document() -> None:
    outcome = succeeded(0, Outcome({"entities": [{"score": float("nan")}]}), RUNNER, 1)
    assert (outcome.output, outcome.error_code) == (None, ProcessingFailed.code)


def test_errors_keep_their_code() -> None:
    assert failed(0, DocumentTooLong("much \0too\ud800 long"), 9, 1)[1:6] == (
        None, "document_too_long", "much too? long", None, 9
    )  # fmt: skip
