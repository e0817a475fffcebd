"""A retry of many documents goes in steps: bounded each, gone on with by the sweep, and well-defined in between."""

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from store import dispatch, jobs, results, retrying
from store.dispatcher import Dispatcher
from store.queue import celery_app
from store.session import Store
from store.sweep import Sweeper
from store.tables import jobs as jobs_table
from store.tables import retries
from tests.integration.interleaving import Contender
from tests.integration.ledger_steps import MODEL, change, job_row, new_key, run, submit
from textmill.errors import JobNotEnded, NothingToRetry
from textmill.wire import Job

MakeStore = Callable[..., Store]

FAILING = (0, 1, 3, 4, 8)


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "STEP", 2)


@pytest.fixture
def failed(store: Store, key_id: int) -> Job:
    """A job of ten documents, half of which failed."""
    job, released = submit(store, key_id, 10)
    for shard in released:
        run(store, shard.shard_id, failing=FAILING)
    return job


def counts(store: Store, job: Job) -> tuple[str, int, int, int]:
    row = job_row(store, job)
    return row["state"], row["succeeded"], row["failed"], row["cancelled"]


def run_all(store: Store, job: Job) -> None:
    """What a worker does with everything that is or becomes ready."""
    released = store.write(dispatch.release, MODEL)
    query = sa.text("SELECT id FROM shards WHERE state = 'queued'")
    while released or (left := store.read(lambda tx: tx.execute(query).scalars().all())):
        for shard_id in [shard.shard_id for shard in released] or left:
            released = [*run(store, shard_id).released]


def under_way(store: Store) -> list[int]:
    return list(store.read(lambda tx: tx.execute(sa.select(retries.c.position)).scalars()))


def test_the_call_makes_the_first_step_and_the_job_ends_after_the_last(store: Store, key_id: int, failed: Job) -> None:
    retried = store.write(jobs.retry, key_id, failed.id, None)
    assert counts(store, failed) == ("queued", 5, 3, 0), "two of five run again"
    assert [(shard.first, shard.last) for shard in retried.released] == [(0, 1)]
    assert not run(store, retried.released[0].shard_id).ended, "its shards are done, the retry is not"
    assert counts(store, failed) == ("running", 7, 3, 0)
    with pytest.raises(JobNotEnded):
        store.write(jobs.retry, key_id, failed.id, None)
    assert under_way(store) == [2]
    step = store.write(retrying.go_on)
    assert [(shard.first, shard.last) for shard in step.released] == [(3, 4)]
    assert under_way(store) == [5]
    assert store.write(retrying.go_on) == retrying.Step(store_released(store, step), True)
    assert under_way(store) == []
    assert not store.write(retrying.go_on).more
    run_all(store, failed)
    assert counts(store, failed) == ("completed", 10, 0, 0)


def store_released(store: Store, before: retrying.Step) -> list[dispatch.Released]:
    """The shard that came after those of the step."""
    newest = sa.text("SELECT max(id) FROM shards")
    shard_id = store.read(lambda tx: tx.execute(newest).scalar_one())
    return [before.released[0]._replace(shard_id=shard_id, first=8, last=8)]


def test_the_sweep_goes_on_where_a_crash_left_it(store: Store, key_id: int, failed: Job) -> None:
    store.write(jobs.retry, key_id, failed.id, None)
    dispatcher = Dispatcher(celery_app(store.settings.redis_url))
    assert Sweeper(store, dispatcher).sweep()
    assert under_way(store) == []
    assert dispatcher.published == 0
    run_all(store, failed)
    assert counts(store, failed) == ("completed", 10, 0, 0)


def test_a_job_whose_last_step_finds_nothing_left_to_run_ends(store: Store, key_id: int, failed: Job) -> None:
    """Only what failed with this code runs again, and that is done before the last step."""
    first = sa.text("UPDATE results SET error_code = 'worker_lost' WHERE position = 0")
    store.write(lambda tx: tx.execute(first))
    retried = store.write(jobs.retry, key_id, failed.id, ["worker_lost"])
    run(store, retried.released[0].shard_id)
    while store.write(retrying.go_on).more:
        pass
    assert counts(store, failed) == ("completed_with_errors", 6, 4, 0)


def test_nothing_to_retry_changes_nothing(store: Store, key_id: int, failed: Job) -> None:
    before = job_row(store, failed)
    with pytest.raises(NothingToRetry):
        store.write(jobs.retry, key_id, failed.id, ["out_of_memory"])
    assert job_row(store, failed) == before
    assert under_way(store) == []


def test_a_page_ends_where_the_retry_has_come(store: Store, key_id: int, failed: Job) -> None:
    """What follows has an outcome still, and is about to lose it: a reader would see it twice."""
    retried = store.write(jobs.retry, key_id, failed.id, None)
    run(store, retried.released[0].shard_id)
    page = store.read(results.page, key_id, failed.id, 0, 100)
    assert ([row.outcome.position for row in page.rows], page.next) == ([0, 1], 2)
    while store.write(retrying.go_on).more:
        pass
    page = store.read(results.page, key_id, failed.id, 2, 100)
    assert ([row.outcome.position for row in page.rows], page.next) == ([2], 3)
    run_all(store, failed)
    page = store.read(results.page, key_id, failed.id, 3, 100)
    assert ([row.outcome.position for row in page.rows], page.next) == (list(range(3, 10)), None)


def test_a_cancel_keeps_what_was_not_prepared_and_the_next_retry_takes_all(
    store: Store, key_id: int, failed: Job
) -> None:
    store.write(jobs.retry, key_id, failed.id, None)
    store.write(jobs.cancel, key_id, failed.id)
    assert counts(store, failed) == ("cancelled", 5, 3, 2)
    assert not store.write(retrying.go_on).more
    assert counts(store, failed) == ("cancelled", 5, 3, 2)
    retried = store.write(jobs.retry, key_id, failed.id, None)
    assert [(shard.first, shard.last) for shard in retried.released] == [(0, 1)]
    while store.write(retrying.go_on).more:
        pass
    run_all(store, failed)
    assert counts(store, failed) == ("completed", 10, 0, 0)


def test_documents_without_an_outcome_are_found_in_steps(store: Store, key_id: int) -> None:
    job, _ = submit(store, key_id, 5)
    store.write(jobs.cancel, key_id, job.id)
    store.write(jobs.retry, key_id, job.id, None)
    steps = [2]
    while store.write(retrying.go_on).more:
        steps += under_way(store)
    assert steps == [2, 4]
    run_all(store, job)
    assert counts(store, job) == ("completed", 5, 0, 0)


def test_a_small_retry_does_not_wait_for_a_huge_one(store: Store, key_id: int, failed: Job) -> None:
    store.write(jobs.retry, key_id, failed.id, None)
    assert store.write(retrying.go_on).more
    other = new_key(store)
    late, _ = submit(store, other, 3)
    store.write(jobs.cancel, other, late.id)
    store.write(jobs.retry, other, late.id, None)
    assert store.write(retrying.go_on).more
    assert counts(store, late)[0] == "queued"
    assert under_way(store) == [5], "the late one is through"


def test_of_two_that_go_on_at_once_each_makes_a_step_of_its_own(
    make_store: MakeStore, store: Store, key_id: int, failed: Job
) -> None:
    store.write(jobs.retry, key_id, failed.id, None)
    with store.engine.begin() as tx:
        retrying.go_on(tx)
        other = Contender(make_store(), retrying.go_on)
    other.result()
    assert under_way(store) == []
    assert counts(store, failed) == ("queued", 5, 0, 0)
    run_all(store, failed)
    assert counts(store, failed) == ("completed", 10, 0, 0)


def test_what_the_previous_release_cancelled_is_left_alone(store: Store, key_id: int, failed: Job) -> None:
    """It knows no retries, and leaves the row."""
    store.write(jobs.retry, key_id, failed.id, None)
    change(store, jobs_table, jobs_table.c.uuid == failed.id, state="cancelled", cancelled=2, remaining_shards=0)
    assert store.write(retrying.go_on) == retrying.Step([], True)
    assert not store.write(retrying.go_on).more
    assert counts(store, failed) == ("cancelled", 5, 3, 2)
