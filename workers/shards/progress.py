"""Notices a task thread that hangs in a step of its own: opening a model, preparing or assembling a document.

The engine's watch sees to what the threads wait for; this sees to what they do. Waiting for one's turn is neither.
"""

import logging
import time
from collections.abc import Callable

from workers.engine.ticket import Ticket

log = logging.getLogger(__name__)


class Progress:
    """What the task threads of a process are doing, and until when each may take.

    `seconds`: how long preparing or assembling one document may take. `open_seconds`: how long opening a model may.
    """

    def __init__(self, seconds: float, open_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._open_seconds = open_seconds
        self._clock = clock
        self._steps: dict[Ticket, tuple[str, float]] = {}
        """What the shard's thread does, and since when. A shard has one thread, which does one thing at a time."""

    def step(self, ticket: Ticket, what: str) -> "_Step":
        """Within it the shard's thread does this: "open", "prepare" or "assemble"."""
        return _Step(self._steps, ticket, (what, self._clock()))

    def overdue(self) -> dict[Ticket, str]:
        """The shards whose threads should have ended their steps, and which steps these are."""
        now = self._clock()
        return {
            ticket: what
            for ticket, (what, since) in list(self._steps.items())
            if now - since > (self._open_seconds if what == "open" else self._seconds)
        }

    def hung(self) -> set[Ticket] | None:
        """The shards at fault where a step is overdue; None: none is. A model that does not open is no document's
        fault: then no shard is at fault, though something hangs."""
        if not (overdue := self.overdue()):
            return None
        log.critical("%d tasks hang (%s)", len(overdue), ", ".join(sorted(set(overdue.values()))))
        return {ticket for ticket, what in overdue.items() if what != "open"}


class _Step:
    """No `contextlib.contextmanager`: two steps a document are entered, and a generator takes four times as long."""

    __slots__ = ("_now", "_steps", "_ticket")

    def __init__(self, steps: dict[Ticket, tuple[str, float]], ticket: Ticket, now: tuple[str, float]) -> None:
        self._steps, self._ticket, self._now = steps, ticket, now

    def __enter__(self) -> None:
        self._steps[self._ticket] = self._now

    def __exit__(self, *error: object) -> None:
        del self._steps[self._ticket]
