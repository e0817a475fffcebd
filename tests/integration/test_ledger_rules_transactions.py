"""Rule 1: transactions are retried as a whole where the database asks for it, and time is the database's own."""

import threading
import time
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

import store.session
from store import jobs, leases, results
from store.faults import TransactionOutrun
from store.session import Store, db_time
from store.tables import jobs as jobs_table
from tests.integration.interleaving import PATIENCE, before, lost_reply_to_commit, row_locks, write_lock_held_elsewhere
from tests.integration.ledger_steps import change, job_row, run, shard_row, submit
from textmill.errors import StoreBusy

MakeStore = Callable[..., Store]


def lock(tx: Connection, job_id: int) -> None:
    tx.execute(sa.update(jobs_table).where(jobs_table.c.id == job_id).values(error_message="locked"))


@row_locks
def test_a_deadlock_is_retried(make_store: MakeStore, store: Store, key_id: int) -> None:
    one, other = (job_row(store, submit(store, key_id)[0])["id"] for _ in range(2))
    both_hold_one = threading.Barrier(2)
    attempts: list[str] = []

    def crosswise(tx: Connection, name: str, first: int, second: int) -> None:
        attempts.append(name)
        lock(tx, first)
        if attempts.count(name) == 1:
            both_hold_one.wait(PATIENCE)
        lock(tx, second)

    thread = threading.Thread(target=store.write, args=(crosswise, "a", one, other))
    thread.start()
    make_store().write(crosswise, "b", other, one)
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert len(attempts) == 3, "one of the two was the victim, and ran again"


@row_locks
def test_a_serialization_failure_is_retried(make_store: MakeStore, store: Store, key_id: int) -> None:
    job, _ = submit(store, key_id)
    other = make_store()
    attempts = []

    def read_then_write(tx: Connection) -> None:
        attempts.append(1)
        tx.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        total = tx.execute(sa.select(jobs_table.c.total).where(jobs_table.c.uuid == job.id)).scalar_one()
        if len(attempts) == 1:
            change(other, jobs_table, jobs_table.c.uuid == job.id, total=total + 1)
        tx.execute(sa.update(jobs_table).where(jobs_table.c.uuid == job.id).values(total=total + 1))

    store.write(read_then_write)
    assert len(attempts) == 2
    assert job_row(store, job)["total"] == 5, "the second attempt read what the other transaction had written"


@row_locks
def test_a_connection_that_the_server_ends_is_replaced(store: Store, key_id: int) -> None:
    attempts = []

    def cut_off(tx: Connection) -> int:
        attempts.append(1)
        if len(attempts) == 1:
            tx.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")
        return int(tx.exec_driver_sql("SELECT 7").scalar_one())

    assert store.write(cut_off) == 7
    assert len(attempts) == 2


@pytest.mark.parametrize("backend", ["sqlite"])  # PostgreSQL has no lock on the whole database
def test_the_write_lock_of_another_process_is_waited_for(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.session, "BUSY_SECONDS", 0.01)
    ours = make_store()
    file = ours.engine.url.database
    assert file is not None
    refused = threading.Event()
    tries: list[int] = []

    def count(_connection: object) -> None:
        tries.append(1)
        if len(tries) == 3:
            refused.set()

    sa.event.listen(ours.engine, "begin", count, insert=True)
    done: list[int] = []
    thread = threading.Thread(
        target=lambda: done.append(ours.write(lambda tx: tx.exec_driver_sql("SELECT 7").scalar_one()))
    )
    with write_lock_held_elsewhere(file) as release:
        thread.start()
        assert refused.wait(PATIENCE), "SQLITE_BUSY was not retried"
        assert not done
        release()
        thread.join(PATIENCE)
    assert done == [7]


def test_what_cannot_succeed_is_not_retried(store: Store, key_id: int) -> None:
    attempts = []

    def broken(tx: Connection) -> None:
        attempts.append(1)
        tx.execute(sa.update(jobs_table).values(total=-1))
        tx.exec_driver_sql("SELECT nothing FROM nowhere")

    job, _ = submit(store, key_id)
    with pytest.raises(sa.exc.DBAPIError):
        store.write(broken)
    assert len(attempts) == 1
    assert job_row(store, job)["total"] == 3, "rolled back"


def test_retrying_ends(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.session.RETRIES", 3)
    attempts = []

    def always_outrun(_tx: Connection) -> None:
        attempts.append(1)
        raise TransactionOutrun

    with pytest.raises(StoreBusy):
        store.write(always_outrun)
    assert len(attempts) == 3


def test_a_commit_whose_answer_is_lost_is_tried_again(store: Store, key_id: int) -> None:
    _, released = submit(store, key_id)
    with lost_reply_to_commit(store):
        assert store.write(leases.claim, released[0].shard_id, "w") is None, "the claim that is lost had been committed"
    assert shard_row(store, released[0].shard_id)["state"] == "leased"


def test_time_goes_on_within_a_transaction(store: Store) -> None:
    now = sa.select(db_time())
    with store.engine.begin() as tx:
        first = tx.execute(now).scalar_one()
        deadline = time.monotonic() + PATIENCE
        while tx.execute(now).scalar_one() == first:
            assert time.monotonic() < deadline, "the transaction sees the time of its start"


def test_a_lease_runs_out_during_a_long_transaction(make_store: MakeStore, store: Store, key_id: int) -> None:
    _, released = submit(store, key_id)
    brief = make_store(lease_seconds=0.001)
    assert brief.write(leases.claim, released[0].shard_id, "w") is not None
    with store.engine.begin() as tx:
        deadline = time.monotonic() + PATIENCE
        while leases.claim(tx, released[0].shard_id, "another") is None:
            assert time.monotonic() < deadline, "the lease is judged by the time of the transaction's start"


@row_locks
def test_a_read_sees_one_moment(make_store: MakeStore, store: Store, key_id: int) -> None:
    job, released = submit(store, key_id)
    run(store, released[0].shard_id, failing=[1])
    other = make_store()
    # Between the page's look at the job, which has ended, and at the documents, of which one is undecided again.
    with before(store, "FROM documents", lambda: other.write(jobs.retry, key_id, job.id, None)):
        page = store.read(results.page, key_id, job.id, 0, 10)
    assert [row.state for row in page.rows] == ["succeeded", "failed", "succeeded"], "no document was ever cancelled"
