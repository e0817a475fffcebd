"""Equal work once: what runs and what ran lately answers for equal items, too.

Items are equal where model and `Item.same` are. Those that wait are taken together (`workers/engine/room.py`). One that
comes while an equal one runs rides with it; one that comes later finds the answer among the recent ones, which are kept
up to a number of bytes for each model, and dropped with it. So what is shared is never older than the loaded model.

An answer is shared, a failure is not: the riders of an item that failed wait again, on their own, and get the verdict
that each of them would have had. Shards in single file share nothing.

Called under the inbox's lock.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from textmill.errors import TextmillError
from workers import metrics
from workers.engine.pile import Waiting

ENTRY_BYTES = 250
"""About what a kept answer takes beside itself and what it is known by."""


class _Recent:
    """Answers of one model, the least lately used first."""

    def __init__(self) -> None:
        self.answers: OrderedDict[bytes, tuple[Any, int]] = OrderedDict()
        self.bytes = 0

    def add(self, same: bytes, answer: Any, size: int, most_bytes: int) -> None:
        _, replaced = self.answers.pop(same, (None, 0))
        self.answers[same] = (answer, size)
        self.bytes += size - replaced
        while self.bytes > most_bytes:
            _, (_, dropped) = self.answers.popitem(last=False)
            self.bytes -= dropped


class Answers:
    """The answers that equal items share.

    `most_bytes`: what the recent ones of a model may take; 0: nothing is shared at all. `kept(model, output)`: an
    output as it may be kept, and its bytes (`ModelRunner.kept`).
    """

    def __init__(self, most_bytes: int, kept: Callable[[str, Any], tuple[Any, int]]) -> None:
        self._most_bytes = most_bytes
        self._kept = kept
        self._running: dict[tuple[str, bytes], Waiting] = {}
        self._recent: dict[str, _Recent] = {}

    def arrive(self, model: str, arrivals: Sequence[Waiting]) -> tuple[list[Waiting], list[Waiting]]:
        """Those of the arrivals that have to wait for their turn, and those that have an answer already. The rest rides
        with what runs."""
        if not self._most_bytes:
            for waiting in arrivals:
                waiting.same = None
            return list(arrivals), []
        recent = self._recent.get(model)
        to_wait, answered = [], []
        for waiting in arrivals:
            same = waiting.same
            if same is None:
                to_wait.append(waiting)
            elif recent is not None and (found := recent.answers.get(same)) is not None:
                recent.answers.move_to_end(same)
                waiting.result, waiting.shared = found[0], True
                answered.append(waiting)
            elif (leader := self._running.get((model, same))) is not None:
                if leader.riders is None:
                    leader.riders = []
                leader.riders.append(waiting)
            else:
                to_wait.append(waiting)
        if answered:
            metrics.SHARED.labels(model).inc(len(answered))
        return to_wait, answered

    def begin(self, model: str, batch: Sequence[Waiting]) -> None:
        """These run now."""
        self._running = {(model, waiting.same): waiting for waiting in batch if waiting.same is not None}

    def end(self, model: str, batch: Sequence[Waiting], results: Sequence[Any]) -> tuple[list[Waiting], list[Waiting]]:
        """What ran has these results. Returns who is answered by them, riders included, and who has to wait again."""
        self._running = {}
        answered, shared = list(batch), 0
        again: list[Waiting] = []
        for waiting, result in zip(batch, results, strict=True):
            waiting.result = result
            if waiting.same is None:
                continue
            riders, waiting.riders = waiting.riders or (), None
            if isinstance(result, TextmillError):
                again += riders
                continue
            for rider in riders:
                rider.result, rider.shared = result, True
            answered += riders
            shared += len(riders)
            self._keep(model, waiting.same, result)
        for waiting in again:
            waiting.same = None
        if shared:
            metrics.SHARED.labels(model).inc(shared)
        return answered, again

    def drop(self, owner: object) -> None:
        """Nobody waits any more for what rides in this owner's name."""
        for leader in self._running.values():
            if leader.riders:
                leader.riders = [waiting for waiting in leader.riders if waiting.owner is not owner]

    def forget(self, model: str) -> None:
        """The model is not loaded any more."""
        self._recent.pop(model, None)

    def _keep(self, model: str, same: bytes, result: Any) -> None:
        answer, size = self._kept(model, result)
        size += len(same) + ENTRY_BYTES
        if size <= self._most_bytes:
            self._recent.setdefault(model, _Recent()).add(same, answer, size, self._most_bytes)
