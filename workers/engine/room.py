"""One model's waiting items, and whose are in its next batch. Pure, like the planner that holds it.

Keys share, and a key's jobs share. Each has an account of the padded tokens that it was served (a job's are weighed by
its priority), and:

1. Who is further ahead of the least served that waits than the lead is served nothing. That alone makes shares equal:
   no two that keep waiting are ever further apart than the lead and one batch. The lead is a few batches, within which
   order and padding may be chosen freely.
2. A batch starts at the job whose turn it is: a `high` one first, then one of the key least served, and of its jobs the
   one least served.
3. It takes that job's items and then those of the others, in the order of their turn, that are nearly as long as the
   batch's longest; then shorter ones, those of less than half its length only until the batch is half full. A job that
   is `high`, or that fits whole into a quarter of the batch, is not split up by length: what is left of it would wait.
4. A job's items are taken longest first, by generations: those that arrive wait until all that waited before them are
   taken, or go along where a batch has room. So no item is passed over for ever by longer ones that keep coming.

5. An item takes all that are equal to it along, whoever's they are: they cost nothing and take no room, and have its
   answer. Until then each waits in its own name, so that none waits longer for being equal to another.

Who comes in starts level with the least served, so it is next, and absence earns nothing (but for a moment's, as of a
key of which all went into one batch). Newcomers start one after the other, by what the ones before them had in their
first batches: an endless row of them is served as one member would be, and starves nobody.

Taking a batch costs its own size and the number of jobs that wait here (at most the task slots), not the number of
items: they lie in one queue per length, and are never sorted.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Generic, Protocol, TypeVar

from workers.engine.pile import Batch, Pile, Waiting

HIGH, NORMAL = 0, 3
"""Priorities as the ledger counts them; `low` is 6."""

LEAD = 8
"""Full batches that a key, or a job of a key, may be ahead of the least served that waits."""

FILL = ((0.875, 1.0), (0.75, 1.0), (0.5, 1.0), (0.0, 0.5))
"""(length, part): items at least so long, against the batch's longest, are taken until so large a part of it is filled.

What they lack is padding. Filled up with whatever there is, batches of a job alone were padded by 29 to 37 %, since few
seconds of its work are in the process. Narrower steps padded less (12 to 23 %) and made batches so small that
translation, whose decoder takes as many steps for few rows as for many, lost a fifth of its speed.
"""

MOMENT = 4
"""Batches for which an account is as if its owner were there: what comes back has yet to be answered and prepared."""

REMEMBERED = 1_000
"""Accounts that are kept of keys, and of a key's jobs, that wait no longer."""


class Owner(Protocol):
    """Whose items they are."""

    @property
    def key(self) -> Hashable: ...
    @property
    def job(self) -> Hashable: ...
    @property
    def priority(self) -> int: ...


class _Account:
    """What a key or a job has been served, in padded tokens, counted from where it came in."""

    def __init__(self) -> None:
        self.served = 0.0
        self.is_new = True
        self.left = 0
        """The number of the batch that took the last that waited."""


class _Job(_Account):
    def __init__(self) -> None:
        super().__init__()
        self.priority = NORMAL
        self.piles: dict[Hashable, Pile] = {}
        """By group, none empty; the one that a batch started at goes to the end."""

    def weigh(self, tokens: int) -> float:
        """What tokens count for: of two jobs that wait the higher gets four times as many, as from the ledger."""
        return tokens * float(4 ** ((self.priority - NORMAL) / 3))


A = TypeVar("A", bound=_Account)


class _Members(Generic[A]):
    """Those who share: the keys of a model, or the jobs of a key."""

    def __init__(self, make: Callable[[], A]) -> None:
        self._make = make
        self._least = self._newcomers = 0.0
        self.waiting: dict[Hashable, A] = {}
        self._absent: dict[Hashable, A] = {}

    @property
    def least(self) -> float:
        """What the least served that waits was served; where nobody waits, who left last."""
        self._least = min((account.served for account in self.waiting.values()), default=self._least)
        return self._least

    def enter(self, who: Hashable, batches: int) -> A:
        """The account of who has something to add, after so many batches."""
        if (account := self.waiting.get(who)) is not None:
            return account
        account = self._absent.pop(who, None) or self._make()
        if account.is_new:
            account.served = max(self.least, self._newcomers)
        elif batches - account.left > MOMENT:
            account.served = max(self.least, account.served)
        self.waiting[who] = account
        return account

    def charge(self, account: A, tokens: float) -> None:
        if account.is_new:
            account.is_new = False
            self._newcomers = max(self._newcomers, account.served) + tokens
        account.served += tokens

    def leave(self, who: Hashable, batches: int) -> None:
        """Nothing of theirs waits any more: the account is kept, for what they were served too much."""
        self._least = self.least
        account = self._absent[who] = self.waiting.pop(who)
        account.left = batches
        if len(self._absent) > REMEMBERED:
            del self._absent[next(iter(self._absent))]


class _Key(_Account):
    def __init__(self) -> None:
        super().__init__()
        self.jobs: _Members[_Job] = _Members(_Job)


class Room:
    """The waiting items of one model."""

    def __init__(self) -> None:
        self._keys: _Members[_Key] = _Members(_Key)
        self._equals: dict[bytes, list[Waiting]] = {}
        """Those that may share an answer, by `same`."""
        self._size = 0
        self._batches = 0

    def __len__(self) -> int:
        return self._size

    @property
    def shared(self) -> bool:
        """Whether more than one job waits."""
        keys = self._keys.waiting
        return len(keys) > 1 or any(len(key.jobs.waiting) > 1 for key in keys.values())

    def add(self, waiting: Waiting) -> None:
        """Let an item wait."""
        owner: Owner = waiting.owner
        job = self._keys.enter(owner.key, self._batches).jobs.enter(owner.job, self._batches)
        job.priority = owner.priority
        pile = job.piles.get(waiting.item.group)
        if pile is None:
            pile = job.piles[waiting.item.group] = Pile()
        pile.new.add(waiting)
        if waiting.same is not None:
            self._equals.setdefault(waiting.same, []).append(waiting)
        self._size += 1

    def is_urgent(self, full: int) -> bool:
        """Whether a `high` job waits that may be served out of turn. full: padded tokens of a full batch."""
        return any(job.priority <= HIGH for _, job in self._may_be_served(full * LEAD))

    def take(self, budget: int, full: int) -> list[Waiting]:
        """Remove and return the next batch, each with its riders; there must be one.

        budget: its padded tokens; full: those of a full one.
        """
        self._batches += 1
        turns = sorted(self._may_be_served(full * LEAD), key=_turn)
        first = turns[0][1]
        group, pile = next(iter(first.piles.items()))
        first.piles[group] = first.piles.pop(group)
        batch = pile.first(budget, whole=first.priority <= HIGH)
        piles = [job.piles[group] for _, job in turns if group in job.piles]
        for similar, part in FILL:
            for pile in piles:
                pile.fill(batch, similar * batch.longest, part)
        for owner in {*self._charge(batch), *self._take_equals(batch)}:
            self._leave_if_empty(owner)
        return batch.items

    def drop(self, owner: Owner) -> int:
        """Forget all items of an owner; returns how many there were."""
        key = self._keys.waiting.get(owner.key)
        job = None if key is None else key.jobs.waiting.get(owner.job)
        if job is None:
            return 0
        dropped = [waiting for pile in job.piles.values() for waiting in pile.of(owner)]
        for waiting in dropped:
            job.piles[waiting.item.group].remove(waiting)
        for same in {waiting.same for waiting in dropped if waiting.same is not None}:
            equals = self._equals[same] = [waiting for waiting in self._equals[same] if waiting.owner is not owner]
            if not equals:
                del self._equals[same]
        self._size -= len(dropped)
        self._leave_if_empty(owner)
        return len(dropped)

    def _may_be_served(self, lead: float) -> Iterator[tuple[_Key, _Job]]:
        most = self._keys.least + lead
        for key in self._keys.waiting.values():
            if key.served <= most:
                most_of_key = key.jobs.least + lead
                yield from ((key, job) for job in key.jobs.waiting.values() if job.served <= most_of_key)

    def _take_equals(self, batch: Batch) -> Iterator[Owner]:
        """Take along what is equal to the batch's items; yields whose that is."""
        for leader in batch.items:
            if leader.same is None or len(equals := self._equals.pop(leader.same)) == 1:
                continue
            leader.riders = [waiting for waiting in equals if waiting is not leader]
            for waiting in leader.riders:
                owner: Owner = waiting.owner
                if waiting not in batch.riding:
                    self._keys.waiting[owner.key].jobs.waiting[owner.job].piles[waiting.item.group].remove(waiting)
                yield owner
            self._size -= len(leader.riders)

    def _charge(self, batch: Batch) -> Iterable[Owner]:
        """To those whose items the batch has; returns them."""
        rows: dict[tuple[Hashable, Hashable], int] = {}
        owners: dict[tuple[Hashable, Hashable], Owner] = {}
        for waiting in batch.items:
            owner: Owner = waiting.owner
            who = (owner.key, owner.job)
            rows[who] = rows.get(who, 0) + waiting.item.rows
            owners[who] = owner
        for who, mine in rows.items():
            key = self._keys.waiting[who[0]]
            job = key.jobs.waiting[who[1]]
            tokens = mine * batch.longest
            self._keys.charge(key, tokens)
            key.jobs.charge(job, job.weigh(tokens))
        self._size -= len(batch.items)
        return owners.values()

    def _leave_if_empty(self, owner: Owner) -> None:
        key = self._keys.waiting.get(owner.key)
        job = None if key is None else key.jobs.waiting.get(owner.job)
        if key is None or job is None:
            return
        job.piles = {group: pile for group, pile in job.piles.items() if pile}
        if not job.piles:
            key.jobs.leave(owner.job, self._batches)
            if not key.jobs.waiting:
                self._keys.leave(owner.key, self._batches)


def _turn(found: tuple[_Key, _Job]) -> tuple[bool, float, bool, float, bool]:
    key, job = found
    return job.priority > HIGH, key.served, not key.is_new, job.served, not job.is_new
