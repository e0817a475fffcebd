"""The ledger from submit to the last result, as one worker would drive it, on both databases."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from store import jobs, leases, results
from store.jobs import NewJob
from store.leases import DocumentOutcome, Lease
from store.session import Store
from textmill.errors import (
    DuplicateDocument,
    IdempotencyMismatch,
    JobClosed,
    JobNotEnded,
    JobNotFound,
    LeaseLost,
    NothingToRetry,
    UploadOffsetMismatch,
)

WORKER = "worker-1"


def texts(*names: str) -> list[tuple[str | None, str]]:
    return [(name, f"text of {name}") for name in names]


def run(store: Store, lease: Lease, failing: tuple[str, ...] = ()) -> leases.Settled:
    """Decide every document of the shard: those whose text is named fail."""
    waiting = store.read(leases.undecided, lease, -1, 10_000)
    outcomes = [
        DocumentOutcome(t.position, None, "processing_failed", "no")
        if t.text in failing
        else DocumentOutcome(t.position, json.dumps({"summary_text": t.text}), input_tokens=3)
        for t in waiting
    ]
    return store.write(leases.settle, lease, outcomes, True)


def claim(store: Store, shard_id: int, worker: str = WORKER) -> Lease:
    lease = store.write(leases.claim, shard_id, worker)
    assert lease is not None
    return lease


def test_what_a_document_has_beside_its_text_comes_to_the_worker(store: Store, key_id: int) -> None:
    batch = [("a", "x", '{"question": "Olá?"}'), ("b", "y")]
    released = store.write(jobs.submit, NewJob(key_id, "question-answering", "echo"), batch).released
    lease = claim(store, released[0].shard_id)
    found = store.read(leases.undecided, lease, -1, 10)
    assert [(text.text, text.fields) for text in found] == [("x", {"question": "Olá?"}), ("y", {})]


def test_a_job_from_submit_to_its_results(store: Store, key_id: int) -> None:
    job, created, released = store.write(jobs.submit, NewJob(key_id, "summarization", "echo"), texts("a", "b", "c"))
    assert created
    assert (job.state, job.counts.total, job.counts.pending) == ("queued", 3, 3)
    assert [(r.first, r.last, r.job) for r in released] == [(0, 2, job.id)]

    lease = claim(store, released[0].shard_id)
    assert store.read(jobs.get, key_id, job.id).state == "running"
    assert store.write(leases.claim, released[0].shard_id, "another") is None

    assert run(store, lease, failing=("text of b",)).ended
    ended = store.read(jobs.get, key_id, job.id)
    assert ended.state == "completed_with_errors"
    assert (ended.counts.succeeded, ended.counts.failed, ended.counts.pending) == (2, 1, 0)
    assert ended.finished_at is not None
    page = store.read(results.page, key_id, job.id, 0, 10, None)
    assert page.next is None
    rows = [json.loads(row.json()) for row in page.rows]
    assert [(row["id"], row["position"], row["state"]) for row in rows] == [
        ("a", 0, "succeeded"), ("b", 1, "failed"), ("c", 2, "succeeded"),
    ]  # fmt: skip
    assert rows[0]["output"] == {"summary_text": "text of a"}
    assert rows[1]["error"] == {"code": "processing_failed", "message": "no"}


def test_results_end_before_the_first_undecided_document(store: Store, key_id: int) -> None:
    job, _, released = store.write(jobs.submit, NewJob(key_id, "ner", "echo"), texts("a", "b", "c", "d"))
    lease = claim(store, released[0].shard_id)
    store.write(leases.settle, lease, [DocumentOutcome(0, "{}"), DocumentOutcome(2, "{}")], False)
    page = store.read(results.page, key_id, job.id, 0, 10, None)
    assert [row.outcome.position for row in page.rows] == [0]
    assert page.next == 1
    assert store.read(results.page, key_id, job.id, 1, 10, None) == ([], 1, False)
    store.write(leases.settle, lease, [DocumentOutcome(1, "{}"), DocumentOutcome(3, "{}")], True)
    rest = store.read(results.page, key_id, job.id, 1, 2, None)
    assert ([row.outcome.position for row in rest.rows], rest.next) == ([1, 2], 3)
    last = store.read(results.page, key_id, job.id, 3, 2, None)
    assert ([row.outcome.position for row in last.rows], last.next) == ([3], None)


def test_a_page_reads_no_further_than_its_limit_of_bytes(store: Store, key_id: int) -> None:
    count, large = 50, json.dumps("x" * 1_000)
    ids = [f"{number}" for number in range(count)]
    job, _, released = store.write(jobs.submit, NewJob(key_id, "ner", "echo"), texts(*ids))
    lease = claim(store, released[0].shard_id)
    store.write(leases.settle, lease, [DocumentOutcome(position, large) for position in range(count)], True)
    came: list[int] = []

    def note(_c: object, cursor: Any, *_rest: object) -> None:
        if store.dialect == "postgresql":  # SQLite gives row by row anyhow
            came.append(cursor.pgresult.ntuples)

    sa.event.listen(store.engine, "after_cursor_execute", note)
    page = store.read(results.page, key_id, job.id, 5, count, None, 2_500)
    assert ([row.outcome.position for row in page.rows], page.next, page.full) == ([5, 6, 7], 8, True)
    assert all(rows <= results.FETCHED for rows in came), "the answer is not in memory before it is looked at"
    one = store.read(results.page, key_id, job.id, 49, count, None, 1)
    assert (len(one.rows), one.next) == (1, None), "one at least"


def test_an_open_job_grows_by_appends_and_ends_when_closed(store: Store, key_id: int) -> None:
    new = NewJob(key_id, "ner", "echo", open=True)
    job = store.write(jobs.submit, new, texts("a")).job
    accepted, total, *_ = store.write(jobs.append, key_id, job.id, [(None, "x"), ("c", "y")], 1)
    assert (accepted, total) == (2, 3)
    assert store.write(jobs.append, key_id, job.id, [(None, "x"), ("c", "y")], 1)[:2] == (0, 3)  # asked again
    with pytest.raises(UploadOffsetMismatch) as gap:
        store.write(jobs.append, key_id, job.id, texts("z"), 7)
    assert gap.value.details == {"total": 3}
    with pytest.raises(DuplicateDocument):
        store.write(jobs.append, key_id, job.id, texts("c"), 3)
    with pytest.raises(DuplicateDocument):
        store.write(jobs.append, key_id, job.id, texts("1"), 3)  # the id that position 1 got by default
    assert store.read(jobs.get, key_id, job.id).counts.total == 3
    assert store.write(jobs.close, key_id, job.id).open is False
    with pytest.raises(JobClosed):
        store.write(jobs.append, key_id, job.id, texts("z"), 3)


def test_an_empty_open_job_is_completed_by_closing(store: Store, key_id: int) -> None:
    job = store.write(jobs.submit, NewJob(key_id, "ner", "echo", open=True), []).job
    assert job.state == "queued"
    assert store.write(jobs.close, key_id, job.id).state == "completed"


def test_the_same_idempotency_key_is_the_same_job(store: Store, key_id: int) -> None:
    new = NewJob(key_id, "ner", "echo", idempotency_key="once", body_hash="h")
    first = store.write(jobs.submit, new, texts("a"))
    second = store.write(jobs.submit, new, texts("a"))
    assert (second.job.id, second.created, second.released) == (first.job.id, False, [])
    other = NewJob(key_id, "ner", "echo", idempotency_key="once", body_hash="other")
    with pytest.raises(IdempotencyMismatch):
        store.write(jobs.submit, other, texts("a"))


def test_a_job_is_seen_by_its_own_key_only(store: Store, key_id: int) -> None:
    job = store.write(jobs.submit, NewJob(key_id, "ner", "echo"), texts("a")).job
    with pytest.raises(JobNotFound):
        store.read(jobs.get, key_id + 1, job.id)


def test_cancel_fences_the_lease_and_reads_as_cancelled(store: Store, key_id: int) -> None:
    job, _, released = store.write(jobs.submit, NewJob(key_id, "ner", "echo"), texts("a", "b", "c"))
    lease = claim(store, released[0].shard_id)
    store.write(leases.settle, lease, [DocumentOutcome(1, "{}")], False)
    cancelled = store.write(jobs.cancel, key_id, job.id)
    assert (cancelled.state, cancelled.counts.succeeded, cancelled.counts.cancelled) == ("cancelled", 1, 2)
    assert store.write(leases.renew, WORKER, [lease.token]) == set()
    with pytest.raises(LeaseLost):
        store.write(leases.settle, lease, [DocumentOutcome(0, "{}")], False)
    states = [row.state for row in store.read(results.page, key_id, job.id, 0, 10, None).rows]
    assert states == ["cancelled", "succeeded", "cancelled"]
    assert [r.outcome.position for r in store.read(results.page, key_id, job.id, 0, 10, "cancelled").rows] == [0, 2]


def test_retry_runs_failed_documents_again(store: Store, key_id: int) -> None:
    job, _, released = store.write(jobs.submit, NewJob(key_id, "ner", "echo"), texts("a", "b", "c"))
    with pytest.raises(JobNotEnded):
        store.write(jobs.retry, key_id, job.id, None)
    run(store, claim(store, released[0].shard_id), failing=("text of a", "text of c"))
    with pytest.raises(NothingToRetry):
        store.write(jobs.retry, key_id, job.id, ["out_of_memory"])
    again, released = store.write(jobs.retry, key_id, job.id, ["processing_failed"])
    assert (again.state, again.counts.pending, again.counts.succeeded, again.counts.failed) == ("queued", 2, 1, 0)
    lease = claim(store, released[0].shard_id)
    assert [t.position for t in store.read(leases.undecided, lease, -1, 10)] == [0, 2]
    run(store, lease)
    assert store.read(jobs.get, key_id, job.id).state == "completed"


def test_retry_of_a_cancelled_job_runs_what_has_no_outcome(store: Store, key_id: int) -> None:
    job, _, _ = store.write(jobs.submit, NewJob(key_id, "ner", "echo"), texts("a", "b"))
    store.write(jobs.cancel, key_id, job.id)
    again, released = store.write(jobs.retry, key_id, job.id, None)
    assert (again.state, again.counts.pending, again.counts.cancelled) == ("queued", 2, 0)
    assert run(store, claim(store, released[0].shard_id)).ended


def test_only_an_ended_job_is_deleted(store: Store, key_id: int) -> None:
    job, _, _ = store.write(jobs.submit, NewJob(key_id, "ner", "echo"), texts("a"))
    with pytest.raises(JobNotEnded):
        store.write(jobs.delete, key_id, job.id)
    store.write(jobs.cancel, key_id, job.id)
    store.write(jobs.delete, key_id, job.id)
    with pytest.raises(JobNotFound):
        store.read(jobs.get, key_id, job.id)


def test_shards_hold_a_bounded_number_of_characters(make_store: Callable[..., Store], key_id: int) -> None:
    store = make_store(shard_characters=10, shard_documents=3)
    batch = [(None, "x" * size) for size in (4, 4, 4, 30, 1, 1, 1, 1)]
    released = store.write(jobs.submit, NewJob(key_id, "ner", "echo"), batch).released
    assert [(r.first, r.last) for r in released] == [(0, 1), (2, 2), (3, 3), (4, 6), (7, 7)]
