"""A worker process put together: engine, keeper, dispatcher, sweeper, and how they start, drain and end.

Knows nothing of Celery but the app that it publishes with. Made by the first bootstep of `workers/app.py`.
"""

import functools
import logging
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Sequence

from celery import Celery
from sqlalchemy.exc import SQLAlchemyError

from store import leases, logs, workers
from store.catalogue import Catalogue
from store.dispatcher import Dispatcher
from store.faults import brief
from store.leases import Lease
from store.session import Store
from store.sweep import Sweeper
from store.traces import Traces
from store.workers import WorkerRow
from textmill.errors import Draining, TextmillError
from workers import metrics
from workers.ahead import ImportAhead
from workers.compute import Compute
from workers.engine.pile import Waiting
from workers.engine.ticket import Ticket
from workers.engine.watchdog import Watchdog
from workers.faults import EXIT_HUNG, EXIT_OVERDUE
from workers.launcher.gpus import describe_device
from workers.launcher.machine import machine
from workers.settings import WorkerSettings
from workers.shards.keeper import Keeper
from workers.shards.ledger import Ledger
from workers.shards.patience import Patience
from workers.shards.progress import Progress
from workers.shards.run import ShardRun
from workers.shards.serving import Serving

log = logging.getLogger(__name__)

LAST_WORDS_SECONDS = 10
"""A process that must end tries this long to hand shards back; then it ends all the same."""


class DeviceProcess:
    """Everything in a worker process but Celery's consumer and pool. Constructing it opens nothing."""

    def __init__(
        self,
        settings: WorkerSettings,
        store: Store,
        catalogue: Catalogue,
        models: tuple[str, ...],
        app: Celery,
        consume: Callable[[str, bool], None],
        traces: Traces,
    ) -> None:
        self._settings = settings
        self._traces = traces
        self._store = store
        device = describe_device(settings.device)
        self.drain_requested = threading.Event()
        """Set by the signal handler, which does nothing else."""
        self.consuming_ended = threading.Event()
        """Set when Celery takes no more messages: what is published from then on goes to other processes."""
        self._drained = threading.Event()
        self.worker = WorkerRow(
            str(uuid.uuid4()), socket.gethostname(), os.getpid(), device, models, settings.concurrency, machine()
        )
        self.dispatcher = Dispatcher(app)
        self._patience = Patience()
        self._sweeper = Sweeper(store, self.dispatcher)
        self._compute = Compute(settings, catalogue, device, self._not_loaded, traces)
        self._ahead = ImportAhead(models, self._compute.make)
        self._progress = Progress(settings.progress_seconds, settings.load_deadline_seconds + settings.progress_seconds)
        self._watchdogs = (
            Watchdog("watchdog", self._compute.watch, self._overdue),
            Watchdog("progress", self._progress, lambda hung: self._end_without(hung, EXIT_HUNG)),
        )
        self._keeper = self._make_keeper()
        self._serving = Serving(
            lambda model: store.read(workers.others_serve, self.worker.id, model),
            self._keeper.report,
            consume,
            settings.model_retry_seconds,
            settings.model_unavailable_seconds,
        )
        metrics.CONNECTIONS.set_function(lambda: store.connections)

    def _make_keeper(self) -> Keeper:
        compute = self._compute
        return Keeper(
            self._store,
            self.worker,
            overdue=lambda: compute.watch.overdue,
            resident=compute.resident,
            load=compute.engine.throughput.load,
            filled=compute.engine.throughput.filled,
            speeds=compute.inbox.speeds,
            failed=lambda: self._serving.failed,
            draining=self.drain_requested.is_set,
            batches=compute.batches,
        )

    def start(self) -> None:
        """Start the threads. What an earlier process of this machine with this pid held is taken over first.

        Waits for a database that is away. Raises Unavailable where a signal asks for the end meanwhile.
        """
        threading.Thread(target=self._drain_when_asked, name="drain", daemon=True).start()
        self._traces.start()
        self.dispatcher.start()
        expire = functools.partial(self._store.write, leases.expire_process, self.worker.machine, self.worker.pid)
        self.dispatcher.publish(self._patience.persist(expire).released)
        self._compute.engine.start()
        for watchdog in self._watchdogs:
            watchdog.start()
        self._patience.persist(self._keeper.start)
        self._serving.start()
        self._sweeper.start()
        log.info("worker %s on %s serves %s", self.worker.id, self.worker.device, ", ".join(self.worker.models))

    def ready(self) -> None:
        """Messages are being taken. May be called again, when they are taken again."""
        self._ahead.start()

    def stop(self) -> None:
        """End the threads, when no task is running any more."""
        self._drained.set()
        self.drain_requested.set()
        for watchdog in self._watchdogs:
            watchdog.stop()
        in_time = self._compute.engine.stop(timeout=1)
        self._sweeper.stop()
        self._serving.stop()
        self._keeper.stop()
        self.dispatcher.stop()
        self._store.close()
        self._traces.stop()
        if not in_time or self._ahead.running:
            # A pass or an import is going on and nobody waits for it; a thread inside a device driver would crash the
            # interpreter's own way out.
            log.info("ending in the middle of %s", "an import" if in_time else "a pass")
            os._exit(0)

    def run_shard(self, shard_id: int) -> str:
        """Process one shard, if it is there to be had. Returns what became of it, for Flower."""
        # The message is popped already: waiting here for a database that is away keeps the slot from popping another.
        began = time.time_ns()
        token = uuid.uuid4().hex  # the same for all tries: one may be done, and its answer lost
        lease = self._patience.persist(lambda: self._store.write(leases.claim, shard_id, self.worker.id, token))
        if lease is None:
            return "nothing to do"
        ledger = Ledger(self._store, self.dispatcher, lease, self._patience, self._traces)
        compute = self._compute
        run = ShardRun(ledger, compute.inbox, compute.residency, self._settings, self._serving, self._progress)
        self._keeper.hold(lease, run.ticket, ledger.renewed)
        try:
            with logs.about(job=lease.job, shard=shard_id), self._traces.shard(lease, began) as run.ticket.trace:
                return run.run()
        finally:
            self._keeper.drop(lease)

    def _not_loaded(self, model: str) -> None:
        self._serving.failure(model)

    def _drain_when_asked(self) -> None:
        self.drain_requested.wait()
        if self._drained.is_set():
            return
        self._patience.give_up()
        log.info("draining: shards in work may finish for %.0f s", self._settings.drain_seconds)
        if self._drained.wait(self._settings.drain_seconds):
            return
        self.consuming_ended.wait(LAST_WORDS_SECONDS)
        held = self._keeper.held()
        log.info("drain time is over: handing back %d shards", len(held))
        self._compute.inbox.drain()
        for _, ticket in held:
            ticket.stop(Draining())

    def _overdue(self, batch: Sequence[Waiting]) -> None:
        """The engine hangs: for the shards in its batch it is a loss."""
        self._end_without({waiting.owner for waiting in batch}, EXIT_OVERDUE)

    def _end_without(self, at_fault: set[Ticket], code: int) -> None:
        """Hand back, with no loss, the shards that are not at fault, and end."""
        threading.Timer(LAST_WORDS_SECONDS, os._exit, (code,)).start()
        # A free slot of this very process would take the messages that follow, and die with them.
        os.kill(os.getpid(), signal.SIGTERM)
        self.consuming_ended.wait(LAST_WORDS_SECONDS / 2)
        for lease, ticket in self._keeper.held():
            if ticket in at_fault:
                self._keeper.drop(lease)  # renewed no more, if the time for the others is short
            else:
                self._hand_back(lease)
        self.dispatcher.stop(timeout=2)
        self._traces.stop(seconds=1)
        os._exit(code)

    def _hand_back(self, lease: Lease) -> None:
        try:
            self.dispatcher.publish(self._store.write(leases.release, lease))
        except (TextmillError, SQLAlchemyError) as error:
            log.warning("shard %d could not be handed back, its lease runs out: %s", lease.shard_id, brief(error))
