"""The batch planner, as tables over indices."""

import random

import pytest

from workers.engine.planner import Planner, Waiting
from workers.runner import Item


def waiting(length: int, index: object, rows: int = 1, group: object = None) -> Waiting:
    return Waiting(Item(None, length, rows, group), owner="shard", place=index)  # type: ignore[arg-type]


def batches(planner: Planner, budget: int) -> list[list[object]]:
    taken = []
    while (batch := planner.take(lambda model: budget)) is not None:
        taken.append([w.place for w in batch[1]])
    assert len(planner) == 0
    return taken


@pytest.mark.parametrize(
    ("lengths", "budget", "expected"),
    [
        ([4, 5, 1, 3, 2], 6, [[1], [0], [3, 4], [2]]),  # longest first, padding counted
        ([9], 6, [[0]]),  # over the budget alone: still runs
        ([9, 9, 1], 6, [[0], [1], [2]]),
        ([3, 3, 3, 3], 6, [[0, 1], [2, 3]]),  # the same length: in order of arrival
        ([1] * 5, 3, [[0, 1, 2], [3, 4]]),
        ([], 6, []),
        # The 8th batch starts at the oldest item, which longest first would have run last.
        ([1, 20, 19, 18, 17, 16, 15, 14, 13, 12], 1, [[1], [2], [3], [4], [5], [6], [7], [0], [8], [9]]),
    ],
)  # fmt: skip
def test_batches_of_one_model(lengths: list[int], budget: int, expected: list[list[int]]) -> None:
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


def test_an_anchored_batch_takes_shorter_neighbours_of_the_oldest() -> None:
    planner = Planner(anchor=1)
    planner.add("m", [waiting(length, length) for length in (5, 9, 4, 3)])
    assert batches(planner, 10) == [[5, 4], [9], [3]]


def test_groups_do_not_mix() -> None:
    planner = Planner()
    planner.add("m", [waiting(3, n, group="ab"[n % 2]) for n in range(6)])
    assert batches(planner, 100) == [[0, 2, 4], [1, 3, 5]]


def test_an_old_item_of_a_small_group_is_not_starved() -> None:
    planner = Planner(anchor=4)
    planner.add("m", [waiting(9, n, group="busy") for n in range(2)])
    planner.add("m", [waiting(1, "old", group="small")])
    order: list[object] = []
    for n in range(2, 20):
        planner.add("m", [waiting(9, n, group="busy")])
        batch = planner.take(lambda model: 9)
        assert batch is not None
        order += [w.place for w in batch[1]]
        if "old" in order:
            break
    assert order.index("old") <= 3 * 4


def test_it_stays_on_a_model_until_that_is_empty_or_has_had_its_turn() -> None:
    planner = Planner(stay=3)
    planner.add("a", [waiting(1, f"a{n}") for n in range(7)])
    planner.add("b", [waiting(1, f"b{n}") for n in range(2)])
    assert batches(planner, 1) == [["a0"], ["a1"], ["a2"], ["b0"], ["b1"], ["a3"], ["a4"], ["a5"], ["a6"]]


def test_alone_a_model_is_never_left() -> None:
    planner = Planner(stay=2)
    planner.add("a", [waiting(1, n) for n in range(6)])
    assert batches(planner, 1) == [[0], [1], [2], [3], [4], [5]]


def test_the_next_model_is_the_one_with_the_oldest_item() -> None:
    planner = Planner(stay=1)
    for model in ("a", "b", "c"):
        planner.add(model, [waiting(1, model + "0"), waiting(1, model + "1")])
    assert batches(planner, 1) == [["a0"], ["b0"], ["a1"], ["b1"], ["c0"], ["c1"]]


def test_each_model_has_its_own_budget() -> None:
    planner = Planner()
    planner.add("a", [waiting(1, n) for n in range(4)])
    planner.add("b", [waiting(1, n) for n in range(4)])
    sizes = {}
    while (batch := planner.take({"a": 1, "b": 4}.__getitem__)) is not None:
        sizes.setdefault(batch[0], []).append(len(batch[1]))
    assert sizes == {"a": [1, 1, 1, 1], "b": [4]}


def test_dropped_items_never_run() -> None:
    planner = Planner()
    kept = [Waiting(Item(None, n), "kept", n) for n in (1, 2, 3)]
    planner.add("m", kept)
    planner.add("m", [Waiting(Item(None, n), "gone", n) for n in (2, 3, 4, 4)])
    planner.add("other", [Waiting(Item(None, 1), "gone", 0)])
    assert planner.drop("gone") == 5
    assert len(planner) == 3
    assert batches(planner, 100) == [[3, 2, 1]]


@pytest.mark.parametrize("seed", range(20))
def test_everything_is_taken_once_and_fits(seed: int) -> None:
    chance = random.Random(seed)
    planner = Planner(stay=chance.randint(1, 5), anchor=chance.randint(1, 5))
    budget = chance.randint(1, 100)
    expected, taken = set(), []
    for index in range(300):
        model, group, length = chance.choice("ab"), chance.choice("xy"), chance.randint(1, 30)
        rows = {"x": 1, "y": 4}[group]
        planner.add(model, [waiting(length, (model, group, index), rows, group)])
        expected.add((model, group, index))
        if chance.random() < 0.5:
            taken.append(planner.take(lambda model: budget))
    while (batch := planner.take(lambda model: budget)) is not None:
        taken.append(batch)
    for batch in taken:
        assert batch is not None
        model, items = batch
        assert len({w.item.group for w in items}) == 1
        assert {w.place[0] for w in items} == {model}
        padded = sum(w.item.rows for w in items) * max(w.item.length for w in items)
        assert len(items) == 1 or padded <= budget
    places = [w.place for batch in taken if batch is not None for w in batch[1]]
    assert len(places) == len(expected)
    assert set(places) == expected
