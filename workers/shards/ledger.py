"""One leased shard in the ledger. Each method is one transaction, and the publishing that follows its commit."""

from collections.abc import Sequence

from store import leases
from store.bulk import DocumentOutcome
from store.dispatcher import Dispatcher
from store.leases import Lease, Text
from store.session import Store


class Ledger:
    """A worker's view of the shard that it holds. Every write raises LeaseLost once the shard is no longer its own."""

    def __init__(self, store: Store, dispatcher: Dispatcher, lease: Lease) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self.lease = lease

    @property
    def max_attempts(self) -> int:
        """How often a document may take its worker down, alone."""
        return self._store.settings.max_attempts

    def undecided(self, after: int, limit: int) -> list[Text]:
        """The next documents without an outcome, at positions above `after`."""
        return self._store.read(leases.undecided, self.lease, after, limit)

    def attempt(self, position: int) -> int:
        """Note that a document is about to run in single file; the attempt's number, from 1."""
        return self._store.write(leases.attempt, self.lease, position)

    def settle(self, outcomes: Sequence[DocumentOutcome], close: bool) -> None:
        """Commit outcomes; `close` when the shard is finished."""
        settled = self._store.write(leases.settle, self.lease, outcomes, close)
        self._dispatcher.publish(settled.released)

    def release(self) -> None:
        """Hand the shard back to the queue."""
        self._dispatcher.publish(self._store.write(leases.release, self.lease))

    def fail_job(self, code: str, message: str) -> None:
        """Record that the job's model is at fault."""
        self._store.write(leases.fail_job, self.lease, code, message)
