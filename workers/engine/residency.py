"""Models in memory: opened once, loaded once, kept, and unloaded by least use when memory asks for it.

A model is loaded aside, by another thread than the engine's, while the others run; where that cannot be (memory is
short, so that another one has to go first), the engine's thread loads it. `Inbox.loading` sees to it that never two
threads load at once.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from textmill.errors import DeviceOutOfMemory, ModelUnavailable, TextmillError
from workers import metrics
from workers.faults import Failure, FatalDeviceError, Fault, attempt
from workers.runner import ModelRunner

log = logging.getLogger(__name__)


class Residency:
    """The models of one process.

    `make(name)` gives a runner that has neither been opened nor loaded. `loaded(runner)` is called after each load, in
    the engine thread. `memory_bytes`: what all weights together may take; 0: what the device has. `retry_seconds`: a
    model that failed to open or load is not tried again for so long. `aside(runner)`: whether another thread than the
    engine's may load it. `unloaded(name)` is called when a model was unloaded to make room.
    """

    def __init__(
        self,
        make: Callable[[str], ModelRunner],
        loaded: Callable[[ModelRunner], None] = lambda runner: None,
        memory_bytes: int = 0,
        retry_seconds: float = 60,
        clock: Callable[[], float] = time.monotonic,
        aside: Callable[[ModelRunner], bool] = lambda runner: True,
        unloaded: Callable[[str], None] = lambda name: None,
    ) -> None:
        self._make = make
        self._loaded = loaded
        self._memory_bytes = memory_bytes
        self._retry_seconds = retry_seconds
        self._clock = clock
        self._may_be_aside = aside
        self._unloaded = unloaded
        self._lock = threading.Lock()
        self._opening: dict[str, threading.Lock] = {}
        self._open: dict[str, ModelRunner] = {}
        self._failed: dict[str, tuple[float, str]] = {}
        """Until when a model is not tried again, and why."""
        self._resident: OrderedDict[str, ModelRunner] = OrderedDict()
        """Least recently used first; changed by the engine thread alone."""
        self._aside: dict[str, ModelRunner] = {}
        """Loaded, and waiting for the engine thread to make them resident."""
        self._sizes: dict[str, int] = {}
        """Bytes of the models that have been loaded once."""
        self.evictions = 0
        """How many models were unloaded to make room."""

    @property
    def resident(self) -> list[str]:
        """Names of the models that are loaded."""
        return list(self._resident)

    def is_resident(self, model: str) -> bool:
        """Whether the model is loaded. Called from any thread."""
        return model in self._resident

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

    def load_aside(self, model: str) -> None:
        """Load the model for the engine, as far as that goes in another thread. Called from the one thread that does.

        Raises nothing that `ready` does not raise again, or make good by loading the model itself, but what is fatal.
        """
        if model in self._resident or model in self._aside:
            return
        try:
            self._raise_recent_failure(model)
            runner = self.open(model)
        except ModelUnavailable:
            return
        too_large = self._memory_bytes and self._taken() + self._sizes.get(model, 0) > self._memory_bytes
        if too_large or not self._may_be_aside(runner):
            return
        started = self._clock()
        if (failure := self._attempt(runner, runner.load)) is None:
            self._note(runner, started)
            self._aside[model] = runner
            return
        runner.unload()
        if failure.fault is not Fault.OUT_OF_MEMORY:
            self._failure(model, "loaded", _reason(failure))

    def ready(self, model: str) -> ModelRunner:
        """The model, loaded. Called from the engine thread. Raises ModelUnavailable."""
        runner = self._resident.get(model)
        if runner is None:
            runner = self._aside.pop(model, None)
            if runner is None:
                self._raise_recent_failure(model)
                runner = self.open(model)
                self._load(runner)
            else:
                self._load(runner, is_aside=True)
            self._resident[model] = runner
        self._resident.move_to_end(model)
        return runner

    def make_room(self, model: str) -> bool:
        """Unload all models but this one. Called from the engine thread; False where there was none."""
        others = [name for name in (*self._resident, *self._aside) if name != model]
        for name in others:
            self._evict(name)
        return bool(others)

    def _load(self, runner: ModelRunner, is_aside: bool = False) -> None:
        """Load the model and unload others, least recently used first, until it fits; aside: it has been loaded."""
        started = self._clock()
        failure = None if is_aside else self._attempt(runner, runner.load)
        while failure is not None or (failure := self._attempt(runner, lambda: self._admit(runner))) is not None:
            runner.unload()
            if failure.fault is not Fault.OUT_OF_MEMORY or not (victims := [*self._resident, *self._aside]):
                raise self._failure(runner.name, "loaded", _reason(failure))
            self._evict(victims[0])
            is_aside = False
            failure = self._attempt(runner, runner.load)
        if not is_aside:
            self._note(runner, started)

    def _admit(self, runner: ModelRunner) -> None:
        """What is left to do in the engine thread when the weights have been loaded."""
        while self._memory_bytes and self._resident and self._taken() + runner.memory_bytes() > self._memory_bytes:
            self._evict(next(iter(self._resident)))
        self._loaded(runner)

    def _attempt(self, runner: ModelRunner, step: Callable[[], None]) -> Failure | None:
        """Do a step of loading: None, or what went wrong. Raises FatalDeviceError."""
        _, failure = attempt(step, runner.backend.fault, lambda _: _log(runner))
        if failure is not None and failure.fault is Fault.FATAL:
            raise FatalDeviceError(f"{runner.name}: the device failed while it was loaded") from failure.error
        return failure

    def _note(self, runner: ModelRunner, started: float) -> None:
        taken = self._sizes[runner.name] = runner.memory_bytes()
        log.info("%s: loaded in %.1f s, %d MB", runner.name, self._clock() - started, taken >> 20)
        metrics.LOADS.labels(runner.name).inc()
        metrics.RESIDENT.labels(runner.name).set(taken)

    def _taken(self) -> int:
        return sum(runner.memory_bytes() for runner in [*self._resident.values(), *self._aside.values()])

    def _evict(self, model: str) -> None:
        log.info("%s: unloaded, to make room", model)
        (self._resident if model in self._resident else self._aside).pop(model).unload()
        self.evictions += 1
        self._unloaded(model)
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
