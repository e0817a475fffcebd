"""The lease keeper: one thread that renews all leases of the process and hears which of them are gone.

A thread of its own, because Celery's timers stop during a warm shutdown, when leases matter most.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping

from sqlalchemy.exc import SQLAlchemyError

from store import leases, workers
from store.faults import brief
from store.leases import Lease
from store.session import Store
from store.workers import WorkerRow
from textmill.errors import LeaseLost, TextmillError
from workers.engine.ticket import Ticket

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""Between two looks at what is told at once: a model's first speed and one that has changed much, since shards are cut
by it, and that the process drains, since what is released for it would wait for others."""

MUCH = 1.5
"""A factor by which a speed, or what fills a batch, has changed much."""


class Keeper:
    """Renews every third of a lease's time, and sends the worker's heartbeat.

    `overdue()`: while true, nothing is renewed: a hung engine must not keep its shards. `resident()`, `load()`,
    `speeds()`, `failed()`, `filled()`, `draining()`, `batches()`: what the heartbeat tells.
    """

    def __init__(
        self,
        store: Store,
        worker: WorkerRow,
        overdue: Callable[[], bool],
        resident: Callable[[], list[str]],
        load: Callable[[], float],
        speeds: Callable[[], Mapping[str, float]] = dict,
        failed: Callable[[], list[str]] = list,
        filled: Callable[[], tuple[int, int]] = lambda: (0, 0),
        draining: Callable[[], bool] = lambda: False,
        batches: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        self._store = store
        self._worker = worker
        self._overdue = overdue
        self._resident = resident
        self._load = load
        self._speeds = speeds
        self._told: list[Mapping[str, float]] = []
        """The speeds, and what fills the batches, that the ledger knows from this process."""
        self._failed = failed
        self._filled = filled
        self._draining = draining
        self._told_draining = False
        self._batches = batches
        self._lock = threading.Lock()
        self._held: dict[str, tuple[Lease, Ticket]] = {}
        self._renewed: dict[str, Callable[[float], None]] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def hold(self, lease: Lease, ticket: Ticket, renewed: Callable[[float], None]) -> None:
        """Keep the lease alive; `ticket` is stopped when it is gone. `renewed` hears when the renewing call began."""
        with self._lock:
            self._held[lease.token] = (lease, ticket)
            self._renewed[lease.token] = renewed

    def drop(self, lease: Lease) -> None:
        """The shard is done, or handed back."""
        with self._lock:
            self._held.pop(lease.token, None)
            self._renewed.pop(lease.token, None)

    def held(self) -> list[tuple[Lease, Ticket]]:
        """All leases of this process."""
        with self._lock:
            return list(self._held.values())

    def start(self) -> None:
        """Register the worker and start the thread."""
        self._store.write(workers.register, self._worker)
        self._thread.start()

    def stop(self, timeout: float = 5) -> None:
        """End the thread and strike the worker off the registry."""
        self._stopped.set()
        self._thread.join(timeout)
        try:
            self._store.write(workers.unregister, self._worker.id)
        except (TextmillError, SQLAlchemyError) as error:
            log.info("the registry forgets this worker by itself: %s", brief(error))

    def beat(self) -> None:
        """Renew and report, once."""
        held = self.held()
        if self._overdue():
            log.warning("the engine is overdue: %d leases are not renewed", len(held))
            return
        began = time.monotonic()
        kept = self._store.write(leases.renew, self._worker.id, [lease.token for lease, _ in held]) if held else set()
        for lease, ticket in held:
            if lease.token not in kept:
                # Cancelled, or lost. A shard that ended between the two lines above is stopped too, which hurts nobody.
                self.drop(lease)
                ticket.stop(LeaseLost())
            elif renewed := self._renewed.get(lease.token):
                renewed(began)
        self.report()

    def report(self) -> None:
        """Tell the registry how things are."""
        speeds, draining, batches = self._speeds(), self._draining(), self._batches()
        told = (self._resident(), self._load(), speeds, self._failed(), self._filled(), draining, batches)
        if self._store.write(workers.heartbeat, self._worker.id, *told):
            self._told, self._told_draining = [speeds, batches], draining
        else:
            # The row begins without speeds, as of one that takes shards: the next look tells what is so.
            self._store.write(workers.register, self._worker)
            self._told, self._told_draining = [], False

    def _has_news(self) -> bool:
        """Whether there is something to tell that does not wait for the next heartbeat."""
        speeds, batches = self._told or ({}, {})
        return (
            _differ(self._speeds(), speeds)
            or _differ(self._batches(), batches)
            or self._draining() != self._told_draining
        )

    def _run(self) -> None:
        pause = min(self._store.settings.lease_seconds, self._store.settings.worker_timeout_seconds) / 3
        due = time.monotonic()
        while not self._stopped.wait(max(0.0, min(LOOK_SECONDS, due - time.monotonic()))):
            if time.monotonic() < due and not self._has_news():
                continue
            try:
                self.beat()
                due = time.monotonic() + pause
            except (TextmillError, SQLAlchemyError) as error:
                log.warning("leases could not be renewed, trying again: %s", brief(error))
                due = time.monotonic() + min(1.0, pause)


def _differ(now: Mapping[str, float], told: Mapping[str, float]) -> bool:
    """Whether a number is new, or has changed much."""
    return any(
        model not in told or not told[model] / MUCH <= number <= told[model] * MUCH for model, number in now.items()
    )
