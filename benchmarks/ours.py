"""Our own side of a comparison of models: the engine and the backend, without Celery, Redis, SQL and HTTP."""

import contextlib
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.work import Answers, Work
from store.catalogue import load
from workers import models
from workers.engine.budget import Budgets
from workers.engine.calibration import Calibrator
from workers.engine.engine import Engine
from workers.engine.inbox import Inbox
from workers.engine.residency import Residency
from workers.engine.watchdog import Watch
from workers.kinds import Kind, Precision
from workers.runner import Item, ModelRunner

FIRST_BATCH_TOKENS = 2_048
MAX_BATCH_TOKENS = 65_536
"""As a worker has them by default."""

DEADLINE_SECONDS = 600


class Ours:
    """The engine with one model, whose calibration is made in the first run."""

    def __init__(self, work: Work, backend: str = "auto", dtype: Precision = "float32") -> None:
        catalogue = load(Path(work.catalogue))
        spec = models.spec_of(catalogue.get(work.model), device="cpu", threads=1, dtype=dtype)
        surroundings = contextlib.ExitStack()
        calibrator = Calibrator(Path(tempfile.mkdtemp()), "cpu", MAX_BATCH_TOKENS)
        budgets = Budgets(FIRST_BATCH_TOKENS, DEADLINE_SECONDS)

        def loaded(runner: ModelRunner) -> None:
            surroundings.enter_context(runner.backend.surroundings(runner.spec))
            if (known := calibrator.known(runner)) is not None:
                budgets.calibrated(runner.name, known.tokens, known.seconds)

        residency = Residency(lambda _: models.make(replace(spec, backend=backend)), loaded)
        self._runner = residency.open(spec.name)
        self._inbox = Inbox(budgets)
        self._engine = Engine(
            self._inbox, residency, budgets, Watch(), DEADLINE_SECONDS, os._exit, lambda: surroundings,
            trials=calibrator.trials,
        )  # fmt: skip
        self._engine.start()
        group = work.settings if work.generation else None
        rows = work.settings.num_beams if work.generation else 1
        self._items = [Item(row, len(row), rows, group) for row in work.rows]

    def run(self) -> Answers:
        """Every item waits at once, as in a bulk job whose shards are all here."""
        ticket = self._inbox.ticket(self._runner.name, credit=1 << 60)
        ticket.submit([(item, place) for place, item in enumerate(self._items)])
        answers: dict[int, list[int]] = {}
        while len(answers) < len(self._items):
            for waiting in ticket.collect(timeout=None):
                if isinstance(waiting.result, Exception):
                    raise waiting.result
                answers[waiting.place] = self._answer(waiting.result)
        return [answers[place] for place in range(len(self._items))]

    def _answer(self, result: Any) -> list[int]:
        if self._runner.kind is Kind.GENERATION:
            return list(map(int, result.ids))
        return [int(label) for label in np.argmax(result, axis=-1)]


SIDE = Ours
