"""Rules 7 and 9: how leases are kept, heard of, lost and handed back; and the document that takes its worker down."""

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from store import jobs, leases, workers
from store.session import Store
from store.tables import workers as workers_table
from store.workers import WorkerRow
from tests.integration.interleaving import Contender, row_locks
from tests.integration.ledger_steps import (
    claim,
    finish,
    job_row,
    let_lease_run_out,
    outcomes,
    shard_row,
    shard_states,
    submit,
)
from textmill.errors import LeaseLost

MakeStore = Callable[..., Store]


def expiry(store: Store, shard_id: int) -> object:
    return shard_row(store, shard_id)["lease_expires_at"]


# --- renew ------------------------------------------------------------------------------------------------------------


def test_renewing_tells_which_leases_are_gone(make_store: MakeStore, key_id: int) -> None:
    store = make_store(shard_documents=1)
    _, (kept, closed, taken) = submit(store, key_id, 3)
    doomed, (fenced,) = submit(store, key_id, 1)
    held = {r.shard_id: claim(store, r.shard_id, "w") for r in (kept, closed, taken, fenced)}
    before = expiry(store, kept.shard_id)
    finish(store, held[closed.shard_id])
    let_lease_run_out(store, taken.shard_id)
    claim(store, taken.shard_id, "another")
    store.write(jobs.cancel, key_id, doomed.id)
    tokens = [lease.token for lease in held.values()]
    assert make_store(lease_seconds=100).write(leases.renew, "w", tokens) == {held[kept.shard_id].token}
    assert str(expiry(store, kept.shard_id)) > str(before)
    assert store.write(leases.renew, "another", tokens) == set(), "a token is its worker's own"
    assert store.write(leases.renew, "w", []) == set()


def test_a_lease_that_nobody_took_is_renewed_late(store: Store, key_id: int) -> None:
    _, released = submit(store, key_id)
    lease = claim(store, released[0].shard_id, "w")
    let_lease_run_out(store, lease.shard_id)
    assert store.write(leases.renew, "w", [lease.token]) == {lease.token}
    assert store.write(leases.expire) == []


def test_renewing_waits_for_a_settle_in_progress(make_store: MakeStore, store: Store, key_id: int) -> None:
    """If it passed the locked shard by, the keeper would take it for cancelled and stop it."""
    _, released = submit(store, key_id)
    lease = claim(store, released[0].shard_id, "w")
    with store.engine.begin() as tx:
        leases.settle(tx, lease, outcomes([0]), False)
        keeper = Contender(make_store(), leases.renew, "w", [lease.token])
    assert keeper.result() == {lease.token}


def test_renewing_hears_of_a_cancel_in_progress(make_store: MakeStore, store: Store, key_id: int) -> None:
    job, released = submit(store, key_id)
    lease = claim(store, released[0].shard_id, "w")
    with store.engine.begin() as tx:
        jobs.cancel(tx, key_id, job.id)
        keeper = Contender(make_store(), leases.renew, "w", [lease.token])
    assert keeper.result() == set()
    assert shard_states(store, job) == ["cancelled"]


# --- expire -----------------------------------------------------------------------------------------------------------


def test_a_lease_that_ran_out_is_queued_again_with_a_loss(make_store: MakeStore, key_id: int) -> None:
    store = make_store(shard_documents=1)
    job, (late, fine) = submit(store, key_id, 2)
    stale = claim(store, late.shard_id, "w")
    claim(store, fine.shard_id, "w")
    assert store.write(leases.expire) == []
    let_lease_run_out(store, late.shard_id)
    assert [shard.shard_id for shard in store.write(leases.expire)] == [late.shard_id]
    row = shard_row(store, late.shard_id)
    assert (row["state"], row["token"], row["worker_id"], row["losses"]) == ("queued", None, None, 1)
    assert shard_states(store, job) == ["queued", "leased"]
    with pytest.raises(LeaseLost):
        store.write(leases.settle, stale, outcomes([0]), True)
    assert store.write(leases.expire) == [], "lost once"


@row_locks
def test_a_lease_that_is_being_settled_is_not_expired(make_store: MakeStore, store: Store, key_id: int) -> None:
    _, released = submit(store, key_id)
    lease = claim(store, released[0].shard_id, "w")
    let_lease_run_out(store, lease.shard_id)
    with store.engine.begin() as tx, make_store().engine.begin() as sweeping:
        leases.settle(tx, lease, outcomes([0]), False)
        sweeping.exec_driver_sql("SET LOCAL lock_timeout = '5s'")
        assert leases.expire(sweeping) == []
    assert shard_row(store, lease.shard_id)["token"] == lease.token


def test_a_settle_that_meets_an_expiry_writes_nothing(make_store: MakeStore, store: Store, key_id: int) -> None:
    job, released = submit(store, key_id)
    lease = claim(store, released[0].shard_id, "w")
    let_lease_run_out(store, lease.shard_id)
    with store.engine.begin() as tx:
        assert len(leases.expire(tx)) == 1
        late = Contender(make_store(), leases.settle, lease, outcomes([0, 1, 2]), True)
    with pytest.raises(LeaseLost):
        late.result()
    assert job_row(store, job)["succeeded"] == 0


def test_what_a_dead_worker_held_is_queued_at_once(make_store: MakeStore, key_id: int) -> None:
    store = make_store(shard_documents=1)
    job, released = submit(store, key_id, 3)
    for shard, worker in zip(released, ("dead", "dead", "alive"), strict=True):
        claim(store, shard.shard_id, worker)
    assert [shard.first for shard in store.write(leases.expire_worker, "dead")] == [0, 1]
    assert shard_states(store, job) == ["queued", "queued", "leased"]


def test_what_a_dead_process_held_is_queued_at_once(make_store: MakeStore, key_id: int) -> None:
    store = make_store(shard_documents=1)
    job, released = submit(store, key_id, 3)
    for name, machine, pid in (("dead", "here", 7), ("neighbour", "here", 8), ("namesake", "there", 7)):
        # Containers may well share a host name, and each has a process 7.
        store.write(workers.register, WorkerRow(name, "host", pid, "cpu", ("echo",), 1, machine))
    for shard, worker in zip(released, ("dead", "neighbour", "namesake"), strict=True):
        claim(store, shard.shard_id, worker)
    assert [shard.first for shard in store.write(leases.expire_process, "here", 7).released] == [0]
    assert shard_states(store, job) == ["queued", "leased", "leased"]
    left = store.read(lambda tx: set(tx.execute(sa.select(workers_table.c.id)).scalars()))
    assert left == {"neighbour", "namesake"}
    assert store.write(leases.expire_process, "here", 7) == ([], True)


# --- drain ------------------------------------------------------------------------------------------------------------


def test_a_drained_shard_goes_back_with_no_loss(store: Store, key_id: int) -> None:
    job, released = submit(store, key_id)
    lease = claim(store, released[0].shard_id, "w")
    store.write(leases.settle, lease, outcomes([1]), False)
    assert store.write(leases.release, lease) == released
    row = shard_row(store, lease.shard_id)
    assert (row["state"], row["token"], row["worker_id"], row["losses"]) == ("queued", None, None, 0)
    with pytest.raises(LeaseLost):
        store.write(leases.settle, lease, outcomes([0]), False)
    again = claim(store, lease.shard_id)
    assert [text.position for text in store.read(leases.undecided, again, -1, 9)] == [0, 2]
    assert job_row(store, job)["state"] == "running"


def test_a_drain_that_lost_its_lease_releases_nothing(store: Store, key_id: int) -> None:
    _, released = submit(store, key_id)
    lease = claim(store, released[0].shard_id, "slow")
    let_lease_run_out(store, lease.shard_id)
    fresh = claim(store, lease.shard_id, "quick")
    assert store.write(leases.release, lease) == []
    assert shard_row(store, lease.shard_id)["token"] == fresh.token


# --- poison -----------------------------------------------------------------------------------------------------------


def lose(store: Store, shard_id: int) -> None:
    let_lease_run_out(store, shard_id)
    store.write(leases.expire)


def test_a_shard_that_was_lost_twice_runs_single_file(store: Store, key_id: int) -> None:
    _, released = submit(store, key_id)
    shard_id = released[0].shard_id
    seen = []
    for _ in range(3):
        lease = claim(store, shard_id)
        seen.append((lease.losses, lease.single_file))
        lose(store, shard_id)
    assert seen == [(0, False), (1, False), (2, True)]
    let_lease_run_out(store, claim(store, shard_id).shard_id)
    assert claim(store, shard_id).losses == 4, "a claim past the expiry counts the same loss"


def test_each_lost_attempt_is_counted_on_its_document(store: Store, key_id: int) -> None:
    _, released = submit(store, key_id)
    shard_id = released[0].shard_id
    for _ in range(2):
        claim(store, shard_id)
        lose(store, shard_id)
    attempts = []
    for _ in range(3):
        lease = claim(store, shard_id)
        attempts.append(store.write(leases.attempt, lease, 1))
        lose(store, shard_id)
    lease = claim(store, shard_id)
    assert (lease.suspect, lease.suspect_attempts) == (1, 3)
    attempts.append(store.write(leases.attempt, lease, 1))
    assert attempts == [1, 2, 3, 4]
    assert store.write(leases.attempt, lease, 2) == 1, "the next document begins anew"


def test_an_attempt_needs_the_lease(store: Store, key_id: int) -> None:
    _, released = submit(store, key_id)
    lease = claim(store, released[0].shard_id)
    lose(store, lease.shard_id)
    with pytest.raises(LeaseLost):
        store.write(leases.attempt, lease, 0)
    assert shard_row(store, lease.shard_id)["suspect_attempts"] == 0


def test_a_drain_takes_the_attempt_in_progress_back(store: Store, key_id: int) -> None:
    _, released = submit(store, key_id)
    shard_id = released[0].shard_id
    for _ in range(2):
        claim(store, shard_id)
        lose(store, shard_id)
    lease = claim(store, shard_id)
    store.write(leases.attempt, lease, 0)
    lose(store, shard_id)
    lease = claim(store, shard_id)
    assert store.write(leases.attempt, lease, 0) == 2
    store.write(leases.release, lease)
    again = claim(store, shard_id)
    assert (again.suspect_attempts, again.losses) == (1, 3), "the drained attempt does not count"


def test_a_drain_before_an_attempt_forgives_nothing(store: Store, key_id: int) -> None:
    _, released = submit(store, key_id)
    shard_id = released[0].shard_id
    for _ in range(2):
        claim(store, shard_id)
        lose(store, shard_id)
    lease = claim(store, shard_id)
    store.write(leases.attempt, lease, 0)
    lose(store, shard_id)
    for _ in range(2):
        store.write(leases.release, claim(store, shard_id))  # drained before it came to the document
    assert claim(store, shard_id).suspect_attempts == 1
