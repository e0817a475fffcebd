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

    slow_run: the number of a run that takes long, as on a busy machine.
    """

    def __init__(self, memory: int, slow_run: int = 0) -> None:
        self.slow_run = slow_run
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
        self.now += self.runs == self.slow_run
        self.now += 0.010 + padded * (2e-6 if padded <= 4_096 else 8e-6)
        return ["probe"] * len(items)


def calibrator(device: Device, folder: Path) -> Calibrator:
    return Calibrator(folder, "test device", largest=65_536, clock=lambda: device.now)


def test_calibration_stops_where_larger_batches_are_slower(tmp_path: Path) -> None:
    device = Device(memory=10**9)
    found = calibrator(device, tmp_path).calibrate(device)  # type: ignore[arg-type]
    assert found.tokens == 4_096
    assert found.seconds == pytest.approx(0.010 + 4_096 * 2e-6)


def test_one_slow_trial_does_not_end_a_calibration(tmp_path: Path) -> None:
    device = Device(memory=10**9, slow_run=3)  # the first one is a warm-up
    assert calibrator(device, tmp_path).calibrate(device).tokens == 4_096  # type: ignore[arg-type]


def test_calibration_stops_where_memory_ends(tmp_path: Path) -> None:
    device = Device(memory=1_500)
    assert calibrator(device, tmp_path).calibrate(device).tokens == 1_024  # type: ignore[arg-type]


def test_a_calibration_keeps_to_the_largest_batch_allowed(tmp_path: Path) -> None:
    device = Device(memory=10**9)
    small = Calibrator(tmp_path, "test device", largest=512, clock=lambda: device.now)
    assert small.calibrate(device).tokens == 512  # type: ignore[arg-type]


def test_a_calibration_is_kept_on_disk(tmp_path: Path) -> None:
    device, again = Device(10**9), Device(10**9)
    found = calibrator(device, tmp_path).calibrate(device)  # type: ignore[arg-type]
    assert calibrator(again, tmp_path).calibrate(again) == found  # type: ignore[arg-type]
    assert again.runs == 0
    (tmp_path / "calibration.json").write_text("{damaged")
    assert calibrator(again, tmp_path).calibrate(again) == found  # type: ignore[arg-type]
    assert again.runs > 0


def test_a_calibration_is_of_one_backend_and_number_format(tmp_path: Path) -> None:
    device, other = Device(10**9), Device(10**9)
    calibrator(device, tmp_path).calibrate(device)  # type: ignore[arg-type]
    other.dtype = "bfloat16"
    calibrator(other, tmp_path).calibrate(other)  # type: ignore[arg-type]
    assert other.runs > 0
    other.backend, other.runs = type("Other", (TorchBackend,), {"name": "other"})(), 0
    calibrator(other, tmp_path).calibrate(other)  # type: ignore[arg-type]
    assert other.runs > 0


def test_echo_and_a_setting_need_no_trial(tmp_path: Path) -> None:
    device = Device(10**9)
    assert calibrator(device, tmp_path).calibrate(echo()) == Calibration(backends.get("echo").batch_tokens, 0.0)
    fixed = Calibrator(tmp_path, "test device", 65_536, fixed_tokens=77)
    assert fixed.calibrate(device) == Calibration(77, 0.0)  # type: ignore[arg-type]
    assert device.runs == 0
