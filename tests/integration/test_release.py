"""Rule 4: how much is out, and that making room and filling it is one transaction that never waits."""

from collections.abc import Callable
from functools import partial

import pytest
import sqlalchemy as sa

from store import dispatch, jobs, leases, line, policy, workers
from store.line import Newcomer
from store.session import Store, db_time
from store.tables import WAITING, shards, turns, waiting
from store.tables import workers as workers_table
from store.workers import WorkerRow
from tests.integration.interleaving import Contender, before, row_locks
from tests.integration.ledger_steps import (
    MODEL,
    change,
    claim,
    documents,
    finish,
    job_row,
    new_key,
    outcomes,
    run,
    shard_row,
    shard_states,
    submit,
)

MakeStore = Callable[..., Store]


@pytest.fixture
def make_store(make_store: MakeStore) -> MakeStore:
    """By which a worker lives on although it is heard of only once."""
    return partial(make_store, worker_timeout_seconds=3600)


def out(store: Store) -> int:
    query = sa.select(sa.func.count()).where(shards.c.state.in_(("queued", "leased")))
    return store.read(lambda tx: tx.execute(query).scalar_one())


def worker(
    store: Store, name: str, speed: float | None = None, slots: int = 8, models: tuple[str, ...] = (MODEL,)
) -> None:
    """A live worker that does so many characters of each of its models in a second."""
    store.write(workers.register, WorkerRow(name, "host", 1, "cpu", models, slots, "machine"))
    if speed is not None:
        assert store.write(workers.heartbeat, name, [], 0.5, dict.fromkeys(models, speed))


def what_waits(store: Store) -> tuple[set[int], set[int]]:
    """Jobs and keys that are said to wait."""

    def read(tx: sa.Connection) -> tuple[set[int], set[int]]:
        keys = tx.execute(sa.select(turns.c.key_id).where(WAITING)).scalars()
        return set(tx.execute(sa.select(waiting.c.job_id)).scalars()), set(keys)

    return store.read(read)


# --- how much is out --------------------------------------------------------------------------------------------------


def test_without_a_worker_a_few_shards_are_out(make_store: MakeStore, key_id: int) -> None:
    store = make_store(shard_documents=1, unserved_shards=2)
    job, released = submit(store, key_id, 5)
    assert [(r.first, r.last) for r in released] == [(0, 0), (1, 1)]
    lease = claim(store, released[0].shard_id)
    assert store.write(dispatch.release, MODEL) == [], "a leased shard keeps its place"
    assert [r.first for r in finish(store, lease).released] == [2]
    assert shard_states(store, job) == ["done", "queued", "queued", "pending", "pending"]


def test_what_is_out_is_some_seconds_of_what_the_live_workers_do(make_store: MakeStore, key_id: int) -> None:
    store = make_store(release_alone_seconds=3)
    worker(store, "w1", 10, models=(MODEL, "other"))
    worker(store, "w2", 20)
    worker(store, "w3", 1000, models=("other",))
    _, released = submit(store, key_id, 30)
    assert [(r.first, r.last) for r in released][:2] == [(0, 0), (1, 1)], "a shard is a second of one worker"
    assert len(released) == 9, "three seconds of the two that serve the model"
    change(store, workers_table, workers_table.c.id == "w2", heartbeat_at=db_time(-4000))
    assert store.write(dispatch.release, MODEL) == []
    for shard in released[:7]:
        run(store, shard.shard_id)
    assert out(store) == 3, "a dead worker does nothing"


def test_for_a_worker_that_drains_nothing_is_released(make_store: MakeStore, key_id: int) -> None:
    store = make_store(release_alone_seconds=3)
    worker(store, "stays", 10)
    worker(store, "drains", 10)
    assert store.write(workers.heartbeat, "drains", [], 0.5, {MODEL: 10.0}, draining=True)
    _, released = submit(store, key_id, 30)
    assert len(released) == 3, "three seconds of the one that stays"
    claim(store, released[0].shard_id, "drains")
    assert len(store.write(dispatch.release, MODEL)) == 1, "what it holds keeps the one that stays from nothing"
    claim(store, released[1].shard_id, "stays")
    assert store.write(dispatch.release, MODEL) == []


def test_a_worker_that_seems_slow_gets_what_fills_its_batches(make_store: MakeStore, key_id: int) -> None:
    store = make_store()
    worker(store, "w", 10, slots=20)
    assert store.write(workers.heartbeat, "w", [], 0.5, {MODEL: 10.0}, batches={MODEL: 30.0})
    _, released = submit(store, key_id, 60)
    assert [(r.first, r.last) for r in released][:2] == [(0, 2), (3, 5)], "a shard fills a batch"
    assert len(released) == 8, "eight batches, though they take three times six seconds"


def test_a_key_that_is_alone_has_more_out(make_store: MakeStore, key_id: int) -> None:
    store = make_store(release_seconds=2, release_alone_seconds=4)
    worker(store, "w", 10, slots=20)
    _, released = submit(store, key_id, 30)
    assert len(released) == 4
    assert len(submit(store, new_key(store), 30)[1]) == 1, "in a slot of the reserve"
    for shard in released[:3]:
        assert not run(store, shard.shard_id).released, "no more than two seconds, together"


def test_a_shard_larger_than_the_window_leaves_no_worker_idle(make_store: MakeStore, key_id: int) -> None:
    store = make_store()
    worker(store, "slow", 0.1)
    _, released = submit(store, key_id, 5)
    assert len(released) == 2, "one runs and one waits, though each takes 100 seconds"


def test_models_share_the_slots_and_leave_some(make_store: MakeStore, key_id: int) -> None:
    store = make_store()
    worker(store, "w", 10, slots=2, models=("a", "b", "c"))
    worker(store, "w2", 10, slots=6, models=("a", "b", "c"))
    counts = [len(submit(store, key_id, 20, model=model)[1]) for model in ("a", "b", "c")]
    assert counts == [4, 2, 1]
    assert out(store) <= 8


def test_a_speed_is_remembered_when_its_workers_are_gone(make_store: MakeStore, key_id: int) -> None:
    store = make_store(first_shard_characters=40)
    job, _ = submit(store, key_id, 6)
    assert len(shard_states(store, job)) == 2, "nobody knows the model yet"
    worker(store, "w", 20)
    store.write(workers.unregister, "w")
    job, _ = submit(store, key_id, 6)
    assert len(shard_states(store, job)) == 3
    assert not store.write(workers.heartbeat, "w", [], 0.0, {MODEL: 30.0, "other": 0.0}), "forgotten"
    job, _ = submit(store, key_id, 6)
    assert len(shard_states(store, job)) == 2, "the last that was heard"


def test_every_shard_says_how_large_it_is(make_store: MakeStore, key_id: int) -> None:
    store = make_store(first_shard_characters=25)
    job, _ = submit(store, key_id, 3, open=True)
    store.write(jobs.append, key_id, job.id, documents(1), 3)
    sizes = sa.select(shards.c.characters).order_by(shards.c.first)
    assert list(store.read(lambda tx: tx.execute(sizes).scalars().all())) == [20, 10, 10]
    store.write(jobs.cancel, key_id, job.id)
    store.write(jobs.retry, key_id, job.id, None)
    again = sizes.where(shards.c.state != "cancelled")
    assert list(store.read(lambda tx: tx.execute(again).scalars().all())) == [20, 20]


# --- newcomers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("priority", ["high", "normal", "low"])
@pytest.mark.parametrize("same_key", [True, False])
def test_a_job_that_comes_beside_a_huge_one_starts_at_once(
    make_store: MakeStore, key_id: int, priority: str, same_key: bool
) -> None:
    store = make_store()
    worker(store, "w", 10)
    assert len(submit(store, key_id, 100)[1]) == 4
    small, released = submit(store, key_id if same_key else new_key(store), 3, priority=priority)
    assert [(r.job, r.first) for r in released] == [(small.id, 0)]
    assert store.write(dispatch.release, MODEL) == [], "and no more than that"


def test_an_appended_job_that_has_nothing_out_starts_at_once(make_store: MakeStore, key_id: int) -> None:
    store = make_store()
    worker(store, "w", 10)
    submit(store, key_id, 100)
    job, _ = submit(store, key_id, 0, open=True)
    assert [r.job for r in store.write(jobs.append, key_id, job.id, documents(2), 0).released] == [job.id]
    assert store.write(jobs.append, key_id, job.id, documents(2), 2).released == []


def test_a_thousand_jobs_of_a_key_leave_slots_for_others(make_store: MakeStore, key_id: int) -> None:
    store = make_store()
    worker(store, "w", 10)
    for _ in range(20):
        submit(store, key_id, 1)
    assert out(store) == 6
    assert submit(store, key_id, 1)[1] == []
    assert submit(store, key_id, 1, priority="high")[1] != []
    assert submit(store, key_id, 1, priority="high")[1] == []
    assert submit(store, new_key(store), 1)[1] != [], "the last slot is for those who have nothing out"
    assert submit(store, new_key(store), 1)[1] == []
    assert out(store) == 8


# --- what waits -------------------------------------------------------------------------------------------------------


def test_a_job_waits_until_its_last_shard_is_released(make_store: MakeStore, key_id: int) -> None:
    store = make_store(shard_documents=1, unserved_shards=1)
    job, released = submit(store, key_id, 2)
    other, _ = submit(store, key_id, 1)
    mine, others = job_row(store, job)["id"], job_row(store, other)["id"]
    assert what_waits(store) == ({mine, others}, {key_id})
    (following,) = run(store, released[0].shard_id).released
    assert what_waits(store) == ({others}, {key_id}), "after a newcomer's place one goes to a job served before"
    (last,) = run(store, following.shard_id).released
    assert what_waits(store) == (set(), set())
    run(store, last.shard_id)
    store.write(jobs.append, key_id, submit(store, key_id, 0, open=True)[0].id, documents(3), 0)
    assert len(what_waits(store)[0]) == 1


def test_a_cancelled_job_waits_no_longer(make_store: MakeStore, key_id: int) -> None:
    store = make_store(shard_documents=1, unserved_shards=1)
    job, _ = submit(store, key_id, 2)
    assert what_waits(store)[1] == {key_id}
    store.write(jobs.cancel, key_id, job.id)
    assert what_waits(store) == (set(), set())


def test_a_row_that_should_be_gone_is_removed_by_the_release_that_finds_it(make_store: MakeStore, key_id: int) -> None:
    """A process of the previous release cancels, releases and purges without a look at what is said to wait."""
    store = make_store(shard_documents=1, unserved_shards=2)
    for gone in range(10_000, 10_005):
        store.write(line.wait, Newcomer(gone, key_id, MODEL, 3))
    job, released = submit(store, new_key(store), 3)
    assert [r.job for r in released] == [job.id] * 2, "past all of them"
    store.write(dispatch.release, MODEL)
    run(store, released[0].shard_id)
    assert what_waits(store) == (set(), set())


@pytest.mark.parametrize(
    ("tags", "tag"), [([], 0), ([(True, 7), (True, 5), (False, 90)], 5), ([(False, 3), (False, 90)], 90)]
)
def test_a_key_wakes_beside_those_that_wait(
    store: Store, key_id: int, tags: list[tuple[bool, float]], tag: float
) -> None:
    assert tag == policy.woken(0, 0, [t for waits, t in tags if waits], [t for waits, t in tags if not waits])
    for waits, other in tags:
        other_key = new_key(store)
        store.write(line.wake, MODEL, other_key)
        change(store, turns, turns.c.key_id == other_key, waiting=waits, tag=other)
    store.write(line.wake, MODEL, key_id)
    mine = sa.select(turns.c.waiting, turns.c.tag).where(turns.c.key_id == key_id)
    assert tuple(store.read(lambda tx: tx.execute(mine).one())) == (True, tag)
    change(store, turns, turns.c.key_id == key_id, waiting=False, tag=100)
    store.write(line.wake, MODEL, key_id)
    assert tuple(store.read(lambda tx: tx.execute(mine).one())) == (True, 100), "its last place was just before"


def test_a_key_wakes_level_with_what_the_others_have_received(make_store: MakeStore, key_id: int) -> None:
    store = make_store(shard_documents=1, unserved_shards=2)
    tags = sa.select(turns.c.tag).order_by(turns.c.key_id)
    _, released = submit(store, key_id, 4)
    submit(store, new_key(store), 3)
    assert list(store.read(lambda tx: tx.execute(tags).scalars())) == [200, 0], "both that the first was given are out"
    run(store, released[0].shard_id)  # the second key has its place
    submit(store, new_key(store), 3)
    assert list(store.read(lambda tx: tx.execute(tags).scalars())) == [200, 100, 0], "the least that one has received"


@row_locks
def test_what_an_append_is_about_to_add_is_not_struck_off(make_store: MakeStore, key_id: int) -> None:
    store = make_store(shard_documents=1, unserved_shards=1)
    job, released = submit(store, key_id, 2, open=True)
    with store.engine.begin() as appending:
        jobs.append(appending, key_id, job.id, documents(1), 2)
        with make_store(unserved_shards=1).engine.begin() as striking:
            striking.exec_driver_sql("SET LOCAL lock_timeout = '5s'")
            change_now = sa.update(shards).where(shards.c.id == released[0].shard_id).values(state="done")
            striking.execute(change_now)
            (last,) = dispatch.release(striking, MODEL)
            assert last.first == 1, "the key is charged all the same, and the append not waited for"
    assert what_waits(store) == ({job_row(store, job)["id"]}, {key_id})
    assert [r.first for r in run(store, last.shard_id).released] == [2]


@row_locks
def test_an_append_waits_for_the_release_that_strikes_its_job_off(make_store: MakeStore, key_id: int) -> None:
    store = make_store(shard_documents=1, unserved_shards=1)
    job, released = submit(store, key_id, 2, open=True)
    lease = claim(store, released[0].shard_id)
    with store.engine.begin() as settling:
        (last,) = leases.settle(settling, lease, outcomes([0]), True).released
        append = Contender(make_store(unserved_shards=1), jobs.append, key_id, job.id, documents(1), 2)
    assert append.result().released == []
    assert what_waits(store) == ({job_row(store, job)["id"]}, {key_id})
    assert [r.first for r in run(store, last.shard_id).released] == [2]


@row_locks
@pytest.mark.parametrize("change_job", ["append", "cancel"])
def test_a_settle_and_whoever_changes_its_job_do_not_wait_for_each_other(
    make_store: MakeStore, key_id: int, change_job: str
) -> None:
    """The settle has struck the job off, and is about to lock the job's row."""
    store, other = make_store(shard_documents=1, unserved_shards=1), make_store(unserved_shards=1)
    job, released = submit(store, key_id, 2, open=True)
    lease = claim(store, released[0].shard_id)
    errors: list[object] = []
    for engine in (store.engine, other.engine):
        sa.event.listen(engine, "handle_error", lambda context: errors.append(context.original_exception))
    steps = {"append": (jobs.append, key_id, job.id, documents(1), 2), "cancel": (jobs.cancel, key_id, job.id)}
    waiting_now: list[Contender[object]] = []
    with before(store, "UPDATE jobs SET succeeded", lambda: waiting_now.append(Contender(other, *steps[change_job]))):
        finish(store, lease)
    waiting_now[0].result()
    assert errors == []
    assert (job_row(store, job)["id"] in what_waits(store)[0]) == (change_job == "append")


# --- one transaction, that never waits --------------------------------------------------------------------------------


def test_releasing_is_part_of_the_settling_transaction(make_store: MakeStore, key_id: int) -> None:
    store = make_store(shard_documents=1, unserved_shards=1)
    job, released = submit(store, key_id, 2)
    lease = claim(store, released[0].shard_id)
    with store.engine.connect() as tx:
        assert len(leases.settle(tx, lease, outcomes([0]), True).released) == 1
        tx.rollback()  # the worker died before its commit
    assert shard_states(store, job) == ["leased", "pending"]
    finish(store, lease)
    assert shard_states(store, job) == ["done", "queued"]


@row_locks
def test_releasing_waits_for_nobody(make_store: MakeStore, key_id: int) -> None:
    store = make_store(shard_documents=1, unserved_shards=1)
    job, released = submit(store, key_id, 4)
    change(store, shards, shards.c.id == released[0].shard_id, state="done")
    pending = sa.select(shards.c.id).where(shards.c.state == "pending").order_by(shards.c.first).limit(1)
    with store.engine.begin() as tx, make_store(unserved_shards=2).engine.begin() as releasing:
        tx.execute(pending.with_for_update())
        releasing.exec_driver_sql("SET LOCAL lock_timeout = '5s'")
        taken = dispatch.release(releasing, MODEL)
    assert [shard.first for shard in taken] == [2, 3], "past the locked one"
    assert shard_states(store, job) == ["done", "pending", "queued", "queued"]


def test_two_settles_at_once_release_different_shards(make_store: MakeStore, key_id: int) -> None:
    store = make_store(shard_documents=1, unserved_shards=2)
    job, released = submit(store, key_id, 6)
    one, two = (claim(store, shard.shard_id) for shard in released)
    with store.engine.begin() as tx:
        first = leases.settle(tx, one, outcomes([0]), True)
        second = Contender(make_store(unserved_shards=2), leases.settle, two, outcomes([1]), True)
    freed = [*first.released, *second.result().released, *store.write(dispatch.release, MODEL)]
    assert len({shard.shard_id for shard in freed}) == len(freed)
    assert first.released, "the one that locks the key's account fills its place"
    assert out(store) == 2, "and the next release the other's: no place was lost or made"
    assert shard_states(store, job)[:2] == ["done", "done"]


@row_locks
def test_an_account_that_is_locked_is_passed_over(make_store: MakeStore, key_id: int) -> None:
    store = make_store(shard_documents=1, unserved_shards=1)
    _, released = submit(store, key_id, 3)
    other, _ = submit(store, new_key(store), 3)
    change(store, shards, shards.c.id == released[0].shard_id, state="done")
    with store.engine.begin() as tx, make_store(unserved_shards=2).engine.begin() as releasing:
        tx.execute(sa.select(turns).where(turns.c.key_id == key_id).with_for_update(key_share=True))
        releasing.exec_driver_sql("SET LOCAL lock_timeout = '5s'")
        taken = dispatch.release(releasing, MODEL)
    assert [shard.job for shard in taken] == [other.id, other.id]


@row_locks
def test_a_job_cancelled_while_it_is_chosen_is_not_released(make_store: MakeStore, key_id: int) -> None:
    store = make_store(shard_documents=1, unserved_shards=1)
    other = make_store(unserved_shards=1)
    _, released = submit(store, key_id, 1)
    job, _ = submit(store, key_id, 3)
    next_in_line, none = submit(store, key_id, 1)
    assert none == []
    change(store, shards, shards.c.id == released[0].shard_id, state="done")
    with before(store, "FOR UPDATE SKIP LOCKED", lambda: other.write(jobs.cancel, key_id, job.id)):
        taken = store.write(dispatch.release, MODEL)
    assert [shard.job for shard in taken] == [next_in_line.id]
    assert shard_states(store, job) == ["cancelled"] * 3
    assert what_waits(store) == (set(), set())


def test_what_a_cancelled_job_leaves_free_is_filled_by_the_next_release(make_store: MakeStore, key_id: int) -> None:
    store = make_store(shard_documents=1, unserved_shards=2)
    first, _ = submit(store, key_id, 4)
    second, none = submit(store, key_id, 4)
    assert none == []
    store.write(jobs.cancel, key_id, first.id)
    assert len(store.write(dispatch.release, MODEL)) == 2
    assert shard_states(store, second) == ["queued", "queued", "pending", "pending"]


def test_a_released_shard_says_what_the_message_needs(store: Store, key_id: int) -> None:
    job, released = submit(store, key_id, 3, priority="low")
    (shard,) = released
    assert shard == (shard.shard_id, job.id, "ner", MODEL, 0, 2, 6)
    row = shard_row(store, shard.shard_id)
    assert row["state"] == "queued"
    assert row["published_at"] is not None
