"""The batch planner: tables over indices for what a batch is, and properties for who waits how long.

The clock of the properties is simulated: the planner is told what a batch took.
"""

import itertools
import random
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.engine.pile import Waiting
from workers.engine.planner import LINGER, Planner
from workers.engine.room import LEAD
from workers.runner import Item

HIGH, NORMAL, LOW = 0, 3, 6
TURN = 1.0


@dataclass(eq=False)
class Shard:
    key: Hashable = "key"
    job: Hashable = "job"
    priority: int = NORMAL


SHARD = Shard()


def waiting(
    length: int, index: object, rows: int = 1, group: object = None, owner: Shard = SHARD, same: object = None
) -> Waiting:
    """same: of which texts; together with the rest it says what it is equal to."""
    known_by = None if same is None else repr((length, rows, group, same)).encode()
    return Waiting(Item(None, length, rows, group, known_by), owner, place=index)


def take(planner: Planner, budget: int) -> list[object] | None:
    batch = planner.take(lambda model, shared: budget)
    return None if batch is None else [w.place for w in batch[1]]


def batches(planner: Planner, budget: int, seconds: float = 0.0) -> list[list[object]]:
    """All batches, each of which takes so long."""
    taken = []
    while (batch := take(planner, budget)) is not None:
        taken.append(batch)
        planner.took(seconds)
    assert len(planner) == 0
    assert not planner.models
    return taken


# --- what a batch is ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lengths", "budget", "expected"),
    [
        ([4, 5, 1, 3, 2], 6, [[1], [0], [3, 4], [2]]),  # longest first, padding counted
        ([9], 6, [[0]]),  # over the budget alone: still runs
        ([9, 9, 1], 6, [[0], [1], [2]]),
        ([3, 3, 3, 3], 6, [[0, 1], [2, 3]]),  # the same length: in order of arrival
        ([1] * 5, 3, [[0, 1, 2], [3, 4]]),
        ([], 6, []),
    ],
)
def test_batches_of_one_job(lengths: list[int], budget: int, expected: list[list[int]]) -> None:
    planner = Planner()
    planner.add("m", [waiting(length, index) for index, length in enumerate(lengths)])
    assert batches(planner, budget) == expected


@pytest.mark.parametrize(
    ("items", "budget", "expected"),
    [
        # (length, rows): padded tokens are all rows times the longest
        ([(5, 4), (5, 4), (5, 4)], 40, [[0, 1], [2]]),
        ([(10, 1), (5, 4)], 40, [[0], [1]]),
        ([(10, 1), (5, 4)], 50, [[0, 1]]),
        ([(10, 8)], 40, [[0]]),
    ],
)
def test_rows_count(items: list[tuple[int, int]], budget: int, expected: list[list[int]]) -> None:
    planner = Planner()
    planner.add("m", [waiting(length, index, rows) for index, (length, rows) in enumerate(items)])
    assert batches(planner, budget) == expected


def test_groups_do_not_mix_and_take_turns() -> None:
    planner = Planner()
    planner.add("m", [waiting(3, n, group="ab"[n % 2]) for n in range(6)])
    assert batches(planner, 6) == [[0, 2], [1, 3], [4], [5]]


def test_longer_items_that_keep_coming_pass_nobody_over_twice() -> None:
    planner = Planner()
    planner.add("m", [waiting(9, "long"), waiting(1, "short")])
    order = []
    for n in range(4):
        order += take(planner, 9) or []
        planner.add("m", [waiting(9, n)])
    assert order == ["long", "short", 0, 1]


def test_what_has_come_since_fills_a_batch_up() -> None:
    planner = Planner()
    planner.add("m", [waiting(9, "first"), waiting(5, "rest")])
    assert take(planner, 9) == ["first"]
    planner.add("m", [waiting(9, "longer"), waiting(5, "as long"), waiting(4, "similar"), waiting(1, "short")])
    assert take(planner, 15) == ["rest", "as long", "similar"]


def test_a_batch_is_filled_from_other_jobs_with_items_of_similar_length_first() -> None:
    planner = Planner()
    mine, other = Shard(job="mine"), Shard(job="other")
    planner.add("m", [waiting(length, ("mine", length), owner=mine) for length in (10, 8, 2, 2)])
    planner.add("m", [waiting(length, ("other", length), owner=other) for length in (20, 9, 8, 3)])
    assert take(planner, 40) == [("mine", 10), ("other", 9), ("mine", 8), ("other", 8)]


def test_a_small_job_goes_whole() -> None:
    planner = Planner()
    planner.add("m", [waiting(10, n) for n in range(100)])
    assert take(planner, 100) is not None
    small = Shard(job="small")
    planner.add("m", [waiting(length, ("small", length), owner=small) for length in (8, 5, 1)])
    batch = take(planner, 100)
    assert batch is not None
    assert batch[:3] == [("small", 8), ("small", 5), ("small", 1)]


def test_each_model_has_its_own_budget() -> None:
    planner = Planner(turn_seconds=TURN)
    planner.add("a", [waiting(1, n) for n in range(4)])
    planner.add("b", [waiting(1, n) for n in range(4)])
    sizes: dict[str, list[int]] = {}
    while (batch := planner.take(lambda model, shared: {"a": 1, "b": 4}[model])) is not None:
        sizes.setdefault(batch[0], []).append(len(batch[1]))
    assert sizes == {"a": [1, 1, 1, 1], "b": [4]}


@pytest.mark.parametrize(
    ("others", "shared"),
    [
        ([], False),
        ([("m", Shard())], False),  # another shard of the same job
        ([("m", Shard(job="another"))], True),
        ([("m", Shard(key="another"))], True),
        ([("other", Shard())], True),
        ([("held", Shard())], False),
    ],
)
def test_a_batch_is_short_while_somebody_else_waits(others: list[tuple[str, Shard]], shared: bool) -> None:
    planner = Planner()
    planner.add("m", [waiting(1, n) for n in range(9)])
    for model, owner in others:
        planner.add(model, [waiting(1, "other", group="other", owner=owner)])
    batch = planner.take(lambda model, shared: 2 if shared else 5, held={"held"})
    assert batch is not None
    assert len(batch[1]) == (2 if shared else 5)


def test_batches_stay_short_for_a_while_after_somebody_else_waited() -> None:
    planner = Planner(TURN)
    planner.add("m", [waiting(1, n) for n in range(99)])
    planner.add("other", [waiting(1, "other")])
    sizes = []
    for _ in range(5):
        batch = planner.take(lambda model, shared: 2 if shared else 5)
        assert batch is not None
        sizes.append(len(batch[1]))
        planner.took(LINGER * TURN / 2)
    assert sizes == [2, 1, 2, 5, 5]


def test_dropped_items_never_run() -> None:
    planner = Planner()
    gone, kept = Shard(), Shard()
    planner.add("m", [waiting(n, n, owner=kept) for n in (1, 2, 3)])
    planner.add("m", [waiting(n, n, owner=gone) for n in (2, 3, 4, 4)])
    planner.add("other", [waiting(1, 0, owner=gone)])
    assert planner.drop(gone) == 5
    assert planner.drop(gone) == 0
    assert len(planner) == 3
    assert batches(planner, 100) == [[3, 2, 1]]


@dataclass
class World:
    """Any mix of models, keys, jobs, priorities, groups and lengths."""

    seed: int
    chance: random.Random = field(init=False)
    planner: Planner = field(default_factory=lambda: Planner(TURN))
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.models = [f"model {n}" for n in range(self.chance.randint(1, 4))]
        priority = self.chance.choice([[NORMAL], [HIGH, NORMAL, LOW], [HIGH, NORMAL, NORMAL, NORMAL, LOW]])
        self.owners = [
            Shard(key, (key, job), self.chance.choice(priority))
            for key in range(self.chance.randint(1, 4))
            for job in range(self.chance.randint(1, 4))
        ]
        self.longest = self.chance.choice([1, 5, 40])
        self.groups = self.chance.choice(["x", "xyz"])
        self.texts: list[int | None] = self.chance.choice([[None], [0, 1], [None, *range(20)]])

    def arrive(self, most: int = 20) -> list[tuple[str, Waiting]]:
        """A few items of one owner, added; with their model."""
        model, owner = self.chance.choice(self.models), self.chance.choice(self.owners)
        arrivals = [
            waiting(
                self.chance.randint(1, self.longest),
                next(self.numbers),
                rows=self.chance.choice([1, 1, 4]),
                group=self.chance.choice(self.groups),
                owner=owner,
                same=self.chance.choice(self.texts),
            )
            for _ in range(self.chance.randint(1, most))
        ]
        self.planner.add(model, arrivals)
        return [(model, arrival) for arrival in arrivals]


worlds = st.builds(World, st.integers(0, 10**9))


@given(worlds, st.integers(1, 300))
def test_everything_is_taken_once_and_fits(world: World, budget: int) -> None:
    waits: dict[object, tuple[str, Waiting]] = {}
    for step in itertools.count():
        if step < 60:
            waits.update({w.place: (model, w) for model, w in world.arrive()})
            if world.chance.random() < 0.1:
                owner = world.chance.choice(world.owners)
                gone = [place for place, (_, w) in waits.items() if w.owner is owner]
                assert world.planner.drop(owner) == len(gone)
                for place in gone:
                    del waits[place]
        if (batch := world.planner.take(lambda model, shared: budget)) is None:
            break
        world.planner.took(world.chance.random())
        model, items = batch
        taken = [w for leader in items for w in (leader, *(leader.riders or ()))]
        assert [waits.pop(w.place) for w in taken] == [(model, w) for w in taken]
        assert all(w.same == leader.same for leader in items for w in leader.riders or ())
        equals = {w.same for w in items} - {None}
        assert len(equals) == sum(w.same is not None for w in items)
        assert not equals or not any(w.same in equals and other == model for other, w in waits.values())
        assert len({w.item.group for w in items}) == 1
        padded = sum(w.item.rows for w in items) * max(w.item.length for w in items)
        assert len(items) == 1 or padded <= budget
        assert len(world.planner) == len(waits)
    assert not waits


def test_an_item_takes_its_equals_along_at_no_cost() -> None:
    planner = Planner()
    first, other = Shard(key="first"), Shard(key="other")
    planner.add("m", [waiting(5, n, owner=first, same="a") for n in range(3)])
    planner.add("m", [waiting(5, n, owner=other, same="a") for n in "xyz"])
    planner.add("m", [waiting(5, "own", owner=other), waiting(5, "mine", owner=first)])
    batch = planner.take(lambda model, shared: 5)
    assert batch is not None
    [leader] = batch[1]
    assert leader.place == 0
    assert [w.place for w in leader.riders or ()] == [1, 2, "x", "y", "z"]
    assert len(planner) == 2
    assert take(planner, 5) == ["own"], "who rode along was served nothing"
    assert batches(planner, 5) == [["mine"]]


def test_a_dropped_item_is_taken_along_by_nobody() -> None:
    planner = Planner()
    gone, kept = Shard(), Shard()
    planner.add("m", [waiting(5, n, owner=owner, same="a") for n, owner in enumerate([gone, kept, gone, kept])])
    assert planner.drop(gone) == 2
    batch = planner.take(lambda model, shared: 99)
    assert batch is not None
    assert [(w.place, [rider.place for rider in w.riders or ()]) for w in batch[1]] == [(1, [3])]
    assert len(planner) == 0


# --- models ---------------------------------------------------------------------------------------------------------


def test_alone_a_model_is_never_left() -> None:
    planner = Planner(TURN)
    planner.add("a", [waiting(1, n) for n in range(6)])
    assert batches(planner, 1, seconds=9) == [[0], [1], [2], [3], [4], [5]]


def test_a_turn_ends_when_its_time_is_up_or_nothing_of_the_model_waits() -> None:
    planner = Planner(TURN)
    planner.add("a", [waiting(1, f"a{n}") for n in range(7)])
    planner.add("b", [waiting(1, f"b{n}") for n in range(2)])
    taken = batches(planner, 1, seconds=TURN / 4)
    assert taken == [["a0"], ["a1"], ["a2"], ["a3"], ["b0"], ["b1"], ["a4"], ["a5"], ["a6"]]


def test_a_newcomer_ends_a_turn_that_lasted_while_nobody_waited() -> None:
    planner = Planner(TURN)
    planner.add("a", [waiting(1, f"a{n}") for n in range(7)])
    for _ in range(3):
        take(planner, 1)
        planner.took(TURN)
    planner.add("b", [waiting(1, "b0")])
    assert take(planner, 1) == ["b0"]


def test_models_take_turns_in_the_order_in_which_they_began_to_wait() -> None:
    planner = Planner(TURN)
    for model in ("a", "b", "c"):
        planner.add(model, [waiting(1, model + "0"), waiting(1, model + "1")])
    assert batches(planner, 1, seconds=TURN) == [["a0"], ["b0"], ["c0"], ["a1"], ["b1"], ["c1"]]


def test_held_models_keep_their_place() -> None:
    planner = Planner(TURN)
    for model in ("a", "b"):
        planner.add(model, [waiting(1, model + str(n)) for n in range(3)])
    order = []
    for held in ({"a"}, {"a"}, set(), set(), {"a", "b"}):
        batch = planner.take(lambda model, shared: 1, held)
        order.append(batch and batch[1][0].place)
        planner.took(TURN)
    assert order == ["b0", "b1", "a0", "b2", None]


def test_a_model_that_was_dear_to_come_to_has_a_longer_turn() -> None:
    planner = Planner(TURN)
    for model in ("a", "b"):
        planner.add(model, [waiting(1, model + str(n)) for n in range(5)])
    assert take(planner, 1) == ["a0"]
    planner.stay(3 * TURN)
    order = []
    for _ in range(5):
        planner.took(TURN)
        order += take(planner, 1) or []
    assert order == ["a1", "a2", "b0", "a3", "b1"]


def test_a_high_item_of_another_model_runs_next_and_then_the_turn_goes_on() -> None:
    planner = Planner(10 * TURN)
    planner.add("a", [waiting(1, f"a{n}") for n in range(4)])
    assert take(planner, 1) == ["a0"]
    planner.add("b", [waiting(1, "b")])
    planner.add("c", [waiting(1, f"c{n}", owner=Shard(job="urgent", priority=HIGH)) for n in range(2)])
    order = []
    for _ in range(6):
        planner.took(TURN)
        order += take(planner, 1) or []
    assert order == ["c0", "a1", "c1", "a2", "a3", "b"]


def test_high_items_of_other_models_take_no_more_time_than_the_turn() -> None:
    planner = Planner(10 * TURN)
    planner.add("a", [waiting(1, f"a{n}") for n in range(9)])
    planner.add("b", [waiting(1, f"b{n}", owner=Shard(priority=HIGH)) for n in range(2)])
    order = []
    for _ in range(5):
        order += take(planner, 1) or []
        planner.took(3 * TURN if "b" in str(order[-1]) else TURN)
    assert order == ["b0", "a0", "a1", "a2", "b1"]


@given(worlds, st.floats(0.01, 3), st.booleans())
def test_each_model_has_its_turn_in_time(world: World, longest: float, urgent: bool) -> None:
    """With M models, none waits longer than M - 1 times a turn and one batch; twice that while `high` items come."""
    planner, now = world.planner, 0.0
    since: dict[str, float] = {}
    if not urgent:
        for owner in world.owners:
            owner.priority = NORMAL
    bound = (len(world.models) - 1) * (TURN + longest) * (2 if urgent else 1) + longest * urgent
    for _ in range(300):
        if world.chance.random() < 0.7 or not len(planner):
            for model, _ in world.arrive(most=8):
                since.setdefault(model, now)
        batch = planner.take(lambda model, shared: 30)
        assert batch is not None
        model = batch[0]
        assert now - since.pop(model) <= bound + 1e-6
        seconds = world.chance.choice([longest, longest * world.chance.random()])
        now += seconds
        planner.took(seconds)
        if model in planner.models:
            since[model] = now


# --- keys and jobs --------------------------------------------------------------------------------------------------


def keep_waiting(planner: Planner, owners: Iterable[Shard], budget: int, chance: random.Random) -> dict[Shard, int]:
    """The padded tokens of each owner, after many batches at all of which each of them had something waiting."""
    tokens = dict.fromkeys(owners, 0)
    counts = dict.fromkeys(owners, 0)
    for _ in range(300):
        for owner in tokens:
            if not counts[owner]:
                counts[owner] = chance.randint(1, 30)
                groups = [chance.choice("xy") for _ in range(counts[owner])]
                planner.add("m", [waiting(chance.randint(1, 20), 0, 1, group, owner) for group in groups])
        batch = planner.take(lambda model, shared: budget)
        assert batch is not None
        longest = max(w.item.length for w in batch[1])
        for w in batch[1]:
            tokens[w.owner] += longest
            counts[w.owner] -= 1
    return tokens


def total(tokens: dict[Shard, int], by: Callable[[Shard], Hashable]) -> dict[Hashable, int]:
    totals: dict[Hashable, int] = {}
    for owner, of_owner in tokens.items():
        totals[by(owner)] = totals.get(by(owner), 0) + of_owner
    return totals


@given(worlds, st.integers(20, 200))
def test_keys_that_keep_waiting_are_served_the_same(world: World, budget: int) -> None:
    by_key = total(keep_waiting(Planner(), world.owners, budget, world.chance), lambda owner: owner.key)
    assert max(by_key.values()) - min(by_key.values()) <= (LEAD + 1) * budget


@given(worlds, st.integers(20, 200))
def test_jobs_of_a_key_are_served_by_priority(world: World, budget: int) -> None:
    """`high` gets 16, `normal` 4 and `low` 1 of what they get together."""
    for owner in world.owners:
        owner.key = "the same"
    tokens = keep_waiting(Planner(), world.owners, budget, world.chance)
    weighed = [tokens[owner] / {HIGH: 4, NORMAL: 1, LOW: 0.25}[owner.priority] for owner in tokens]
    assert max(weighed) - min(weighed) <= (LEAD + 4) * budget


def test_a_newcomer_is_in_the_next_batch() -> None:
    planner = Planner()
    planner.add("m", [waiting(5, n) for n in range(1_000)])
    for n in range(20):
        assert take(planner, 50) is not None
        newcomer = Shard(job=n)
        planner.add("m", [waiting(7, ("newcomer", n), owner=newcomer)])
        assert ("newcomer", n) in (take(planner, 50) or [])


def test_an_endless_row_of_newcomers_gets_what_one_job_would() -> None:
    planner = Planner()
    planner.add("m", [waiting(10, "bulk", group="bulk") for _ in range(100)])
    order: list[object] = []
    for n in range(100):
        if order[-1:] != ["bulk"]:  # the last newcomer has gone
            planner.add("m", [waiting(10, "newcomer", group="newcomers", owner=Shard(job=n))])
        order += take(planner, 10) or []
    assert order.count("bulk") >= 48


def test_a_high_job_is_ahead_until_it_has_had_the_lead() -> None:
    planner = Planner()
    owners = [Shard(job="normal"), Shard(job="urgent", priority=HIGH)]
    for owner in owners:
        planner.add("m", [waiting(10, owner.job, group=owner.job, owner=owner) for _ in range(100)])
    order = [place for _ in range(60) for place in take(planner, 10) or []]
    assert order[: 4 * LEAD] == ["urgent"] * 4 * LEAD
    assert "normal" in order[4 * LEAD : 4 * LEAD + 4]


@given(worlds, st.sampled_from(["a new key", "a key that is there"]))
def test_a_high_item_is_in_the_next_batch(world: World, key: str) -> None:
    chance = world.chance
    for owner in world.owners:
        owner.priority = max(owner.priority, NORMAL)
        if key != "a new key":
            owner.key = key
    planner = Planner()
    keep_waiting(planner, world.owners, 60, chance)
    planner.add("m", [waiting(chance.randint(1, 20), "urgent", 1, chance.choice("xyz"), Shard(key, "urgent", HIGH))])
    assert "urgent" in (take(planner, 60) or [])


@given(worlds, st.sampled_from([NORMAL, LOW]))
def test_nobody_is_starved_by_high_jobs_and_newcomers_that_never_end(world: World, priority: int) -> None:
    """Before an item that is the next of its job, each other key and job is served the lead and a batch at most.

    A `low` one's weigh 16 times those of `high` ones. Newcomers, all together, count as one, besides those that wait.
    """
    chance, planner, budget = world.chance, Planner(), 60
    victim = Shard(0, "victim", priority)
    keys = {owner.key for owner in world.owners} | {0}
    keep_waiting(planner, world.owners, budget, chance)
    planner.add("m", [waiting(1, "victim", owner=victim)])
    slots = 8
    bound = (len(keys) + len(world.owners) + slots) * (LEAD + 2) * budget * 16
    served, waits = 0, len(planner)
    for step in itertools.count():
        while len(planner) < waits + slots:
            key = chance.choice(sorted(keys))
            newcomer = Shard(key, ("newcomer", step, len(planner)), chance.choice([HIGH, NORMAL]))
            planner.add("m", [waiting(chance.randint(10, 20), 0, owner=newcomer)])
        batch = planner.take(lambda model, shared: budget)
        assert batch is not None
        if "victim" in [w.place for w in batch[1]]:
            break
        served += len(batch[1]) * max(w.item.length for w in batch[1])
        assert served <= bound


@given(worlds, st.integers(1, 60))
def test_an_item_waits_for_two_generations_of_its_job_at_most(world: World, room: int) -> None:
    planner, chance = Planner(), world.chance
    arrived: dict[int, int] = {}
    for taken in range(300):
        while len(planner) < room:
            number = next(world.numbers)
            arrived[number] = taken
            planner.add("m", [waiting(chance.choice([1, 50, 60]), number)])
        for place in take(planner, 60) or []:
            assert isinstance(place, int)
            assert taken - arrived[place] <= 2 * room


def test_absence_earns_nothing_and_is_no_pardon() -> None:
    planner = Planner()
    greedy, patient = Shard("greedy"), Shard("patient")
    for owner in (greedy, patient):
        planner.add("m", [waiting(10, owner.key, owner=owner) for _ in range(100)])
    for _ in range(40):
        take(planner, 10)
    planner.drop(patient)
    for _ in range(40):
        assert take(planner, 10) == ["greedy"]
    planner.add("m", [waiting(10, "patient", owner=patient) for _ in range(100)])
    order = [place for _ in range(10) for place in take(planner, 10) or []]
    assert sorted(order) == ["greedy"] * 5 + ["patient"] * 5
