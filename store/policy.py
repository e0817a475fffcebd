"""Who is served next, as pure decisions: no SQL, no clock. `docs/architecture.md`, "The hand-off", says it for readers.

Work is measured in characters of text, which are time once divided by a model's speed. For each model:

- *Between keys*: start-time fair queueing (Goyal, Vin and Cheng 1996). A key's tag grows by the characters released to
  it, and the waiting key with the lowest tag is next. A key that comes back starts level with what the others have
  *received*, their tags less what they have out: having been idle earns nothing and costs nothing. Not at their tags:
  all that is out when a key comes may be another one's, which would stay ahead by that for good. While two keys both
  wait, neither gets more than two shards ahead, and what the other had out when it came.
- *Within a key*: the same between its priorities, whose tags grow by characters divided by `SHARES`. While all three
  wait, `high` gets 16 of 21 characters, `normal` 4, `low` 1; one that waits alone gets all. One that starts to wait is
  next: before it come at most the few characters by which it is ahead from just before.
- *Within a priority*: a job that never had a place comes next, the oldest first, but after each such place one goes to
  the job served longest ago. So a newcomer with k never-served jobs before it has its first shard within 2 (k + 1)
  places of its priority, newcomers take at most every second place from the others, and nobody starves.
- *At once*: a job that comes while the window is full, and is the next of its key, has its first shard in a slot from
  the reserve, unless its key is more than a shard ahead of the others.
"""

import collections
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from store.queue import PRIORITY

SHARES = {PRIORITY["high"]: 16, PRIORITY["normal"]: 4, PRIORITY["low"]: 1}
"""What each priority gets of its key's turn, while all of them wait."""

LEAST_COST = 100
"""Characters that a shard is charged with at least: claiming and settling it takes time however short its text is."""


class Pending(NamedTuple):
    """A shard that waits, and its size."""

    shard_id: int
    characters: int

    @property
    def cost(self) -> int:
        """What it is charged with, in characters."""
        return max(LEAST_COST, self.characters)


class Waiting(NamedTuple):
    """A job with pending shards. `place` is the last place that it had in its priority (0: none yet, a newcomer): odd
    where it had it as a newcomer."""

    job_id: int
    priority: int
    place: int


@dataclass
class Lane:
    """One priority of a key: its tag in characters per share, and the number of the last place that it gave."""

    tag: float = 0.0
    place: int = 0

    @property
    def newcomers_first(self) -> bool:
        """Whether a newcomer is next, if there is one: the last place was not a newcomer's."""
        return self.place % 2 == 0


def _lanes() -> dict[int, Lane]:
    return {priority: Lane() for priority in SHARES}


@dataclass
class Turn:
    """A key's account with one model. Its `tag` is in characters."""

    key_id: int
    tag: float = 0.0
    lanes: dict[int, Lane] = field(default_factory=_lanes)

    def next_priority(self, waiting: Iterable[int]) -> int:
        """Of the priorities that wait, the one whose place is next; of equals the highest."""
        return min(waiting, key=lambda priority: (self.lanes[priority].tag, priority))

    def charge(self, priority: int, cost: int, newcomer: bool, waiting: Collection[int]) -> None:
        """Note that a shard of this priority was released, to a newcomer or not, while these priorities waited (it is
        one of them)."""
        # A priority that waits for nothing is kept abreast of those that do: when it comes back, it starts beside them.
        now = min(self.lanes[waiting_one].tag for waiting_one in waiting)
        for other, lane in self.lanes.items():
            if other not in waiting:
                lane.tag = max(lane.tag, now)
        self.tag += cost
        lane = self.lanes[priority]
        lane.tag += cost / SHARES[priority]
        lane.place += 2 if lane.place % 2 == newcomer else 1


def woken(tag: float, out: float, waiting: Iterable[float], resting: Iterable[float]) -> float:
    """The tag with which a key that rested starts to wait, level with the others: `tag` is its last one, `out` what it
    has out itself, `waiting` and `resting` what the keys that wait and the others have received (tag less out).

    What it starts level with never decreases, so that coming and going gains nothing. `line.wake` says the same in
    SQL."""
    return max(tag, min(waiting, default=max(resting, default=0.0)) + out)


@dataclass
class Window:
    """How much of a model may be out (released and unfinished), and how much is."""

    shards: int
    """Most shards: what the task slots allow, less the reserve."""

    least: int
    """Shards that may be out however large they are, so that no worker idles between a settle and the next message."""

    characters: float
    """What the live workers do in `release_seconds`, or `release_alone_seconds`."""

    bite: int
    """Characters of a usual shard."""

    out: int = 0
    out_characters: float = 0
    free: int = 0
    """Task slots of the model's workers in which nothing of any model is."""

    @property
    def open(self) -> bool:
        """Whether another shard may go out."""
        if self.out >= self.shards or (self.free < 1 and self.out):
            return False
        return self.out < self.least or self.out_characters < self.characters

    @property
    def places(self) -> int:
        """About how many shards may go out, at least one; the window itself says when it is full."""
        usual = max(1.0, self.out_characters / self.out if self.out else self.bite)
        by_size = 1 + int(max(0.0, self.characters - self.out_characters) / usual)
        return max(1, min(self.shards - self.out, max(self.least - self.out, by_size)))

    def add(self, shard: Pending) -> None:
        """A shard went out."""
        self.out += 1
        self.out_characters += shard.characters
        self.free -= 1

    def admits(self, priority: int, key_has_some_out: bool) -> bool:
        """Whether there is a slot in reserve for a job that has just come. The last is kept for keys that have nothing
        out, and the one before it for those and for `high`, so that a key with a thousand jobs leaves some."""
        if not key_has_some_out:
            return self.free >= 1
        return self.free >= (2 if priority == PRIORITY["high"] else 3)


class Books(Protocol):
    """What waits. The store reads it from tables, the simulation from lists."""

    def turns(self, count: int) -> list[Turn]:
        """The `count` waiting keys with the lowest tags, in this order, without those that were exhausted before."""

    def lowest(self) -> float:
        """The lowest tag of a waiting key."""

    def jobs(self, key_id: int, count: int) -> list[Waiting]:
        """Of each priority the `count` oldest newcomers and the `count` jobs served longest ago, each in this order."""

    def pending(self, job_id: int, count: int) -> list[Pending]:
        """The job's first `count` pending shards. Fewer than `count`: there are no more."""


@dataclass
class Filled:
    """What was decided, to be written down."""

    shards: list[Pending] = field(default_factory=list)
    jobs: set[int] = field(default_factory=set)
    """Jobs that got a shard."""
    turns: dict[int, Turn] = field(default_factory=dict)
    """Accounts that were charged, by key."""
    places: dict[int, int] = field(default_factory=dict)
    """job -> its last place, of jobs that got one and still wait."""
    emptied: dict[int, int] = field(default_factory=dict)
    """job -> key, of jobs in which nothing was left, or nothing found."""
    exhausted: set[int] = field(default_factory=set)
    """Keys in which nothing more was found, in place of which others may be read."""


class _Key:
    """A key that takes part: its account, and its jobs in line."""

    def __init__(self, turn: Turn, books: Books, places: int, filled: Filled) -> None:
        self.turn = turn
        self._books = books
        self._count = places + 1
        self._filled = filled
        self._shards: dict[int, collections.deque[Pending]] = {}
        self._lines: dict[int, tuple[collections.deque[Waiting], collections.deque[Waiting]]] = {}
        for job in books.jobs(turn.key_id, places):
            fresh, served = self._lines.setdefault(job.priority, (collections.deque(), collections.deque()))
            (served if job.place else fresh).append(job)

    def next_job(self) -> Waiting | None:
        """The job whose place is next. None: no job waits."""
        return self._line(self.turn.next_priority(self._lines))[0] if self._lines else None

    def _line(self, priority: int) -> collections.deque[Waiting]:
        fresh, served = self._lines[priority]
        return fresh if fresh and (not served or self.turn.lanes[priority].newcomers_first) else served

    def take(self) -> Pending | None:
        """The shard that is next in this key. None: nothing was found."""
        while self._lines:
            priority = self.turn.next_priority(self._lines)
            job = self._line(priority).popleft()
            shards = self._shards.get(job.job_id)
            if shards is None:
                shards = collections.deque(self._books.pending(job.job_id, self._count))
                self._shards[job.job_id] = shards
            shard = shards.popleft() if shards else None
            if shard is not None:
                self._charge(job, shard)
            self._filled.places.pop(job.job_id, None)
            fresh, served = self._lines[priority]
            if shards:
                place = self._filled.places[job.job_id] = self.turn.lanes[priority].place
                served.append(job._replace(place=place))
            else:
                self._filled.emptied[job.job_id] = self.turn.key_id
            if not fresh and not served:
                del self._lines[priority]
            if shard is not None:
                return shard
        return None

    def _charge(self, job: Waiting, shard: Pending) -> None:
        self.turn.charge(job.priority, shard.cost, job.place == 0, self._lines)
        self._filled.shards.append(shard)
        self._filled.jobs.add(job.job_id)
        self._filled.turns[self.turn.key_id] = self.turn


def fill(window: Window, books: Books) -> Filled:
    """Choose shards until the window is full, nothing waits, or as many are chosen as the window expects. Write down
    what it says and call it again, as long as the window is open and it chose something or exhausted a key."""
    filled = Filled()
    places = window.places
    # So many keys are enough, as each place makes at most one of them less urgent than those that were not read.
    keys = [_Key(turn, books, places, filled) for turn in books.turns(places)]
    while keys and window.open and len(filled.shards) < places:
        key = min(keys, key=lambda k: (k.turn.tag, k.turn.key_id))
        shard = key.take()
        if shard is None:
            keys.remove(key)
            filled.exhausted.add(key.turn.key_id)
        else:
            window.add(shard)
    return filled


def admit(window: Window, books: Books, turn: Turn, newcomer: int, priority: int, some_out: bool) -> Filled:
    """Give a job that has just come its first shard though the window is full. `some_out`: its key has other work out.

    Only where it is next in its key, and its key not ahead of the others: otherwise a stream of such jobs would turn
    the reserve into a second window, without turns.
    """
    filled = Filled()
    if window.admits(priority, some_out) and turn.tag <= books.lowest() + window.bite:
        key = _Key(turn, books, 1, filled)
        job = key.next_job()
        if job is not None and job.job_id == newcomer:
            shard = key.take()
            if shard is not None:
                window.add(shard)
    return filled
