"""Which waiting items make the next batch. Pure: no torch, no threads, no clock.

Longest first, so that a batch is padded to little more than each item's own length and running out of memory shows on
the first batch, not an hour in. What that alone would starve is served by two counts: every 8th batch starts at the
oldest item, and a model is left after 64 batches while another one waits.

Items of one model and group lie in one queue per length, so that taking a batch costs its own size and not that of the
waiting room (one sorted list of 10,000 would be shifted for each arrival).
"""

from bisect import bisect_right, insort
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import Any

from workers.runner import Item

STAY = 64
"""Batches of one model in a row while another model waits: a change costs caches, and a load after an eviction."""

ANCHOR = 8
"""Every so many batches start at the model's oldest item, whatever its length and group."""


class Waiting:
    """An item on its way through the engine. `owner` and `place` are the submitter's; nothing here looks into them."""

    __slots__ = ("item", "order", "owner", "place", "result")

    def __init__(self, item: Item, owner: Any, place: Any) -> None:
        self.item = item
        self.owner = owner
        self.place = place
        self.order = 0
        """Its number in the order of arrival; given by the planner."""
        self.result: Any = None
        """The item's output, or the exception that stands for it; given by the engine."""


class Planner:
    """The waiting items, and the order in which they are taken."""

    def __init__(self, stay: int = STAY, anchor: int = ANCHOR) -> None:
        self._stay = stay
        self._anchor = anchor
        self._models: dict[str, dict[Hashable, _Group]] = {}
        """No empty model, no empty group."""
        self._size = 0
        self._arrivals = 0
        self._batches = 0
        self._model: str | None = None
        self._group: Hashable = None
        self._stayed = 0

    def __len__(self) -> int:
        return self._size

    def add(self, model: str, arrivals: Iterable[Waiting]) -> None:
        """Let items of a model wait."""
        groups = self._models.get(model, {})
        order = self._arrivals
        for waiting in arrivals:
            order += 1
            waiting.order = order
            group = groups.get(waiting.item.group)
            if group is None:
                group = groups[waiting.item.group] = _Group()
            group.add(waiting)
        self._size += order - self._arrivals
        self._arrivals = order
        if groups:
            self._models[model] = groups

    def take(self, budget: Callable[[str], int]) -> tuple[str, list[Waiting]] | None:
        """Remove and return the next batch with its model; None where nothing waits.

        `budget(model)`: padded tokens, that is the rows of the batch times the length of its longest item. The first
        item is always admitted, however long.
        """
        if not self._models:
            return None
        model = self._choose_model()
        groups = self._models[model]
        self._batches += 1
        anchored = self._batches % self._anchor == 0
        longest = None
        if anchored or self._group not in groups:
            self._group, group = min(groups.items(), key=lambda found: found[1].oldest().order)
            longest = group.oldest().item.length if anchored else None
        batch = groups[self._group].take(budget(model), longest)
        self._size -= len(batch)
        self._forget_if_empty(model, self._group)
        return model, batch

    def drop(self, owner: object) -> int:
        """Forget all items of an owner; returns how many there were."""
        dropped = 0
        for model, groups in list(self._models.items()):
            for name, group in list(groups.items()):
                dropped += group.drop(owner)
                self._forget_if_empty(model, name)
        self._size -= dropped
        return dropped

    def _choose_model(self) -> str:
        """The model of the last batch until it is empty or has had its turn; then the one with the oldest item."""
        others = [model for model in self._models if model != self._model]
        if self._model is not None and self._model in self._models and (self._stayed < self._stay or not others):
            self._stayed += 1
            return self._model
        self._model = min(others, key=lambda model: min(g.oldest().order for g in self._models[model].values()))
        self._group = None
        self._stayed = 1
        return self._model

    def _forget_if_empty(self, model: str, group: Hashable) -> None:
        groups = self._models[model]
        if not groups[group].by_length:
            del groups[group]
            if not groups:
                del self._models[model]


class _Group:
    """Items that may share a batch: a queue in order of arrival for each length."""

    __slots__ = ("by_length", "lengths")

    def __init__(self) -> None:
        self.by_length: dict[int, deque[Waiting]] = {}
        self.lengths: list[int] = []
        """The keys of `by_length`, ascending."""

    def add(self, waiting: Waiting) -> None:
        length = waiting.item.length
        queue = self.by_length.get(length)
        if queue is None:
            self.by_length[length] = deque((waiting,))
            insort(self.lengths, length)
        else:
            queue.append(waiting)

    def oldest(self) -> Waiting:
        return min((queue[0] for queue in self.by_length.values()), key=lambda waiting: waiting.order)

    def take(self, budget: int, longest: int | None) -> list[Waiting]:
        """Longest first, downwards from the length `longest` (None: from the top), as long as the padded size fits."""
        at = len(self.lengths) if longest is None else bisect_right(self.lengths, longest)
        padded = self.lengths[at - 1]
        rows = 0
        taken: list[Waiting] = []
        while at > 0:
            at -= 1
            length = self.lengths[at]
            queue = self.by_length[length]
            while queue:
                rows += queue[0].item.rows
                if taken and rows * padded > budget:
                    return taken
                taken.append(queue.popleft())
            del self.by_length[length]
            del self.lengths[at]
        return taken

    def drop(self, owner: object) -> int:
        dropped = 0
        for length, queue in list(self.by_length.items()):
            kept = deque(waiting for waiting in queue if waiting.owner is not owner)
            dropped += len(queue) - len(kept)
            if kept:
                self.by_length[length] = kept
            else:
                del self.by_length[length]
                self.lengths.remove(length)
        return dropped
