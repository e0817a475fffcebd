"""One leased shard in the ledger. Each method is one transaction, and the publishing that follows its commit."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

from store import leases
from store.bulk import DocumentOutcome
from store.dispatcher import Dispatcher
from store.hints import Ended
from store.leases import Lease, Text
from store.session import Store
from store.traces import Traces
from workers import metrics
from workers.shards.patience import Patience

T = TypeVar("T")


class Ledger:
    """A worker's view of the shard that it holds. Every write raises LeaseLost once the shard is no longer its own.

    While the database is away each method keeps trying, for as long as the lease can still be this worker's; then it
    raises Unavailable.
    """

    def __init__(
        self,
        store: Store,
        dispatcher: Dispatcher,
        lease: Lease,
        patience: Patience | None = None,
        traces: Traces | None = None,
    ) -> None:
        self._store = store
        self._traces = traces or Traces()
        self._dispatcher = dispatcher
        self._patience = patience or Patience()
        self._held_until = 0.0
        self.lease = lease
        self._claimed_at = time.monotonic()
        self.renewed(self._claimed_at)

    @property
    def max_attempts(self) -> int:
        """How often a document may take its worker down, alone."""
        return self._store.settings.max_attempts

    def renewed(self, at: float) -> None:
        """The lease was renewed by a call that began at this moment of the monotonic clock."""
        self._held_until = at + self._store.settings.lease_seconds

    def undecided(self, after: int, limit: int) -> list[Text]:
        """The next documents without an outcome, at positions above `after`."""
        return self._persist(lambda: self._store.read(leases.undecided, self.lease, after, limit))

    def attempt(self, position: int) -> int:
        """Note that a document is about to run in single file; the attempt's number, from 1."""
        return self._persist(lambda: self._store.write(leases.attempt, self.lease, position))

    def settle(self, outcomes: Sequence[DocumentOutcome], close: bool, began: float | None = None) -> None:
        """Commit outcomes; `close` when the shard is finished. began: when its first batch did, by the monotonic clock;
        None: none was needed."""
        with self._traces.settle(self.lease, len(outcomes), close):
            settled = self._persist(lambda: self._settle(outcomes, close))
        if settled.ended:
            self._dispatcher.hint([Ended(self.lease.job, self.lease.key_id)])
        self._dispatcher.publish(settled.released)
        self._count(outcomes, began)
        if close:
            seconds = time.monotonic() - self._claimed_at
            metrics.SHARD_SECONDS.labels(self.lease.task, self.lease.model).observe(seconds)

    def release(self) -> None:
        """Hand the shard back to the queue."""
        self._dispatcher.publish(self._persist(lambda: self._store.write(leases.release, self.lease)))

    def fail_job(self, code: str, message: str) -> None:
        """Record that the job's model is at fault."""
        self._persist(lambda: self._store.write(leases.fail_job, self.lease, code, message))

    def _settle(self, outcomes: Sequence[DocumentOutcome], close: bool) -> leases.Settled:
        began = time.monotonic()
        settled = self._store.write(leases.settle, self.lease, outcomes, close)
        self.renewed(began)
        return settled

    def _count(self, outcomes: Sequence[DocumentOutcome], began: float | None) -> None:
        lease = self.lease
        for outcome, documents in Counter(one.error_code or "succeeded" for one in outcomes).items():
            metrics.ENDED.labels(lease.task, lease.model, outcome).inc(documents)
        if lease.queued_seconds is not None and began is not None:
            waited = lease.queued_seconds + began - self._claimed_at
            metrics.WAIT.observe((lease.task, lease.model), max(0.0, waited), len(outcomes))
        if lease.age_seconds is not None:
            age = lease.age_seconds + time.monotonic() - self._claimed_at
            metrics.AGE.observe((lease.task, lease.model), age, len(outcomes))

    def _persist(self, call: Callable[[], T]) -> T:
        return self._patience.persist(call, until=lambda: self._held_until)
