"""What `make bench` makes of its numbers."""

import json
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.__main__ import measure, parse, sized
from benchmarks.questions import QUESTIONS
from benchmarks.questions.question import Aim, Arm, Measured, Question, Size

ASKED = Question(
    "q",
    "which is faster?",
    Size(10, 5),
    lambda size: (),
    (
        Aim("faster than the best", "ours", ("one", "other"), 2.0),
        Aim("busy", "ours", target=0.9, fact="busy"),
        Aim("cheap", "ours", ("one",), 1.1, "cpu_us", at_most=True),
        Aim("of one that was not asked", "ours", ("absent",), 1.0),
    ),
)


def rounds(*rates: float, **facts: float) -> list[Measured]:
    return [Measured(rate, facts) for rate in rates]


MEASURED = {
    "ours": rounds(30.0, 10.0, 20.0, busy=0.95, cpu_us=120),
    "one": rounds(5.0, cpu_us=100),
    "other": rounds(8.0, 8.0, 16.0),
}


def test_an_aim_is_a_ratio_of_medians_to_the_best_of_the_others() -> None:
    assert report.aims(ASKED, MEASURED) == {
        "faster than the best": {"value": 2.5, "target": 2.0, "at_most": False, "met": True},
        "busy": {"value": 0.95, "target": 0.9, "at_most": False, "met": True},
        "cheap": {"value": 1.2, "target": 1.1, "at_most": True, "met": False},
    }


def test_the_table_measures_by_the_first_side_and_shows_every_round() -> None:
    assert report.table(ASKED, MEASURED, {"other": "at its best"}).splitlines() == [
        "### which is faster?",
        "",
        "|  | documents/s (each round) | ours: times | engine busy | CPU µs a document |",
        "| --- | --- | --- | --- | --- |",
        "| ours | 20.0 (30.0, 10.0, 20.0) | 1.00 | 95% | 120 |",
        "| one | 5.0 (5.0) | 4.00 |  | 100 |",
        "| other (at its best) | 8.0 (8.0, 8.0, 16.0) | 2.50 |  |  |",
    ]


def test_rows_are_fit_for_json() -> None:
    rows = report.rows(ASKED, MEASURED)
    assert json.loads(json.dumps(rows)) == rows
    assert [row["documents_per_second"] for row in rows] == [20.0, 5.0, 8.0]


def test_sides_take_turns_and_only_those_that_may_stay_started() -> None:
    told: list[str] = []

    def arm(name: str, side_by_side: bool) -> Arm:
        class Started:
            def __enter__(self):  # type: ignore[no-untyped-def]
                told.append(f"{name} starts")
                return lambda: (told.append(f"{name} runs"), Measured(1.0))[1]

            def __exit__(self, *_: object) -> None:
                told.append(f"{name} ends")

        def start(size: Size, folder: Path) -> Started:
            assert not list(folder.iterdir())
            return Started()

        return Arm(name, "", start, side_by_side=side_by_side)

    measured = measure(ASKED, [arm("a", True), arm("b", False)], 2)
    assert {name: len(found) for name, found in measured.items()} == {"a": 2, "b": 2}
    assert told == [
        "a starts", "a runs", "b starts", "b runs", "b ends", "a runs", "b starts", "b runs", "b ends", "a ends",
    ]  # fmt: skip


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
def test_every_aim_names_sides_of_its_question(question: Question) -> None:
    names = {arm.name for arm in question.arms(question.size)}
    assert len(names) == len(question.arms(question.size))
    for aim in question.aims:
        assert {aim.ours, *aim.than} <= names
    standard = {arm.name for arm in question.arms(question.size) if arm.standard}
    assert any(aim.ours in standard and (not aim.than or standard & set(aim.than)) for aim in question.aims)


def test_a_question_that_there_is_not_is_refused_with_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["parsing"])
    assert "queue" in capsys.readouterr().err


def test_sizes_are_the_questions_own_unless_asked_for() -> None:
    assert sized(ASKED, parse(["--documents", "3"])).size == Size(3, 5)
