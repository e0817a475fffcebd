"""Models in memory: opened once, loaded once, kept, and unloaded by least use when memory asks for it."""

import logging
import threading
import time
from collections.abc import Callable

from textmill.errors import DeviceOutOfMemory, ModelUnavailable, TextmillError
from workers import metrics
from workers.faults import Failure, FatalDeviceError, Fault, attempt
from workers.runner import ModelRunner

log = logging.getLogger(__name__)


class Residency:
    """The models of one process.

    `make(name)` gives a runner that has neither been opened nor loaded. `loaded(runner)` is called after each load, in
    the engine thread (calibration). `memory_bytes`: what all weights together may take; 0: what the device has.
    `retry_seconds`: a model that failed to open or load is not tried again for so long.
    """

    def __init__(
        self,
        make: Callable[[str], ModelRunner],
        loaded: Callable[[ModelRunner], None] = lambda runner: None,
        memory_bytes: int = 0,
        retry_seconds: float = 60,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make = make
        self._loaded = loaded
        self._memory_bytes = memory_bytes
        self._retry_seconds = retry_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._opening: dict[str, threading.Lock] = {}
        self._open: dict[str, ModelRunner] = {}
        self._failed: dict[str, tuple[float, str]] = {}
        """Until when a model is not tried again, and why."""
        self._resident: dict[str, ModelRunner] = {}
        """Least recently used first; changed by the engine thread alone."""

    @property
    def resident(self) -> list[str]:
        """Names of the models that are loaded."""
        return list(self._resident)

    def open(self, model: str) -> ModelRunner:
        """The model, able to prepare texts. Called from task threads: one opens it, the others wait for that one.

        Raises ModelUnavailable.
        """
        if (runner := self._open.get(model)) is not None:
            return runner
        with self._lock:
            opening = self._opening.setdefault(model, threading.Lock())
        with opening:
            if model not in self._open:
                self._raise_recent_failure(model)
                try:
                    runner = self._make(model)
                    runner.open()
                except Exception as error:
                    raise self._failure(model, "opened", error) from error
                self._open[model] = runner
        return self._open[model]

    def ready(self, model: str) -> ModelRunner:
        """The model, loaded. Called from the engine thread. Raises ModelUnavailable."""
        runner = self._resident.pop(model, None)
        if runner is None:
            self._raise_recent_failure(model)
            runner = self.open(model)
            self._load(runner)
        self._resident[model] = runner  # last: most recently used
        return runner

    def make_room(self, model: str) -> bool:
        """Unload all models but this one. Called from the engine thread; False where there was none."""
        others = [name for name in self._resident if name != model]
        for name in others:
            self._evict(name)
        return bool(others)

    def _load(self, runner: ModelRunner) -> None:
        started = self._clock()
        while (failure := self._try_load(runner)) is not None:
            runner.unload()
            if failure.fault is not Fault.OUT_OF_MEMORY or not self._resident:
                raise self._failure(runner.name, "loaded", _reason(failure))
            self._evict(next(iter(self._resident)))
        taken = runner.memory_bytes()
        log.info("%s: loaded in %.1f s, %d MB", runner.name, self._clock() - started, taken >> 20)
        metrics.LOADS.labels(runner.name).inc()
        metrics.RESIDENT.labels(runner.name).set(taken)

    def _try_load(self, runner: ModelRunner) -> Failure | None:
        _, failure = attempt(lambda: self._load_within_memory(runner), runner.backend.fault, lambda _: _log(runner))
        if failure is not None and failure.fault is Fault.FATAL:
            raise FatalDeviceError(f"{runner.name}: the device failed while it was loaded") from failure.error
        return failure

    def _load_within_memory(self, runner: ModelRunner) -> None:
        runner.load()
        while self._memory_bytes and self._resident and self._taken() + runner.memory_bytes() > self._memory_bytes:
            self._evict(next(iter(self._resident)))
        self._loaded(runner)

    def _taken(self) -> int:
        return sum(runner.memory_bytes() for runner in self._resident.values())

    def _evict(self, model: str) -> None:
        log.info("%s: unloaded, to make room", model)
        self._resident.pop(model).unload()
        metrics.EVICTIONS.labels(model).inc()
        metrics.RESIDENT.labels(model).set(0)

    def _failure(self, model: str, what: str, error: Exception) -> ModelUnavailable:
        reason = error.message if isinstance(error, TextmillError) else f"{type(error).__name__}: {error}"
        message = f"the model {model} could not be {what}: {reason}"[:1000]
        log.error("%s", message)
        self._failed[model] = (self._clock() + self._retry_seconds, message)
        return ModelUnavailable(message)

    def _raise_recent_failure(self, model: str) -> None:
        until, message = self._failed.get(model, (0.0, ""))
        if self._clock() < until:
            raise ModelUnavailable(message)


def _log(runner: ModelRunner) -> None:
    log.warning("%s: could not be loaded", runner.name, exc_info=True)


def _reason(failure: Failure) -> Exception:
    return DeviceOutOfMemory() if failure.fault is Fault.OUT_OF_MEMORY else failure.error
