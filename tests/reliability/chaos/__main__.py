"""Run the whole system under load and random faults, and check that nothing was lost, doubled or wrong.

    make chaos                                            for 5 minutes, with a seed at random
    make chaos CHAOS_MINUTES=8 CHAOS_SEED=7
    python -m tests.reliability.chaos --minutes 1 --seed 7 --kinds redis_kill redis_flush
    python -m tests.reliability.chaos --database sqlite

The faults, whom they hit, how long they last, and what the producers do follow from the seed; the moments at which the
two meet do not. Prints what happens as it does, and last one line of JSON. Exit codes: 0 nothing was found, 1 something
was, or too little was acknowledged to tell; the logs of all processes are kept then.
"""

import argparse
import contextlib
import random
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.reliability.chaos.check import Answers, check
from tests.reliability.chaos.faults import KINDS
from tests.reliability.chaos.history import Found, History, now
from tests.reliability.chaos.line import GaveUp, Line, jobs_of, read
from tests.reliability.chaos.load import Producer
from tests.reliability.chaos.models import answers
from tests.reliability.chaos.plan import Storm, plan
from tests.reliability.chaos.report import Report
from tests.reliability.chaos.system import System, running
from tests.reliability.chaos.watch import Watch, probe

QUIET_SECONDS = 120
"""After the faults, without any outcome for so long, and twice the lease, what is unfinished counts as stuck."""

PAUSE_SECONDS = 0.3
"""Between two operations of one producer, on average."""


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.reliability.chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--minutes", type=float, default=5, help="of load and faults; 5")
    add("--seed", type=int, help="what the faults and the load follow from; a new one if not given")
    add("--database", choices=["postgresql", "sqlite"], default="postgresql")
    add("--lease", type=float, default=20, help="seconds of a lease; 20")
    add("--producers", type=int, default=4)
    add("--between", type=float, default=3, help="seconds between two rounds of faults, on average; 3")
    add("--models", action="store_true", help="the bundled models work, too, and their outputs are compared")
    add("--kinds", nargs="+", choices=list(KINDS), help="kinds of faults to choose from; all")
    return parser.parse_args(arguments)


class Run:
    """One run on one system."""

    def __init__(self, system: System, arguments: argparse.Namespace) -> None:
        self._system = system
        self._arguments = arguments
        self._seed: int = arguments.seed
        self._began = now()
        self._history = History()
        self._stops, self._gives_up = threading.Event(), threading.Event()
        self._keys = [system.key(f"producer-{n}") for n in range(arguments.producers)]
        self._watch = Watch(system)
        self._answers: Answers = {}
        self._probe_key = system.key("probe")

    def say(self, words: str) -> None:
        """A line, with the seconds since the beginning."""
        print(f"{now() - self._began:7.1f} {words}", flush=True)

    def run(self) -> Report:
        """Load and faults, then peace, then the check."""
        self.say(f"seed {self._seed} on {self._arguments.database}, the logs are in {self._system.folder}")
        if self._arguments.models:
            with contextlib.closing(self._line(self._probe_key, self._system.direct)) as line:
                self._answers = answers(line, random.Random(f"texts {self._seed}"))
            self.say("the models have answered without faults")
        began = now()
        threads = [threading.Thread(target=producer.run, daemon=True) for producer in self._producers()]
        for thread in threads:
            thread.start()
        self._watch.start()
        storm = self._storm()
        storm.run(now() + 60 * self._arguments.minutes)
        self._system.heal()
        self._stops.set()
        seconds = now() - began
        self.say("the faults are over")
        self._drain(threads)
        found = self._all()
        verdict = check(self._history.operations, found, self._history.seen, self._answers)
        self._watch.stop()
        return Report(
            seed=self._seed, database=self._arguments.database, seconds=seconds, verdict=verdict,
            acknowledged=self._history.acknowledged, answers=self._history.answers, faults=storm.faults,
            recovery=storm.recovery, longest_standstill=self._watch.longest, failures=storm.failures,
        )  # fmt: skip

    def _line(self, key: str, urls: list[str]) -> Line:
        return Line(urls, key, self._history, self._gives_up)

    def _producers(self) -> list[Producer]:
        return [
            Producer(
                f"p{n}", self._line(key, self._system.through), self._history,
                random.Random(f"producer {n} of {self._seed}"), PAUSE_SECONDS, self._stops,
                list(self._answers),
            )
            for n, key in enumerate(self._keys)
        ]  # fmt: skip

    def _storm(self) -> Storm:
        kinds = None if self._arguments.kinds is None else tuple(self._arguments.kinds)
        return Storm(
            self._system,
            plan(self._seed, self._arguments.database, kinds),
            random.Random(f"pauses {self._seed}"),
            lambda seconds: probe(self._system.direct, self._probe_key, seconds),
            self.say,
            self._arguments.between,
        )

    def _drain(self, producers: list[threading.Thread]) -> None:
        """Wait until all is done, for as long as anything is being done."""
        quiet = QUIET_SECONDS + 2 * self._system.lease_seconds
        gives_up = threading.Timer(quiet, self._gives_up.set)
        gives_up.daemon = True
        gives_up.start()
        for thread in producers:
            thread.join()
        gives_up.cancel()
        self._close_unknown()
        wait = threading.Event()
        while (left := self._watch.unfinished()) and self._watch.standstill() < quiet:
            wait.wait(1)
        self.say(f"at the end {left} jobs are unfinished" if left else "all is done")

    def _lines(self) -> Iterator[Line]:
        """For each key one that no fault reaches and that no history is kept of."""
        patience = threading.Event()
        timer = threading.Timer(QUIET_SECONDS, patience.set)
        timer.daemon = True
        timer.start()
        try:
            for key in self._keys:
                with contextlib.closing(Line(self._system.direct, key, History(), patience)) as line:
                    yield line
        finally:
            timer.cancel()

    def _close_unknown(self) -> None:
        """Jobs that were opened by a submit whose answer was lost: their producers do not know of them."""
        for line in self._lines():
            for shown in jobs_of(line):
                if shown["open"]:
                    line.surely("POST", f"/v1/jobs/{shown['id']}/close")

    def _all(self) -> dict[str, Found]:
        """Every job of every key as it is now."""
        found: dict[str, Found] = {}
        for line in self._lines():
            for shown in jobs_of(line):
                found[shown["id"]] = read(line, shown)
        return found


def again(arguments: argparse.Namespace) -> str:
    """The command that does this run again."""
    words = [f"--{name}" for name, value in vars(arguments).items() if value is True]
    for name, value in vars(arguments).items():
        if value is not None and not isinstance(value, bool):
            words.append(f"--{name} {' '.join(value) if isinstance(value, list) else value}")
    return " ".join(["python -m tests.reliability.chaos", *words])


def main() -> int:
    """Run once."""
    arguments = parse()
    if arguments.seed is None:
        arguments.seed = random.SystemRandom().randrange(1_000_000)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: nothing that was started stays behind
    folder = Path(tempfile.mkdtemp(prefix="textmill-chaos-"))
    with running(folder, arguments.database, arguments.lease) as system:
        try:
            report = Run(system, arguments).run()
        except GaveUp:
            print("the api does not answer although the faults are over", file=sys.stderr)
            return 1
    if words := report.words():
        print(words)
    if report.passed:
        shutil.rmtree(folder)
    else:
        print(f"again: {again(arguments)}\nlogs: {folder}")
    print(report.line(), flush=True)
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
