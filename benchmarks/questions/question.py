"""What a question is, what a measurement is, and what the aims are made of."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

Round = Callable[[], "Measured"]
"""One run of one side, from the start of the clock to its end."""


@dataclass(frozen=True)
class Measured:
    """One round of one side."""

    rate: float
    """Documents per second."""
    facts: dict[str, float] = field(default_factory=dict)
    """What else was measured: peak memory (MiB), padding and busy share (of one), CPU microseconds a document."""


@dataclass(frozen=True)
class Arm:
    """One side of a question."""

    name: str
    why: str
    """Its settings, and why these: a peer is measured at its best."""
    start: Callable[["Size", Path], AbstractContextManager[Round]]
    """(size, an empty folder) -> what runs a round; everything is loaded and warm within."""
    ours: bool = False
    standard: bool = True
    """Whether it is in the short run; False: only where the question is asked by name."""
    side_by_side: bool = True
    """Whether it may stay started while the others run: a process that waits costs nothing, a system does."""
    agreement: str = ""
    """With whose answers its own are compared."""


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    documents: int
    plain_documents: int
    """Of sides that take them one by one, and of which a round would take too long."""


@dataclass(frozen=True)
class Aim:
    """A ratio, or a figure, that is to be reached."""

    name: str
    ours: str
    """The arm."""
    than: tuple[str, ...] = ()
    """The best of these is what ours is divided by; none: a figure of ours is taken as it is."""
    target: float = 1.0
    fact: str = ""
    """Which figure; empty: documents per second."""
    at_most: bool = False


@dataclass(frozen=True)
class Question:
    """What is compared, by whom, and what is hoped for."""

    name: str
    heading: str
    size: Size
    arms: Callable[[Size], Sequence[Arm]]
    aims: tuple[Aim, ...] = ()

    def results(self, measured: dict[str, list[Measured]]) -> Iterator[tuple[Aim, float]]:
        """Each aim whose arms were measured, with what was reached: medians, and ratios of medians."""
        for aim in self.aims:
            others = [_median(measured[name], aim.fact) for name in aim.than if name in measured]
            if aim.ours in measured and (others or not aim.than):
                value = _median(measured[aim.ours], aim.fact)
                yield aim, value / max(others) if others else value


def _median(rounds: Sequence[Measured], fact: str) -> float:
    return statistics.median(one.facts[fact] if fact else one.rate for one in rounds)
