"""How Celery takes messages: over which connection, and of which models, which any thread may change meanwhile.

Celery's own remote control would send a message to every worker through Redis; this is about one process.
"""

import threading
from typing import Any, Self

import kombu

from store.queue import queue_name

RECONNECT_PAUSES = {"interval_start": 0.5, "interval_step": 0.5, "interval_max": 3}
"""Seconds between two tries to reach Redis: at first, more each time, at most."""

HEARD_SECONDS = 2.0
"""How long a change is waited for: the loop looks at least once a second, unless Redis is away."""


class Connection(kombu.Connection):
    """kombu's, which tries a Redis that is away ever more seldom, at last every 30 s: it would go unnoticed for so long
    that Redis is back. No setting of Celery's says otherwise."""

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Self:
        """Connect, as often as it takes."""
        super().ensure_connection(*args, **(RECONNECT_PAUSES | kwargs))
        return self


class Consuming:
    """The queues of one Celery worker."""

    def __init__(self, worker: Any) -> None:
        self._worker = worker

    def change(self, model: str, on: bool) -> None:
        """Take the model's messages from now on, or no more. Waits until the loop has done it, for a bounded time."""
        if self._worker.hub is None or self._worker.consumer is None:  # before the start
            self._select(model, on)
            return
        done = threading.Event()

        def change() -> None:
            self._select(model, on)
            done.set()

        self._worker.hub.call_soon(change)
        done.wait(HEARD_SECONDS)

    def _select(self, model: str, on: bool) -> None:
        consumer = self._worker.consumer
        queues = self._worker.app.amqp.queues
        name = queue_name(model)
        if consumer is not None and consumer.task_consumer is not None:
            (consumer.add_task_queue if on else consumer.cancel_task_queue)(name)
        elif on:  # while Redis is away: the next connection takes what is selected
            queues.select_add(queues[name])
        else:
            queues.deselect(name)
