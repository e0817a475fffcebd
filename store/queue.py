"""Celery settings that the api (which publishes) and the workers (which consume) share, each with its reason."""

from celery import Celery
from kombu import Exchange, Queue

RUN_SHARD = "textmill.run_shard"
"""The one task. It is sent by name, so that the api never imports the workers."""

PRIORITY = {"high": 0, "normal": 3, "low": 6}
"""Redis has no priorities: kombu keeps a list for each step and pops the lowest number first. Nothing is published as
`low` (`store/dispatcher.py`); its list is read for the messages of earlier releases."""

NORMAL = PRIORITY["normal"]


def queue_name(model: str) -> str:
    """The Celery queue of a model: a worker takes the queues of the models that it serves."""
    return f"textmill.{model}"


def redis_lists(model: str) -> list[str]:
    """The Redis lists behind the queue of a model, one for each priority (kombu's naming)."""
    name = queue_name(model)
    return [name if step == 0 else f"{name}\x06\x16{step}" for step in PRIORITY.values()]


def queue(model: str) -> Queue:
    """The queue's declaration, the same on both sides."""
    return Queue(queue_name(model), Exchange("textmill", type="direct"), routing_key=queue_name(model))


def celery_app(redis_url: str) -> Celery:
    """A Celery app that can publish; `workers/app.py` adds the consuming side."""
    app = Celery("textmill", broker=redis_url, set_as_current=False)
    app.conf.update(
        # The shard's row is the state of its work; a result backend would be a second one.
        result_backend=None,
        task_ignore_result=True,
        # A message names a shard and nothing else: JSON is enough, and unlike pickle it runs nobody's code.
        task_serializer="json",
        accept_content=["json"],
        # Early acknowledgement: Redis would redeliver a long task after its visibility timeout, and the lease in SQL
        # already says whose the shard is.
        task_acks_late=False,
        # One exchange and no binding to lose: the message goes straight to the queue's list.
        task_create_missing_queues=True,
        broker_transport_options={
            "priority_steps": list(PRIORITY.values()),
            # Not "priority": with several queues it would serve the first one only.
            "queue_order_strategy": "round_robin",
            # Without them, a publish to a stopped Redis hung for over 20 seconds.
            "socket_timeout": 5,
            "socket_connect_timeout": 2,
            "socket_keepalive": True,
            "max_retries": 0,
        },
        broker_connection_timeout=2,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # Flower shows a task from the moment it is sent.
        task_send_sent_event=True,
        # Nothing here needs another process's clock or mailbox to expire later than it must.
        event_queue_expires=60.0,
        event_queue_ttl=60.0,
    )
    return app
