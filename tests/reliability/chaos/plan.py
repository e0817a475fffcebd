"""Which faults come, in rounds, from the seed alone, and carrying them out."""

import random
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

from tests.reliability.chaos.faults import KINDS
from tests.reliability.chaos.history import now
from tests.reliability.chaos.system import Over, System

STORM = 0.3
"""Share of the rounds in which several faults overlap. What a kind costs by itself is seen in the others."""

RECOVERY_SECONDS = 120
"""A round waits so long for the system to work again; what has not come back by then is noted as that."""


@dataclass(frozen=True)
class Fault:
    """One fault: its kind, whom it hits, how long after the round's beginning, and how long it lasts, in seconds."""

    kind: str
    target: str
    after: float
    seconds: float

    def __str__(self) -> str:
        return f"{self.kind}({self.target}) for {self.seconds:.1f} s"


def plan(seed: int, database: str, kinds: tuple[str, ...] | None = None) -> Iterator[tuple[Fault, ...]]:
    """The rounds of a run without end. kinds: those to choose from; None: all there are on the database."""
    chance = random.Random(f"faults {seed}")
    names = [name for name in KINDS if database in KINDS[name].databases and name in (kinds or KINDS)]
    weights = [KINDS[name].weight for name in names]
    while True:
        storm = chance.random() < STORM
        chosen = chance.choices(names, weights, k=chance.randint(2, 4) if storm else 1)
        yield tuple(_fault(chance, name, chance.uniform(0, 5) if number else 0) for number, name in enumerate(chosen))


def _fault(chance: random.Random, name: str, after: float) -> Fault:
    kind = KINDS[name]
    shortest, longest = kind.seconds
    return Fault(name, chance.choice(kind.targets), after, shortest + (longest - shortest) * chance.random() ** 2)


@dataclass
class Storm:
    """Carries a plan out. probe: whether a job that is submitted now, with so many seconds to go, ends in time."""

    system: System
    rounds: Iterator[tuple[Fault, ...]]
    chance: random.Random
    probe: Callable[[float], bool]
    say: Callable[[str], None]
    pause: float
    faults: Counter[str] = field(default_factory=Counter)
    recovery: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    failures: list[str] = field(default_factory=list)
    """Faults that could not be done: a fault of the run itself."""

    def run(self, until: float) -> None:
        """Round after round, to the moment given on the monotonic clock."""
        waits = threading.Event()
        while now() < until:
            faults = next(self.rounds)
            self.say("round: " + ", ".join(f"{one} after {one.after:.1f} s" for one in faults))
            if len(faults) == 1:
                self._alone(faults[0])
            else:
                threads = [threading.Thread(target=self._one, args=(fault,), daemon=True) for fault in faults]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                self.say("the storm is over")
            waits.wait(self.chance.expovariate(1 / self.pause))

    def _alone(self, fault: Fault) -> None:
        over = self._one(fault)
        if over is None:
            return
        ended = now()
        while not (self._holds(over) and self.probe(min(10, RECOVERY_SECONDS))):
            if now() - ended > RECOVERY_SECONDS:
                break
        # The probe may have been answered before what was hit is at work again, so that both count.
        took = now() - ended
        self.recovery[fault.kind].append(took)
        self.say(f"recovered from {fault.kind} after {took:.1f} s")

    def _holds(self, over: Over) -> bool:
        wait = threading.Event()
        for _ in range(50):
            if over():
                return True
            wait.wait(0.2)
        return False

    def _one(self, fault: Fault) -> Over | None:
        """Do it; None where that failed."""
        wait = threading.Event()
        wait.wait(fault.after)
        try:
            with ExitStack() as stack:
                over = stack.enter_context(KINDS[fault.kind].act(self.system, fault.target))
                self.faults[fault.kind] += 1
                wait.wait(fault.seconds)
        except Exception as error:  # noqa: BLE001 - in a storm much can fail; it is told, and the run goes on
            self.failures.append(f"{fault}: {type(error).__name__}: {error}")
            self.say(f"could not be done: {self.failures[-1]}")
            return None
        return over
