"""What people see of jobs, models and progress."""

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from textmill import wire
from textmill.progress import Bar
from textmill.show import duration, job_line, jobs_table, model_line, model_text, output_text

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def job(**given: Any) -> wire.Job:
    counts = {"total": 10, "pending": 10, "succeeded": 0, "failed": 0, "cancelled": 0} | given.pop("counts", {})
    told = {
        "id": "j", "task": "ner", "model": "m", "state": "running", "open": False, "options": {}, "priority": "normal",
        "metadata": {}, "created_at": NOW - timedelta(minutes=5), "started_at": None, "finished_at": None,
        "documents_per_second": None, "eta_seconds": None, "error": None,
    }  # fmt: skip
    return wire.Job.model_validate(told | given | {"counts": counts})


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 s"), (59.4, "59 s"), (60, "1 min"), (613, "10 min"), (3_590, "1 h 0 min"), (9_893, "2 h 45 min"),
        (172_800, "2 d 0 h"), (300_000, "3 d 11 h"),
    ],
)  # fmt: skip
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_a_job_by_itself() -> None:
    counts = {"pending": 4, "succeeded": 5, "failed": 1}
    line = job_line(job(counts=counts, documents_per_second=2.04, eta_seconds=130))
    assert line == "j  ner  m  running  6/10 documents, 1 failed, 2.0/s, 2 min left"
    line = job_line(job(state="failed", error={"code": "model_error", "message": "why " * 50}))
    assert line.endswith("why " * 50)


def test_jobs_stand_in_columns_under_their_names() -> None:
    error = {"code": "model_error", "message": "a long\nstory " * 10}
    lines = jobs_table([job(id="first", counts={"pending": 0, "failed": 2}), job(state="failed", error=error)], NOW)
    assert lines[0].split() == ["JOB", "TASK", "MODEL", "STATE", "DOCUMENTS", "FAILED", "AGE", "ERROR"]
    assert lines[1].split() == ["first", "ner", "m", "running", "10/10", "2", "5", "min"]
    assert lines[2].index("model_error: a long story a") == lines[0].index("ERROR")
    assert lines[2].endswith("...")
    assert max(map(len, lines)) < 120


@pytest.mark.parametrize(
    ("languages", "shown"),
    [
        ((None, None), "m  ner  window 512"),
        ((["en"], ["pt", "fr"]), "m  ner  en -> pt, fr  window 512"),
        ((list("abcdefgh"), list("hgfedcba")), "m  ner  any of 8 languages to any other  window 512"),
        ((list("abcdefgh"), ["x"]), "m  ner  any of 8 languages -> x  window 512"),
    ],
)
def test_models(languages: tuple[list[str] | None, list[str] | None], shown: str) -> None:
    source, target = languages
    assert (
        model_line({"name": "m", "task": "ner", "source_langs": source, "target_langs": target, "window": 512}) == shown
    )


def test_models_say_whether_they_come_from_the_hub() -> None:
    model = {"name": "m", "task": "ner", "window": 512, "default": True}
    assert model_line({**model, "source": "owner/name"}) == "m  ner  window 512  (default)  (from the hub)"
    assert model_line({**model, "source": None}) == "m  ner  window 512  (default)"


def test_without_a_terminal_there_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    console = Console(file=io.StringIO(), force_terminal=False)
    with Bar(job(), console=console, clock=lambda: now) as show:
        for now in range(100):  # noqa: B007 - the clock reads it
            show(job(counts={"pending": 4, "failed": 1}, documents_per_second=1.5, eta_seconds=600))
    said = capsys.readouterr().err.splitlines()
    assert [line.split(", ")[2] for line in said] == [
        f"{t} so far" for t in ("2 s", "6 s", "14 s", "30 s", "1 min", "2 min")
    ]
    assert said[4] == "ner running: 6/10 documents, 1.5/s, 1 min so far, about 10 min left, 1 failed"


@pytest.mark.parametrize("transient", [True, False])
def test_on_a_terminal_there_is_a_bar_and_that_of_an_upload_goes_away(transient: bool) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120, color_system=None)
    with Bar(job(open=True), transient, console, clock=lambda: 0.0) as show:
        show(job(open=True, counts={"total": 7}, eta_seconds=60))
    assert "ner uploading" in out.getvalue()
    assert "left" not in out.getvalue()  # nobody knows while documents are still coming
    erased = out.getvalue().rstrip().endswith("\x1b[2K")
    assert erased == transient


def test_a_model_by_itself_has_its_limitations_in_sight() -> None:
    model = {
        "name": "m", "task": "fill-mask", "window": 64, "default": True, "limitations": "English.", "licence": "MIT",
        "source": None, "revision": "3", "labels": None, "options": {"top_k": 2},
    }  # fmt: skip
    assert model_text(model) == [
        "m  fill-mask  window 64  (default)", "limitations: English.", "licence: MIT", "revision: 3",
        'options: {"top_k": 2}',
    ]  # fmt: skip


def test_an_output_in_the_words_of_its_task() -> None:
    nothing = {"answers": [{"answer": "", "score": 0.5, "start": 0, "end": 0}]}
    assert output_text("question-answering", nothing) == "(no answer)  0.500"
    assert output_text("ner", {"entities": []}) == "(no entity)"
    assert output_text("feature-extraction", {"embedding": [1, 2]}) == "[1.000, 2.000] (2 numbers)"
    assert output_text("a-newer-task", {"x": 1}) == '{\n "x": 1\n}'
