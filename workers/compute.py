"""What computes in a worker process, put together: the engine, its inbox, the models that are resident, their budgets.

Knows neither leases nor the ledger: `workers/process.py` has those.
"""

import contextlib
import logging
import os
from collections.abc import Callable, Mapping

from store.catalogue import Catalogue
from store.traces import Traces
from textmill.errors import ModelUnavailable
from workers import metrics
from workers.engine.answers import Answers
from workers.engine.budget import Budgets
from workers.engine.calibration import Calibrator
from workers.engine.engine import Engine, unwatched
from workers.engine.inbox import Batch, Inbox
from workers.engine.residency import Residency
from workers.engine.watchdog import Watch
from workers.models import make_named, spec_of
from workers.runner import BY, ModelRunner
from workers.settings import WorkerSettings

log = logging.getLogger(__name__)

FIRST_BATCH_TOKENS = 2_048
"""Padded tokens of a batch whose model has not been calibrated."""


class Compute:
    """The engine of a process and all that it stands on. Constructing it opens nothing.

    device: as people call it. not_loaded: told which model could not be preloaded.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        catalogue: Catalogue,
        device: str,
        not_loaded: Callable[[str], None],
        traces: Traces,
    ) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._not_loaded = not_loaded
        self._traces = traces
        self._surroundings = contextlib.ExitStack()
        self._surrounded: set[str] = set()
        """The backends whose surroundings the engine's thread is in."""
        self._budgets = Budgets(
            settings.batch_tokens or FIRST_BATCH_TOKENS, settings.batch_deadline_seconds, settings.turn_seconds
        )
        self._calibrator = Calibrator(settings.cache_dir, device, settings.max_batch_tokens, settings.batch_tokens)
        self.watch = Watch()
        self.inbox = self._make_inbox()
        self.residency = self._make_residency()
        self.engine = self._make_engine()

    def make(self, model: str) -> ModelRunner:
        """The runner of a model of the catalogue, opened by nobody yet."""
        settings = self._settings
        how = (settings.device, settings.threads, settings.dtype, settings.cache_dir)
        return make_named(model, lambda name: spec_of(self._catalogue.get(name), *how))

    def resident(self) -> list[str]:
        """Models of the catalogue that are loaded, by whichever of their runners."""
        return list(dict.fromkeys(name.partition(BY)[0] for name in self.residency.resident))

    def batches(self) -> Mapping[str, float]:
        """Characters that a full batch of each model holds."""
        return self.inbox.speeds.batches(self._budgets)

    def _make_inbox(self) -> Inbox:
        settings = self._settings
        answers = Answers(settings.answers_mb << 20, lambda model, output: self.residency.open(model).kept(output))
        inbox = Inbox(self._budgets, settings.turn_seconds, answers=answers)
        metrics.WAITING.set_function(lambda: len(inbox))
        return inbox

    def _make_residency(self) -> Residency:
        settings = self._settings
        return Residency(
            self.make,
            self._loaded,
            settings.model_memory_mb << 20,
            settings.model_retry_seconds,
            unloaded=self.inbox.forget_answers,
        )

    def _make_engine(self) -> Engine:
        settings = self._settings
        return Engine(
            self.inbox,
            self.residency,
            self._budgets,
            self.watch,
            settings.load_deadline_seconds,
            exit=os._exit,
            surroundings=lambda: self._surroundings,
            at_start=self._preload,
            trials=self._calibrator.trials,
            turn_seconds=settings.turn_seconds,
            around=self._watched if self._traces.on else unwatched,
        )

    def _watched(self, batch: Batch) -> contextlib.AbstractContextManager[None]:
        """What surrounds a batch, where traces are on: the shards that it serves, without those that nobody traces."""
        model, waiting = batch
        served = dict.fromkeys(one.owner.trace for one in waiting)
        padded = sum(one.item.rows for one in waiting) * max(one.item.length for one in waiting)
        return self._traces.batch(model, [shard for shard in served if shard is not None], len(waiting), padded)

    def _loaded(self, runner: ModelRunner) -> None:
        """A model was loaded, in the engine's thread."""
        if runner.backend.name not in self._surrounded:
            # Not at start: a worker that only echoes never imports torch. What surrounds belongs to the calling thread.
            self._surroundings.enter_context(runner.backend.surroundings(runner.spec))
            self._surrounded.add(runner.backend.name)
        if (known := self._calibrator.known(runner)) is not None:
            self._budgets.calibrated(runner.name, known.tokens, known.seconds)

    def _preload(self) -> None:
        for model in names(self._settings.preload):
            try:
                with self.watch.limit(self._settings.load_deadline_seconds):
                    self.residency.ready(model)
            except ModelUnavailable:
                log.error("%s could not be preloaded; its jobs are left to other workers", model)
                self._not_loaded(model)


def names(setting: str) -> tuple[str, ...]:
    """The names in a setting that lists them with commas."""
    return tuple(name.strip() for name in setting.split(",") if name.strip())
