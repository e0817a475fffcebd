"""What producers did and what they were told, and what the system shows in the end: the two sides of the check."""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Kind = Literal["submit", "append", "close", "wait", "cancel", "retry", "delete"]
KINDS: tuple[Kind, ...] = ("submit", "append", "close", "wait", "cancel", "retry", "delete")

Result = Literal["ok", "refused", "unknown"]
"""Acknowledged; refused, so that it must have had no effect; or not answered, so that it may have had one, once."""


class Doc(NamedTuple):
    """A document as it was sent. `id` None: its position is its id."""

    id: str | None
    text: str


@dataclass(frozen=True)
class Operation:
    """One call of a producer, with all its tries where trying again is harmless."""

    kind: Kind
    result: Result
    name: str
    """The name that the job has in its metadata: it is known before any answer is."""
    job: str | None = None
    """The job's id, where it is known."""
    documents: tuple[Doc, ...] = ()
    first: int | None = None
    """The position of the first of them, where the answer, or the call, says it."""
    shown: dict[str, Any] | None = None
    """The job in the answer."""
    began: float = 0
    ended: float = 0
    said: str = ""
    """What the answer said, where it was a refusal."""


@dataclass(frozen=True)
class Row:
    """A document's outcome as the api shows it."""

    id: str
    position: int
    state: str
    output: Mapping[str, Any] | None = None
    code: str | None = None
    """Why it failed."""

    @property
    def text(self) -> str | None:
        """What the output says, where it is a text."""
        output = self.output or {}
        said: str | None = output.get("summary_text", output.get("translation_text"))
        return said


@dataclass(frozen=True)
class Found:
    """A job as the api shows it when all is over, or just before it was deleted."""

    id: str
    name: str
    task: str
    model: str
    state: str
    counts: dict[str, int]
    rows: tuple[Row, ...]


@dataclass
class History:
    """All operations of all producers, and what else they saw. Threads share one."""

    operations: list[Operation] = field(default_factory=list)
    seen: dict[str, Found] = field(default_factory=dict)
    """Jobs as they were found before they were deleted, by id."""
    answers: Counter[str] = field(default_factory=Counter)
    """Answers that were no success, by status, and those that did not come (`none`)."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def number(self) -> int:
        """A number that no other operation has."""
        return next(self._numbers)

    def add(self, operation: Operation) -> None:
        """Note an operation that has ended."""
        with self._lock:
            self.operations.append(operation)

    def answered(self, what: str) -> None:
        """Note an answer that was no success."""
        with self._lock:
            self.answers[what] += 1

    def saw(self, found: Found) -> None:
        """Note a job that is about to be deleted."""
        with self._lock:
            self.seen[found.id] = found

    @property
    def acknowledged(self) -> Counter[str]:
        """Acknowledged operations by kind."""
        return Counter(one.kind for one in list(self.operations) if one.result == "ok")

    @property
    def accepted(self) -> int:
        """Documents of acknowledged operations."""
        return sum(len(one.documents) for one in list(self.operations) if one.result == "ok")


now = time.monotonic
