"""Rule 2: one worker claims a shard, while it is free and its job active; a re-claim skips what is decided."""

from collections.abc import Callable

import pytest

from store import jobs, leases
from store.session import Store, db_time
from store.tables import jobs as jobs_table
from store.tables import shards
from tests.integration.interleaving import Contender
from tests.integration.ledger_steps import change, claim, let_lease_run_out, outcomes, run, shard_row, submit

MakeStore = Callable[..., Store]


def test_of_two_claimers_one_gets_the_shard(make_store: MakeStore, store: Store, key_id: int) -> None:
    _, released = submit(store, key_id)
    shard_id = released[0].shard_id
    with store.engine.begin() as tx:
        first = leases.claim(tx, shard_id, "one")
        second = Contender(make_store(), leases.claim, shard_id, "two")
    assert first is not None
    assert second.result() is None
    row = shard_row(store, shard_id)
    assert (row["token"], row["worker_id"], row["losses"]) == (first.token, "one", 0)


def test_of_two_claimers_of_an_expired_lease_one_gets_it(make_store: MakeStore, store: Store, key_id: int) -> None:
    _, released = submit(store, key_id)
    shard_id = released[0].shard_id
    lost = claim(store, shard_id, "dead")
    let_lease_run_out(store, shard_id)
    with store.engine.begin() as tx:
        first = leases.claim(tx, shard_id, "one")
        second = Contender(make_store(), leases.claim, shard_id, "two")
    assert first is not None
    assert first.token != lost.token
    assert (first.losses, shard_row(store, shard_id)["losses"]) == (1, 1), "an expired lease is a loss"
    assert second.result() is None


def test_a_lease_that_holds_is_not_taken(store: Store, key_id: int) -> None:
    _, released = submit(store, key_id)
    lease = claim(store, released[0].shard_id)
    assert store.write(leases.claim, released[0].shard_id, "another") is None
    assert shard_row(store, released[0].shard_id)["token"] == lease.token


@pytest.mark.parametrize("state", ["pending", "done", "cancelled"])
def test_only_a_queued_shard_is_free(store: Store, key_id: int, state: str) -> None:
    _, released = submit(store, key_id)
    change(store, shards, shards.c.id == released[0].shard_id, state=state)
    assert store.write(leases.claim, released[0].shard_id, "w") is None


@pytest.mark.parametrize("ended", [{"state": "cancelled"}, {"state": "completed"}, {"deleted_at": db_time()}])
def test_a_shard_of_an_inactive_job_is_not_claimed(store: Store, key_id: int, ended: dict[str, object]) -> None:
    job, released = submit(store, key_id)
    change(store, jobs_table, jobs_table.c.uuid == job.id, **ended)  # the job's row alone: its shards stay queued
    assert store.write(leases.claim, released[0].shard_id, "w") is None
    assert shard_row(store, released[0].shard_id)["state"] == "queued"


def test_a_claim_that_meets_a_cancel_gets_nothing(make_store: MakeStore, store: Store, key_id: int) -> None:
    job, released = submit(store, key_id)
    with store.engine.begin() as tx:
        jobs.cancel(tx, key_id, job.id)
        claimer = Contender(make_store(), leases.claim, released[0].shard_id, "w")
    assert claimer.result() is None
    assert shard_row(store, released[0].shard_id)["state"] == "cancelled"


def test_a_reclaim_reads_only_what_has_no_result(store: Store, key_id: int) -> None:
    _, released = submit(store, key_id, 5)
    lease = claim(store, released[0].shard_id, "dead")
    store.write(leases.settle, lease, outcomes([0, 3]), False)
    let_lease_run_out(store, lease.shard_id)
    again = claim(store, lease.shard_id, "next")
    assert [text.position for text in store.read(leases.undecided, again, -1, 10)] == [1, 2, 4]
    assert [text.position for text in store.read(leases.undecided, again, 1, 1)] == [2], "after the position, a page"


def test_a_shard_reads_its_own_documents(make_store: MakeStore, key_id: int) -> None:
    store = make_store(shard_documents=2)
    submit(store, key_id, 2)  # another job, with documents at the same positions
    _, released = submit(store, key_id, 5)
    ranges = []
    for shard in released:
        lease = claim(store, shard.shard_id)
        ranges.append([text.position for text in store.read(leases.undecided, lease, -1, 10)])
    assert ranges == [[0, 1], [2, 3], [4]]


def test_the_first_claim_starts_the_job_and_no_other_does(make_store: MakeStore, key_id: int) -> None:
    store = make_store(shard_documents=1)
    job, released = submit(store, key_id, 2)
    claim(store, released[0].shard_id)
    started = store.read(jobs.get, key_id, job.id)
    assert started.state == "running"
    run(store, released[1].shard_id)
    assert store.read(jobs.get, key_id, job.id).started_at == started.started_at
