"""A leased shard's way through this process: prepare, submit, collect, assemble, settle.

Runs in a Celery task thread. The thread prepares documents as long as the shard has credit with the inbox, and
assembles what has come back whenever it has not: so the first batch runs while later documents are still tokenized.
"""

import logging
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, Protocol

from store.bulk import DocumentOutcome
from store.faults import brief
from store.leases import Text
from textmill.errors import (
    Draining,
    LeaseLost,
    ModelError,
    ModelUnavailable,
    ProcessingFailed,
    TextmillError,
    Unavailable,
    WorkerLost,
    unreadable,
)
from workers.engine.inbox import Inbox
from workers.engine.pile import Waiting
from workers.engine.residency import Residency
from workers.engine.ticket import Ticket
from workers.runner import Item, ModelRunner, Outcome, Plan, Prepared, bound
from workers.shards.ledger import Ledger
from workers.shards.outcomes import failed, succeeded
from workers.shards.progress import Progress
from workers.shards.serving import Serving

log = logging.getLogger(__name__)

READ = 500
"""Documents read in one transaction. Shards are sized by characters, so their texts fit in memory."""

PREPARE = 64
"""Documents prepared before what came back is looked at."""


class Pace(Protocol):
    """How much a shard may have with the engine, and how often it stores results (fields of WorkerSettings)."""

    @property
    def credit_tokens(self) -> int: ...
    @property
    def settle_seconds(self) -> float: ...
    @property
    def settle_documents(self) -> int: ...
    @property
    def progress_seconds(self) -> float: ...


class _Document:
    """A document between its first preparation and its outcome."""

    __slots__ = ("characters", "decided", "missing", "of_a_token", "outputs", "position", "prepared", "tokens")

    def __init__(self, position: int, characters: int) -> None:
        self.position = position
        self.characters = characters
        self.decided = False
        self.of_a_token = 0.0
        """Characters that a token of its items stands for: those of the first round are the text."""
        self.tokens = 0
        """Tokens of the text: those of the first round."""

    def begin(self, prepared: Prepared) -> None:
        self.prepared = prepared
        self.missing = len(prepared.items)
        self.outputs: list[Any] = [None] * self.missing
        is_first = not self.tokens
        self.tokens = self.tokens or prepared.input_tokens
        lengths = sum(item.length for item in prepared.items) if is_first else 0
        self.of_a_token = self.characters / lengths if lengths else 0.0


class ShardRun:
    """One shard under one lease. By its `ticket` others stop it: the keeper with LeaseLost, the drain with Draining."""

    def __init__(
        self,
        ledger: Ledger,
        inbox: Inbox,
        residency: Residency,
        pace: Pace,
        serving: Serving,
        progress: Progress | None = None,
    ) -> None:
        self._ledger = ledger
        self._inbox = inbox
        self._residency = residency
        self._pace = pace
        self._serving = serving
        self._progress = progress or Progress(pace.progress_seconds, pace.progress_seconds)
        lease = ledger.lease
        self.ticket: Ticket = inbox.ticket(
            lease.model, pace.credit_tokens, key=lease.key_id, job=lease.job_id, priority=lease.priority
        )
        self._runner: ModelRunner
        self._plan: Plan
        self._open: dict[int, _Document] = {}
        """The documents that have begun and have no outcome yet, by position: the only count of them there is."""
        self._backlog: deque[tuple[Item, Any]] = deque()
        """Items that are prepared and not yet submitted."""
        self._done: list[DocumentOutcome] = []
        self._settled_at = time.monotonic()
        self._job_failed = False
        self._succeeded = self._failed = 0

    def run(self) -> str:
        """Decide every document of the shard, unless it is stopped. Returns what became of it, in words.

        A lease that is lost, or a worker that drains, is no error. Raises what the database keeps raising.
        """
        try:
            lease = self._ledger.lease
            try:
                with self._progress.step(self.ticket, "open"):
                    self._runner, self._plan = bound(self._residency.open, lease.model, lease.task, lease.options)
                self.ticket.model = self._runner.name
            except TextmillError as error:
                self._fail_all(error)  # not to be had, or, after a change of the catalogue, not with these options
            else:
                self._run_single_file() if lease.single_file else self._run_together()
            self._settle(close=True)
            if self._succeeded:
                self._serving.success(lease.model)
        except ModelUnavailable as error:
            log.info("shard %d: handing it back: %s", self._ledger.lease.shard_id, error.message)
            self._hand_back()
            return "handed back: this worker cannot load the model"
        except LeaseLost:
            log.info("shard %d: the lease is gone, stopping", self._ledger.lease.shard_id)
            return "lease lost or job cancelled"
        except Draining:
            log.info("shard %d: draining, handing it back", self._ledger.lease.shard_id)
            self._hand_back()
            return "handed back"
        except BaseException:
            # A database that stays away, or a bug. Handing back counts no loss: the documents are not to blame.
            self._hand_back()
            raise
        finally:
            self._inbox.drop(self.ticket)
        return f"{self._succeeded} succeeded, {self._failed} failed"

    def _run_together(self) -> None:
        texts = self._texts()
        more = True
        while True:
            while more and not self._backlog and self.ticket.room:
                more = self._prepare_some(texts)
                self._submit()
            self._submit()
            if self._due():
                self._settle(close=False)
            if not self._open and not more:
                return
            if self._open or not self.ticket.room:
                for waiting in self._collect(self._until_due()):
                    self._take(waiting)

    def _run_single_file(self) -> None:
        """Rule 9 of the ledger: one document at a time, nothing else in the forward pass, settled before the next."""
        for text in self._texts():
            with self._inbox.single_file(self.ticket):
                attempt = self._ledger.attempt(text.position)
                document = self._begin(text)
                if attempt > self._ledger.max_attempts:
                    self._decide(document, WorkerLost(), attempt - 1)
                else:
                    self._backlog.clear()  # of a document that failed before all its items were out
                    self._prepare(document, text, attempt)
                    while self._open:
                        self._submit()
                        for waiting in self._collect(None):
                            self._take(waiting, attempt)
                # Before another shard in single file may run: if that one kills the process, this one is innocent.
                self._settle(close=False)

    def _texts(self) -> Iterator[Text]:
        after, last = -1, self._ledger.lease.last
        # Not until nothing comes: a small shard's one text would wait for the answer that there are no more.
        while after < last and (texts := self._ledger.undecided(after, READ)):
            yield from texts
            # Fewer than were asked for: those are all.
            after = texts[-1].position if len(texts) == READ else last

    def _prepare_some(self, texts: Iterator[Text]) -> bool:
        """Prepare a few documents; False where there are no more."""
        for _ in range(PREPARE):
            if (text := next(texts, None)) is None:
                return False
            self._prepare(self._begin(text), text)
        return True

    def _begin(self, text: Text) -> _Document:
        document = self._open[text.position] = _Document(text.position, text.characters)
        return document

    def _prepare(self, document: _Document, text: Text, attempt: int = 1) -> None:
        if reason := text.fields.get("unreadable"):
            self._decide(document, unreadable(**reason), attempt)
            return
        try:
            with self._progress.step(self.ticket, "prepare"):
                prepared = self._plan.prepare(text.text, text.fields)
        except Exception as error:  # noqa: BLE001 - a boundary: whatever a model raises is the document's outcome
            self._decide(document, _verdict(error, "prepared"), attempt)
        else:
            self._next_round(document, prepared, attempt)

    def _next_round(self, document: _Document, prepared: Prepared, attempt: int) -> None:
        document.begin(prepared)
        if prepared.items:
            self._backlog += [(item, (document, place)) for place, item in enumerate(prepared.items)]
        else:
            self._assemble(document, attempt)

    def _submit(self) -> None:
        """Give the inbox as much of the backlog as there is credit for, and always something where nothing is out."""
        while self._backlog and self.ticket.room:
            self.ticket.submit([self._backlog.popleft() for _ in range(min(len(self._backlog), PREPARE))])

    def _collect(self, timeout: float | None) -> list[Waiting]:
        """What has come back, waiting for it so long; None: for as long as the engine has work.

        Raises RuntimeError where the engine has none and nothing has come: then nothing ever would.
        """
        if timeout is not None:
            return self.ticket.collect(timeout)
        while True:
            if came := self.ticket.collect(self._pace.progress_seconds):
                return came
            if self._inbox.idle:  # so whatever was out has been answered
                if came := self.ticket.collect(0):
                    return came
                raise RuntimeError("items of the shard are out, and the engine has none of them")

    def _take(self, waiting: Waiting, attempt: int = 1) -> None:
        """An item has come back."""
        document, place = waiting.place
        if document.decided:
            return  # another item of it has failed
        if isinstance(waiting.result, TextmillError):
            self._decide(document, waiting.result, attempt)
            return
        document.outputs[place] = waiting.result
        document.missing -= 1
        if not waiting.shared:  # the model would seem so fast that too much is released of what comes next
            self.ticket.answered(document.of_a_token * waiting.item.length)
        if not document.missing:
            self._assemble(document, attempt)

    def _assemble(self, document: _Document, attempt: int) -> None:
        try:
            with self._progress.step(self.ticket, "assemble"):
                assembled = self._plan.assemble(document.prepared, document.outputs)
        except Exception as error:  # noqa: BLE001 - as above
            self._decide(document, _verdict(error, "assembled"), attempt)
            return
        if isinstance(assembled, Prepared):
            self._next_round(document, assembled, attempt)
        else:
            self._decide(document, assembled, attempt)

    def _decide(self, document: _Document, verdict: Outcome | TextmillError, attempt: int = 1) -> None:
        if isinstance(verdict, ModelUnavailable):
            self._leave_to_others(verdict)
        document.decided = True
        position = document.position
        del self._open[position]
        if isinstance(verdict, Outcome):
            self._done.append(succeeded(position, verdict, self._runner, attempt))
            return
        if isinstance(verdict, ModelError | ModelUnavailable):
            self._fail_job(verdict)
        self._done.append(failed(position, verdict, document.tokens, attempt))

    def _leave_to_others(self, error: ModelUnavailable) -> None:
        """The model cannot be had here. Raises the error, unless no live worker has been able to serve it for long."""
        model = self._ledger.lease.model
        self._serving.failure(model)
        if not self._serving.unavailable(model):
            raise error

    def _fail_all(self, error: TextmillError) -> None:
        if isinstance(error, ModelUnavailable):
            self._leave_to_others(error)
        self._fail_job(error)
        for text in self._texts():
            self._done.append(failed(text.position, error, 0, 1))

    def _fail_job(self, error: TextmillError) -> None:
        if not self._job_failed:
            self._job_failed = True
            self._ledger.fail_job(error.code, error.message)

    def _due(self) -> bool:
        return bool(self._done) and (len(self._done) >= self._pace.settle_documents or self._until_due() == 0)

    def _until_due(self) -> float | None:
        """Seconds until what is done should be stored; None where nothing is."""
        return max(0.0, self._settled_at + self._pace.settle_seconds - time.monotonic()) if self._done else None

    def _settle(self, close: bool) -> None:
        self._ledger.settle(self._done, close, self.ticket.began)
        failed_now = sum(outcome.error_code is not None for outcome in self._done)
        self._failed += failed_now
        self._succeeded += len(self._done) - failed_now
        self._done = []
        self._settled_at = time.monotonic()

    def _hand_back(self) -> None:
        """Store what is done and release the rest, as far as the lease and the database allow it."""
        lease = self._ledger.lease
        try:
            if self._done:
                self._settle(close=False)
            self._ledger.release()
        except LeaseLost:
            log.info("shard %d: the lease is gone", lease.shard_id)
        except Unavailable as error:
            log.warning("shard %d cannot be handed back: its lease runs out: %s", lease.shard_id, brief(error))
        except Exception:
            log.warning("shard %d could not be handed back: its lease runs out", lease.shard_id, exc_info=True)


def _verdict(error: Exception, what: str) -> TextmillError:
    """What an exception from `prepare` or `assemble` makes of the document."""
    if isinstance(error, TextmillError):
        return error
    log.error("a document could not be %s", what, exc_info=error)
    return ProcessingFailed(f"the document could not be {what}: {type(error).__name__}: {error}"[:500])
