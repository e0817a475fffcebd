"""Rules 5 and 6: cancel, delete, retry and append, each met by another transaction at its critical point."""

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from store import endings, jobs, leases, results, search, sweep
from store.jobs import NewJob
from store.search import Wanted
from store.session import Store, db_time
from store.tables import documents as documents_table
from store.tables import jobs as jobs_table
from store.tables import results as results_table
from store.tables import shards
from tests.integration.interleaving import Contender, before, row_locks
from tests.integration.ledger_steps import (
    change,
    claim,
    documents,
    finish,
    job_row,
    outcomes,
    result_marks,
    run,
    shard_states,
    submit,
)
from textmill.errors import JobClosed, JobNotEnded, JobNotFound, LeaseLost, UploadOffsetMismatch
from textmill.wire import Job

MakeStore = Callable[..., Store]


def is_fenced(store: Store, job: Job) -> bool:
    """Cancelled, with nothing left that a worker could take, and every document accounted for."""
    row = job_row(store, job)
    decided = row["succeeded"] + row["failed"] + row["cancelled"]
    return (
        (row["state"], row["open"], row["remaining_shards"]) == ("cancelled", False, 0)
        and set(shard_states(store, job)) <= {"done", "cancelled"}
        and decided == row["total"]
    )


# --- cancel -----------------------------------------------------------------------------------------------------------


def test_a_cancel_that_meets_an_append_fences_it_too(make_store: MakeStore, store: Store, key_id: int) -> None:
    job, _ = submit(store, key_id, open=True)
    with store.engine.begin() as tx:
        jobs.append(tx, key_id, job.id, documents(2), 3)
        canceller = Contender(make_store(), jobs.cancel, key_id, job.id)
    assert canceller.result().counts.cancelled == 5
    assert is_fenced(store, job)


@row_locks
def test_an_append_in_the_middle_of_a_cancel_is_fenced_too(make_store: MakeStore, store: Store, key_id: int) -> None:
    job, _ = submit(store, key_id, open=True)
    other = make_store()
    with before(store, "DELETE FROM waiting", lambda: other.write(jobs.append, key_id, job.id, documents(2), 3)):
        assert store.write(jobs.cancel, key_id, job.id).counts.cancelled == 5
    assert is_fenced(store, job)


def test_an_append_that_meets_a_cancel_is_refused(make_store: MakeStore, store: Store, key_id: int) -> None:
    job, _ = submit(store, key_id, open=True)
    with store.engine.begin() as tx:
        jobs.cancel(tx, key_id, job.id)
        late = Contender(make_store(), jobs.append, key_id, job.id, documents(2), 3)
    with pytest.raises(JobClosed):
        late.result()
    assert is_fenced(store, job)


def test_a_cancel_that_meets_a_settle_counts_its_results(make_store: MakeStore, store: Store, key_id: int) -> None:
    job, released = submit(store, key_id)
    lease = claim(store, released[0].shard_id)
    with store.engine.begin() as tx:
        leases.settle(tx, lease, outcomes([0, 2], failing=[2]), False)
        canceller = Contender(make_store(), jobs.cancel, key_id, job.id)
    counts = canceller.result().counts
    assert (counts.succeeded, counts.failed, counts.cancelled) == (1, 1, 1)
    assert is_fenced(store, job)


def test_a_cancel_that_meets_the_last_settle_comes_too_late(make_store: MakeStore, store: Store, key_id: int) -> None:
    job, released = submit(store, key_id)
    lease = claim(store, released[0].shard_id)
    with store.engine.begin() as tx:
        assert leases.settle(tx, lease, outcomes([0, 1, 2]), True).ended
        canceller = Contender(make_store(), jobs.cancel, key_id, job.id)
    assert canceller.result().state == "completed"
    assert job_row(store, job)["cancelled"] == 0


def test_a_settle_that_meets_a_cancel_fails(make_store: MakeStore, store: Store, key_id: int) -> None:
    job, released = submit(store, key_id)
    lease = claim(store, released[0].shard_id)
    with store.engine.begin() as tx:
        jobs.cancel(tx, key_id, job.id)
        late = Contender(make_store(), leases.settle, lease, outcomes([0, 1, 2]), True)
    with pytest.raises(LeaseLost):
        late.result()
    assert result_marks(store, job) == {}
    assert is_fenced(store, job)


@row_locks
def test_a_cancel_that_waited_for_a_cancel_does_not_half_cancel_a_retry(
    make_store: MakeStore, store: Store, key_id: int
) -> None:
    """The second cancel finds no shard to fence, since the first has fenced them; then a retry makes new ones."""
    job, _ = submit(store, key_id)
    other = make_store()
    with before(store, "FOR UPDATE", lambda: other.write(jobs.cancel, key_id, job.id)):
        with before(store, "DELETE FROM waiting", lambda: other.write(jobs.retry, key_id, job.id, None)):
            store.write(jobs.cancel, key_id, job.id)
    assert is_fenced(store, job)


@row_locks
def test_a_cancel_ends_though_appends_never_stop(make_store: MakeStore, store: Store, key_id: int) -> None:
    """Each try meets another append, after it has fenced the shards that it found."""
    job, released = submit(store, key_id, open=True)
    run(store, released[0].shard_id)
    other = make_store()

    def upload(_c: object, _cursor: object, statement: str, *_rest: object) -> None:
        if "DELETE FROM waiting" in statement:
            other.write(jobs.append, key_id, job.id, documents(2), None)

    sa.event.listen(store.engine, "before_cursor_execute", upload)
    assert store.write(jobs.cancel, key_id, job.id).counts.cancelled == 2
    assert is_fenced(store, job)


@row_locks
def test_a_cancel_waits_for_no_shard_that_was_appended_meanwhile(
    make_store: MakeStore, store: Store, key_id: int
) -> None:
    """Who holds it may be waiting for the job's row: the cancel gives that up, and begins again."""
    job, _ = submit(store, key_id, open=True)
    other = make_store()
    held: list[sa.Connection] = []

    def append_and_hold() -> None:
        other.write(jobs.append, key_id, job.id, documents(2), 3)
        held.append(other.engine.connect())
        held[0].execute(sa.select(shards.c.id).order_by(shards.c.id.desc()).limit(1).with_for_update())

    sa.event.listen(store.engine, "rollback", lambda _connection: held[0].close())
    with before(store, "DELETE FROM waiting", append_and_hold):
        assert store.write(jobs.cancel, key_id, job.id).counts.cancelled == 5
    assert held[0].closed, "it began again"
    assert is_fenced(store, job)


def test_a_job_of_more_shards_than_a_statement_has_parameters_is_cancelled(store: Store, key_id: int) -> None:
    count = 70_000
    job, _ = submit(store, key_id, 0, open=True)
    numbers = sa.select(sa.literal(0).label("n")).cte(recursive=True)
    numbers = numbers.union_all(sa.select(numbers.c.n + 1).where(numbers.c.n < count - 1))
    ranges = sa.select(
        sa.literal(job_row(store, job)["id"]),
        numbers.c.n,
        numbers.c.n,
        sa.literal("pending"),
        sa.literal(0),
        sa.literal(0),
    )
    names = ["job_id", "first", "last", "state", "losses", "suspect_attempts"]
    store.write(lambda tx: tx.execute(sa.insert(shards).from_select(names, ranges)))
    change(store, jobs_table, jobs_table.c.uuid == job.id, total=count, remaining_shards=count)
    assert store.write(jobs.cancel, key_id, job.id).counts.cancelled == count
    assert is_fenced(store, job)


def test_a_cancel_leaves_an_ended_job_alone(store: Store, key_id: int) -> None:
    job, released = submit(store, key_id)
    run(store, released[0].shard_id, failing=[1])
    ended = store.read(jobs.get, key_id, job.id)
    assert store.write(jobs.cancel, key_id, job.id) == ended


# --- retry ------------------------------------------------------------------------------------------------------------


def test_of_two_retries_one_runs(make_store: MakeStore, store: Store, key_id: int) -> None:
    job, released = submit(store, key_id, 4)
    run(store, released[0].shard_id, failing=[1, 2])
    with store.engine.begin() as tx:
        again = jobs.retry(tx, key_id, job.id, None)
        late = Contender(make_store(), jobs.retry, key_id, job.id, None)
    with pytest.raises(JobNotEnded):
        late.result()
    row = job_row(store, job)
    assert (row["succeeded"], row["failed"], row["remaining_shards"]) == (2, 0, 1)
    assert shard_states(store, job) == ["done", "queued"]
    assert run(store, again.released[0].shard_id).ended


def test_a_retry_that_meets_a_delete_finds_no_job(make_store: MakeStore, store: Store, key_id: int) -> None:
    job, _ = submit(store, key_id)
    store.write(jobs.cancel, key_id, job.id)
    with store.engine.begin() as tx:
        jobs.delete(tx, key_id, job.id)
        late = Contender(make_store(), jobs.retry, key_id, job.id, None)
    with pytest.raises(JobNotFound):
        late.result()
    assert shard_states(store, job) == ["cancelled"]


def test_a_delete_that_meets_a_retry_is_refused(make_store: MakeStore, store: Store, key_id: int) -> None:
    job, _ = submit(store, key_id)
    store.write(jobs.cancel, key_id, job.id)
    with store.engine.begin() as tx:
        jobs.retry(tx, key_id, job.id, None)
        late = Contender(make_store(), jobs.delete, key_id, job.id)
    with pytest.raises(JobNotEnded):
        late.result()
    assert job_row(store, job)["deleted_at"] is None


def test_a_retry_by_code_keeps_the_other_failures(make_store: MakeStore, key_id: int) -> None:
    store = make_store(shard_documents=2)
    job, released = submit(store, key_id, 6)
    for shard in released:
        run(store, shard.shard_id, failing=[0, 3, 5])
    store.write(lambda tx: tx.execute(sa.update(results_table).where(
        results_table.c.position == 3).values(error_code="out_of_memory")))  # fmt: skip
    again = store.write(jobs.retry, key_id, job.id, ["processing_failed", "worker_lost"])
    counts = again.job.counts
    assert (counts.succeeded, counts.failed, counts.pending) == (3, 1, 2)
    assert [(shard.first, shard.last) for shard in again.released] == [(0, 5)], "over positions that are decided"
    assert finish(store, claim(store, again.released[0].shard_id)).ended
    assert job_row(store, job)["state"] == "completed_with_errors"


def test_a_token_from_before_the_retry_writes_nothing(store: Store, key_id: int) -> None:
    job, released = submit(store, key_id)
    lease = claim(store, released[0].shard_id)
    store.write(jobs.cancel, key_id, job.id)
    store.write(jobs.retry, key_id, job.id, None)
    for close in (False, True):
        with pytest.raises(LeaseLost):
            store.write(leases.settle, lease, outcomes([0, 1, 2]), close)
    assert result_marks(store, job) == {}


# --- delete -----------------------------------------------------------------------------------------------------------


def rows_left(store: Store, internal_id: int) -> tuple[int, int, int, int]:
    def count(tx: sa.Connection) -> tuple[int, ...]:
        tables = ((documents_table, "job_id"), (results_table, "job_id"), (shards, "job_id"), (jobs_table, "id"))
        queries = [sa.select(sa.func.count()).select_from(t).where(t.c[c] == internal_id) for t, c in tables]
        return tuple(tx.execute(query).scalar_one() for query in queries)

    documents_left, results_left, shards_left, jobs_left = store.read(count)
    return documents_left, results_left, shards_left, jobs_left


def test_a_deleted_job_is_hidden_at_once_and_purged_in_steps(make_store: MakeStore, key_id: int) -> None:
    store = make_store(purge_rows=2, shard_documents=3)
    job, released = submit(store, key_id, 5)
    kept, _ = submit(store, key_id, 2)
    run(store, released[0].shard_id)
    store.write(jobs.cancel, key_id, job.id)
    store.write(jobs.delete, key_id, job.id)
    with pytest.raises(JobNotFound):
        store.read(jobs.get, key_id, job.id)
    with pytest.raises(JobNotFound):
        store.read(results.page, key_id, job.id, 0, 10)
    with pytest.raises(JobNotFound):
        store.write(jobs.delete, key_id, job.id)
    assert [j.id for j in store.read(search.find, key_id, Wanted(), 10, None)[0]] == [kept.id]

    internal_id = job_row(store, job)["id"]
    left = [rows_left(store, internal_id)]
    for _ in range(4):
        store.write(sweep.purge)
        left.append(rows_left(store, internal_id))
    assert left == [(5, 3, 2, 1), (3, 1, 2, 1), (1, 0, 2, 1), (0, 0, 2, 1), (0, 0, 0, 0)]
    store.write(sweep.purge)
    assert store.read(jobs.get, key_id, kept.id).counts.total == 2


def test_ended_jobs_are_retired_when_the_retention_is_over(make_store: MakeStore, key_id: int) -> None:
    store = make_store(retention_seconds=60)
    (old, released), (young, more), (running, _) = (submit(store, key_id) for _ in range(3))
    for shard in (*released, *more):
        run(store, shard.shard_id)
    ages = {old.id: -61, young.id: -10, running.id: -1000}
    for uuid, age in ages.items():
        change(store, jobs_table, jobs_table.c.uuid == uuid, created_at=db_time(age))
    change(store, jobs_table, jobs_table.c.uuid == old.id, finished_at=db_time(-61))
    make_store().write(sweep.retire)  # no retention is set there
    assert store.read(jobs.get, key_id, old.id).state == "completed"
    store.write(sweep.retire)
    assert {j.id for j in store.read(search.find, key_id, Wanted(), 10, None)[0]} == {young.id, running.id}


def test_an_idempotency_key_is_free_again_after_a_delete(store: Store, key_id: int) -> None:
    job, _ = submit(store, key_id, idempotency_key="once", body_hash="h")
    store.write(jobs.cancel, key_id, job.id)
    store.write(jobs.delete, key_id, job.id)
    assert submit(store, key_id, idempotency_key="once", body_hash="other")[0].id != job.id


# --- submit, append ---------------------------------------------------------------------------------------------------


def test_of_two_submits_with_one_idempotency_key_one_makes_the_job(
    make_store: MakeStore, store: Store, key_id: int
) -> None:
    new = NewJob(key_id, "ner", "echo", idempotency_key="once", body_hash="h")
    with store.engine.begin() as tx:
        first = jobs.submit(tx, new, documents(3))
        second = Contender(make_store(), jobs.submit, new, documents(3))
    again = second.result()
    assert (again.created, again.job.id, again.released) == (False, first.job.id, [])


@row_locks
def test_a_submit_that_meets_a_delete_of_its_idempotency_key_makes_a_job(
    make_store: MakeStore, store: Store, key_id: int
) -> None:
    job, _ = submit(store, key_id, idempotency_key="once", body_hash="h")
    store.write(jobs.cancel, key_id, job.id)
    other = make_store()
    with before(store, "SELECT jobs.body_hash", lambda: other.write(jobs.delete, key_id, job.id)):
        again, _ = submit(store, key_id, idempotency_key="once", body_hash="h")
    assert again.id != job.id


def test_of_two_identical_appends_one_is_stored(make_store: MakeStore, store: Store, key_id: int) -> None:
    job, _ = submit(store, key_id, open=True)
    with store.engine.begin() as tx:
        first = jobs.append(tx, key_id, job.id, documents(2), 3)
        second = Contender(make_store(), jobs.append, key_id, job.id, documents(2), 3)
    assert first[:2] == (2, 5)
    assert second.result() == (0, 5, [], None)
    assert job_row(store, job)["remaining_shards"] == len(shard_states(store, job)) == 2


def test_appends_without_an_offset_follow_one_another(make_store: MakeStore, store: Store, key_id: int) -> None:
    job, _ = submit(store, key_id, open=True)
    with store.engine.begin() as tx:
        first = jobs.append(tx, key_id, job.id, documents(2), None)
        second = Contender(make_store(), jobs.append, key_id, job.id, documents(2), None)
    assert (first.total, second.result().total) == (5, 7)


@pytest.mark.parametrize(
    ("offset", "count", "accepted"),
    [(3, 2, 2), (0, 3, 0), (1, 2, 0), (0, 0, 0), (3, 0, 0), (2, 2, None), (4, 1, None), (0, 4, None), (9, 0, None)],
)
def test_where_an_append_may_begin(store: Store, key_id: int, offset: int, count: int, accepted: int | None) -> None:
    """At the end; or before it with a range that is stored already. None: a gap, or a range that is half stored."""
    job, _ = submit(store, key_id, open=True)
    if accepted is None:
        with pytest.raises(UploadOffsetMismatch) as refused:
            store.write(jobs.append, key_id, job.id, documents(count), offset)
        assert refused.value.details == {"total": 3}
    else:
        assert store.write(jobs.append, key_id, job.id, documents(count), offset)[:2] == (accepted, 3 + accepted)
    assert job_row(store, job)["total"] == 3 + (accepted or 0)


def test_a_stored_range_is_accepted_again_by_a_closed_job(store: Store, key_id: int) -> None:
    """The answer to the last append was lost, and the job was closed by the time it is asked for again."""
    job, _ = submit(store, key_id, open=True)
    store.write(jobs.close, key_id, job.id)
    assert store.write(jobs.append, key_id, job.id, documents(2), 1)[:2] == (0, 3)


def test_documents_appended_to_a_job_that_ran_dry_are_run(store: Store, key_id: int) -> None:
    job, released = submit(store, key_id, open=True)
    assert not run(store, released[0].shard_id).ended
    more = store.write(jobs.append, key_id, job.id, documents(2), 3).released
    assert store.write(jobs.close, key_id, job.id).state == "running"
    assert run(store, more[0].shard_id).ended


def test_an_open_job_that_is_abandoned_is_closed(make_store: MakeStore, key_id: int) -> None:
    store = make_store(open_job_ttl_seconds=60)
    (done, released), (running, _), (busy, _), (closed, _) = (submit(store, key_id, open=True) for _ in range(4))
    run(store, released[0].shard_id)
    store.write(jobs.close, key_id, closed.id)
    for job in (done, running, closed):
        change(store, jobs_table, jobs_table.c.uuid == job.id, appended_at=db_time(-61))
    assert store.write(endings.close_abandoned) == 2
    seen = [store.read(jobs.get, key_id, job.id) for job in (done, running, busy)]
    assert [(job.open, job.state) for job in seen] == [(False, "completed"), (False, "queued"), (True, "queued")]
    assert store.write(endings.close_abandoned) == 0


def test_an_append_keeps_a_job_from_being_closed_as_abandoned(make_store: MakeStore, store: Store, key_id: int) -> None:
    job, _ = submit(store, key_id, open=True)
    change(store, jobs_table, jobs_table.c.uuid == job.id, appended_at=db_time(-100_000))
    with store.engine.begin() as tx:
        jobs.append(tx, key_id, job.id, documents(1), 3)
        closer = Contender(make_store(), endings.close_abandoned)
    assert closer.result() == 0
    assert store.read(jobs.get, key_id, job.id).open
