"""The standalone system, started as a user starts it: `python -m standalone up` in an empty folder."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from textmill import Client

ROOT = Path(__file__).resolve().parent.parent.parent
SECONDS = 180
"""A limit for what takes a few seconds on an idle machine."""


def eventually(happened: Callable[[], Any], what: str, seconds: float = SECONDS) -> Any:
    """Wait for a truth about other processes, which nothing here can be told of. Returns it."""
    end = time.monotonic() + seconds
    while not (found := happened()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.05)
    return found


class Running:
    """A running system, seen from outside."""

    def __init__(self, folder: Path, environment: dict[str, str] | None = None) -> None:
        self.data = folder / ".textmill"
        given = {key: value for key, value in os.environ.items() if key not in ("DATABASE_URL", "REDIS_URL")}
        # PYTHONPATH: it is started from another folder than the tree. Small shards: even a small job has many. Whoever
        # asks for an answer may be the first, whose model is still to be loaded.
        own = {"PYTHONPATH": str(ROOT), "TEXTMILL_SHARD_DOCUMENTS": "20", "TEXTMILL_ASK_SECONDS": "600"}
        self.environment = {**given, **own, **(environment or {})}
        self.folder = folder
        self.output = folder / "output.txt"
        self.family: set[psutil.Process] = set()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Running":
        """Start it, and wait until it says that it is ready."""
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "standalone", "up"],
                cwd=self.folder,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        eventually(self._started, "the system is ready")
        return self

    def _started(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.output.read_text() + self.logs()
        return "Textmill is ready." in self.output.read_text()

    def state(self) -> dict[str, Any]:
        """`standalone.json` as it stands."""
        state: dict[str, Any] = json.loads((self.data / "standalone.json").read_text())
        return state

    def client(self) -> Client:
        """The producer's client, as the file says."""
        state = self.state()
        return Client(state["api_url"], api_key=state["api_key"])

    def look(self) -> set[psutil.Process]:
        """All its processes now; remembered, so that the end can be checked."""
        assert self.process is not None
        root = psutil.Process(self.process.pid)
        now = {root, *root.children(recursive=True)}
        self.family |= now
        return now

    def kill(self, part: str) -> list[int]:
        """SIGKILL to the processes that the file names for a part. Returns the new ones, once they are there."""
        self.look()
        old = self.state()["pids"][part]
        assert old, f"{part} has no process"
        for pid in old:
            os.kill(pid, signal.SIGKILL)

        def replaced() -> list[int]:
            pids: list[int] = self.state()["pids"][part]
            return pids if pids and not set(pids) & set(old) else []

        new: list[int] = eventually(replaced, f"{part} is running again, and the file says so")
        self.look()
        return new

    def stop(self, number: int = signal.SIGINT) -> int:
        """End it by a signal. Returns the exit code."""
        assert self.process is not None
        self.look()
        self.process.send_signal(number)
        return self.process.wait(SECONDS)

    def left_behind(self) -> list[psutil.Process]:
        """Processes of it that still run."""
        return [process for process in self.family if process.is_running() and process.status() != "zombie"]

    def logs(self) -> str:
        """What its processes said last, for a failed test's report."""
        logs = sorted((self.data / "logs").glob("*.log"))
        return "\n".join(f"== {log.name}\n{log.read_text(errors='replace')[-3000:]}" for log in logs)

    def clean_up(self) -> None:
        """Whatever happened: nothing of it outlives the test."""
        if self.process is not None and self.process.poll() is None:
            self.look()
            self.process.terminate()
            try:
                self.process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
        for process in self.left_behind():
            process.kill()


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One system for the tests of a module."""
    running = Running(tmp_path_factory.mktemp("system"))
    try:
        yield running.start()
    finally:
        running.clean_up()


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Systems of a test's own, not started yet."""
    made: list[Running] = []

    def make(**environment: str) -> Running:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Running(folder, environment))
        return made[-1]

    yield make
    for running in made:
        running.clean_up()
