"""Whether what is there is what was acknowledged. Pure: a history and the jobs that were found in, violations out.

The rules, for each job:

- a document whose submit or append was acknowledged has one outcome, and so has one whose operation nobody answered, if
  it is there at all; of one that was refused nothing is there
- the outcome is the one that the text asks for: its echo, or a failure of its own; cancelled only where a cancel was
  asked for
- the counts are those of the outcomes; a job that was shown as ended stays exactly so, unless a retry was asked for
- nothing is refused but what the job's state forbids
- a job that was deleted is gone, and an operation that was sent once made one job
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from tests.reliability.chaos.history import Doc, Found, Operation, Row
from textmill.wire import ENDED_STATES

FAILURES = {"[[echo:raise]]": "processing_failed", "[[echo:too-long]]": "document_too_long"}
"""Markers of texts that fail, and how. All others are innocent."""

ECHO: dict[str, Callable[[str], dict[str, Any]]] = {
    "summarization": lambda text: {"summary_text": text},
    "translation": lambda text: {"translation_text": text},
    "ner": lambda text: {"entities": []},
}
"""What the stand-in model answers, by task."""

Answers = Mapping[tuple[str, str], Mapping[str, Any]]
"""A model's outputs, by task and text."""

CATEGORIES = ("lost", "doubled", "wrong", "innocent_failures", "stuck")


def expected_code(text: str) -> str | None:
    """The code that the text must fail with; None where it must succeed."""
    return next((code for marker, code in FAILURES.items() if marker in text), None)


@dataclass
class Verdict:
    """What was found. Numbers are of documents; `violations` says each in words."""

    accepted: int = 0
    outcomes: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    innocent_failures: int = 0
    stuck: int = 0
    violations: list[str] = field(default_factory=list)
    answers: Answers = field(default_factory=dict)

    def add(self, category: str, count: int, words: str) -> None:
        """Count a violation."""
        if count:
            setattr(self, category, getattr(self, category) + count)
            self.violations.append(f"{category}: {count}: {words}")

    @property
    def clean(self) -> bool:
        """No violation at all."""
        return not any(getattr(self, category) for category in CATEGORIES)


def check(
    operations: Sequence[Operation],
    found: Mapping[str, Found],
    seen: Mapping[str, Found],
    answers: Answers = MappingProxyType({}),
) -> Verdict:
    """Compare. found: all jobs that exist in the end, by id. seen: what deleted jobs looked like before. answers: what
    models answer that are not the stand-in."""
    verdict = Verdict(accepted=sum(len(one.documents) for one in operations if one.result == "ok"), answers=answers)
    by_name: dict[str, list[Operation]] = defaultdict(list)
    for operation in operations:
        by_name[operation.name].append(operation)
    jobs_of: dict[str, list[Found]] = defaultdict(list)
    for job in found.values():
        jobs_of[job.name].append(job)
    for name in sorted(jobs_of.keys() - by_name.keys()):
        verdict.add("wrong", sum(len(job.rows) or 1 for job in jobs_of[name]), f"nobody submitted a job {name!r}")
    for name, done in by_name.items():
        _check_job(verdict, name, sorted(done, key=lambda one: one.began), jobs_of[name], seen)
    return verdict


def _check_job(
    verdict: Verdict, name: str, done: Sequence[Operation], jobs: Sequence[Found], seen: Mapping[str, Found]
) -> None:
    """All that was done to the job of one submit, and the jobs that there are of it: one, or none."""
    for one in done:
        if one.result == "refused" and not _may_be_refused(one, done):
            verdict.add("wrong", 1, f"{name} (job {one.job}): {one.kind} was refused: {one.said}")
    acknowledged = [one for one in done if one.result == "ok"]
    ids = {one.job for one in acknowledged if one.job is not None} | {job.id for job in jobs}
    if len(ids) > 1:
        extra = sum(len(job.rows) or 1 for job in jobs) - max((len(job.rows) for job in jobs), default=0)
        verdict.add("doubled", max(1, extra), f"{name}: one submit made the jobs {sorted(ids)}")
        return
    deleted = [one for one in done if one.kind == "delete" and one.result != "refused"]
    if any(one.result == "ok" for one in deleted):
        verdict.add("wrong", len(jobs), f"{name}: job {sorted(ids)} was deleted, and is there")
        job = next((seen[one] for one in ids if one in seen), None)
        if job is None:
            return
    elif jobs:
        job = jobs[0]
    else:
        if deleted and ids & seen.keys():
            _check_documents(verdict, seen[ids.pop()], done)
            return
        missing = sum(len(one.documents) for one in acknowledged)
        submitted = [one for one in acknowledged if one.kind == "submit"]
        verdict.add("lost", missing or len(submitted), f"{name}: job {sorted(ids)} is gone")
        return
    _check_documents(verdict, job, done)
    _check_shown(verdict, job, done)


def _may_be_refused(one: Operation, done: Sequence[Operation]) -> bool:
    """Because of the job's state (409): where it may run again, or have grown by what nobody answered: whoever had
    given up waiting may still be at it."""
    grows = one.kind == "append" and any(other.kind == "append" and other.result == "unknown" for other in done)
    return one.said.startswith("409") and (one.kind in ("retry", "delete") or grows)


def _check_documents(verdict: Verdict, job: Found, done: Sequence[Operation]) -> None:
    """Each document's outcomes, and the counts."""
    rows = Rows(job.rows)
    cancellable = any(one.kind == "cancel" and one.result != "refused" for one in done)
    where = f"{job.name} (job {job.id}, {job.state})"
    for operation in _in_order(done):
        first = rows.first(operation)
        there = [(doc, rows.take(doc, first, number)) for number, doc in enumerate(operation.documents)]
        missing = sum(not outcomes for _, outcomes in there)
        if operation.result == "ok":
            verdict.outcomes += sum(len(outcomes) == 1 for _, outcomes in there)
            category = "lost" if job.state in ENDED_STATES else "stuck"
            verdict.add(category, missing, f"{where}: {missing} of {len(there)} acknowledged documents have no outcome")
        elif operation.result == "refused":
            present = len(there) - missing
            verdict.add("wrong", present, f"{where}: {present} documents are there whose {operation.kind} was refused")
        elif 0 < missing < len(there) and job.state in ENDED_STATES:
            verdict.add("lost", missing, f"{where}: {missing} of {len(there)} are missing of an unanswered operation")
        for doc, outcomes in there:
            verdict.add("doubled", max(0, len(outcomes) - 1), f"{where}: {doc.text[:40]!r} has outcomes {outcomes}")
            for row in outcomes[:1]:
                _check_outcome(verdict, where, job, doc, row, cancellable)
    for row in _surplus(rows.left(), done):
        known = row.text in {doc.text for one in done for doc in one.documents}
        verdict.add("doubled" if known else "wrong", 1, f"{where}: {row} is of no operation")
    tally = Counter(row.state for row in job.rows)
    counted = {state: job.counts[state] for state in ("succeeded", "failed", "cancelled")}
    if job.state in ENDED_STATES and counted != {state: tally[state] for state in counted}:
        verdict.add("wrong", 1, f"{where}: it counts {counted}, its results {dict(tally)}")


def _surplus(left: Sequence[Row], done: Sequence[Operation]) -> list[Row]:
    """Outcomes that were sent by nobody, or sent once and stored twice.

    Of an unanswered operation whose documents have no ids and were all cancelled nothing can be seen: so many may be.
    """
    unknown = sum(len(one.documents) for one in done if one.first is None and one.result == "unknown")
    textless = [row for row in left if row.text is None]
    return [row for row in left if row.text is not None] + textless[unknown:]


def _in_order(done: Iterable[Operation]) -> list[Operation]:
    """Those whose documents have known places first: the others' are looked for among what is left."""
    return sorted((one for one in done if one.documents), key=lambda one: one.first is None)


def _check_outcome(verdict: Verdict, where: str, job: Found, doc: Doc, row: Row, cancellable: bool) -> None:
    code = expected_code(doc.text)
    if row.state == "cancelled":
        verdict.add("wrong", int(not cancellable), f"{where}: {row} was cancelled by nobody")
    elif row.state == "failed":
        if row.code != code:
            category = "innocent_failures" if code is None else "wrong"
            verdict.add(category, 1, f"{where}: {row.id} failed as {row.code}, not {code}")
    elif code is not None or not same(row.output, _answer(verdict, job, doc.text)):
        verdict.add("wrong", 1, f"{where}: {row.id} became {row.output}, and was {doc.text!r}")


def _answer(verdict: Verdict, job: Found, text: str) -> Mapping[str, Any] | None:
    return ECHO[job.task](text) if job.model == "echo" else verdict.answers.get((job.task, text))


def same(one: Any, other: Any) -> bool:
    """Whether two outputs are equal, scores to four digits."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-5)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def _check_shown(verdict: Verdict, job: Found, done: Sequence[Operation]) -> None:
    """A job that was shown as ended stays so, unless it was retried afterwards."""
    acknowledged = [one.ended for one in done if one.kind == "retry" and one.result == "ok"]
    # One that nobody answered may be done at any time.
    retries = acknowledged + [math.inf for one in done if one.kind == "retry" and one.result == "unknown"]
    for one in done:
        if one.shown is None or one.shown["state"] not in ENDED_STATES or any(end > one.began for end in retries):
            continue
        then = (one.shown["state"], *(one.shown["counts"][state] for state in ("succeeded", "failed", "cancelled")))
        at_last = (job.state, *(job.counts[state] for state in ("succeeded", "failed", "cancelled")))
        if then != at_last:
            verdict.add("wrong", 1, f"{job.name} (job {job.id}): {one.kind} showed {then}, and it is {at_last}")


class Rows:
    """The outcomes of a job, each of which is of one document."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._left = dict(enumerate(rows))
        self._by_id: dict[str, list[int]] = defaultdict(list)
        self._by_text: dict[str, list[int]] = defaultdict(list)
        for number, row in self._left.items():
            self._by_id[row.id].append(number)
            if row.text is not None:
                self._by_text[row.text].append(number)

    def first(self, operation: Operation) -> int | None:
        """The position of the operation's first document: as it was told, or as any document of it shows."""
        if operation.first is not None:
            return operation.first
        for number, doc in enumerate(operation.documents):
            for one in self._by_text[doc.text] if doc.id is None else self._by_id[doc.id]:
                if one in self._left:
                    return self._left[one].position - number
        return None

    def take(self, doc: Doc, first: int | None, number: int) -> list[Row]:
        """The outcomes of a document, each of which is taken once. It has an id, or its place: so many after the first
        of its operation."""
        if doc.id is not None:
            return self._taken(self._by_id[doc.id])
        return [] if first is None else self._taken(self._by_id[str(first + number)])

    def _taken(self, numbers: Sequence[int]) -> list[Row]:
        return [self._left.pop(one) for one in numbers if one in self._left]

    def left(self) -> list[Row]:
        """What nobody took."""
        return list(self._left.values())
