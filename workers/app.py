"""The worker's Celery app: `celery -A workers.app worker` starts a worker process, `python -m workers` one per device.

The only module that reads settings when it is imported, because that is how Celery finds an app. It opens nothing
then: the process behind it (`workers/process.py`) is made by a bootstep, and starts with the worker.
"""

import logging
import math
import os
import time
from typing import Any

from celery import bootsteps, signals
from celery.worker import state
from celery.worker.worker import WorkController

from store import catalogue as catalogues
from store import logs, traces
from store.queue import celery_app, queue
from store.session import Store
from store.settings import StoreSettings
from workers import backends, metrics
from workers import celery_task as tasks
from workers.compute import names
from workers.consuming import Connection, Consuming
from workers.launcher.parent import end_with_parent
from workers.process import DeviceProcess
from workers.settings import WorkerSettings

FREED_SECONDS = 0.005
"""How soon after its task's end a slot is looked at again, where Celery has not given it back yet."""

settings = WorkerSettings()
store_settings = StoreSettings()
catalogue = catalogues.load(store_settings.catalogue)
if store_settings.echo:
    catalogue = catalogue.with_echo()
models = names(settings.models) or tuple(catalogue.entries)
for model in models:
    # What is in no list ends the process here, with that list: a model's name, and its backend's.
    if (backend := catalogue.get(model).backend) != "auto":
        backends.get(backend)

app = celery_app(store_settings.redis_url)
app.conf.update(
    # One queue for each model: a worker takes only what it serves.
    task_queues=[queue(model) for model in models],
    # Threads: the model's memory and the engine are shared by all slots, and fork does not go with CUDA.
    worker_pool="threads",
    worker_concurrency=settings.concurrency,
    # A message that waits inside this process is one that no other worker can have.
    worker_disable_prefetch=True,
    worker_prefetch_multiplier=1,
    # Flower lives on these.
    worker_send_task_events=settings.task_events,
    # Redis coming back must not cost the work in progress: leases say whose it is, not the connection.
    worker_cancel_long_running_tasks_on_connection_loss=False,
    # A Redis that takes no writes (out of memory, or unable to save) is waited for like one that is away: the loop
    # starts anew instead of ending the process.
    broker_channel_error_retry=True,
    # Prints are not log lines, and a library's progress bar is not a warning.
    worker_redirect_stdouts=False,
)
app.amqp.Connection = Connection
process: DeviceProcess | None = None


@signals.after_setup_logger.connect(weak=False)
@signals.after_setup_task_logger.connect(weak=False)
def _format(logger: logging.Logger, **_others: Any) -> None:
    # One format for both: Celery's own of tasks has fields that its own formatter alone fills in.
    text = app.conf.worker_log_format
    for handler in logger.handlers:
        handler.setFormatter(logs.formatter(store_settings.log_format, text, process="worker", pid=os.getpid()))


def run_shard(shard_id: int) -> str:
    """The task, on the process that the bootstep made."""
    assert process is not None, "a task came before the worker's own bootstep"
    return process.run_shard(shard_id)


tasks.register(app, run_shard)


class ProcessStep(bootsteps.StartStopStep):
    """The engine and all that belongs to it: starts before Celery's pool, stops after it."""

    def __init__(self, worker: WorkController, **options: Any) -> None:
        global process
        super().__init__(worker, **options)
        self.process = process = DeviceProcess(
            settings,
            Store(store_settings.database_url, store_settings),
            catalogue,
            models,
            app,
            Consuming(worker).change,
            traces.of(store_settings.traces, "worker"),
        )

    def include(self, worker: Any) -> None:
        """First in the list of steps: first to start, last to stop. `requires` cannot say "before the pool"."""
        self.obj = None
        worker.steps.insert(0, self)

    def start(self, worker: WorkController) -> None:
        end_with_parent()
        if settings.worker_metrics_port:
            metrics.serve(settings.worker_metrics_host, settings.worker_metrics_port)
        signals.worker_shutting_down.connect(self._shutting_down)
        signals.worker_ready.connect(self._ready)
        self.process.start()
        signals.task_postrun.connect(lambda task_id, **_: _wake_for(worker, task_id), weak=False)

    def stop(self, worker: WorkController) -> None:
        self.process.stop()

    def terminate(self, worker: WorkController) -> None:
        self.process.stop()

    def _ready(self, **_: Any) -> None:
        self.process.ready()

    def _shutting_down(self, **_: Any) -> None:
        # Called inside the signal's handler: an Event and nothing else.
        self.process.drain_requested.set()


class ConsumingEnded(bootsteps.StartStopStep):
    """Starts after the pool and stops before it, but after the consumer, which Celery always stops first."""

    requires = ("celery.worker.components:Pool",)

    def stop(self, worker: WorkController) -> None:
        assert process is not None
        process.consuming_ended.set()

    def terminate(self, worker: WorkController) -> None:
        self.stop(worker)


class Breather(bootsteps.StartStopStep):
    """Pauses before the consumer's loop starts anew, where it ended soon after its last start: by itself Celery tries
    some hundred times a minute."""

    shortest, longest = 0.25, 5.0

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self._pause = 0.0
        self._started = -math.inf

    def include(self, consumer: Any) -> None:
        """First in the list, before the connection is made."""
        self.obj = None
        consumer.steps.insert(0, self)

    def start(self, consumer: Any) -> None:
        assert process is not None
        soon = time.monotonic() - self._started < 2 * self.longest
        process.drain_requested.wait(self._pause if soon else 0.0)
        self._pause = min(self.longest, max(self.shortest, 2 * self._pause)) if soon else 0.0
        self._started = time.monotonic()


app.steps["worker"].add(ProcessStep)
app.steps["consumer"].add(Breather)
app.steps["worker"].add(ConsumingEnded)


def _wake_for(worker: Any, task_id: str) -> None:
    """Let the consumer look for a message now that a slot is free.

    With worker_disable_prefetch Celery notices it by itself only when an event is sent, or when its poll times out.
    """
    hub = worker.hub
    request = state.requests.get(task_id)
    if hub is not None and request is not None:
        hub.call_soon(_look, hub, request)


def _look(hub: Any, request: Any) -> None:
    # task_postrun comes a moment before Celery gives the slot back: look again until it has.
    if request in state.reserved_requests:
        hub.call_later(FREED_SECONDS, _look, hub, request)
