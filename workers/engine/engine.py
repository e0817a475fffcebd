"""The central loop: one thread that runs models and touches neither Redis nor SQL.

Every item that it takes is answered, whatever happens: with its output, or with the error that stands for it. Only
where the device itself fails is nothing answered: the process ends, and the leases tell the rest.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from textmill.errors import DeviceOutOfMemory, DocumentError, ModelError, ModelUnavailable, ProcessingFailed
from workers import metrics
from workers.engine.budget import Budgets
from workers.engine.calibration import Trials
from workers.engine.inbox import Batch, Inbox
from workers.engine.loader import Loader
from workers.engine.planner import TURN_SECONDS
from workers.engine.watchdog import Watch
from workers.faults import EXIT_ENGINE, EXIT_FATAL, Failure, FatalDeviceError, Fault, attempt
from workers.runner import Item, ModelRunner

log = logging.getLogger(__name__)

LOAD_SHARE = 0.2
"""Part of the time that loading takes where models displace each other: a turn is so much longer than the load."""

TRIAL_SHARE = 0.5
"""Part of a batch's deadline that a trial may be expected to take: more is left to its error."""

_NOTHING = nullcontext()


def unwatched(batch: Batch) -> AbstractContextManager[Any]:
    """What surrounds a batch that nobody watches."""
    return _NOTHING


class Residency(Protocol):
    """Where the engine gets loaded models from (`workers/engine/residency.py`)."""

    evictions: int

    def is_resident(self, model: str) -> bool:
        """Whether the model is loaded."""

    def load_aside(self, model: str) -> None:
        """Load the model in another thread than the engine's, as far as that goes."""

    def ready(self, model: str) -> ModelRunner:
        """The model, loaded. Raises ModelUnavailable."""

    def make_room(self, model: str) -> bool:
        """Unload all models but this one; False where there was none."""


class Engine:
    """Takes batches from the inbox, runs them and answers each item.

    `load_seconds`: how long loading a model may take. `exit`: ends the process at once, with the code given.
    `surroundings`: entered in the engine's thread for its whole life (inference mode, thread counts). `at_start` runs
    there before the first batch (preloading). `trials(runner)`: the calibration that a loaded model wants, if any; it
    is made between batches, where it keeps nobody waiting for more than `turn_seconds`. `around(batch)`: entered while
    the batch runs, for whoever watches.
    """

    def __init__(
        self,
        inbox: Inbox,
        residency: Residency,
        budgets: Budgets,
        watch: Watch,
        load_seconds: float,
        exit: Callable[[int], Any],
        surroundings: Callable[[], AbstractContextManager[Any]] = nullcontext,
        at_start: Callable[[], None] = lambda: None,
        trials: Callable[[ModelRunner], Trials | None] = lambda runner: None,
        turn_seconds: float = TURN_SECONDS,
        around: Callable[[Batch], AbstractContextManager[Any]] = unwatched,
    ) -> None:
        self.inbox = inbox
        self.throughput = metrics.Throughput()
        self._residency = residency
        self._budgets = budgets
        self._watch = watch
        self._load_seconds = load_seconds
        self._exit = exit
        self._surroundings = surroundings
        self._at_start = at_start
        self._make_trials = trials
        self._turn_seconds = turn_seconds
        self._around = around
        self._trials: dict[str, Trials | None] = {}
        self._loader = Loader(inbox, residency, watch, load_seconds, self._failed)
        self._thread = threading.Thread(target=self._guarded, name="engine", daemon=True)

    def run(self) -> None:
        """Work until the inbox is closed and drained."""
        while (batch := self.inbox.next_batch()) is not None:
            self.inbox.answer(batch, self.execute(batch))
            self.calibrate(batch[0])

    def execute(self, batch: Batch) -> Sequence[Any]:
        """One output or exception for each item of the batch."""
        model, waiting = batch
        self._watch.batch = waiting
        try:
            with self._around(batch):
                runner = self._ready(model)
                return _Run(self, runner).outputs([w.item for w in waiting])
        except (ModelUnavailable, ModelError) as error:
            return [error] * len(waiting)
        finally:
            self._watch.batch = ()

    def calibrate(self, model: str) -> None:
        """Make the next trial of the model's calibration, if there is one and it keeps nobody waiting for long.

        Nobody else waits: then a trial is what the full batch will be. Or it is as short as a turn. So a model runs
        with a small budget from its first item on, a fast device soon has its large one, and a slow one where it
        matters; one that is so slow that a trial could be taken for hung, which ends the process, keeps its budget.
        """
        trials = self._trials.get(model)
        if trials is None or trials.done:
            return
        seconds = self._budgets.expected(model, trials.tokens)
        if seconds > self._budgets.deadline(model) * TRIAL_SHARE:
            # Not ended: one batch of few tokens, or the first one, is slower by the token than a trial would be.
            return
        if seconds > self._turn_seconds and self.inbox.others_wait(model):
            return
        try:
            with self._watch.limit(self._budgets.deadline(model)):
                found = trials.run()
        except FatalDeviceError:
            raise
        except Exception:
            log.warning("%s: the calibration failed; its budget stays", model, exc_info=True)
            self._trials[model] = None
        else:
            self._budgets.calibrated(model, found.tokens, found.seconds)

    def start(self) -> None:
        """Start the threads: this one, and that which loads models."""
        self._loader.start()
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """Close the inbox and wait for the threads; False where one is still in a pass, or loads a model."""
        self.inbox.close()
        end = time.monotonic() + timeout
        self._thread.join(timeout)
        return not self._thread.is_alive() and self.inbox.wait_for_load(max(0.0, end - time.monotonic()))

    def _ready(self, model: str) -> ModelRunner:
        """The model, loaded. Raises ModelUnavailable."""
        evictions, started = self._residency.evictions, time.monotonic()
        with self._watch.limit(self._load_seconds):
            runner = self._residency.ready(model)
        if self._residency.evictions > evictions:
            # The next change costs as much again: without this the turns would be spent on loading.
            self.inbox.stay((time.monotonic() - started) * (1 / LOAD_SHARE - 1))
        if model not in self._trials:
            self._trials[model] = self._make_trials(runner)
        return runner

    def _guarded(self) -> None:
        try:
            with self._surroundings():
                self._at_start()
                self.run()
            self.throughput.report()
        except BaseException as error:  # noqa: BLE001 - whatever it is
            self._failed(error)

    def _failed(self, error: BaseException) -> None:
        """End the process: without its engine, or what loads its models, it would take shards and never finish one."""
        log.critical("the engine's loop failed; the process ends", exc_info=error)
        self._exit(EXIT_FATAL if isinstance(error, FatalDeviceError) else EXIT_ENGINE)


class _Run:
    """The execution of one batch: what fails is halved until the culprit is alone."""

    def __init__(self, engine: Engine, runner: ModelRunner) -> None:
        self._engine = engine
        self._runner = runner
        self._model_is_good = False

    def outputs(self, items: Sequence[Item]) -> list[Any]:
        """One output or DocumentError for each item. Raises ModelError."""
        outputs, error = self._attempt(items)
        if error is None:
            return outputs
        if isinstance(error, DeviceOutOfMemory):
            self._engine._budgets.out_of_memory(self._runner.name)
        if len(items) > 1:
            half = len(items) // 2
            return self.outputs(items[:half]) + self.outputs(items[half:])
        if isinstance(error, DeviceOutOfMemory):
            return [self._alone_with_all_memory(items[0], error)]
        self._check_model(error)
        return [error]

    def _attempt(self, items: Sequence[Item]) -> tuple[list[Any], DocumentError | None]:
        """Run the items once: their outputs, or what went wrong."""
        engine, model = self._engine, self._runner.name
        tokens = sum([item.length * item.rows for item in items])
        started = time.monotonic()
        outputs, failure = attempt(
            lambda: self._pass(items), self._runner.backend.fault, lambda fault: self._log(fault, items)
        )
        seconds = time.monotonic() - started
        engine.inbox.speeds.ran(self._runner.spec.name, model, seconds, tokens)
        if failure is not None:
            if failure.fault is Fault.FATAL:
                engine._exit(EXIT_FATAL)
            error = _verdict(failure)
            metrics.FAULTS.labels(model, error.code).inc()
            return [], error
        longest = max([item.length for item in items])
        padded = sum([item.rows for item in items]) * longest
        engine._budgets.clean(model, padded, seconds)
        engine.throughput.batch(model, len(items), tokens, padded, seconds)
        return outputs or [], None

    def _pass(self, items: Sequence[Item]) -> list[Any]:
        with self._engine._watch.limit(self._engine._budgets.deadline(self._runner.name)):
            outputs = list(self._runner.run(items))
        if len(outputs) != len(items):
            raise RuntimeError(f"{len(outputs)} outputs for {len(items)} items")
        return outputs

    def _log(self, fault: Fault, items: Sequence[Item]) -> None:
        if fault is Fault.FATAL:
            log.critical("the device failed; the process ends", exc_info=True)
        elif len(items) == 1:
            log.warning("%s: an item of %d tokens failed", self._runner.name, items[0].length, exc_info=True)

    def _alone_with_all_memory(self, item: Item, error: DocumentError) -> Any:
        """A lone item that did not fit gets one more chance, with the device to itself."""
        if not self._engine._residency.make_room(self._runner.name):
            return error
        outputs, again = self._attempt([item])
        return outputs[0] if again is None else again

    def _check_model(self, error: DocumentError) -> None:
        """A lone item failed. Raises ModelError where a text that is known to be good fails too."""
        if self._model_is_good:
            return
        _, canary_error = self._attempt([self._runner.canary()])
        if canary_error is not None:
            raise ModelError(f"the model {self._runner.name} fails on a known good text: {canary_error.message}")
        self._model_is_good = True


def _verdict(failure: Failure) -> DocumentError:
    """What a failure says about the document."""
    error = failure.error
    if failure.fault is Fault.OUT_OF_MEMORY:
        return DeviceOutOfMemory()
    if isinstance(error, DocumentError):
        return type(error)(error.message, **error.details)
    return ProcessingFailed(f"{type(error).__name__}: {error}"[:500])
