"""What settling counts: each document once, whoever comes late, and nobody waits for another worker's counts."""

from collections.abc import Callable

import sqlalchemy as sa

from store import leases, stats, workers
from store.session import Store, db_minute
from store.tables import batches, minutes
from store.tallies import SUCCEEDED, errors_of
from store.workers import WorkerRow
from tests.integration.interleaving import before, lost_reply_to_commit, row_locks
from tests.integration.ledger_steps import change, claim, job_row, outcomes, submit


def counted(store: Store) -> dict[tuple[str, str], int]:
    """(worker, outcome) -> documents, over all minutes."""
    query = sa.select(minutes.c.worker_id, minutes.c.outcome, sa.func.sum(minutes.c.documents))
    rows = store.read(lambda tx: tx.execute(query.group_by(minutes.c.worker_id, minutes.c.outcome)).all())
    return {(worker, outcome): documents for worker, outcome, documents in rows}


def test_each_outcome_is_counted_once(store: Store, key_id: int) -> None:
    job, released = submit(store, key_id, 4)
    lease = claim(store, released[0].shard_id, "w")
    store.write(leases.settle, lease, outcomes([0, 1], failing=[1]), False)
    with lost_reply_to_commit(store):
        store.write(leases.settle, lease, outcomes([0, 1, 2, 3], failing=[1, 3]), True)
    failed = {"processing_failed": 2}
    assert store.read(errors_of, [job_row(store, job)["id"]]) == {job_row(store, job)["id"]: failed}
    assert counted(store) == {("w", SUCCEEDED): 2, ("w", "processing_failed"): 2}


def test_workers_tell_how_full_their_batches_were(store: Store, key_id: int) -> None:
    store.write(workers.register, WorkerRow("w", "host", 1, "cpu", ("echo",), 2, "machine"))
    store.write(workers.heartbeat, "w", [], 0.5, None, (), (300, 400))
    store.write(workers.heartbeat, "w", [], 0.5, None, (), (60, 80))
    store.write(workers.heartbeat, "w", [], 0.5)
    _, released = submit(store, key_id, 9)
    store.write(leases.settle, claim(store, released[0].shard_id, "w"), outcomes(range(9)), True)
    assert {b.batch_fill for b in store.read(stats.look, key_id, 1).buckets} == {None, 0.75}
    assert [worker.batch_fill for worker in store.read(workers.shown)] == [None], "no whole minute is over"
    for table in (batches, minutes):
        change(store, table, table.c.minute > 0, minute=db_minute(-90))
    (shown,) = store.read(workers.shown)
    assert (shown.batch_fill, shown.documents_per_second) == (0.75, 0.05)


@row_locks
def test_two_workers_settle_jobs_of_one_key_at_once(make_store: Callable[..., Store], key_id: int) -> None:
    store, other = make_store(), make_store()
    ours, theirs = (claim(store, submit(store, key_id, 2)[1][0].shard_id, worker) for worker in ("w1", "w2"))
    settled: list[bool] = []

    def meanwhile() -> None:
        settled.append(other.write(leases.settle, theirs, outcomes([0, 1], failing=[1]), True).ended)

    with before(store, "UPDATE jobs SET succeeded", meanwhile):  # where the counts are written, and not committed
        store.write(leases.settle, ours, outcomes([0, 1], failing=[0]), True)
    assert settled == [True], "it waited for nothing"
    assert counted(store) == {
        (worker, outcome): 1 for worker in ("w1", "w2") for outcome in (SUCCEEDED, "processing_failed")
    }
