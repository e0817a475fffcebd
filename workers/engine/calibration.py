"""Finds how many padded tokens a batch should have: a short trial when a model is first loaded, kept on disk.

The runner's probe is run in ever larger batches for as long as that raises the tokens per second. What is found is a
start: `workers/engine/budget.py` corrects it when a batch does not fit.
"""

import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from workers.faults import Fault
from workers.runner import ModelRunner

log = logging.getLogger(__name__)

SMALLEST = 1_024
"""Padded tokens of the first trial, and the least that a calibration gives: fewer use no device well, and a trial that
was slow because the machine was busy must not be remembered as a slow device."""

GAIN = 1.05
"""A batch twice as large must be faster, per token, by this factor to be worth its latency and memory."""

PATIENCE = 2
"""Trials end after so many sizes in a row without that gain: one may be slow because the machine is busy."""

TRIAL_SECONDS = 2.0
"""Trials end after one that took longer."""


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

    def calibrate(self, runner: ModelRunner) -> Calibration:
        """The calibration of a loaded model, from the cache or by trial. Raises what the probe raises, run alone."""
        if self._fixed_tokens:
            return Calibration(self._fixed_tokens, 0.0)
        if runner.backend.batch_tokens is not None:
            return Calibration(runner.backend.batch_tokens, 0.0)
        key = (
            f"{runner.name}@{runner.revision} by {runner.backend.name} in {runner.dtype} on {self._device}, "
            f"at most {self._largest}"
        )
        if (kept := self._read().get(key)) is not None:
            return Calibration(int(kept["tokens"]), float(kept["seconds"]))
        found = self._try(runner)
        log.info("%s: %d padded tokens in a batch (%.3f s)", runner.name, found.tokens, found.seconds)
        self._write({**self._read(), key: found._asdict()})
        return found

    def _try(self, runner: ModelRunner) -> Calibration:
        probe = runner.probe()
        padded = probe.length * probe.rows
        runner.run([probe])  # the first pass pays for lazy initialization
        size = min(SMALLEST, self._largest)
        best, best_rate, without_gain = Calibration(max(padded, size), 0.0), 0.0, 0
        while size <= self._largest and without_gain < PATIENCE:
            items = [probe] * max(1, size // padded)
            started = self._clock()
            try:
                runner.run(items)
            except Exception as error:
                if runner.backend.fault(error) is not Fault.OUT_OF_MEMORY:
                    raise
                break
            seconds = max(self._clock() - started, 1e-6)
            rate = len(items) * padded / seconds
            if rate >= best_rate * GAIN:
                best, best_rate, without_gain = Calibration(max(size, padded), seconds), rate, 0
            else:
                without_gain += 1
            if seconds > TRIAL_SECONDS:
                break
            size *= 2
        return best

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
