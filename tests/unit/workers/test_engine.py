"""The engine with the echo model: each item is answered, whatever happens."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.unit.workers.echoes import Recording, echo, item_of
from textmill.errors import DeviceOutOfMemory, ModelError, ModelUnavailable, ProcessingFailed
from workers.backends.echo.mirror import Mirror
from workers.engine.budget import LEAST_SHARED, Budgets
from workers.engine.calibration import Calibration, Trials
from workers.engine.engine import Engine
from workers.engine.inbox import Inbox
from workers.engine.residency import Residency
from workers.engine.speeds import Speeds
from workers.engine.ticket import Ticket
from workers.engine.watchdog import Watch, Watchdog
from workers.faults import EXIT_ENGINE, EXIT_FATAL, FatalDeviceError
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
            self.inbox.answer(batch, self.engine.execute(batch))
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
        budgets.clean("m", 500, 0.1)
    assert budgets("m") == 550
    for _ in range(1_000):
        budgets.clean("m", 500, 0.1)
    assert budgets("m") == 1_000


def test_a_shared_batch_takes_a_turn() -> None:
    budgets = Budgets(default=10_000, deadline_seconds=60, turn_seconds=0.25)
    assert budgets("m", True) == 10_000
    budgets.calibrated("m", 8_000, 2.0)
    assert (budgets("m", False), budgets("m", True)) == (8_000, 1_000)
    for _ in range(100):
        budgets.clean("m", 1_000, 0.5)  # it has become slower, or small batches are
    assert budgets("m", True) == pytest.approx(500, abs=2)
    for _ in range(100):
        budgets.clean("m", 1_000, 50)
    assert budgets("m", True) == LEAST_SHARED
    for _ in range(100):
        budgets.clean("m", 1_000, 0.001)
    assert budgets("m", True) == 8_000


def test_what_a_batch_takes_is_expected_of_the_next() -> None:
    budgets = Budgets(default=1_000, deadline_seconds=60)
    assert budgets.expected("m", 1) == float("inf")
    budgets.clean("m", 1_000, 0.5)
    assert budgets.expected("m", 4_000) == pytest.approx(2)


def test_speeds_are_characters_of_answered_text_for_a_second() -> None:
    speeds = Speeds()
    speeds.ran("runs", "runs by torch", 2, 100)
    assert speeds() == {}
    speeds.answered("runs", 600)
    speeds.answered("never ran", 100)
    assert speeds() == {"runs": 300}
    assert speeds.batches({"runs by torch": 2_048}.__getitem__) == {"runs": 2_048 * 6}
    for _ in range(100):
        speeds.ran("runs", "runs by torch", 1, 10)
        speeds.answered("runs", 50)
    assert speeds()["runs"] == pytest.approx(50, rel=0.1)
    assert speeds.batches({"runs by torch": 2_048}.__getitem__)["runs"] == pytest.approx(2_048 * 5, rel=0.1)


def test_shards_and_the_engine_tell_the_speeds(house: House) -> None:
    house.run("text")
    house.inbox.ticket("echo", 10).answered(4)
    assert house.inbox.speeds()["echo"] > 0
    assert house.inbox.speeds.batches(lambda _: 100)["echo"] > 0


def test_the_deadline_has_a_bound_however_long_a_batch_took() -> None:
    """59 seconds, a moment before it is taken for hung, would let the next one hang for twenty minutes."""
    budgets = Budgets(default=1, deadline_seconds=60)
    budgets.clean("m", 1, 59)
    assert budgets.deadline("m") == 300
    budgets.clean("m", 1, 299)
    assert budgets.deadline("m") == 300


def test_the_deadline_follows_what_batches_take() -> None:
    budgets = Budgets(default=1, deadline_seconds=60)
    assert budgets.deadline("m") == 60
    budgets.calibrated("m", 1_000, 5.0)
    assert budgets.deadline("m") == 100
    budgets.clean("m", 1_000, 8.0)
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
        evictions = 0

        def is_resident(self, model: str) -> bool:
            return True

        def load_aside(self, model: str) -> None:
            raise AssertionError("it is resident")

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
    watchdog = Watchdog("watchdog", watch, lambda batch: bitten.set(), check_seconds=0.001)
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


def test_each_thread_has_its_own_limit(clock: list[float]) -> None:
    watch = Watch(lambda: clock[0])
    inside, leave = threading.Event(), threading.Event()

    def hang() -> None:
        with watch.limit(10):
            inside.set()
            leave.wait()

    thread = threading.Thread(target=hang, daemon=True)
    thread.start()
    assert inside.wait(SOON)
    clock[0] = 11
    with watch.limit(60):
        assert watch.overdue
    assert watch.overdue
    leave.set()
    thread.join(SOON)
    assert not watch.overdue


# --- calibration, between batches -----------------------------------------------------------------------------------


def with_trials(house: House, trial_seconds: float) -> list[Calibration]:
    """Let models want a calibration, whose trials go into the list that is returned."""
    kept: list[Calibration] = []

    def trials(runner: ModelRunner) -> Trials:
        now = iter(range(1_000))
        return Trials(runner, 4_096, lambda _, found: kept.append(found), lambda: next(now) * trial_seconds)

    house.engine = Engine(
        house.inbox, house.residency, house.budgets, house.watch, 900, exit=house._exit, trials=trials
    )
    house.budgets.clean("echo", 1_000, 1.0)  # a slow device: a trial takes longer than a turn
    return kept


def test_trials_are_made_one_by_one_while_nobody_waits(house: House) -> None:
    kept = with_trials(house, trial_seconds=0.1)
    house.run("x")
    house.engine.calibrate("echo")
    assert (len(house.runners["echo"].batches), house.budgets("echo"), kept) == (2, 2_048, [])
    house.engine.calibrate("echo")
    assert (len(house.runners["echo"].batches), house.budgets("echo"), len(kept)) == (3, 4_096, 1)
    house.engine.calibrate("echo")
    assert len(house.runners["echo"].batches) == 3


@pytest.mark.parametrize(("seconds", "made"), [(0.001, True), (1.0, False)])
def test_a_trial_keeps_nobody_waiting_for_longer_than_a_turn(house: House, seconds: float, made: bool) -> None:
    with_trials(house, trial_seconds=seconds)
    house.run("x")
    for _ in range(100):
        house.budgets.clean("echo", 1_000, seconds)
    house.inbox.ticket("other", 100).submit([(Item("y", 1), 0)])
    house.engine.calibrate("echo")
    assert (len(house.runners["echo"].batches) == 2) is made


def test_a_trial_that_may_be_overdue_waits_until_its_model_is_known_to_be_faster(house: House) -> None:
    with_trials(house, trial_seconds=0.1)
    house.run("x")
    for _ in range(100):
        house.budgets.clean("echo", 10, 1.0)  # 205 seconds for a trial, of a deadline of 60
    house.engine.calibrate("echo")
    assert (len(house.runners["echo"].batches), house.budgets("echo")) == (1, 1_000)
    for _ in range(100):
        house.budgets.clean("echo", 1_000, 1.0)
    house.engine.calibrate("echo")
    assert len(house.runners["echo"].batches) == 2


def test_a_model_that_fails_its_trials_keeps_its_budget(house: House) -> None:
    with_trials(house, trial_seconds=0.1)
    house.run("x")
    house.runners["echo"]._broken = True  # its probe fails
    house.engine.calibrate("echo")
    house.engine.calibrate("echo")
    assert (len(house.runners["echo"].batches), house.budgets("echo")) == (2, 1_000)


# --- loading, while others run --------------------------------------------------------------------------------------


class Slow(Mirror):
    """A model that is loaded as a test has it."""

    def __init__(self, name: str, load: Callable[[str], None]) -> None:
        super().__init__()
        self._name = name
        self._load = load

    def load(self) -> None:
        self._load(self._name)


class Running:
    """An engine in its own threads. The model `slow` loads when it may."""

    def __init__(self, load_seconds: float = 900) -> None:
        self.exits: list[int] = []
        self.exited = threading.Event()
        self.loading, self.may_load = threading.Event(), threading.Event()
        self.loaded_by: list[tuple[str, str]] = []
        self.failure: Exception | None = None
        self.budgets = Budgets(default=1_000, deadline_seconds=60)
        self.inbox = Inbox(self.budgets)
        self.residency = Residency(lambda name: echo(name, lambda: Slow(name, self._load)))
        self.watch = Watch()
        self.engine = Engine(self.inbox, self.residency, self.budgets, self.watch, load_seconds, exit=self._exit)
        self.engine.start()

    def _load(self, name: str) -> None:
        self.loaded_by.append((name, threading.current_thread().name))
        if name == "slow":
            self.loading.set()
            assert self.may_load.wait(SOON)
            if self.failure is not None:
                failure, self.failure = self.failure, None
                raise failure

    def _exit(self, code: int) -> None:
        self.exits.append(code)
        self.exited.set()

    def submit(self, model: str) -> Ticket:
        ticket = self.inbox.ticket(model, 100, key=model, job=model)
        ticket.submit([(Item("x", 1), 0)])
        return ticket

    def result(self, model: str) -> Any:
        [waiting] = self.submit(model).collect(SOON)
        return waiting.result


@pytest.fixture
def running() -> Iterator[Running]:
    running = Running()
    yield running
    running.may_load.set()
    assert running.exits or running.engine.stop(SOON)


def test_other_models_run_while_one_is_loaded(running: Running) -> None:
    assert running.result("quick") == "x"
    ticket = running.submit("slow")
    assert running.loading.wait(SOON)
    for _ in range(5):
        assert running.result("quick") == "x"
    running.may_load.set()
    [waiting] = ticket.collect(SOON)
    assert waiting.result == "x"
    assert running.loaded_by == [("quick", "loader"), ("slow", "loader")]
    assert running.residency.resident == ["quick", "slow"]


def test_a_model_that_does_not_load_is_heard_of_by_its_own_shards(running: Running) -> None:
    running.failure = OSError("damaged")
    running.may_load.set()
    assert type(running.result("slow")) is ModelUnavailable
    assert type(running.result("slow")) is ModelUnavailable
    assert running.loaded_by == [("slow", "loader")]
    assert running.result("quick") == "x"


def test_a_model_that_does_not_fit_beside_the_others_is_loaded_by_the_engine(running: Running) -> None:
    assert running.result("quick") == "x"
    running.failure = DeviceOutOfMemory()
    running.may_load.set()
    assert running.result("slow") == "x"
    assert running.loaded_by == [("quick", "loader"), ("slow", "loader"), ("slow", "engine")]


def test_a_load_that_hangs_is_overdue() -> None:
    running = Running(load_seconds=-1)  # overdue at once
    running.submit("slow")
    assert running.loading.wait(SOON)
    assert running.watch.overdue
    running.may_load.set()
    assert running.engine.stop(SOON)
    assert not running.watch.overdue


def test_a_device_that_fails_while_a_model_is_loaded_ends_the_process(running: Running) -> None:
    running.failure = FatalDeviceError("an illegal memory access")
    running.may_load.set()
    running.submit("slow")
    assert running.exited.wait(SOON)
    assert running.exits[0] == EXIT_FATAL


def test_stopping_tells_that_a_model_is_still_being_loaded(running: Running) -> None:
    ticket = running.submit("slow")
    assert running.loading.wait(SOON)
    ticket.stop(ModelUnavailable("the shard is handed back"))
    assert not running.engine.stop(timeout=0.01)
