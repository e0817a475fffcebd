"""Rule 3: outcomes are written under the token, counted as far as they are new, and exactly one settle ends the job."""

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from store import jobs, leases, results
from store.bulk import DocumentOutcome
from store.session import Store
from tests.integration.interleaving import Contender, lost_reply_to_commit
from tests.integration.ledger_steps import (
    claim,
    finish,
    job_row,
    let_lease_run_out,
    outcomes,
    result_marks,
    run,
    shard_row,
    submit,
)
from textmill.errors import LeaseLost
from textmill.wire import ErrorInfo, Job, Result

MakeStore = Callable[..., Store]


def counts(store: Store, job: Job) -> tuple[str, int, int, int]:
    row = job_row(store, job)
    return row["state"], row["succeeded"], row["failed"], row["remaining_shards"]


def test_a_stale_token_writes_nothing(store: Store, key_id: int) -> None:
    job, released = submit(store, key_id)
    stale = claim(store, released[0].shard_id, "slow")
    let_lease_run_out(store, stale.shard_id)
    fresh = claim(store, stale.shard_id, "quick")
    for close in (False, True):
        with pytest.raises(LeaseLost):
            store.write(leases.settle, stale, outcomes([0, 1, 2], mark="slow"), close)
    assert result_marks(store, job) == {}
    assert counts(store, job) == ("running", 0, 0, 1)
    assert shard_row(store, fresh.shard_id)["token"] == fresh.token
    store.write(leases.settle, fresh, outcomes([0, 1, 2], mark="quick"), True)
    with pytest.raises(LeaseLost):
        store.write(leases.settle, stale, outcomes([0], mark="slow"), True)
    assert result_marks(store, job) == {0: "quick", 1: "quick", 2: "quick"}
    assert counts(store, job) == ("completed", 3, 0, 0)


def test_a_stale_token_fails_no_job(store: Store, key_id: int) -> None:
    job, released = submit(store, key_id)
    stale = claim(store, released[0].shard_id, "slow")
    let_lease_run_out(store, stale.shard_id)
    fresh = claim(store, stale.shard_id, "quick")
    with pytest.raises(LeaseLost):
        store.write(leases.fail_job, stale, "model_error", "of the slow one")
    assert job_row(store, job)["error_code"] is None
    store.write(leases.fail_job, fresh, "model_error", "of the quick one")
    assert job_row(store, job)["error_message"] == "of the quick one"


def test_a_settle_that_meets_a_reclaim_writes_nothing(make_store: MakeStore, store: Store, key_id: int) -> None:
    job, released = submit(store, key_id)
    stale = claim(store, released[0].shard_id, "slow")
    let_lease_run_out(store, stale.shard_id)
    with store.engine.begin() as tx:
        assert leases.claim(tx, stale.shard_id, "quick") is not None
        late = Contender(make_store(), leases.settle, stale, outcomes([0, 1, 2]), True)
    with pytest.raises(LeaseLost):
        late.result()
    assert result_marks(store, job) == {}


def test_a_reclaim_that_meets_a_settle_gets_nothing(make_store: MakeStore, store: Store, key_id: int) -> None:
    """The lease had run out, and yet was still held: the settle, which comes first, renews it."""
    job, released = submit(store, key_id)
    lease = claim(store, released[0].shard_id, "slow")
    let_lease_run_out(store, lease.shard_id)
    with store.engine.begin() as tx:
        leases.settle(tx, lease, outcomes([0], mark="slow"), False)
        claimer = Contender(make_store(), leases.claim, lease.shard_id, "quick")
    assert claimer.result() is None
    finish(store, lease)
    assert counts(store, job) == ("completed", 3, 0, 0)


def test_partial_settles_add_up(store: Store, key_id: int) -> None:
    job, released = submit(store, key_id, 5)
    lease = claim(store, released[0].shard_id)
    assert not store.write(leases.settle, lease, outcomes([3, 0], failing=[3]), False).ended
    assert counts(store, job) == ("running", 1, 1, 1)
    assert store.write(leases.settle, lease, [], False) == (False, [])
    assert store.write(leases.settle, lease, outcomes([1, 2, 4]), True).ended
    assert counts(store, job) == ("completed_with_errors", 4, 1, 0)


def test_only_results_that_are_new_are_stored_and_counted(store: Store, key_id: int) -> None:
    job, released = submit(store, key_id, 4)
    lost = claim(store, released[0].shard_id, "dead")
    store.write(leases.settle, lost, outcomes([0, 1], failing=[1], mark="first"), False)
    store.write(leases.settle, lost, outcomes([0, 1], failing=[1], mark="first"), False)
    assert counts(store, job) == ("running", 1, 1, 1)
    let_lease_run_out(store, lost.shard_id)
    again = claim(store, lost.shard_id)
    store.write(leases.settle, again, outcomes([0, 1, 2, 3], mark="second"), True)
    assert counts(store, job) == ("completed_with_errors", 3, 1, 0)
    assert result_marks(store, job) == {0: "first", 1: "first", 2: "second", 3: "second"}


def test_an_outcome_is_read_as_it_was_written(store: Store, key_id: int) -> None:
    job, released = submit(store, key_id)
    texts = [
        '{"summary_text":"a \\"quoted\\" \\u0000 \\n line"}',
        '{"entities":[{"word":"Zürich 日本 🎈","score":0.5}]}',
    ]
    good = [
        DocumentOutcome(n, text, None, None, "r1", 7, 8, 2, True, 3, "echo", "int8") for n, text in enumerate(texts)
    ]
    bad = DocumentOutcome(2, None, "processing_failed", 'a "quoted" \\ {message}, NULL\n')
    store.write(leases.settle, claim(store, released[0].shard_id), [*good, bad], True)
    rows = store.read(results.page, key_id, job.id, 0, 9).rows
    assert [row.outcome for row in rows] == [*good, bad]
    assert [row.state for row in rows] == ["succeeded", "succeeded", "failed"]
    assert store.read(results.one, key_id, job.id, "0") == rows[0]
    shown = Result.model_validate_json(rows[0].json())
    assert (shown.id, shown.model_revision, shown.backend, shown.dtype, shown.error) == (
        "0",
        "r1",
        "echo",
        "int8",
        None,
    )
    assert (shown.input_tokens, shown.output_tokens, shown.pieces, shown.truncated, shown.attempts) == (
        7,
        8,
        2,
        True,
        3,
    )
    failed = Result.model_validate_json(rows[2].json())
    assert (failed.output, failed.error) == (None, ErrorInfo(code="processing_failed", message=bad.error_message or ""))


def test_a_shard_with_undecided_documents_is_not_closed(store: Store, key_id: int) -> None:
    job, released = submit(store, key_id)
    lease = claim(store, released[0].shard_id)
    with pytest.raises(RuntimeError, match="undecided"):
        store.write(leases.settle, lease, outcomes([0, 2]), True)
    assert result_marks(store, job) == {}, "the outcomes were rolled back with it"
    assert counts(store, job) == ("running", 0, 0, 1)
    assert shard_row(store, lease.shard_id)["state"] == "leased"


@pytest.mark.parametrize("close", [False, True])
def test_a_settle_whose_commit_was_not_answered_is_settled_once(store: Store, key_id: int, close: bool) -> None:
    job, released = submit(store, key_id)
    lease = claim(store, released[0].shard_id)
    with lost_reply_to_commit(store):
        store.write(leases.settle, lease, outcomes([0, 1, 2], failing=[1]), close)
    assert counts(store, job) == (("completed_with_errors", 2, 1, 0) if close else ("running", 2, 1, 1))


def test_of_the_last_two_settles_exactly_one_ends_the_job(make_store: MakeStore, key_id: int) -> None:
    store = make_store(shard_documents=2)
    job, released = submit(store, key_id, 4)
    one, two = (claim(store, shard.shard_id) for shard in released)
    with store.engine.begin() as tx:
        first = leases.settle(tx, one, outcomes([0, 1]), True)
        second = Contender(make_store(), leases.settle, two, outcomes([2, 3]), True)
    assert [first.ended, second.result().ended] == [False, True]
    assert counts(store, job) == ("completed", 4, 0, 0)


def test_partial_settles_of_two_shards_lose_no_counts(make_store: MakeStore, key_id: int) -> None:
    store = make_store(shard_documents=2)
    job, released = submit(store, key_id, 4)
    one, two = (claim(store, shard.shard_id) for shard in released)
    with store.engine.begin() as tx:
        leases.settle(tx, one, outcomes([0, 1]), False)
        second = Contender(make_store(), leases.settle, two, outcomes([2], failing=[2]), False)
    second.result()
    assert counts(store, job) == ("running", 2, 1, 2)


def test_a_close_that_meets_the_last_settle_ends_the_job(make_store: MakeStore, store: Store, key_id: int) -> None:
    job, released = submit(store, key_id, open=True)
    lease = claim(store, released[0].shard_id)
    with store.engine.begin() as tx:
        assert not leases.settle(tx, lease, outcomes([0, 1, 2]), True).ended, "the job is still open"
        closer = Contender(make_store(), jobs.close, key_id, job.id)
    assert closer.result().state == "completed"


def test_the_last_settle_that_meets_a_close_ends_the_job(make_store: MakeStore, store: Store, key_id: int) -> None:
    job, released = submit(store, key_id, open=True)
    lease = claim(store, released[0].shard_id)
    with store.engine.begin() as tx:
        assert jobs.close(tx, key_id, job.id).state == "running", "a shard remains"
        settler = Contender(make_store(), leases.settle, lease, outcomes([0, 1, 2]), True)
    assert settler.result().ended
    assert counts(store, job) == ("completed", 3, 0, 0)


@pytest.mark.parametrize(
    ("failing", "state"), [([], "completed"), ([1], "completed_with_errors"), ([0, 1, 2], "failed")]
)
def test_the_state_in_which_a_job_ends(store: Store, key_id: int, failing: list[int], state: str) -> None:
    job, released = submit(store, key_id)
    assert run(store, released[0].shard_id, failing).ended
    row = job_row(store, job)
    assert row["state"] == state
    assert row["finished_at"] is not None


def test_only_the_settle_that_ends_the_job_holds_its_row_for_a_second_statement(
    make_store: MakeStore, key_id: int
) -> None:
    """All settles of a job wait for each other there: a second exchange with the server costs all of them."""
    store = make_store(shard_documents=1)
    _, released = submit(store, key_id, 3)
    held = [claim(store, one.shard_id) for one in released]
    statements: list[str] = []
    sa.event.listen(store.engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
    for left, lease in zip((2, 1, 0), held, strict=True):
        statements.clear()
        assert finish(store, lease).ended is (left == 0)
        first = next(n for n, said in enumerate(statements) if said.startswith("UPDATE jobs"))
        assert len(statements) - first == (2 if left == 0 else 1)
