"""Finds how many padded tokens a batch should have: a few trials after a model is first loaded, kept on disk.

The runner's probe is run in ever larger batches for as long as that raises the tokens per second. What is found is a
start: `workers/engine/budget.py` corrects it when a batch does not fit. The trials are made one by one, between the
engine's batches. (Real batches would tell it too, at no cost; but their rate differs more by the lengths of their texts
than by their size.)
"""

import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from workers.faults import FatalDeviceError, Fault, attempt
from workers.runner import ModelRunner

log = logging.getLogger(__name__)

SMALLEST = 2_048
"""Padded tokens of the first trial, and the least that a calibration gives: a trial that was slow because the machine
was busy must not be remembered as a slow device. Not half as many: the probe's equal rows do not show it, but of real
sentences batches of 1,024 take a seventh more processor time, since fewer rows share a step of the decoder."""

GAIN = 1.05
"""A batch twice as large must be faster, per token, by this factor to be worth its latency and memory."""

PATIENCE = 2
"""Trials end after so many sizes in a row without that gain: one may be slow because the machine is busy."""

TRIAL_SECONDS = 0.5
"""Trials end after one that took longer: who comes in waits for the end of a trial, or of a batch as large, and the
next would take twice as long."""


class Calibration(NamedTuple):
    """Padded tokens of a full batch, and the seconds that it takes."""

    tokens: int
    seconds: float


class Calibrator:
    """Calibrates models on one device. `device`: its name, part of what a calibration is kept under.

    `fixed_tokens`: a setting in place of trials, 0 for none.
    """

    def __init__(
        self,
        cache_dir: Path,
        device: str,
        largest: int,
        fixed_tokens: int = 0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._path = cache_dir / "calibration.json"
        self._device = device
        self._largest = largest
        self._fixed_tokens = fixed_tokens
        self._clock = clock

    def known(self, runner: ModelRunner) -> Calibration | None:
        """The calibration of a model that needs no trial: it is set, or was found before."""
        if self._fixed_tokens:
            return Calibration(self._fixed_tokens, 0.0)
        if runner.backend.batch_tokens is not None:
            return Calibration(runner.backend.batch_tokens, 0.0)
        kept = self._read().get(self._key(runner))
        return None if kept is None else Calibration(int(kept["tokens"]), float(kept["seconds"]))

    def trials(self, runner: ModelRunner) -> "Trials | None":
        """Those that a loaded model needs; None where its calibration is known."""
        return Trials(runner, self._largest, self._keep, self._clock) if self.known(runner) is None else None

    def _key(self, runner: ModelRunner) -> str:
        return (
            f"{runner.name}@{runner.revision} by {runner.backend.name} in {runner.dtype} on {self._device}, "
            f"{SMALLEST} to {self._largest}"
        )

    def _keep(self, runner: ModelRunner, found: Calibration) -> None:
        log.info("%s: %d padded tokens in a batch (%.3f s)", runner.name, found.tokens, found.seconds)
        self._write({**self._read(), self._key(runner): found._asdict()})

    def _read(self) -> dict[str, dict[str, float]]:
        try:
            kept = json.loads(self._path.read_text())
        except FileNotFoundError:
            return {}
        except ValueError:
            log.warning("%s is damaged: calibrating anew", self._path)
            return {}
        return kept if isinstance(kept, dict) else {}

    def _write(self, calibrations: dict[str, dict[str, float]]) -> None:
        # Renamed into place: processes of other devices read and write the same file. The last one wins, and the
        # other's calibration is found again at its next start.
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            new = self._path.with_suffix(f".{os.getpid()}")
            new.write_text(json.dumps(calibrations, indent=1, sort_keys=True))
            new.replace(self._path)
        except OSError as error:
            log.warning("calibrations cannot be kept in %s: %s", self._path.parent, error)


class Trials:
    """The trials of one model. They start when it has run once, which pays for lazy initialization."""

    def __init__(
        self,
        runner: ModelRunner,
        largest: int,
        keep: Callable[[ModelRunner, Calibration], None],
        clock: Callable[[], float],
    ) -> None:
        self._runner = runner
        self._largest = largest
        self._keep = keep
        self._clock = clock
        self._probe = runner.probe()
        self._padded = self._probe.length * self._probe.rows
        self.tokens = min(SMALLEST, largest)
        """Padded tokens of the next trial."""
        self.done = False
        self._best = Calibration(max(self._padded, self.tokens), 0.0)
        self._best_rate = 0.0
        self._without_gain = 0

    def run(self) -> Calibration:
        """Make the next trial; the best so far. Raises what the probe raises, save for want of memory: it ends them."""
        items = [self._probe] * max(1, self.tokens // self._padded)
        started = self._clock()
        _, failure = attempt(lambda: self._runner.run(items), self._runner.backend.fault)
        if failure is None:
            self._note(len(items) * self._padded, max(self._clock() - started, 1e-6))
        elif failure.fault is Fault.FATAL:
            raise FatalDeviceError(f"{self._runner.name}: the device failed in a trial") from failure.error
        elif failure.fault is Fault.OUT_OF_MEMORY:
            self.done = True
            if not self._best_rate:
                self._best = Calibration(max(self._padded, self.tokens // 2), 0.0)
        else:
            raise failure.error
        if self.done:
            self._keep(self._runner, self._best)
        return self._best

    def _note(self, padded: int, seconds: float) -> None:
        if padded / seconds >= self._best_rate * GAIN:
            self._best, self._best_rate = Calibration(max(self.tokens, self._padded), seconds), padded / seconds
            self._without_gain = 0
        else:
            self._without_gain += 1
        self.tokens *= 2
        self.done = self.tokens > self._largest or self._without_gain >= PATIENCE or seconds > TRIAL_SECONDS
