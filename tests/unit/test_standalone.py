"""The small parts of the standalone system. The whole is in `tests/acceptance`."""

import os
import resource
import signal
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console

from standalone.__main__ import open_page, way_in
from standalone.child import Child, Command, back_off
from standalone.demo import EXAMPLES, LIMITS, SAMPLES, documents
from standalone.ports import LOOPBACK, Port, is_free
from standalone.show import mark_entities, shorten, show_sample
from standalone.statefile import State, StateFile
from standalone.supervisor import GIVE_UP_DEATHS, GaveUp, Stopped, Supervisor
from standalone.writes import Writes
from textmill.tasks import TASKS, Task
from textmill.wire import Entity, Result

SLEEP = Command([sys.executable, "-c", "import time; time.sleep(1000)"])
FAIL = Command([sys.executable, "-c", "raise SystemExit('no such luck')"])
FORK = Command([sys.executable, "-c", "import subprocess, time; subprocess.Popen(['sleep', '1000']); time.sleep(1000)"])


@pytest.mark.parametrize(("deaths", "seconds"), [(0, 0), (1, 0), (2, 0.5), (3, 1), (4, 2), (7, 15), (50, 15)])
def test_back_off(deaths: int, seconds: float) -> None:
    assert back_off(deaths) == seconds


def test_a_dead_child_is_started_again(tmp_path: Path) -> None:
    child = Child("part", lambda: SLEEP, tmp_path / "log", stop_seconds=5)
    supervisor = Supervisor()
    supervisor.children.append(child)
    with supervisor.listening():
        try:
            supervisor.until(lambda: child.pid is not None, give_up=True)
            first = child.pid
            assert first is not None
            os.kill(first, signal.SIGKILL)
            supervisor.until(lambda: child.pid not in (None, first), give_up=True)
        finally:
            supervisor.stop()
    assert child.pid is None
    assert "ended with code -9" in (tmp_path / "log").read_text()


def test_what_never_starts_is_given_up_with_its_last_words(tmp_path: Path) -> None:
    supervisor = Supervisor()
    supervisor.children.append(Child("part", lambda: FAIL, tmp_path / "log", stop_seconds=5))
    with supervisor.listening(), pytest.raises(GaveUp, match="no such luck"):
        supervisor.until(lambda: False, give_up=True)
    assert supervisor.children[0].deaths == GIVE_UP_DEATHS


def test_a_signal_ends_the_wait(tmp_path: Path) -> None:
    supervisor = Supervisor(on_look=lambda: signal.raise_signal(signal.SIGTERM))
    with supervisor.listening(), pytest.raises(Stopped):
        supervisor.until(lambda: False, give_up=True)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_what_a_killed_child_leaves_behind_is_ended(tmp_path: Path) -> None:
    child = Child("part", lambda: FORK, tmp_path / "log", stop_seconds=5)
    supervisor = Supervisor()
    supervisor.children.append(child)
    with supervisor.listening():
        try:
            supervisor.until(lambda: bool(child.descendants()), give_up=True)
            [orphan] = child.descendants()
            assert child.pid is not None
            os.kill(child.pid, signal.SIGKILL)
            supervisor.until(lambda: not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE, give_up=True)
        finally:
            supervisor.stop()


def test_processes_from_before_are_left_alone(tmp_path: Path) -> None:
    stranger = psutil.Popen(["sleep", "1000"])
    try:
        supervisor = Supervisor()
        supervisor.children.append(Child("part", lambda: SLEEP, tmp_path / "log", stop_seconds=5))
        with supervisor.listening():
            supervisor.until(lambda: supervisor.children[0].pid is not None, give_up=True)
            supervisor.stop()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_port_is_kept_once_others_know_it() -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        number = taken.getsockname()[1]
        assert not is_free(number)
        port = Port(number)
        assert port.choose() != number
        settled = Port(number)
        settled.settle()
        assert settled.choose() == number


def test_the_state_file_is_private_and_replaced_at_once(tmp_path: Path) -> None:
    path = tmp_path / "standalone.json"
    file = StateFile(path)
    state = State("a", "b", "c", "d", "e", "f", "g", {"api": [1]})
    file.write(state)
    first = path.stat()
    assert stat.S_IMODE(first.st_mode) == 0o600
    file.write(state)
    assert path.stat().st_ino == first.st_ino  # nothing has changed, nothing is written
    file.write(State("a", "b", "c", "d", "e", "f", "g", {"api": [2]}))
    assert path.stat().st_ino != first.st_ino  # another file in its place: no reader sees a half
    assert [entry.name for entry in tmp_path.iterdir()] == ["standalone.json"]
    file.remove()
    assert not path.exists()


def test_entities_are_marked_where_they_stand() -> None:
    text = "Ada Lovelace met Charles Babbage in London."
    entities = [
        Entity(entity_group="LOC", score=0.9, word="London", start=36, end=42),
        Entity(entity_group="PER", score=0.9, word="Ada Lovelace", start=0, end=12),
    ]
    assert mark_entities(text, entities).plain == "Ada Lovelace[PER] met Charles Babbage in London[LOC]."


def test_texts_with_brackets_are_shown_as_they_are() -> None:
    console = Console(record=True, width=80, file=open(os.devnull, "w"))  # noqa: SIM115 - rich keeps it
    console.print(mark_entities("see [bold]this[/bold]", []))
    assert console.export_text().strip() == "see [bold]this[/bold]"


OUTPUTS: dict[str, tuple[dict[str, Any], str]] = {
    "summarization": ({"summary_text": "[short]"}, "[short]"),
    "translation": ({"translation_text": "curto"}, "curto"),
    "ner": ({"entities": [{"entity_group": "LOC", "score": 1, "word": "London", "start": 0, "end": 6}]}, "London[LOC]"),
    "text-classification": ({"labels": [{"label": "spam", "score": 0.75}]}, "spam  0.750"),
    "question-answering": ({"answers": [{"answer": "large", "score": 0.5, "start": 10, "end": 15}]}, "large  0.500"),
    "fill-mask": ({"masks": [[{"token_str": " big", "score": 0.5, "sequence": ""}]]}, "big 0.500"),
    "text-generation": ({"generated_text": " and old"}, "and old"),
    "feature-extraction": ({"embedding": [0.5] * 9}, "(9 numbers)"),
    "a-newer-task": ({"labels": ["spam"]}, '"spam"'),
}


@pytest.mark.parametrize("task", OUTPUTS)
def test_a_sample_shows_the_output_of_any_task(task: str) -> None:
    output, shown = OUTPUTS[task]
    result = Result(
        id="a", position=0, state="succeeded", output=output, error=None, model="m", model_revision=None,
        input_tokens=1, output_tokens=1, pieces=1, truncated=False, attempts=1, finished_at=None,
    )  # fmt: skip
    console = Console(record=True, width=80, file=open(os.devnull, "w"))  # noqa: SIM115 - rich keeps it
    show_sample(console, task, "London is large", result, limits="too short")
    told = console.export_text()
    assert shown in told
    assert "beyond what the model is for: too short" in " ".join(told.split())


def test_every_task_says_how_its_output_is_shown() -> None:
    for task in TASKS:
        assert type(task).shown is not Task.shown, task.name


def test_a_long_text_is_shortened_with_a_note() -> None:
    assert shorten("abc", 3) == "abc"
    assert shorten("abcdef", 3) == "abc [... 3 more characters]"


def test_the_examples_are_what_the_demo_promises() -> None:
    texts = documents(None)
    long = [key for key in texts if key.startswith("long/")]
    assert len(texts) - len(long) >= 200
    assert len(long) >= 10
    # More words than a window of 512 tokens has room for.
    assert all(len(texts[key].split()) > 512 for key in long)
    for task in TASKS:
        limits = [LIMITS[task.name][0]] if task.name in LIMITS else []
        for wanted in (*SAMPLES.get(task.name, ()), *limits):
            assert any(key.startswith(wanted) for key in texts), wanted
        assert set(limits).isdisjoint(SAMPLES.get(task.name, ()))
    assert set(LIMITS) == set(SAMPLES)
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert all(f"{key.removeprefix('long/')}.txt" in listed for key in long)
    assert all(f"`{key.split('/')[0]}/*`" in listed for key in texts if key not in long)


@pytest.fixture
def full_disk() -> Iterator[Callable[[bool], None]]:
    """No file of this process can grow, or any can."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda now: resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]) if now else before)
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_said_once_and_gone_on_without(tmp_path: Path, full_disk: Callable[[bool], None]) -> None:
    said: list[str] = []
    writes = Writes(said.append)
    file = StateFile(tmp_path / "standalone.json", writes)
    states = [State("a", "b", "c", "d", "e", "f", "g", {"api": [number]}) for number in range(3)]
    file.write(states[0])
    child = Child("part", lambda: SLEEP, tmp_path / "log", stop_seconds=5, writes=writes)
    supervisor = Supervisor(on_look=lambda: file.write(states[1]))
    supervisor.children.append(child)
    with supervisor.listening():
        try:
            supervisor.until(lambda: child.pid is not None, give_up=True)
            first = child.pid
            assert first is not None
            file.write(states[0])
            full_disk(True)
            os.kill(first, signal.SIGKILL)
            supervisor.until(lambda: child.pid not in (None, first), give_up=True)
            assert '"api": [\n      0\n' in file.path.read_text(), "the old one, whole"
            full_disk(False)
            supervisor.until(lambda: True, give_up=True)
        finally:
            full_disk(False)
            supervisor.stop()
    assert '"api": [\n      1\n' in file.path.read_text()
    assert len(said) == 1
    assert "File too large" in said[0]
    file.write(states[2])
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith("standalone")] == ["standalone.json"]


def test_the_way_in_is_opened_by_a_process_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = tmp_path / "seen"
    os.mkfifo(seen)
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {seen}\n')
    browser.chmod(0o700)
    monkeypatch.setenv("BROWSER", str(browser))
    state = State("http://127.0.0.1:8000", "tm_a+b", "", "", "", "", "", {})
    pid = open_page(way_in(state))
    assert seen.read_text() == "http://127.0.0.1:8000/#key=tm_a%2Bb"
    os.waitpid(pid, 0)
