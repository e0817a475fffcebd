"""The engine with the echo model: each item is answered, whatever happens."""

import threading
from typing import Any

import pytest

from tests.unit.workers.echoes import Recording, echo, item_of
from textmill.errors import DeviceOutOfMemory, ModelError, ModelUnavailable, ProcessingFailed
from workers.engine.budget import Budgets
from workers.engine.engine import Engine
from workers.engine.inbox import Inbox
from workers.engine.residency import Residency
from workers.engine.watchdog import Watch, Watchdog
from workers.faults import EXIT_ENGINE, EXIT_FATAL
from workers.runner import Item, ModelRunner

SOON = 10


class Exited(BaseException):
    """What `os._exit` is here."""


class House:
    """An engine on which batches are executed in the test's own thread."""

    def __init__(self) -> None:
        self.exits: list[int] = []
        self.runners: dict[str, Recording] = {}
        self.budgets = Budgets(default=1_000, deadline_seconds=60)
        self.inbox = Inbox(self.budgets)
        self.residency = Residency(self._make, lambda runner: self.budgets.calibrated(runner.name, 1_000, 0.0))
        self.watch = Watch()
        self.engine = Engine(self.inbox, self.residency, self.budgets, self.watch, 900, exit=self._exit)

    def _make(self, name: str) -> ModelRunner:
        if name == "absent":
            raise ModelUnavailable("there is no such model")
        self.runners[name] = Recording()
        return echo(name, lambda: self.runners[name])

    def _exit(self, code: int) -> None:
        self.exits.append(code)
        raise Exited

    def run(self, *texts: str, model: str = "echo") -> list[Any]:
        """The results of these texts, run in one batch."""
        ticket = self.inbox.ticket(model, 10_000)
        ticket.submit([(item_of(text), n) for n, text in enumerate(texts)])
        while len(self.inbox):
            batch = self.inbox.next_batch()
            assert batch is not None
            self.engine.answer(batch, self.engine.execute(batch))
        answered = sorted(ticket.collect(0), key=lambda waiting: waiting.place)
        assert [waiting.place for waiting in answered] == list(range(len(texts)))
        return [waiting.result for waiting in answered]


@pytest.fixture
def house() -> House:
    return House()


def kinds(results: list[Any]) -> list[type]:
    return [type(result) for result in results]


def test_outputs_come_back(house: House) -> None:
    assert house.run("a", "b", "c") == ["a", "b", "c"]
    assert house.runners["echo"].batches == [["a", "b", "c"]]


@pytest.mark.parametrize("bad", [0, 3, 7])
def test_one_item_that_raises_is_found_by_halving(house: House, bad: int) -> None:
    texts = [f"good {n}" for n in range(8)]
    texts[bad] = "[[echo:raise]]"
    results = house.run(*texts)
    assert kinds(results) == [ProcessingFailed if n == bad else str for n in range(8)]
    assert "ValueError" in results[bad].message
    assert len(house.runners["echo"].batches) == 1 + 2 * 3 + 1  # the batch, its halvings, the canary


def test_the_canary_runs_once_for_a_batch(house: House) -> None:
    house.run(*["[[echo:raise]]"] * 8)
    assert house.runners["echo"].batches.count(["canary"]) == 1


def test_a_model_that_fails_its_canary_fails_the_whole_batch(house: House) -> None:
    results = house.run("[[echo:broken]]", "good", "better")
    assert kinds(results) == [ModelError] * 3
    assert house.run("good") == ["good"]


def test_a_model_that_cannot_be_made_answers_too(house: House) -> None:
    assert kinds(house.run("a", "b", model="absent")) == [ModelUnavailable] * 2


def test_out_of_memory_halves_batch_and_budget(house: House) -> None:
    text = "[[echo:oom-above=2]]"
    assert house.run(*[text] * 8) == [text] * 8
    assert [len(batch) for batch in house.runners["echo"].batches] == [8, 4, 2, 2, 4, 2, 2]
    assert house.budgets("echo") == 1_000 // 8  # three batches did not fit


def test_an_item_that_never_fits_is_tried_again_without_other_models(house: House) -> None:
    house.run("x", model="other")
    assert house.residency.resident == ["other"]
    results = house.run("[[echo:oom]]", "good")
    assert kinds(results) == [DeviceOutOfMemory, str]
    assert house.residency.resident == ["echo"]
    assert house.runners["echo"].batches.count(["[[echo:oom]]"]) == 2


def test_the_budget_recovers_after_clean_batches() -> None:
    budgets = Budgets(default=1, deadline_seconds=60)
    budgets.calibrated("m", 1_000, 0.0)
    budgets.out_of_memory("m")
    assert budgets("m") == 500
    for _ in range(100):
        budgets.clean("m", 0.1)
    assert budgets("m") == 550
    for _ in range(1_000):
        budgets.clean("m", 0.1)
    assert budgets("m") == 1_000


def test_the_deadline_follows_what_batches_take() -> None:
    budgets = Budgets(default=1, deadline_seconds=60)
    assert budgets.deadline("m") == 60
    budgets.calibrated("m", 1_000, 5.0)
    assert budgets.deadline("m") == 100
    budgets.clean("m", 8.0)
    assert budgets.deadline("m") == 160


def test_a_fatal_error_answers_nothing_and_ends_the_process(house: House) -> None:
    ticket = house.inbox.ticket("echo", 100)
    ticket.submit([(item_of("[[echo:fatal]]"), 0)])
    batch = house.inbox.next_batch()
    assert batch is not None
    with pytest.raises(Exited):
        house.engine.execute(batch)
    assert house.exits == [EXIT_FATAL]
    assert ticket.collect(0) == []


def test_an_engine_that_fails_ends_the_process(house: House) -> None:
    ended = threading.Event()

    class Broken:
        def ready(self, model: str) -> ModelRunner:
            raise RuntimeError("a bug in Textmill")

        def make_room(self, model: str) -> bool:
            return False

    engine = Engine(
        house.inbox, Broken(), house.budgets, Watch(), 900, exit=lambda code: (house.exits.append(code), ended.set())
    )
    engine.start()
    house.inbox.ticket("echo", 10).submit([(Item("x", 1), 0)])
    assert ended.wait(SOON)
    assert house.exits == [EXIT_ENGINE]


def test_closing_the_inbox_ends_the_thread(house: House) -> None:
    house.engine.start()
    assert house.engine.stop(SOON)


@pytest.fixture
def clock() -> list[float]:
    return [0.0]


def test_the_watchdog_bites_when_a_pass_is_overdue(clock: list[float]) -> None:
    bitten = threading.Event()
    watch = Watch(lambda: clock[0])
    watchdog = Watchdog(watch, bitten.set, check_seconds=0.001)
    watchdog.start()
    with watch.limit(60):
        clock[0] = 59
        assert not watch.overdue
        clock[0] = 61
        assert watch.overdue
        assert bitten.wait(SOON)
    assert not watch.overdue


def test_limits_nest(clock: list[float]) -> None:
    watch = Watch(lambda: clock[0])
    with watch.limit(10):
        with watch.limit(900):
            clock[0] = 100
            assert not watch.overdue
        assert watch.overdue
