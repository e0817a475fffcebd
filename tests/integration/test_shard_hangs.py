"""A shard whose items are with nobody does not wait for ever: it is handed back, and no loss is counted."""

import threading

import pytest

from store.dispatcher import Dispatcher
from store.queue import celery_app
from store.session import Store
from store.tables import shards
from tests.integration.ledger_steps import change, claim, shard_row, submit
from tests.unit.workers.echoes import echo
from tests.worker_process import wait_until
from workers.engine.inbox import Inbox
from workers.engine.residency import Residency
from workers.settings import WorkerSettings
from workers.shards.ledger import Ledger
from workers.shards.run import ShardRun
from workers.shards.serving import Serving

SERVING = Serving(lambda model: False, lambda: None, lambda model, on: None, 60, 0)
"""Of a process in which no model fails."""


@pytest.mark.parametrize("single_file", [False, True])
def test_items_that_the_engine_lost_are_noticed(store: Store, key_id: int, single_file: bool) -> None:
    _, [released] = submit(store, key_id)
    change(store, shards, shards.c.id == released.shard_id, losses=2 if single_file else 0)
    lease = claim(store, released.shard_id)
    inbox = Inbox(lambda _model, _shared: 64)
    ledger = Ledger(store, Dispatcher(celery_app(store.settings.redis_url)), lease)
    run = ShardRun(ledger, inbox, Residency(echo), WorkerSettings(progress_seconds=0.1), SERVING)
    raised: list[BaseException] = []

    def task() -> None:
        try:
            run.run()
        except RuntimeError as error:
            raised.append(error)

    thread = threading.Thread(target=task, daemon=True)
    thread.start()
    wait_until(lambda: len(inbox) > 0, "its items wait")
    inbox.drop(run.ticket)  # as a bug would: nobody hears of it
    thread.join(240)
    assert not thread.is_alive(), "the shard hangs"
    assert "the engine has none of them" in str(raised[0])
    row = shard_row(store, released.shard_id)
    assert (row["state"], row["losses"], row["suspect_attempts"]) == ("queued", 2 if single_file else 0, 0)
