"""Flower over Textmill's queue: `python -m standalone.flower`. Its options come from the environment (`FLOWER_...`).

Flower's own entry needs a Celery app in a module, which would read settings when imported, or the worker's app, which
would bring the engine along. Here the app is made when the process starts.
"""

import os

from kombu import Queue
from kombu.utils.url import parse_url

from store.catalogue import load
from store.queue import celery_app, queue_name
from store.settings import StoreSettings


def main() -> None:
    """Run Flower until SIGTERM."""
    if not os.environ.get("FLOWER_BASIC_AUTH"):
        raise SystemExit("FLOWER_BASIC_AUTH=user:password is not set: Flower can end workers, so it is never run open")
    # By default 100,000 tasks, and it is loopback unless somebody means otherwise.
    os.environ.setdefault("FLOWER_MAX_TASKS", "10000")
    os.environ.setdefault("FLOWER_ADDRESS", "127.0.0.1")
    settings = StoreSettings()
    app = celery_app(settings.redis_url)
    # For its page of queues Flower makes a connection of its own, and there reads no options of TLS from the URL.
    app.conf.broker_use_ssl = parse_url(settings.redis_url).get("ssl")
    # Where that page knows no queues from the workers it shows these; without them, Celery's default one alone.
    app.conf.task_queues = [Queue(queue_name(model)) for model in load(settings.catalogue).entries]
    app.start(["flower"])


if __name__ == "__main__":
    main()
