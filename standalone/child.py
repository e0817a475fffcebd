"""One supervised process: apart from the terminal, with its output in a log, and never outliving the supervisor."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil

from standalone.writes import Writes

HEALTHY_SECONDS = 20
"""A process that lived this long counts as well again: its next death is its first."""

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Command:
    """What to run, and what its environment has besides the supervisor's own."""

    args: list[str]
    env: dict[str, str] = field(default_factory=dict)
    cwd: Path | None = None


def back_off(deaths: int) -> float:
    """Seconds to wait before the next start after this many deaths in a row: at once, 0.5, 1, 2 ... up to 15."""
    return 0.0 if deaths <= 1 else min(15.0, 0.5 * 2 ** (deaths - 2))


class Child:
    """A process that is started again whenever it dies.

    Its command is asked for anew at each start, so that it can take another port where its own is gone.
    """

    def __init__(
        self,
        name: str,
        command: Callable[[], Command],
        log: Path,
        *,
        stop_seconds: float,
        writes: Writes | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self.stop_seconds = stop_seconds
        """How long it may take to end after SIGTERM before it is killed."""
        self.deaths = 0
        """Deaths in a row, each soon after the start."""
        self._command = command
        self._writes = writes or Writes()
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._next_start = 0.0

    @property
    def pid(self) -> int | None:
        """The process, while it runs."""
        return self._process.pid if self._process else None

    def keep_alive(self) -> bool:
        """Start it where it does not run and its time has come. True where it died since the last call."""
        if self._process is not None:
            if self._process.poll() is None:
                return False
            self._bury(self._process)
            return True
        if time.monotonic() >= self._next_start:
            self._start()
        return False

    def descendants(self) -> list[psutil.Process]:
        """Its child processes and theirs, without the dead."""
        if self.pid is None:
            return []
        try:
            found = psutil.Process(self.pid).children(recursive=True)
            return [process for process in found if process.status() != psutil.STATUS_ZOMBIE]
        except psutil.NoSuchProcess:
            return []  # it went while we looked: the next look sees who is left

    def terminate(self) -> None:
        """Ask it to end."""
        if self._process is not None:
            self._process.terminate()

    def wait(self, seconds: float) -> bool:
        """Wait for its end. False where it still runs after that long (in seconds)."""
        if self._process is None:
            return True
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """End it now, with all that it started."""
        if self._process is None:
            return
        family = self.descendants()
        if self._process.poll() is None:
            self._process.kill()
        for process in family:
            _kill(process)
        self._process.wait()
        self._process = None

    def _start(self) -> None:
        command = self._command()
        parent = os.getpid()

        def tie_to_supervisor() -> None:
            # Between fork and exec: a supervisor that is killed outright takes its processes along. SIGTERM, so that
            # a worker gives its shards back first.
            if _libc is not None:
                _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
                if os.getppid() != parent:
                    os._exit(1)

        with self._output() as log:
            self._process = subprocess.Popen(  # nosec B603 # our own programs, without a shell
                command.args,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **command.env},
                cwd=command.cwd,
                start_new_session=True,  # Ctrl-C reaches the supervisor alone, which ends its processes in order
                preexec_fn=tie_to_supervisor,  # noqa: PLW1509 - safe where, as here, the process has one thread
            )
        self._started = time.monotonic()

    def _output(self) -> IO[bytes]:
        """Where it writes. Nowhere, where the disk has no room for a log: it has to run all the same."""
        with self._writes.may_fail(str(self.log)):
            return self.log.open("ab")
        return open(os.devnull, "ab")

    def _bury(self, process: subprocess.Popen[bytes]) -> None:
        lived = time.monotonic() - self._started
        self.deaths = 1 if lived >= HEALTHY_SECONDS else self.deaths + 1
        self._next_start = time.monotonic() + back_off(self.deaths)
        self._process = None
        with self._writes.may_fail(str(self.log)), self.log.open("a", encoding="utf-8") as log:
            log.write(f"-- {self.name} (process {process.pid}) ended with code {process.returncode}\n")


def _kill(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):  # it was faster
        process.kill()
