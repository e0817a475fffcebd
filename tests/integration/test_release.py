"""Rule 4: how many shards are out, and that making room and filling it is one transaction that never waits."""

from collections.abc import Callable

import sqlalchemy as sa

from store import dispatch, jobs, leases, workers
from store.session import Store, db_time
from store.tables import shards
from store.tables import workers as workers_table
from store.workers import WorkerRow
from tests.integration.interleaving import Contender, before, row_locks
from tests.integration.ledger_steps import (
    MODEL,
    change,
    claim,
    finish,
    new_key,
    outcomes,
    run,
    shard_row,
    shard_states,
    submit,
)

MakeStore = Callable[..., Store]


def out(store: Store) -> int:
    query = sa.select(sa.func.count()).where(shards.c.state.in_(("queued", "leased")))
    return store.read(lambda tx: tx.execute(query).scalar_one())


def test_a_job_has_a_window_of_shards_out(make_store: MakeStore, key_id: int) -> None:
    store = make_store(shard_documents=1, minimum_window=2)
    job, released = submit(store, key_id, 5)
    assert [(r.first, r.last) for r in released] == [(0, 0), (1, 1)]
    lease = claim(store, released[0].shard_id)
    assert store.write(dispatch.release, MODEL) == [], "a leased shard keeps its place"
    assert [r.first for r in finish(store, lease).released] == [2]
    assert shard_states(store, job) == ["done", "queued", "queued", "pending", "pending"]


def test_the_window_follows_the_live_task_slots(make_store: MakeStore, key_id: int) -> None:
    store = make_store(shard_documents=1, minimum_window=2)
    for name, models in (("w1", (MODEL, "other")), ("w2", (MODEL,)), ("w3", ("other",))):
        store.write(workers.register, WorkerRow(name, "host", 1, "cpu", models, slots=3))
    assert len(submit(store, key_id, 30)[1]) == 12, "twice the slots of the two that serve the model"
    change(store, workers_table, workers_table.c.id == "w2", heartbeat_at=db_time(-1000))
    assert len(submit(store, new_key(store), 30)[1]) == 6, "a dead worker has no slots"


def test_jobs_of_a_key_share_its_cap_and_keys_that_of_the_queue(make_store: MakeStore, key_id: int) -> None:
    store = make_store(shard_documents=1, minimum_window=2, key_windows=2, queue_windows=3)
    assert [len(submit(store, key_id, 9)[1]) for _ in range(3)] == [2, 2, 0]
    other = new_key(store)
    assert [len(submit(store, other, 9)[1]) for _ in range(2)] == [2, 0]
    assert len(submit(store, key_id, 9, model="another")[1]) == 2, "another queue"


def test_a_place_that_a_job_cannot_use_goes_to_another(make_store: MakeStore, key_id: int) -> None:
    store = make_store(shard_documents=1, minimum_window=4, key_windows=1, queue_windows=1)
    _, first = submit(store, key_id, 4)
    short, _ = submit(store, key_id, 1)
    long, _ = submit(store, key_id, 4)
    for shard in first:
        run(store, shard.shard_id)
    assert shard_states(store, short) == ["queued"]
    assert shard_states(store, long) == ["queued"] * 3 + ["pending"]


def test_releasing_is_part_of_the_settling_transaction(make_store: MakeStore, key_id: int) -> None:
    store = make_store(shard_documents=1, minimum_window=1)
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
    store = make_store(shard_documents=1, minimum_window=1)
    job, released = submit(store, key_id, 4)
    change(store, shards, shards.c.id == released[0].shard_id, state="done")
    pending = sa.select(shards.c.id).where(shards.c.state == "pending").order_by(shards.c.first).limit(1)
    with store.engine.begin() as tx, make_store(minimum_window=2).engine.begin() as releasing:
        tx.execute(pending.with_for_update())
        releasing.exec_driver_sql("SET LOCAL lock_timeout = '5s'")
        taken = dispatch.release(releasing, MODEL)
    assert [shard.first for shard in taken] == [2, 3], "past the locked one"
    assert shard_states(store, job) == ["done", "pending", "queued", "queued"]


def test_two_settles_at_once_release_different_shards(make_store: MakeStore, key_id: int) -> None:
    store = make_store(shard_documents=1, minimum_window=2)
    job, released = submit(store, key_id, 6)
    one, two = (claim(store, shard.shard_id) for shard in released)
    with store.engine.begin() as tx:
        first = leases.settle(tx, one, outcomes([0]), True)
        second = Contender(make_store(minimum_window=2), leases.settle, two, outcomes([1]), True)
    freed = [*first.released, *second.result().released]
    assert len({shard.shard_id for shard in freed}) == len(freed)
    assert out(store) == 2, "and no place was lost or made"
    assert shard_states(store, job)[:2] == ["done", "done"]


@row_locks
def test_a_job_cancelled_while_it_is_chosen_is_not_released(make_store: MakeStore, key_id: int) -> None:
    store = make_store(shard_documents=1, minimum_window=1)
    other = make_store(minimum_window=1)
    job, released = submit(store, key_id, 3)
    next_in_line, none = submit(store, key_id, 1)
    assert len(none) == 1
    change(store, shards, shards.c.id.in_([released[0].shard_id, none[0].shard_id]), state="pending")
    with before(store, "FOR UPDATE SKIP LOCKED", lambda: other.write(jobs.cancel, key_id, job.id)):
        taken = store.write(dispatch.release, MODEL)
    assert [shard.job for shard in taken] == [next_in_line.id]
    assert shard_states(store, job) == ["cancelled"] * 3


def test_what_a_cancelled_job_leaves_free_is_filled_by_the_next_release(make_store: MakeStore, key_id: int) -> None:
    store = make_store(shard_documents=1, minimum_window=2, key_windows=1)
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
