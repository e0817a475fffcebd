"""Models in memory: opened once, loaded once, evicted by least use, failures remembered for a while."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import pytest

from tests.unit.workers.echoes import echo
from textmill.errors import DeviceOutOfMemory, ModelUnavailable
from workers import backends
from workers.backends.echo.mirror import Mirror
from workers.backends.torch import TorchBackend
from workers.engine.calibration import Calibration, Calibrator
from workers.engine.residency import Residency
from workers.runner import Item, ModelRunner


class Model(Mirror):
    """An echo model with a size, on a device of a size that they share."""

    free = 0
    opened: ClassVar[list["Model"]] = []

    def __init__(self) -> None:
        super().__init__()
        self.size = 40
        self.taken = 0
        Model.opened.append(self)

    def load(self) -> None:
        if self.size > Model.free:
            raise DeviceOutOfMemory
        Model.free -= self.size
        self.taken = self.size

    def unload(self) -> None:
        Model.free += self.taken
        self.taken = 0

    def memory_bytes(self) -> int:
        return self.taken


def make(name: str) -> ModelRunner:
    return echo(name, Model)


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    Model.free = 100
    Model.opened.clear()
    return Time()


def test_a_model_is_opened_once_by_many_threads(time: Time) -> None:
    residency = Residency(make, clock=time)
    barrier = threading.Barrier(8)

    def open_it(_: int) -> object:
        barrier.wait()
        return residency.open("a")

    with ThreadPoolExecutor(8) as pool:
        runners = set(pool.map(open_it, range(8)))
    assert len(runners) == 1
    assert len(Model.opened) == 1


def test_the_least_recently_used_goes_when_memory_is_short(time: Time) -> None:
    residency = Residency(make, clock=time)
    a = residency.ready("a")
    residency.ready("b")
    assert residency.ready("a") is a
    residency.ready("c")
    assert residency.resident == ["a", "c"]
    assert a.memory_bytes() == 40


def test_a_setting_bounds_the_weights(time: Time) -> None:
    residency = Residency(make, memory_bytes=50, clock=time)
    residency.ready("a")
    residency.ready("b")
    assert residency.resident == ["b"]
    assert Model.free == 60


def test_a_model_is_loaded_aside_and_made_resident_by_the_engine(time: Time) -> None:
    loaded: list[str] = []
    residency = Residency(make, lambda runner: loaded.append(runner.name), clock=time)
    residency.load_aside("a")
    assert (residency.is_resident("a"), loaded) == (False, [])
    runner = residency.ready("a")
    assert (residency.is_resident("a"), loaded, runner.memory_bytes(), Model.free) == (True, ["a"], 40, 60)
    residency.load_aside("a")
    assert Model.free == 60


def test_what_does_not_fit_aside_is_left_to_the_engine_which_makes_room(time: Time) -> None:
    residency = Residency(make, clock=time)
    residency.ready("a")
    residency.ready("b")
    residency.load_aside("c")
    assert residency.resident == ["a", "b"]  # they may be running: nothing is unloaded by another thread
    assert residency.ready("c").memory_bytes() == 40
    assert (residency.resident, residency.evictions) == (["b", "c"], 1)


def test_a_limit_on_the_weights_holds_for_what_was_loaded_aside(time: Time) -> None:
    residency = Residency(make, memory_bytes=50, clock=time)
    residency.ready("a")
    residency.load_aside("b")
    assert Model.free == 20  # its size was not known: both are there
    residency.ready("b")
    assert residency.resident == ["b"]
    residency.load_aside("a")
    assert Model.free == 60  # its size is known by now: it would not fit beside the other
    residency.ready("a")
    assert residency.resident == ["a"]


def test_a_model_that_may_not_be_loaded_aside_is_not(time: Time) -> None:
    residency = Residency(make, clock=time, aside=lambda runner: False)
    residency.load_aside("a")
    assert Model.free == 100
    assert residency.ready("a").memory_bytes() == 40


def test_a_failure_aside_is_heard_by_who_needs_the_model(time: Time) -> None:
    tries: list[str] = []

    class Damaged(Mirror):
        def load(self) -> None:
            tries.append("load")
            raise OSError("damaged")

    residency = Residency(lambda name: echo(name, Damaged), clock=time)
    residency.load_aside("a")
    with pytest.raises(ModelUnavailable, match="OSError: damaged"):
        residency.ready("a")
    assert tries == ["load"]


def test_what_was_loaded_aside_makes_room_too(time: Time) -> None:
    residency = Residency(make, clock=time)
    residency.ready("a")
    residency.load_aside("b")
    assert residency.make_room("a")
    assert Model.free == 60


def test_a_model_that_never_fits_is_unavailable_for_a_while(time: Time) -> None:
    residency = Residency(make, retry_seconds=60, clock=time)
    Model.free = 10
    with pytest.raises(ModelUnavailable, match="could not be loaded"):
        residency.ready("a")
    Model.free = 100
    with pytest.raises(ModelUnavailable):
        residency.ready("a")
    time.now = 61
    assert residency.ready("a").name == "a"


def test_a_model_that_cannot_be_opened_says_why(time: Time) -> None:
    def missing(name: str) -> ModelRunner:
        raise OSError("no such folder")

    residency = Residency(missing, clock=time)
    with pytest.raises(ModelUnavailable, match="OSError: no such folder"):
        residency.open("a")
    with pytest.raises(ModelUnavailable, match="no such folder"):
        residency.ready("a")


class Device:
    """A runner that moves its own clock: a batch costs a fixed time, and some for each padded token.

    slow_run: the number of a run that takes long, as on a busy machine. seconds: of a padded token, in small batches.
    """

    def __init__(self, memory: int, slow_run: int = 0, seconds: float = 2e-6) -> None:
        self.slow_run = slow_run
        self.seconds = seconds
        self.now = 0.0
        self.memory = memory
        self.runs = 0
        self.name, self.revision, self.dtype = "m", "1", "float32"
        self.backend = backends.get("torch")

    def probe(self) -> Item:
        return Item("probe", 16)

    def run(self, items: list[Item]) -> list[str]:
        padded = 16 * len(items)
        if padded > self.memory:
            raise DeviceOutOfMemory
        self.runs += 1
        self.now += 0.4 * (self.runs == self.slow_run)
        self.now += 0.010 + padded * (self.seconds if padded <= 8_192 else 8e-6)
        return ["probe"] * len(items)


def calibrator(device: Device, folder: Path, largest: int = 65_536) -> Calibrator:
    return Calibrator(folder, "test device", largest, clock=lambda: device.now)


def calibrate(device: Device, folder: Path, largest: int = 65_536) -> Calibration:
    """What all trials find."""
    trials = calibrator(device, folder, largest).trials(device)  # type: ignore[arg-type]
    assert trials is not None
    while not trials.done:
        found = trials.run()
    return found


def test_calibration_stops_where_larger_batches_are_slower(tmp_path: Path) -> None:
    found = calibrate(Device(memory=10**9), tmp_path)
    assert found.tokens == 8_192
    assert found.seconds == pytest.approx(0.010 + 8_192 * 2e-6)


def test_one_slow_trial_does_not_end_a_calibration(tmp_path: Path) -> None:
    assert calibrate(Device(memory=10**9, slow_run=2), tmp_path).tokens == 8_192


def test_calibration_stops_where_memory_ends(tmp_path: Path) -> None:
    assert calibrate(Device(memory=1_500), tmp_path).tokens == 1_024


def test_a_calibration_keeps_to_the_largest_batch_allowed(tmp_path: Path) -> None:
    assert calibrate(Device(memory=10**9), tmp_path, largest=512).tokens == 512


def test_trials_end_before_one_that_would_take_a_second(tmp_path: Path) -> None:
    device = Device(memory=10**9, seconds=0.15e-3)
    calibrate(device, tmp_path)
    assert device.runs == 2  # 2,048 tokens took 0.3 s, 4,096 took 0.6 s


def test_a_calibration_is_kept_on_disk(tmp_path: Path) -> None:
    device = Device(10**9)
    found = calibrate(device, tmp_path)
    assert calibrator(device, tmp_path).known(device) == found  # type: ignore[arg-type]
    assert calibrator(device, tmp_path).trials(device) is None  # type: ignore[arg-type]
    (tmp_path / "calibration.json").write_text("{damaged")
    assert calibrate(Device(10**9), tmp_path) == found


def test_a_calibration_is_of_one_backend_and_number_format(tmp_path: Path) -> None:
    device = Device(10**9)
    calibrate(device, tmp_path)
    device.dtype = "bfloat16"
    assert calibrator(device, tmp_path).known(device) is None  # type: ignore[arg-type]
    calibrate(device, tmp_path)
    device.backend = type("Other", (TorchBackend,), {"name": "other"})()
    assert calibrator(device, tmp_path).known(device) is None  # type: ignore[arg-type]


def test_echo_and_a_setting_need_no_trial(tmp_path: Path) -> None:
    device = Device(10**9)
    assert calibrator(device, tmp_path).known(echo()) == Calibration(backends.get("echo").batch_tokens or 0, 0.0)
    fixed = Calibrator(tmp_path, "test device", 65_536, fixed_tokens=77)
    assert fixed.known(device) == Calibration(77, 0.0)  # type: ignore[arg-type]
    assert fixed.trials(device) is None  # type: ignore[arg-type]
