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
    ids = ["0123456789-x", "0123456789-y", "aaaaaaaaaaaaaaaa"]
    assert [line.split()[0] for line in jobs_table([job(id=one) for one in ids[1:]], NOW)[1:]] == [
        "01234567",
        "aaaaaaaa",
    ]
    assert [line.split()[0] for line in jobs_table([job(id=one) for one in ids], NOW)[1:]] == [one[:12] for one in ids]


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


def test_models_say_what_workers_have_of_them() -> None:
    def worker(**given: list[str]) -> wire.WorkerInfo:
        told = {"id": "w", "host": "h", "pid": 1, "device": "cpu", "models": ["m"], "resident": [], "failed": [],
                "slots": 1, "load": 0.0, "started_at": NOW, "heartbeat_at": NOW}  # fmt: skip
        return wire.WorkerInfo.model_validate(told | given)

    model = {"name": "m", "task": "ner", "window": 512, "source": "owner/name"}
    for workers, said in (
        ([], ""),
        ([worker()], ""),
        ([worker(failed=["m"]), worker()], ""),
        ([worker(failed=["m"])], "  (no worker could load it)"),
        ([worker(), worker(resident=["m"])], "  (loaded)"),
        ([worker(models=["n"])], "  (no worker serves it)"),
    ):
        assert model_line(model, workers) == f"m  ner  window 512  (from the hub){said}"


def test_without_a_terminal_there_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    console = Console(file=io.StringIO(), force_terminal=False)
    with Bar(job(), console=console, clock=lambda: now) as show:
        for now in range(100):
            show(job(counts={"total": 960, "pending": int(960 - 2 * now), "failed": 1}))
    said = capsys.readouterr().err.splitlines()
    told = [part for line in said for part in line.split(", ") if part.endswith("so far")]
    assert told == [f"{time} so far" for time in ("2 s", "6 s", "14 s", "30 s", "1 min", "2 min")]
    assert said[4] == "ner running: 120/960 documents, 2.0/s, 1 min so far, about 7 min left, 1 failed"


def test_what_is_left_is_estimated_by_how_fast_it_goes_lately(capsys: pytest.CaptureFixture[str]) -> None:
    """The server's own estimate counts the loading of the model."""
    now = 0.0
    console = Console(file=io.StringIO(), force_terminal=False)
    notice = "m is loaded first"

    def done(number: int) -> wire.Job:
        counts = {"total": 1_000, "pending": 1_000 - number}
        told = {"notice": None if number else notice, "documents_per_second": 0.1, "eta_seconds": 9_000}
        return job(counts=counts, **told)

    with Bar(job(), console=console, clock=lambda: now) as show:
        for now, number in ((30.0, 0), (31.0, 1), (61.0, 301), (150.0, 301), (200.0, 451), (201.0, 0), (250.0, 10)):  # noqa: B007
            show(done(number))
        now = 290.0
        show(done(1_000).model_copy(update={"state": "completed"}))
    assert capsys.readouterr().err.splitlines() == [
        f"ner running: 0/1000 documents, 30 s so far, {notice}",
        "ner running: 301/1000 documents, 10.0/s, 1 min so far, about 1 min left",
        "ner running: 301/1000 documents, 2 min so far",
        "ner running: 451/1000 documents, 1.1/s, 3 min so far, about 8 min left",
        "ner running: 10/1000 documents, 4 min so far",
        "ner completed: 1000/1000 documents, 0.1/s, 5 min so far",
    ]


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
