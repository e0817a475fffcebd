"""The keeper's heartbeat."""

import json
import threading
from collections.abc import Callable

import sqlalchemy as sa

from store.session import Store
from store.tables import workers
from store.workers import WorkerRow, live, unregister
from tests.worker_process import wait_until
from workers.shards.keeper import Keeper


def test_a_models_first_speed_and_a_new_one_are_told_at_once(make_store: Callable[..., Store]) -> None:
    store = make_store(lease_seconds=3_600, worker_timeout_seconds=3_600)  # the next regular heartbeat is far
    speeds: dict[str, float] = {}
    worker = WorkerRow("w", "host", 1, "cpu", ("m", "n"), 8, machine="here")
    keeper = Keeper(store, worker, lambda: False, list, lambda: 0.0, lambda: dict(speeds))

    def told() -> dict[str, float]:
        text = store.read(lambda tx: tx.execute(sa.select(workers.c.speeds)).scalar_one())
        return dict(json.loads(text or "{}"))

    keeper.start()
    try:
        for model in ("m", "n"):
            speeds[model] = 100.0
            wait_until(lambda: told() == speeds, f"the ledger knows how fast {model} is")
        speeds["m"] = 200.0
        wait_until(lambda: told() == speeds, "it knows that m has become faster")
    finally:
        keeper.stop()


def test_that_the_process_drains_is_told_at_once(make_store: Callable[..., Store]) -> None:
    store = make_store(lease_seconds=3_600, worker_timeout_seconds=3_600)
    draining = threading.Event()
    worker = WorkerRow("w", "host", 1, "cpu", ("m",), 8, machine="here")
    keeper = Keeper(store, worker, lambda: False, list, lambda: 0.0, draining=draining.is_set)
    keeper.start()
    try:
        assert [info.draining for info in store.read(live)] == [False]
        draining.set()
        wait_until(lambda: [info.draining for info in store.read(live)] == [True], "the registry says so")
        store.write(unregister, worker.id)
        keeper.beat()
        wait_until(
            lambda: [info.draining for info in store.read(live)] == [True], "it says so again once it had forgotten"
        )
    finally:
        keeper.stop()
