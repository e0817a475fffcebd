"""Waiting items of one job that may share a batch, by length: longest first, and yet none is passed over for ever."""

from bisect import bisect_right, insort
from collections import OrderedDict
from typing import Any

from workers.runner import Item

WHOLE = 0.25
"""A job that fits into this part of a batch is taken whole, whatever its lengths."""


class Waiting:
    """An item on its way through the engine. `place` is the submitter's; nothing here looks into it."""

    __slots__ = ("item", "owner", "place", "result", "riders", "same", "shared")

    def __init__(self, item: Item, owner: Any, place: Any) -> None:
        self.item = item
        self.owner = owner
        """Whose it is (`workers/engine/room.py`)."""
        self.place = place
        self.result: Any = None
        """The item's output, or the exception that stands for it; given by the engine."""
        self.same = item.same
        """By what equal ones are known; None: it shares its answer with none."""
        self.riders: list[Waiting] | None = None
        """While it runs: equal ones, that wait for its answer, if there are any."""
        self.shared = False
        """Whether the result is an equal one's."""


class Batch:
    """A batch while it is filled. Its padded size is its rows times the length of its longest item."""

    def __init__(self, budget: int, longest: int) -> None:
        self._most = max(1, budget // longest)
        self._rows = budget // longest
        self.longest = longest
        self.items: list[Waiting] = []
        self.riding: set[Waiting] = set()
        """Taken along without taking room: equal to one of the items."""
        self._same: set[bytes] = set()
        self.full = False

    def has(self, part: float) -> bool:
        """Whether so large a part of it is filled; never while it is empty."""
        return self.full or (bool(self.items) and self._most - self._rows >= part * self._most)

    def admit(self, waiting: Waiting) -> bool:
        """Take the item if it fits; the first always does, and one that is equal to another in it."""
        if waiting.same in self._same:
            self.riding.add(waiting)
            return True
        if self.items and waiting.item.rows > self._rows:
            self.full = True
            return False
        self._rows -= waiting.item.rows
        self.items.append(waiting)
        if waiting.same is not None:
            self._same.add(waiting.same)
        return True


class _Queues:
    """Items that may share a batch: a queue in order of arrival for each length."""

    __slots__ = ("by_length", "lengths", "rows")

    def __init__(self) -> None:
        # Not a deque: out of its middle nothing goes quickly.
        self.by_length: dict[int, OrderedDict[Waiting, None]] = {}
        self.lengths: list[int] = []
        """The keys of `by_length`, ascending."""
        self.rows = 0

    def add(self, waiting: Waiting) -> None:
        length = waiting.item.length
        queue = self.by_length.get(length)
        if queue is None:
            queue = self.by_length[length] = OrderedDict()
            insort(self.lengths, length)
        queue[waiting] = None
        self.rows += waiting.item.rows

    def fill(self, batch: Batch, least: float, part: float) -> None:
        """Longest first, from the batch's longest down to the length `least`, until so large a part is filled."""
        at = bisect_right(self.lengths, batch.longest)
        while at > 0 and self.lengths[at - 1] >= least:
            at -= 1
            length = self.lengths[at]
            queue = self.by_length[length]
            while queue:
                waiting = next(iter(queue))
                if batch.has(part) or not batch.admit(waiting):
                    return
                del queue[waiting]
                self.rows -= waiting.item.rows
            del self.by_length[length]
            del self.lengths[at]

    def remove(self, waiting: Waiting) -> None:
        """Nothing where it is not here."""
        length = waiting.item.length
        queue = self.by_length.get(length)
        if queue is None or waiting not in queue:
            return
        del queue[waiting]
        self.rows -= waiting.item.rows
        if not queue:
            del self.by_length[length]
            self.lengths.remove(length)

    def of(self, owner: object) -> list[Waiting]:
        return [waiting for queue in self.by_length.values() for waiting in queue if waiting.owner is owner]


class Pile:
    """A job's items of one group: the generation that is being taken, and the one that has come since."""

    __slots__ = ("new", "old")

    def __init__(self) -> None:
        self.old = _Queues()
        self.new = _Queues()

    def __bool__(self) -> bool:
        return bool(self.old.lengths or self.new.lengths)

    def first(self, budget: int, whole: bool) -> Batch:
        """The batch that starts here. whole: at the longest item of both generations, with as many of them as fit."""
        if not self.old.lengths:
            self.old, self.new = self.new, self.old
        longest = max(queues.lengths[-1] for queues in (self.old, self.new) if queues.lengths)
        if whole or (self.old.rows + self.new.rows) * longest <= WHOLE * budget:
            batch = Batch(budget, longest)
            self.fill(batch, 0)
            return batch
        return Batch(budget, self.old.lengths[-1])

    def remove(self, waiting: Waiting) -> None:
        """Take it out."""
        self.old.remove(waiting)
        self.new.remove(waiting)

    def of(self, owner: object) -> list[Waiting]:
        """All items of an owner."""
        return self.old.of(owner) + self.new.of(owner)

    def fill(self, batch: Batch, least: float, part: float = 1) -> None:
        """Add items to the batch, longest first, down to the length `least`, until so large a part of it is filled."""
        for queues in (self.old, self.new):
            if not batch.has(part):
                queues.fill(batch, least, part)
