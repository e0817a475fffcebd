"""How many connections a process opens."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from store.session import Store
from tests.integration.interleaving import PATIENCE

POOL = 2


@pytest.mark.parametrize("backend", ["postgresql"])
def test_a_process_opens_no_more_connections_than_it_may_however_many_threads_ask(
    make_store: Callable[..., Store],
) -> None:
    store = make_store(database_pool=POOL, database_patience_seconds=PATIENCE, database_idle_seconds=PATIENCE)
    go_on = threading.Event()
    inside = threading.Semaphore(0)

    def work(tx: sa.Connection) -> int:
        inside.release()
        assert go_on.wait(PATIENCE)
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        return int(tx.exec_driver_sql(query).scalar_one())

    with ThreadPoolExecutor(4 * POOL) as threads:
        asked = [threads.submit(store.write, work) for _ in range(4 * POOL)]
        for _ in range(POOL):
            assert inside.acquire(timeout=PATIENCE)
        go_on.set()
        assert max(one.result() for one in asked) == POOL
    assert store.connections == POOL
