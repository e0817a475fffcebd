"""Which job gets a freed place: a table over candidates (job, key, shards out, served at)."""

from datetime import UTC, datetime

import pytest

from store.dispatch import Candidate, Caps, caps, choose
from store.settings import StoreSettings

ROOMY = Caps(job=100, key=100, queue=100)


def candidate(job_id: int, key_id: int, out: int, served: int) -> Candidate:
    return Candidate(job_id, key_id, out, datetime(2026, 1, 1, 0, 0, served, tzinfo=UTC))


@pytest.mark.parametrize(
    ("candidates", "key_out", "queue_out", "limits", "chosen"),
    [
        ([], {}, 0, ROOMY, {}),
        ([(1, 1, 0, 0)], {}, 0, Caps(3, 9, 9), {1: 3}),  # up to the job's window
        ([(1, 1, 2, 0)], {1: 2}, 2, Caps(3, 9, 9), {1: 1}),  # what is out already counts
        ([(1, 1, 3, 0)], {1: 3}, 3, Caps(3, 9, 9), {}),
        ([(1, 1, 5, 0)], {1: 5}, 5, Caps(3, 9, 9), {}),  # over the window, since workers left
        ([(1, 1, 0, 0), (2, 1, 0, 0)], {}, 0, Caps(3, 4, 9), {1: 2, 2: 2}),  # jobs of a key share its cap
        ([(1, 1, 0, 0), (2, 2, 0, 0)], {}, 0, Caps(3, 9, 4), {1: 2, 2: 2}),  # keys share the queue's
        ([(1, 1, 0, 0)], {2: 4}, 4, Caps(3, 9, 4), {}),  # the queue is full of others' shards
        ([(1, 1, 0, 0)], {2: 6}, 6, Caps(3, 9, 4), {}),  # over the cap: none, not less than none
        ([(1, 1, 0, 0), (2, 2, 0, 0)], {1: 3}, 3, Caps(9, 9, 6), {2: 3}),  # fewest out first: three each
        ([(1, 1, 0, 0), (2, 2, 0, 0)], {1: 1, 2: 2}, 3, Caps(9, 9, 6), {1: 2, 2: 1}),
        ([(1, 1, 0, 5), (2, 1, 0, 4), (3, 1, 0, 6)], {}, 0, Caps(9, 2, 9), {2: 1, 1: 1}),  # least recently served
        ([(2, 1, 0, 4), (1, 1, 0, 4)], {}, 0, Caps(9, 1, 9), {1: 1}),  # the elder of two
        ([(1, 1, 3, 1), (2, 1, 0, 9)], {1: 3}, 3, Caps(3, 9, 9), {2: 3}),  # a full job lets the next one by
        ([*((n, 1, 0, n) for n in range(1, 50)), (99, 2, 0, 59)], {}, 0, Caps(8, 9, 6), {1: 1, 2: 1, 3: 1, 99: 3}),
        ([(1, 7, 0, 9), (2, 3, 0, 1)], {}, 0, Caps(9, 9, 1), {1: 1}),  # keys alike: in the order of the candidates
        ([(2, 3, 0, 1), (1, 7, 0, 9)], {}, 0, Caps(9, 9, 1), {2: 1}),
    ],
)  # fmt: skip
def test_choose(
    candidates: list[tuple[int, int, int, int]],
    key_out: dict[int, int],
    queue_out: int,
    limits: Caps,
    chosen: dict[int, int],
) -> None:
    assert choose([candidate(*c) for c in candidates], key_out, queue_out, limits) == chosen


def test_choose_changes_nothing() -> None:
    candidates, key_out = [candidate(1, 1, 0, 0), candidate(2, 2, 0, 0)], {1: 1}
    choose(candidates, key_out, 1, ROOMY)
    assert candidates == [candidate(1, 1, 0, 0), candidate(2, 2, 0, 0)]
    assert key_out == {1: 1}


@pytest.mark.parametrize(
    ("slots", "settings", "limits"),
    [
        (0, {}, Caps(8, 16, 32)),
        (4, {}, Caps(8, 16, 32)),
        (5, {}, Caps(10, 20, 40)),
        (100, {"key_windows": 1, "queue_windows": 3}, Caps(200, 200, 600)),
        (0, {"minimum_window": 1, "key_windows": 1, "queue_windows": 1}, Caps(1, 1, 1)),
    ],
)
def test_caps(slots: int, settings: dict[str, int], limits: Caps) -> None:
    assert caps(slots, StoreSettings.model_validate(settings)) == limits
