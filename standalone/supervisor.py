"""Keeps processes running until a signal ends them in order. Knows nothing of what the processes are."""

import ctypes
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import psutil

from standalone.child import Child

LOOK_SECONDS = 0.25
"""How often the processes are looked at where no signal asks for it earlier."""

GIVE_UP_DEATHS = 5
"""A process that dies this often in a row before the system was ever ready will not come up by trying again."""

_PR_SET_CHILD_SUBREAPER = 36


class Stopped(Exception):
    """A signal asks for the end."""


class GaveUp(Exception):
    """A process does not start."""

    def __init__(self, child: Child) -> None:
        self.child = child
        tail = child.log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:]
        super().__init__("\n".join([f"{child.name} does not start; the end of {child.log}:", *tail]))


class Supervisor:
    """Starts processes, starts again what dies, and at the end leaves none behind."""

    def __init__(self, on_look: Callable[[], None] = lambda: None) -> None:
        self.children: list[Child] = []
        """In the order of their start; they are stopped in the opposite order."""
        self.guests: set[int] = set()
        """Child processes that somebody else looks after: those from before `listening`, and what is added."""
        self._on_look = on_look
        self._signals: list[int] = []
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear signals. A second SIGINT or SIGTERM while stopping kills instead of asking."""
        if sys.platform == "linux":
            # What a killed launcher leaves behind becomes our child, so that it can be found and ended.
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
        self.guests |= {process.pid for process in psutil.Process().children()}
        before = {
            number: signal.signal(number, self._heard) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)
        }
        wakeup = signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)
            if sys.platform == "linux":
                ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 0)

    def until(self, happened: Callable[[], bool], *, give_up: bool) -> None:
        """Keep everything running until `happened()`. Raises Stopped, and GaveUp where that is asked for."""
        while True:
            if self._signals:
                raise Stopped
            for child in self.children:
                if child.keep_alive() and give_up and child.deaths >= GIVE_UP_DEATHS:
                    raise GaveUp(child)
            self._end_orphans()
            self._on_look()
            if happened():
                return
            self._sleep(LOOK_SECONDS)

    def stop(self) -> None:
        """End all processes, the last started first."""
        for child in reversed(self.children):
            heard = len(self._signals)
            child.terminate()
            waited = 0.0
            while not child.wait(LOOK_SECONDS) and waited < child.stop_seconds and len(self._signals) == heard:
                waited += LOOK_SECONDS
            child.kill()
        self._end_orphans()

    def _heard(self, number: int, _frame: FrameType | None) -> None:
        if number != signal.SIGCHLD:
            self._signals.append(number)

    def _sleep(self, seconds: float) -> None:
        if select.select([self._wake_read], [], [], seconds)[0]:
            os.read(self._wake_read, 4096)

    def _end_orphans(self) -> None:
        """Kill processes whose own parent died: its successor starts its own."""
        known = self.guests | {child.pid for child in self.children}
        for process in psutil.Process().children():
            if process.pid not in known:
                process.kill()
                process.wait()
