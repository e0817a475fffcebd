"""Who is served next: decisions as tables, and ten thousand steps of whatever keys, jobs and workers may do."""

import collections
import random
from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from store import policy
from store.capacity import Out, Server, batch, bite, window
from store.policy import SHARES, Lane, Pending, Turn, Window
from store.settings import StoreSettings
from tests.unit.store.mill import Account, Job, Lists, Mill

HIGH, NORMAL, LOW = SHARES


@pytest.mark.parametrize(
    ("tags", "waiting", "following"),
    [
        ((0, 0, 0), {HIGH, NORMAL, LOW}, HIGH),  # of equals the highest
        ((0, 0, 0), {NORMAL, LOW}, NORMAL),
        ((5, 4, 3), {HIGH, NORMAL, LOW}, LOW),
        ((5, 4, 3), {HIGH, NORMAL}, NORMAL),
        ((5, 4, 3), {HIGH}, HIGH),
    ],
)
def test_the_next_priority(tags: tuple[float, ...], waiting: set[int], following: int) -> None:
    lanes = {priority: Lane(tag) for priority, tag in zip(SHARES, tags, strict=True)}
    assert Turn(1, 0, lanes).next_priority(waiting) == following


def test_a_priority_that_rests_earns_nothing() -> None:
    turn = Turn(1)
    for _ in range(10):
        turn.charge(NORMAL, 400, False, {NORMAL})
    assert turn.tag == 4000
    assert [turn.lanes[priority].tag for priority in SHARES] == [900, 1000, 900], "beside the last place of the other"


@pytest.mark.parametrize(
    ("tag", "out", "waiting", "resting", "woken"),
    [
        (0, 0, [], [], 0),
        (0, 0, [7, 5], [90], 5),  # level with those that wait
        (6, 0, [7, 5], [90], 6),  # its last place was just before
        (0, 0, [], [3, 90], 90),  # nobody waits: level with the last that did
        (2, 2, [7, 5], [90], 7),  # what it has out is received on top of that
        (8, 2, [7, 5], [90], 8),
    ],
)
def test_waking(tag: float, out: float, waiting: list[float], resting: list[float], woken: float) -> None:
    assert policy.woken(tag, out, waiting, resting) == woken


@pytest.mark.parametrize(
    ("before", "newcomer", "after"), [(0, True, 1), (0, False, 2), (1, True, 3), (1, False, 2), (4, False, 6)]
)
def test_a_place_says_to_whom_it_went(before: int, newcomer: bool, after: int) -> None:
    turn = Turn(1)
    turn.lanes[NORMAL].place = before
    turn.charge(NORMAL, 1, newcomer, {NORMAL})
    assert turn.lanes[NORMAL].place == after
    assert turn.lanes[NORMAL].newcomers_first == (not newcomer)


def test_a_shard_is_a_bite_of_a_second() -> None:
    assert bite(None, StoreSettings(first_shard_characters=4_096)) == 4_096
    assert bite(300.7, StoreSettings()) == 300
    assert bite(300, StoreSettings(shard_seconds=2.5)) == 750
    assert bite(1e9, StoreSettings()) == 131_072
    assert bite(1e-9, StoreSettings()) == 1
    assert bite(None, StoreSettings(shard_characters=10)) == 10


def test_a_shard_fills_a_batch_though_its_worker_seems_slow() -> None:
    assert bite(1_000, StoreSettings(), batch=8_000) == 8_000
    assert bite(300, StoreSettings(), batch=8_000) == 8 * 300
    assert bite(9_000, StoreSettings(), batch=8_000) == 9_000
    assert bite(1e5, StoreSettings(), batch=1e9) == 131_072


def test_the_batch_is_that_of_workers_that_serve_the_model() -> None:
    serves, does_not = (Server(frozenset(models), 8, {}, {"m": full}) for models, full in (("m", 500), ("n", 300)))
    assert batch("m", [serves, does_not]) == 500
    assert batch("m", [does_not]) == 0


ONE = Server(frozenset({"m", "n", "o"}), 8, {"m": 1000})


@pytest.mark.parametrize(
    ("servers", "out", "characters", "shards", "least", "free"),
    [
        ([], {}, 0, 8, 8, 8),  # nobody serves it: what a starting worker finds
        ([Server(frozenset({"n"}), 8)], {"n": 4}, 0, 8, 8, 8),  # nor does this one
        ([ONE], {}, 6000, 4, 2, 8),  # six seconds, alone; half of the slots, roughly
        ([ONE], {"m": 3}, 3000, 4, 2, 5),  # three, of two keys
        ([ONE], {"n": 3}, 3000, 2, 2, 5),  # two models share
        ([ONE], {"n": 3, "o": 1, "elsewhere": 9}, 3000, 1, 2, 4),
        ([ONE, ONE], {}, 12000, 9, 4, 16),
        ([ONE, Server(frozenset({"m"}), 1)], {}, 18000, 6, 4, 10),  # it told no speed: that of the others
        ([Server(frozenset({"m"}), 1, {"m": 10})], {}, 60, 2, 2, 2),  # one runs, one waits
        ([Server(frozenset({"m"}), 1000, {"m": 10})], {}, 60, 600, 2, 1000),
        ([Server(frozenset({"m"}), 8, {"m": 100}, {"m": 150})], {}, 1200, 4, 2, 8),  # eight batches
        ([Server(frozenset({"m", "n"}), 8, {"m": 100}, {"m": 150})], {"n": 3}, 600, 2, 2, 5),
        ([Server(frozenset({"m"}), 8, {"m": 10}, {"m": 300})], {}, 240, 4, 2, 8),  # four times the seconds
        ([ONE, Server(frozenset({"m"}), 8, {"m": 2000}, {"m": 300})], {}, 18000, 9, 4, 16),
    ],
)  # fmt: skip
def test_the_window(
    servers: list[Server], out: dict[str, int], characters: float, shards: int, least: int, free: int
) -> None:
    found = window("m", 2000, servers, Out(Counter(out), keys={1, 2} if out.get("m") else set()), StoreSettings())
    assert (found.characters, found.shards, found.least, found.free) == (characters, shards, least, free)


def test_what_a_key_took_while_it_was_alone_keeps_nobody_out() -> None:
    out = Out(Counter(m=3), Counter({1: 5000}), {1})
    assert window("m", 2000, [ONE], out, StoreSettings()).open
    out.characters[2] = 1000
    out.keys.add(2)
    found = window("m", 2000, [ONE], out, StoreSettings())
    assert (found.characters, found.out_characters, found.open) == (3000, 2500, True)
    out.characters[2] = 2000
    assert not window("m", 2000, [ONE], out, StoreSettings()).open


@pytest.mark.parametrize(
    ("window", "is_open"),
    [
        (Window(4, 2, 100, 10, 0, 0, 8), True),
        (Window(4, 2, 100, 10, 3, 99, 5), True),
        (Window(4, 2, 100, 10, 3, 100, 5), False),  # full in time
        (Window(4, 2, 100, 10, 4, 4, 5), False),  # full in slots
        (Window(4, 2, 100, 10, 1, 5000, 5), True),  # the least, however large
        (Window(4, 2, 100, 10, 1, 10, 0), False),  # other models are in all slots
        (Window(4, 2, 100, 10, 0, 0, -3), True),  # but one shard of each may be out
    ],
)
def test_an_open_window(window: Window, is_open: bool) -> None:
    assert window.open == is_open


@pytest.mark.parametrize(
    ("free", "priority", "some_out", "admitted"),
    [
        (1, LOW, False, True), (0, HIGH, False, False),
        (1, HIGH, True, False), (2, HIGH, True, True), (2, NORMAL, True, False), (3, LOW, True, True),
    ],
)  # fmt: skip
def test_the_reserve(free: int, priority: int, some_out: bool, admitted: bool) -> None:
    assert Window(4, 2, 100, 10, 4, 400, free).admits(priority, some_out) == admitted


def test_many_places_at_once_are_shared_between_keys() -> None:
    accounts = {key: Account(Turn(key)) for key in range(3)}
    for key, account in accounts.items():
        shards = collections.deque(Pending(100 * key + n, 1000) for n in range(20))
        account.jobs[key] = Job(key, "m", key, NORMAL, shards)
    filled = policy.fill(Window(9, 9, 0, 1000, free=9), Lists(accounts))
    assert [shard.shard_id // 100 for shard in filled.shards] == [0, 1, 2, 0, 1, 2, 0, 1, 2]
    assert [turn.tag for turn in filled.turns.values()] == [3000] * 3


def test_a_newcomer_behind_another_one_of_its_key_waits_for_its_turn() -> None:
    mill = one_worker()
    first = mill.submit("m", 0, NORMAL, [1000] * 100)
    mill.submit("m", 0, NORMAL, [1000])
    after = [mill.submit("m", 0, NORMAL, [1000]) for _ in range(3)]
    assert [bool(job.shards) for job in after] == [True, True, True]
    for _ in range(30):
        mill.finish_one()
    assert not any(job.shards for job in after)
    assert len(first.shards) < 80, "every second place was its own"


# --- ten thousand steps -----------------------------------------------------------------------------------------------

STEPS = 10_000

sizes = st.sampled_from([1, 30, 500, 4_000, 60_000])
speeds = st.sampled_from([10.0, 300.0, 5_000.0, 1e6])
servers = st.lists(
    st.tuples(st.sampled_from([1, 2, 8, 32]), st.lists(speeds, min_size=2, max_size=2)), min_size=1, max_size=4
)


@given(
    servers=servers,
    models=st.integers(1, 2),
    keys=st.integers(1, 12),
    largest=sizes,
    jobs=st.integers(1, 300),
    bulk=st.integers(1, 400),
    seed=st.integers(0, 2**32),
)
@settings(
    max_examples=12,
    derandomize=True,
    database=None,
    deadline=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)
def test_whatever_comes_the_policy_keeps_its_word(
    servers: list[tuple[int, list[float]]], models: int, keys: int, largest: int, jobs: int, bulk: int, seed: int
) -> None:
    names = [f"m{n}" for n in range(models)]
    mill = Mill(
        [Server(frozenset(names), slots, dict(zip(names, speeds, strict=False))) for slots, speeds in servers],
        keys,
        max(largest, policy.LEAST_COST),
        seed,
    )
    draw = mill.random
    watches = [Watch(mill, model) for model in names]
    for step in range(STEPS):
        waiting = sum(len(account.jobs) for model in names for account in mill.accounts[model].values())
        if waiting < jobs and draw.random() < 0.5:
            shards = draw.choice([1, 1, 1, 2, draw.randint(1, bulk)])
            mill.submit(
                draw.choice(names), draw.randrange(keys), draw.choice(list(SHARES)),
                [draw.randint(0, largest) for _ in range(shards)],
            )  # fmt: skip
        else:
            mill.finish_one()
        for watch in watches:
            watch.look(again=step % 500 == 0)
        if step % 10 == 0:
            mill.check()
    while mill.running:
        mill.finish_one()
    assert not any(mill.waiting(model) for model in names), "nobody starves"


class Watch:
    """Compares what those got who waited all the time between two looks."""

    def __init__(self, mill: Mill, model: str) -> None:
        self.mill = mill
        self.model = model
        self.keys: dict[int, int] = {}
        self.lanes: dict[tuple[int, int], tuple[int, int]] = {}

    def _now(self) -> tuple[dict[int, int], dict[tuple[int, int], tuple[int, int]]]:
        waiting = self.mill.waiting(self.model)
        keys = {key: account.cost for key, account in waiting.items()}
        lanes = {
            (key, job.priority): (account.of_priority[job.priority], account.cost)
            for key, account in waiting.items()
            for job in account.jobs.values()
        }
        return keys, lanes

    def look(self, again: bool) -> None:
        keys, lanes = self._now()
        self.keys = {key: cost for key, cost in self.keys.items() if key in keys}
        self.lanes = {lane: cost for lane, cost in self.lanes.items() if lane in lanes}
        if not again:
            return
        longest = self.mill.longest
        got = [keys[key] - before for key, before in self.keys.items()]
        assert not got or max(got) - min(got) <= 2 * self.mill.ahead(self.model), "keys that wait share alike"
        for (key, priority), (mine, all_) in self.lanes.items():
            now_mine, now_all = lanes[key, priority]
            share = SHARES[priority] / sum(SHARES.values())
            assert now_mine - mine >= share * (now_all - all_) - 3 * longest, "a priority has its share at least"
        self.keys, self.lanes = keys, lanes


def one_worker(keys: int = 1) -> Mill:
    return Mill([Server(frozenset({"m"}), 8, {"m": 1000.0})], keys, 1000, seed=1)


def served(mill: Mill, account: Account, seconds: float) -> Counter[int]:
    """What each priority gets in so many seconds."""
    before, until = account.of_priority.copy(), mill.now + seconds
    while mill.now < until:
        mill.finish_one()
    return account.of_priority - before


def test_high_normal_and_low_share_sixteen_to_four_to_one() -> None:
    mill = one_worker()
    for priority in SHARES:
        mill.submit("m", 0, priority, [1000] * 3000)
    got = served(mill, mill.accounts["m"][0], 2100)
    whole = sum(got.values())
    assert [round(21 * got[priority] / whole, 1) for priority in SHARES] == [16, 4, 1]


@pytest.mark.parametrize("longest", [100, 1000])
def test_ten_keys_share_alike_though_one_had_all_that_was_out(longest: int) -> None:
    """Within a tenth of equal, once each was due twice what was out when they came."""
    mill = one_worker(keys=10)
    mill.submit("m", 0, NORMAL, [longest] * 5000)
    for _ in range(50):
        mill.finish_one()
    accounts = mill.accounts["m"]
    for key in range(1, 10):
        mill.submit("m", key, NORMAL, [longest] * 5000)
    before = {key: account.done for key, account in accounts.items()}
    due = 2 * accounts[0].out
    assert due
    while sum(account.done - before[key] for key, account in accounts.items()) < 10 * due:
        mill.finish_one()
    shares = [(account.done - before[key]) / due for key, account in accounts.items()]
    assert all(0.9 <= share <= 1.1 for share in shares), shares


def test_another_keys_high_takes_nothing_from_an_older_normal() -> None:
    mill = one_worker(keys=2)
    mill.submit("m", 0, NORMAL, [1000] * 1000)
    mill.submit("m", 1, HIGH, [1000] * 1000)
    for _ in range(600):
        mill.finish_one()
    costs = [mill.accounts["m"][key].cost for key in (0, 1)]
    assert abs(costs[0] - costs[1]) <= 5000


@pytest.mark.parametrize("priority", [HIGH, NORMAL])
@pytest.mark.parametrize("key", [0, 1])
def test_a_newcomer_has_its_first_shard_at_once(key: int, priority: int) -> None:
    mill = one_worker(keys=2)
    mill.submit("m", 0, NORMAL, [1000] * 1000)
    for _ in range(random.Random(3).randint(5, 50)):
        mill.finish_one()
    small = mill.submit("m", key, priority, [50])
    assert small in [job for job, _ in mill.out.values()]
