"""What a worker records of a document is named once: the table, the statements, the rows and HTTP agree with it."""

import json

from store.bulk import DocumentOutcome
from store.results import ResultRow
from store.tables import results
from textmill.wire import Result

RECORDED = set(DocumentOutcome._fields)


def test_the_table_has_a_column_for_each_field_and_the_ledgers_own() -> None:
    assert set(results.c.keys()) == RECORDED | {"job_id", "state", "finished_at"}


def test_a_field_that_may_be_left_out_may_be_null_or_has_a_value() -> None:
    for name, default in DocumentOutcome._field_defaults.items():
        assert results.c[name].nullable or default is not None, name


def test_a_result_shows_each_field() -> None:
    others = {"id", "state", "error", "model", "finished_at", "text", "fields"}
    assert set(Result.model_fields) == RECORDED - {"error_code", "error_message"} | others


def test_what_is_sent_is_what_the_contract_names() -> None:
    outcome = DocumentOutcome(**{name: name for name in RECORDED} | {"output": '"output"'})  # type: ignore[arg-type]
    sent = json.loads(ResultRow("a", "failed", "m", "now", outcome, "the text", '{"question": "who?"}').json())
    assert set(sent) == set(Result.model_fields)
    for name in set(sent) & RECORDED:
        assert sent[name] == name
    assert sent["fields"] == {"question": "who?"}
    assert sent["error"] == {"code": "error_code", "message": "error_message"}


def test_a_server_that_does_not_know_the_newest_fields_is_read() -> None:
    sent = json.loads(ResultRow("a", "succeeded", "m", None, DocumentOutcome(0, "{}")).json())
    del sent["backend"], sent["dtype"]
    assert Result.model_validate(sent).backend is None
