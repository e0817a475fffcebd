"""The waiting room between the task threads and the engine: bounded, closable, no polling.

What waits is bounded by the credit of each shard (`workers/engine/ticket.py`).

A model that is not loaded is asked for when its first item arrives, and its items are held until it has come.
"""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

from textmill.errors import Draining
from workers.engine.answers import Answers
from workers.engine.pile import Waiting
from workers.engine.planner import TURN_SECONDS, Planner
from workers.engine.room import NORMAL
from workers.engine.speeds import Speeds
from workers.engine.ticket import Ticket

SINGLE_FILE_SHARE = 0.1
"""Part of the engine's time that shards in single file take, all together, while others wait."""

Batch = tuple[str, list[Waiting]]
"""A model's name and the items that its next forward pass or generation takes."""


class Inbox:
    """Where items wait for the engine.

    `budget(model, shared)`: padded tokens that a batch of the model may have; shared: while somebody else waits for its
    end, or did lately. `turn_seconds`: see the planner. `answers`: what equal items share; None: nothing.
    """

    def __init__(
        self,
        budget: Callable[[str, bool], int],
        turn_seconds: float = TURN_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        answers: Answers | None = None,
    ) -> None:
        self.speeds = Speeds()
        self._budget = budget
        self._turn_seconds = turn_seconds
        self._clock = clock
        self._planner = Planner(turn_seconds)
        self._answers = answers or Answers(0, lambda model, output: (output, 0))
        self._running: str | None = None
        """The model of the batch that runs."""
        self._running_since = 0.0
        self._runs_alone = False
        self._draining = False
        self._closed = False
        self._changed = threading.Condition()
        # Single file.
        self._alone: deque[Waiting] = deque()
        self._single_file: Ticket | None = None
        self._queueing = 0
        self._others_seconds = 0.0
        """Engine time that the others have before the next document runs alone."""
        # Loading.
        self._is_loaded: Callable[[str], bool] = lambda model: True
        self._ask_for: Callable[[str], None] = lambda model: None
        self._held: set[str] = set()
        """Models that were asked for and have not come: nothing of them runs."""
        self._come: set[str] = set()
        """Models that came by another thread and of which no batch has run: with it the engine completes the load."""
        self._loading = False
        self._serving = False

    def __len__(self) -> int:
        return len(self._planner) + len(self._alone)

    @property
    def idle(self) -> bool:
        """Whether nothing waits and no batch runs: then every item that came in has been answered."""
        with self._changed:
            return not self._running and not len(self)

    def ticket(
        self, model: str, credit: int, key: Hashable = None, job: Hashable = None, priority: int = NORMAL
    ) -> Ticket:
        """An account for a shard.

        `credit` in padded tokens; `key`, `job`: who shares the engine; `priority`: 0 is high, 3 normal, 6 low.
        """
        return Ticket(self, model, credit, key, job, priority)

    def load_by(self, is_loaded: Callable[[str], bool], ask_for: Callable[[str], None]) -> None:
        """From now on `ask_for` is called when items of a model wait that is not loaded; who hears it does that within
        `loading`. Both are called under a lock: they must return at once."""
        with self._changed:
            self._is_loaded, self._ask_for = is_loaded, ask_for

    def next_batch(self) -> Batch | None:
        """The engine's next batch; waits for one. None: closed and drained. Asking says that the last is done."""
        with self._changed:
            self._finish()
            while True:
                self._hold_absent()
                if (batch := self._take()) is not None:
                    self._running, self._running_since = batch[0], self._clock()
                    self._runs_alone = self._single_file is not None
                    self._answers.begin(*batch)
                    return batch
                if self._closed and not len(self):
                    return None
                self._changed.wait()

    def answer(self, batch: Batch, results: Sequence[Any]) -> None:
        """One result, an output or an exception, for each item of the batch that ran: all that wait for one have it."""
        with self._changed:
            answered, again = self._answers.end(*batch, results)
            self._planner.add(batch[0], again)
            began = self._running_since
        _hand_out(answered, began)

    def forget_answers(self, model: str) -> None:
        """The model is not loaded any more."""
        with self._changed:
            self._answers.forget(model)

    @contextlib.contextmanager
    def single_file(self, ticket: Ticket) -> Iterator[None]:
        """Within it the engine runs this shard's items and nothing else, one at a time, and loads nothing else.

        So whatever happens to the process meanwhile is this shard's doing, and no other document's. One shard at a
        time; entering waits for the batch that is running, and for the others' part of the time.
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
            entered = self._clock()
        try:
            yield
        finally:
            with self._changed:
                self._single_file = None
                self._alone.clear()  # what is left of a document that failed early must not run in the next one's name
                alone = self._clock() - entered
                self._others_seconds = max(self._turn_seconds, alone * (1 / SINGLE_FILE_SHARE - 1))
                self._changed.notify_all()

    @contextlib.contextmanager
    def loading(self, model: str) -> Iterator[None]:
        """Within it a model is loaded that was asked for, in a thread of its own while the others' batches run.

        One at a time, and not while a shard is in single file. Afterwards its items are handed out, whatever came of
        it: with the first batch the engine does what is left to do, or hears why there is no such model.
        """
        with self._changed:
            self._changed.wait_for(self._may_load)
            self._come.clear()  # of these nothing waits any more
            self._loading = True
        try:
            yield
        finally:
            with self._changed:
                self._loading = False
                self._held.discard(model)
                self._come.add(model)
                self._changed.notify_all()

    def wait_for_load(self, timeout: float) -> bool:
        """Wait for the load that goes on in a thread of its own, if one does; False where it has not ended in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._loading, timeout)

    def stay(self, seconds: float) -> None:
        """The model of the batch that runs displaced another one: its turn lasts at least so long."""
        with self._changed:
            if not self._runs_alone:
                self._planner.stay(seconds)

    def others_wait(self, model: str) -> bool:
        """Whether anybody waits besides one job of this model."""
        with self._changed:
            return self._queueing > 0 or self._single_file is not None or self._planner.others_wait(model)

    def add(self, ticket: Ticket, arrivals: list[Waiting]) -> None:
        """Let items of a shard wait; those whose answer is known have it at once. Raises Draining."""
        with self._changed:
            if self._draining or self._closed:
                raise Draining
            known: list[Waiting] = []
            if self._single_file is ticket:
                for waiting in arrivals:
                    waiting.same = None
                self._alone.extend(arrivals)
            else:
                arrivals, known = self._answers.arrive(ticket.model, arrivals)
                self._planner.add(ticket.model, arrivals)
                self._hold_absent()
            self._changed.notify_all()
        if known:
            ticket.answer(known)

    def drop(self, ticket: Ticket) -> None:
        """Forget what waits of a shard."""
        with self._changed:
            self._planner.drop(ticket)
            self._answers.drop(ticket)
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

    def _finish(self) -> None:
        """The last batch is done."""
        self._serving = True
        if self._running is not None:
            seconds = self._clock() - self._running_since
            if not self._runs_alone:
                self._planner.took(seconds)
                self._others_seconds -= seconds
            self._come.discard(self._running)
            self._running = None
        self._changed.notify_all()

    def _hold_absent(self) -> None:
        for model in self._planner.models:
            if model not in self._held and model not in self._come and not self._is_loaded(model):
                self._held.add(model)
                self._ask_for(model)

    def _take(self) -> Batch | None:
        if self._single_file is not None:
            return (self._single_file.model, [self._alone.popleft()]) if self._alone else None
        if self._queueing and not self._others_first and not self._draining:
            return None  # a shard is about to enter single file: the device is left to it
        return self._planner.take(self._budget, self._held)

    @property
    def _others_first(self) -> bool:
        return self._others_seconds > 0 and len(self._planner) > 0

    def _device_is_free(self) -> bool:
        """Whether a shard may enter single file."""
        busy = self._single_file is not None or self._running is not None or self._loading
        return self._draining or not (busy or self._others_first)

    def _may_load(self) -> bool:
        """Whether a model may be loaded in another thread."""
        if not self._serving or self._single_file is not None or (self._queueing and not self._others_first):
            return False
        return not any(model in self._planner.models for model in self._come)


def _hand_out(answered: Sequence[Waiting], began: float) -> None:
    """Each shard its own."""
    by_ticket: dict[Ticket, list[Waiting]] = {}
    for waiting in answered:
        mine = by_ticket.get(waiting.owner)
        if mine is None:
            by_ticket[waiting.owner] = [waiting]
        else:
            mine.append(waiting)
    for ticket, mine in by_ticket.items():
        ticket.answer(mine, began)
