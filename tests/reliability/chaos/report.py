"""What a run found, for people and, in its last line, for programs."""

import json
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.reliability.chaos.check import CATEGORIES, Verdict
from tests.reliability.chaos.history import KINDS

ENOUGH_PER_SECOND = 5
"""Documents that have to be accepted in a second of load, for the run to mean something."""

SHOWN = 20
"""Violations that are shown of each category."""


@dataclass
class Report:
    """A run that has ended."""

    seed: int
    database: str
    seconds: float
    """How long there was load."""
    verdict: Verdict
    acknowledged: Counter[str]
    answers: Counter[str]
    faults: Counter[str]
    recovery: Mapping[str, Sequence[float]]
    longest_standstill: float
    failures: Sequence[str] = field(default_factory=list)
    """Faults that could not be done."""

    @property
    def too_little(self) -> list[str]:
        """Why the run means nothing; empty where it does."""
        found = []
        if self.verdict.accepted < ENOUGH_PER_SECOND * self.seconds:
            found.append(f"{self.verdict.accepted} documents were accepted in {self.seconds:.0f} s")
        missing = [kind for kind in KINDS if not self.acknowledged[kind]]
        if missing:
            found.append(f"no operation was acknowledged of the kinds {', '.join(missing)}")
        if not self.faults:
            found.append("there was no fault")
        return found

    @property
    def passed(self) -> bool:
        """Nothing was found, and enough was done for that to mean something."""
        return self.verdict.clean and not self.too_little

    def line(self) -> str:
        """The line of JSON."""
        recovery = {
            kind: {"median": round(statistics.median(took), 1), "max": round(max(took), 1)}
            for kind, took in sorted(self.recovery.items())
        }
        fields: dict[str, Any] = {
            "seed": self.seed,
            "accepted": self.verdict.accepted,
            "outcomes": self.verdict.outcomes,
            **{category: getattr(self.verdict, category) for category in CATEGORIES},
            "faults": dict(sorted(self.faults.items())),
            "recovery_s": recovery,
            "database": self.database,
            "seconds": round(self.seconds),
            "operations": dict(sorted(self.acknowledged.items())),
            "answers": dict(sorted(self.answers.items())),
            "longest_standstill_s": round(self.longest_standstill, 1),
        }
        return json.dumps(fields)

    def words(self) -> str:
        """What was found, in words."""
        lines = [f"not done: {failure}" for failure in self.failures]
        for category in CATEGORIES:
            its = [words for words in self.verdict.violations if words.startswith(f"{category}:")]
            lines += its[:SHOWN]
            if len(its) > SHOWN:
                lines.append(f"{category}: and {len(its) - SHOWN} more like these")
        lines += [f"this run means nothing: {reason}" for reason in self.too_little]
        return "\n".join(lines)
