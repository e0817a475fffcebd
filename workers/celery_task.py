"""The Celery side of a shard, kept thin: a message names a shard, the ledger says the rest."""

from collections.abc import Callable

from celery import Celery

from store.faults import brief
from store.queue import RUN_SHARD
from textmill.errors import Unavailable


def register(app: Celery, run: Callable[[int], str]) -> None:
    """Add the one task to the app. `run(shard_id)` does the work and says what became of it."""

    # Nothing is retried by Celery: what failed is in the ledger, and what was lost is found by the sweep.
    # Expected errors get one line in the log, not a traceback for each of the slots.
    @app.task(name=RUN_SHARD, max_retries=0, acks_late=False, ignore_result=True, throws=(Unavailable,))
    def run_shard(shard_id: int) -> str:
        try:
            return run(shard_id)
        except Unavailable as error:
            raise type(error)(brief(error)) from None
