"""A submit, append, claim, settle or sweep costs the same however many jobs are active.

Steps of SQLite's machine and statements are counted, no clock. PostgreSQL's plans are in test_ledger_plans.py.
"""

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from benchmarks.release import crowd, sweep_steps
from store import jobs, leases, stats
from store.dispatch import Released
from store.jobs import NewJob
from store.session import Store
from store.tables import turns
from tests.integration.ledger_steps import MODEL, claim, documents, outcomes

Cost = dict[str, tuple[int, int]]


def cost_of(store: Store, work: Callable[..., Any], *args: Any) -> tuple[int, int]:
    """Statements, and on SQLite steps of its machine (PostgreSQL: 0)."""
    statements: list[str] = []
    steps = [0]

    def counted(tx: sa.Connection) -> None:
        def step() -> None:
            steps[0] += 1

        driver: Any = tx.connection.driver_connection
        if store.dialect == "sqlite":
            driver.set_progress_handler(step, 10)
        try:
            work(tx, *args)
        finally:
            if store.dialect == "sqlite":
                driver.set_progress_handler(None, 0)

    def note(_c: object, _cursor: object, statement: str, *_rest: object) -> None:
        statements.append(statement)

    sa.event.listen(store.engine, "before_cursor_execute", note)
    store.write(counted)
    sa.event.remove(store.engine, "before_cursor_execute", note)
    return len(statements), 10 * steps[0]


def costs(store: Store, key_id: int, released: list[Released]) -> Cost:
    """What each costs now, with the window full."""
    new = NewJob(key_id, "ner", MODEL)
    opened = store.write(jobs.submit, NewJob(key_id, "ner", MODEL, open=True), []).job.id
    lease = claim(store, released.pop().shard_id)
    return {
        "submit": cost_of(store, jobs.submit, new, documents(1)),
        "append": cost_of(store, jobs.append, key_id, opened, documents(1), 0),
        "claim": cost_of(store, leases.claim, released.pop().shard_id, "w"),
        "settle": cost_of(store, leases.settle, lease, outcomes([0]), True),
        "sweep": cost_of(store, sweep_steps),
    }


@pytest.fixture
def full(make_store: Callable[..., Store], key_id: int) -> tuple[Store, list[Released]]:
    """A ledger whose window is full."""
    store = make_store()
    store.write(crowd, key_id, 20)
    return store, store.write(lambda tx: sweep_steps(tx))


def test_a_hundred_times_as_many_jobs_cost_no_more(full: tuple[Store, list[Released]], key_id: int) -> None:
    store, released = full
    costs(store, key_id, released)
    few = costs(store, key_id, released)
    store.write(crowd, key_id, 4000)
    many = costs(store, key_id, released)
    for what, (statements, steps) in few.items():
        assert many[what][0] <= statements, what
        assert many[what][1] <= 1.3 * steps + 100, what


def test_what_waits_is_counted_alike_however_many_keys_there_are(store: Store) -> None:
    key = {"waiting": False, "tag": 0.0}

    def come(first: int, count: int) -> None:
        made = [{**key, "model": model, "key_id": n} for model in "ab" for n in range(first, first + count)]
        store.write(lambda tx: tx.execute(sa.insert(turns), made))

    come(1, 10)
    few = cost_of(store, stats.waiting)
    come(100, 4_000)
    many = cost_of(store, stats.waiting)
    assert many[0] == few[0]
    assert many[1] <= 1.3 * few[1] + 100
    assert store.read(stats.waiting) == {"a": 0, "b": 0}


def test_counting_notices_what_reads_everything(full: tuple[Store, list[Released]], key_id: int) -> None:
    store, _ = full
    if store.dialect == "sqlite":
        everything = sa.select(sa.func.count()).select_from(sa.text("jobs WHERE priority = 3"))
        few = cost_of(store, lambda tx: tx.execute(everything).scalar())
        store.write(crowd, key_id, 4000)
        assert cost_of(store, lambda tx: tx.execute(everything).scalar())[1] > 10 * few[1]
