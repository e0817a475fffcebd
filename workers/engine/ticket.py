"""A shard's account with the inbox: its credit, and the results that come back.

Each shard may have so many padded tokens submitted and not yet collected. The thread that submits a shard's items is
the one that collects their results, so a shard without credit left simply waits for results; nothing is held meanwhile,
neither a lock nor a database session.
"""

import contextlib
from collections.abc import Hashable, Sequence
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from workers.engine.pile import Waiting
from workers.engine.room import NORMAL
from workers.runner import Item

if TYPE_CHECKING:
    from workers.engine.inbox import Inbox


class Ticket:
    """One shard's account with the inbox. Its methods but `answer` and `stop` belong to the shard's own thread."""

    def __init__(
        self,
        inbox: "Inbox",
        model: str,
        credit: int,
        key: Hashable = None,
        job: Hashable = None,
        priority: int = NORMAL,
    ) -> None:
        self.model = model
        """What its items are run by, by the engine's name: the shard sets it once that is known."""
        self._served = model
        self.key = key
        self.job = job
        self.priority = priority
        self.trace: Any = None
        """What whoever watches batches knows the shard by (`store/traces.py`)."""
        self.began: float | None = None
        """When its first batch began, by the inbox's clock; None: nothing of it has come out of one yet."""
        self._inbox = inbox
        self._credit = credit
        self._out = 0
        self._answers: SimpleQueue[list[Waiting]] = SimpleQueue()
        self._stopped: Exception | None = None

    @property
    def room(self) -> bool:
        """Whether more may be submitted. True wherever nothing is out, so that one huge item passes."""
        return self._out < self._credit

    def submit(self, items: Sequence[tuple[Item, Any]]) -> None:
        """Let items wait, each with a place of the caller's own, by which its result is known. Never blocks: see room.

        Raises why the shard was stopped, or Draining.
        """
        if self._stopped is not None:
            raise self._stopped
        arrivals = []
        for item, place in items:
            self._out += item.length * item.rows
            arrivals.append(Waiting(item, self, place))
        self._inbox.add(self, arrivals)

    def collect(self, timeout: float | None) -> list[Waiting]:
        """Results that have come in; waits for the first one at most `timeout` seconds (None: until the engine answers,
        which its watchdog sees to).

        Raises why the shard was stopped, after everything that came in before has been collected; RuntimeError where
        nothing is out, so that a wait without a timeout would never end.
        """
        if self._answers.empty():
            if self._stopped is not None:
                raise self._stopped
            if timeout is None and not self._out:
                raise RuntimeError("nothing is with the engine: there is nothing to wait for")
        collected: list[Waiting] = []
        try:
            collected += self._answers.get(timeout=timeout)
            while True:
                collected += self._answers.get_nowait()
        except Empty:
            pass
        if not collected and self._stopped is not None:
            raise self._stopped
        for waiting in collected:
            self._out -= waiting.item.length * waiting.item.rows
        return collected

    def answered(self, characters: float) -> None:
        """The engine has run what so many characters of a document became."""
        self._inbox.speeds.answered(self._served, characters)

    def forget(self) -> None:
        """Nothing is out any more: what was dropped gives its credit back, and what came in late is not waited for."""
        with contextlib.suppress(Empty):
            while True:
                self._answers.get_nowait()
        self._out = 0

    def answer(self, results: list[Waiting], began: float | None = None) -> None:
        """The engine's answer, of a batch that began then; None: it was known already."""
        if self.began is None:
            self.began = began
        self._answers.put(results)

    def stop(self, reason: Exception) -> None:
        """End the shard's work: what of it waits is dropped, and its thread hears the reason (the first)."""
        if self._stopped is None:
            self._stopped = reason
        self._inbox.drop(self)
        self._answers.put([])
