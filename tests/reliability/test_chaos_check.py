"""The checker of `make chaos` finds what it is there to find: each kind of damage is planted, and named."""

from dataclasses import replace
from typing import Any

import pytest

from tests.reliability.chaos.check import CATEGORIES, Verdict, check
from tests.reliability.chaos.history import Doc, Found, Operation, Row

DOCUMENTS = (Doc("a", "first"), Doc("b", "[[echo:raise]]"), Doc(None, "third"))
COUNTS = {"total": 5, "succeeded": 4, "failed": 1, "cancelled": 0}
SHOWN = {"state": "completed_with_errors", "counts": COUNTS}

SUBMIT = Operation("submit", "ok", "job", "1", DOCUMENTS, first=0, began=1, ended=2)
APPEND = Operation("append", "unknown", "job", "1", (Doc(None, "fourth"), Doc("e", "fifth")), began=3, ended=4)
WAIT = Operation("wait", "ok", "job", "1", shown=SHOWN, began=5, ended=6)
CANCEL = Operation("cancel", "ok", "job", "1", began=5, ended=6)
RETRY = Operation("retry", "unknown", "job", "1", began=7, ended=8)
DELETE = Operation("delete", "ok", "job", "1", began=9, ended=10)


def echoed(document: str, position: int, text: str) -> Row:
    return Row(document, position, "succeeded", {"summary_text": text})


ROWS = (
    echoed("a", 0, "first"),
    Row("b", 1, "failed", code="processing_failed"),
    echoed("2", 2, "third"),
    echoed("3", 3, "fourth"),
    echoed("e", 4, "fifth"),
)
FOUND = Found("1", "job", "summarization", "echo", "completed_with_errors", COUNTS, ROWS)
SHORTER = replace(FOUND, counts=COUNTS | {"total": 3, "succeeded": 2}, rows=ROWS[:3])
"""Without the append that nobody answered."""


def with_row(position: int, **changes: object) -> Found:
    rows = [replace(row, **changes) if row.position == position else row for row in ROWS]  # type: ignore[arg-type]
    return replace(FOUND, rows=tuple(rows))


def refused(operation: Operation, said: str) -> Operation:
    return replace(operation, result="refused", said=said, shown=None)


def counted(found: Found, **counts: int) -> Found:
    return replace(found, counts=found.counts | counts)


def verdict(operations: list[Operation], *found: Found, seen: tuple[Found, ...] = ()) -> Verdict:
    return check(operations, {one.id: one for one in found}, {one.id: one for one in seen})


@pytest.mark.parametrize(
    ("operations", "found", "seen"),
    [
        ([SUBMIT, APPEND, WAIT], [FOUND], []),
        ([SUBMIT, APPEND], [SHORTER], []),
        ([SUBMIT, APPEND, DELETE], [], [FOUND]),
        ([replace(SUBMIT, result="unknown", job=None)], [], []),
        ([replace(SUBMIT, result="unknown", job=None)], [SHORTER], []),
        ([SUBMIT, APPEND, replace(DELETE, result="unknown")], [], [FOUND]),
        ([SUBMIT, APPEND, replace(DELETE, result="unknown")], [FOUND], [FOUND]),
        ([SUBMIT, refused(DELETE, "409")], [SHORTER], []),
        ([SUBMIT, APPEND, refused(replace(APPEND, documents=(Doc("f", "sixth"),)), "409")], [FOUND], []),
        ([SUBMIT, RETRY, replace(WAIT, began=9, ended=10)], [SHORTER], []),
        ([SUBMIT, replace(WAIT, shown={"state": "failed", "counts": COUNTS}), RETRY], [SHORTER], []),
        (
            [SUBMIT, APPEND, CANCEL],
            [counted(with_row(3, state="cancelled", output=None), succeeded=3, cancelled=1)],
            [],
        ),
    ],
)
def test_what_is_right_passes(operations: list[Operation], found: list[Found], seen: list[Found]) -> None:
    assert verdict(operations, *found, seen=tuple(seen)).violations == []


def only(category: str, count: int, found: Verdict) -> None:
    assert {one: getattr(found, one) for one in CATEGORIES} == {one: count * (one == category) for one in CATEGORIES}
    assert not found.clean
    assert found.violations


@pytest.mark.parametrize(
    ("category", "count", "operations", "found"),
    [
        pytest.param("lost", 3, [SUBMIT], [], id="a job is gone"),
        pytest.param("lost", 1, [replace(SUBMIT, documents=())], [], id="an empty job is gone"),
        pytest.param(
            "lost", 1, [SUBMIT], [counted(replace(SHORTER, rows=ROWS[1:3]), succeeded=1)], id="a document is gone"
        ),
        pytest.param(
            "lost", 1, [SUBMIT, APPEND], [counted(replace(FOUND, rows=ROWS[:4]), succeeded=3)], id="half an append"
        ),
        pytest.param(
            "stuck", 3, [SUBMIT], [replace(SHORTER, state="running", rows=())], id="a job does not end"
        ),
        pytest.param("doubled", 3, [SUBMIT], [SHORTER, replace(SHORTER, id="2")], id="one submit made two jobs"),
        pytest.param(
            "doubled", 3, [replace(SUBMIT, result="unknown", job=None)], [SHORTER, replace(SHORTER, id="2")],
            id="a submit without an answer made two jobs",
        ),
        pytest.param(
            "doubled", 1, [SUBMIT, APPEND],
            [counted(replace(FOUND, rows=(*ROWS, echoed("5", 5, "fourth"))), succeeded=5)],
            id="a document without id is stored twice",
        ),
        pytest.param(
            "doubled", 1, [SUBMIT],
            [counted(replace(SHORTER, rows=(*ROWS[:3], echoed("a", 3, "first"))), succeeded=3)],
            id="a document has two outcomes",
        ),
        pytest.param(
            "wrong", 1, [SUBMIT, APPEND], [with_row(0, output={"summary_text": "another's"})], id="another's output"
        ),
        pytest.param(
            "wrong", 1, [SUBMIT, APPEND],
            [counted(with_row(1, state="succeeded", output={"summary_text": "[[echo:raise]]"}), succeeded=5, failed=0)],
            id="a failure became a success",
        ),
        pytest.param("wrong", 1, [SUBMIT, APPEND], [with_row(1, code="worker_lost")], id="the wrong reason"),
        pytest.param("wrong", 1, [SUBMIT, APPEND], [counted(FOUND, succeeded=5)], id="a wrong count"),
        pytest.param(
            "wrong", 1, [SUBMIT, APPEND],
            [counted(with_row(4, state="cancelled", output=None), succeeded=3, cancelled=1)],
            id="cancelled by nobody",
        ),
        pytest.param("wrong", 3, [SUBMIT, refused(APPEND, "409")], [FOUND], id="refused, not to be expected, and done"),
        pytest.param("wrong", 1, [SUBMIT, WAIT], [SHORTER], id="it had ended otherwise"),
        pytest.param(
            "wrong", 1, [SUBMIT, replace(RETRY, result="ok"), replace(WAIT, began=9, ended=10)], [SHORTER],
            id="and not by a retry",
        ),
        pytest.param("wrong", 1, [SUBMIT, refused(WAIT, "404")], [SHORTER], id="a job is denied"),
        pytest.param("wrong", 3, [], [SHORTER], id="nobody's job"),
        pytest.param(
            "innocent_failures", 1, [SUBMIT, APPEND],
            [counted(with_row(4, state="failed", output=None, code="worker_lost"), succeeded=3, failed=2)],
            id="an innocent document failed",
        ),
    ],
)  # fmt: skip
def test_damage_is_found(category: str, count: int, operations: list[Operation], found: list[Found]) -> None:
    only(category, count, verdict(operations, *found))


def test_a_deleted_job_that_comes_back_is_found() -> None:
    only("wrong", 1, verdict([SUBMIT, APPEND, DELETE], FOUND, seen=(FOUND,)))


def test_what_was_seen_before_a_deletion_counts() -> None:
    only("wrong", 1, verdict([SUBMIT, APPEND, DELETE], seen=(with_row(0, output={"summary_text": "another's"}),)))


def test_documents_and_outcomes_are_counted() -> None:
    found = verdict([SUBMIT, APPEND], FOUND)
    assert (found.accepted, found.outcomes) == (3, 3)
    assert verdict([SUBMIT], replace(SHORTER, rows=ROWS[:2])).outcomes == 2


SCORED = {"entities": [{"word": "Lisbon", "score": 0.98765432}]}
MODEL = replace(
    SHORTER, model="some", task="ner", counts=COUNTS | {"total": 1, "succeeded": 1, "failed": 0}, state="completed"
)


@pytest.mark.parametrize(
    ("output", "wrong"),
    [
        (SCORED, 0),
        ({"entities": [{"word": "Lisbon", "score": 0.98765499}]}, 0),
        ({"entities": [{"word": "Lisbon", "score": 0.98}]}, 1),
        ({"entities": [{"word": "Oslo", "score": 0.98765432}]}, 1),
        ({"entities": []}, 1),
    ],
)
def test_a_models_output_is_compared_with_the_one_without_faults(output: dict[str, Any], wrong: int) -> None:
    submit = replace(SUBMIT, documents=(Doc("a", "In Lisbon."),))
    found = replace(MODEL, rows=(Row("a", 0, "succeeded", output),))
    assert check([submit], {"1": found}, {}, {("ner", "In Lisbon."): SCORED}).wrong == wrong
    assert check([submit], {"1": found}, {}, {}).wrong == 1
