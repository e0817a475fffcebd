"""The waiting room between the task threads and the engine: bounded, closable, no polling.

What waits is bounded by credit: each shard may have so many padded tokens submitted and not yet collected. The thread
that submits a shard's items is the one that collects their results, so a shard without credit left simply waits for
results; nothing is held meanwhile, neither a lock nor a database session.
"""

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import Any

from textmill.errors import Draining
from workers.engine.planner import Planner, Waiting
from workers.runner import Item

Batch = tuple[str, list[Waiting]]
"""A model's name and the items that its next forward pass or generation takes."""


class Ticket:
    """One shard's account with the inbox. Its methods but `answer` and `stop` belong to the shard's own thread."""

    def __init__(self, inbox: "Inbox", model: str, credit: int) -> None:
        self.model = model
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
        if timeout is None and not self._out and self._answers.empty():
            if self._stopped is not None:
                raise self._stopped
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

    def forget(self) -> None:
        """Nothing is out any more: what was dropped gives its credit back, and what came in late is not waited for."""
        with contextlib.suppress(Empty):
            while True:
                self._answers.get_nowait()
        self._out = 0

    def answer(self, results: list[Waiting]) -> None:
        """The engine's answer."""
        self._answers.put(results)

    def stop(self, reason: Exception) -> None:
        """End the shard's work: what of it waits is dropped, and its thread hears the reason (the first)."""
        if self._stopped is None:
            self._stopped = reason
        self._inbox.drop(self)
        self._answers.put([])


class Inbox:
    """Where items wait for the engine.

    `budget(model)`: padded tokens that a batch of the model may have.
    """

    def __init__(self, budget: Callable[[str], int]) -> None:
        self._budget = budget
        self._planner = Planner()
        self._alone: deque[Waiting] = deque()
        self._single_file: Ticket | None = None
        self._queueing = 0
        self._others_turn = False
        self._running = False
        self._draining = False
        self._closed = False
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._planner) + len(self._alone)

    @property
    def idle(self) -> bool:
        """Whether nothing waits and no batch runs: then every item that came in has been answered."""
        with self._changed:
            return not self._running and not len(self)

    def ticket(self, model: str, credit: int) -> Ticket:
        """An account for a shard; `credit` in padded tokens."""
        return Ticket(self, model, credit)

    def next_batch(self) -> Batch | None:
        """The engine's next batch; waits for one. None: closed and drained. Asking says that the last is done."""
        with self._changed:
            self._running = False
            self._changed.notify_all()
            while True:
                if (batch := self._take()) is not None:
                    self._running = True
                    return batch
                if self._closed and not len(self):
                    return None
                self._changed.wait()

    @contextlib.contextmanager
    def single_file(self, ticket: Ticket) -> Iterator[None]:
        """Within it the engine runs this shard's items and nothing else, one at a time.

        So whatever happens to the process meanwhile is this shard's doing, and no other document's. One shard at a
        time; entering waits for the batch that is running.
        """
        with self._changed:
            self._queueing += 1
            self._changed.wait_for(self._device_is_free)
            self._queueing -= 1
            if self._draining:
                self._changed.notify_all()
                raise Draining
            # The device is free, so every item of the document before has been answered: not in the next one's name.
            ticket.forget()
            self._single_file = ticket
        try:
            yield
        finally:
            with self._changed:
                self._single_file = None
                self._alone.clear()  # what is left of a document that failed early must not run in the next one's name
                self._others_turn = True
                self._changed.notify_all()

    def add(self, ticket: Ticket, arrivals: list[Waiting]) -> None:
        """Raises Draining."""
        with self._changed:
            if self._draining or self._closed:
                raise Draining
            if self._single_file is ticket:
                self._alone.extend(arrivals)
            else:
                self._planner.add(ticket.model, arrivals)
            self._changed.notify_all()

    def drop(self, ticket: Ticket) -> None:
        """Forget what waits of a shard."""
        with self._changed:
            self._planner.drop(ticket)
            self._alone = deque(waiting for waiting in self._alone if waiting.owner is not ticket)
            self._changed.notify_all()

    def drain(self) -> None:
        """Take nothing more, and nobody in single file any more. The shards' tickets are stopped by who holds them."""
        with self._changed:
            self._draining = True
            self._changed.notify_all()

    def close(self) -> None:
        """No more will come: `next_batch` ends after what still waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _take(self) -> Batch | None:
        if self._single_file is not None:
            return (self._single_file.model, [self._alone.popleft()]) if self._alone else None
        if self._queueing and not self._others_turn and not self._draining:
            return None  # a shard is about to enter single file: the device is left to it
        self._others_turn = False
        return self._planner.take(self._budget)

    def _device_is_free(self) -> bool:
        """Whether a shard may enter single file. One batch of the others runs in between, so that it starves nobody."""
        others_first = self._others_turn and len(self._planner) > 0
        return self._draining or (self._single_file is None and not self._running and not others_first)
