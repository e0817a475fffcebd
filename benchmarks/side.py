"""A process that has one side of a comparison loaded and runs it when it is told: `python -m benchmarks.side`.

Each side has a process of its own, so that none finds the other's threads, memory or settings. They take turns: one
runs while the others wait for a line on their standard input.
"""

import importlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from benchmarks import servers
from benchmarks.work import Answers, Work

LOAD_SECONDS = 600
RUN_SECONDS = 1_800


class Side(Protocol):
    """What `benchmarks.ours` and modules of `benchmarks.peers` have as `SIDE`. Making one loads its model."""

    def __init__(self, work: Work, **settings: Any) -> None: ...

    def run(self) -> Answers:
        """The answer of every row, in order."""


class Process:
    """A side's process, loaded. module: where its `SIDE` is."""

    def __init__(self, module: str, settings: Mapping[str, Any], work: Path, folder: Path, threads: int = 1) -> None:
        self.module = module
        self._answers = folder / "answers.json"
        self._log = (folder / "side.log").open("w")
        # Libraries that were not asked take every core: these are what each of them reads.
        own = {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "MKL", "OPENBLAS")}
        own["TMPDIR"] = str(folder)  # what a side makes of the model goes with the measurement
        command = [sys.executable, "-m", "benchmarks.side", module, str(work), json.dumps(settings), str(self._answers)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True, env=os.environ | own
        )
        self._said(LOAD_SECONDS)

    def run(self) -> float:
        """Seconds of one run over all rows."""
        assert self._process.stdin is not None
        self._process.stdin.write("run\n")
        self._process.stdin.flush()
        return float(self._said(RUN_SECONDS)["seconds"])

    def answers(self) -> Answers:
        """Of the last run."""
        found: Answers = json.loads(self._answers.read_text())
        return found

    def peak_mib(self) -> float:
        """The most memory that the process has had."""
        return servers.peak_mib(self._process.pid)

    def close(self) -> None:
        """End the process."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()
        self._log.close()

    def _said(self, seconds: float) -> Any:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        line = self._process.stdout.readline() if ready else ""
        if not line:
            self._log.flush()
            reason = Path(self._log.name).read_text()[-2_000:]
            self.close()
            raise RuntimeError(f"{self.module} did not answer within {seconds} s: {reason}")
        return json.loads(line)


def main() -> None:
    """Load the side, then run it for every line of the standard input."""
    module, work, settings, answers = sys.argv[1:]
    out = sys.stdout
    sys.stdout = sys.stderr  # what libraries print is no answer
    side: Side = importlib.import_module(module).SIDE(Work.load(Path(work)), **json.loads(settings))
    print(json.dumps({"loaded": True}), file=out, flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        found = side.run()
        seconds = time.perf_counter() - began
        Path(answers).write_text(json.dumps(found))
        print(json.dumps({"seconds": seconds}), file=out, flush=True)


if __name__ == "__main__":
    main()
