"""Outcomes as stored: JSON text that every database takes."""

import json

from store.bulk import DocumentOutcome
from textmill.errors import DocumentTooLong, ProcessingFailed
from workers.runner import Outcome
from workers.shards.outcomes import failed, succeeded


def test_output_is_json_text_with_its_letters() -> None:
    outcome = succeeded(3, Outcome({"summary_text": "Olá\u2028 \0"}, 5, 4, 2, True), "rev", 2)
    assert outcome.output == '{"summary_text":"Olá\u2028 \\u0000"}'
    assert outcome == DocumentOutcome(3, outcome.output, None, None, "rev", 5, 4, 2, True, 2)


def test_half_a_surrogate_pair_is_stored_as_its_escape() -> None:
    outcome = succeeded(0, Outcome({"summary_text": "a\ud800"}), "rev", 1)
    assert outcome.output == '{"summary_text":"a\\ud800"}'
    assert json.loads(outcome.output) == {"summary_text": "a\ud800"}


def test_a_score_that_is_no_number_fails_its_document() -> None:
    outcome = succeeded(0, Outcome({"entities": [{"score": float("nan")}]}), "rev", 1)
    assert (outcome.output, outcome.error_code) == (None, ProcessingFailed.code)


def test_errors_keep_their_code() -> None:
    assert failed(0, DocumentTooLong("much \0too\ud800 long"), 9, 1)[1:6] == (
        None, "document_too_long", "much too? long", None, 9
    )  # fmt: skip
    declared = succeeded(0, Outcome(None, error_code="document_empty", error_message="empty"), "rev", 1)
    assert (declared.error_code, declared.error_message, declared.output) == ("document_empty", "empty", None)
