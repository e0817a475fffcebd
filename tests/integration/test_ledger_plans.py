"""The statements of the hot path find their rows by an index, so that a ledger of millions of rows is not slower."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from store import (
    deliveries,
    dispatch,
    endings,
    events,
    jobs,
    leases,
    pace,
    results,
    retrying,
    search,
    stats,
    sweep,
    tallies,
    texts,
    webhook_secrets,
)  # fmt: skip
from store.bulk import DocumentOutcome, insert_results
from store.search import Wanted
from store.session import Store
from store.tables import jobs as jobs_table
from store.tables import shards
from tests.integration.ledger_steps import MODEL, change, claim, documents, finish, outcomes, submit

LARGE = (
    "batches", "deliveries", "delivery_attempts", "documents", "error_counts", "jobs", "minutes", "receipts", "results",
    "shards", "turns", "waiting",
)  # fmt: skip

Statement = tuple[str, Any]


def work(store: Store, key_id: int) -> None:
    """Everything that happens again and again while jobs run."""
    job, released = submit(store, key_id, 4, open=True)
    store.write(jobs.append, key_id, job.id, documents(2), 4)
    lease = claim(store, released[0].shard_id, "w")
    store.write(leases.renew, "w", [lease.token])
    store.write(leases.attempt, lease, 0)
    store.write(leases.settle, lease, outcomes([0]), False)
    finish(store, lease)
    store.write(leases.release, claim(store, released[1].shard_id, "w"))
    for step in (leases.expire, endings.close_abandoned, sweep.retire, sweep.purge):
        store.write(step)
    store.write(leases.expire_worker, "w")
    store.write(dispatch.release, MODEL)
    store.write(sweep.stale, MODEL)
    store.read(sweep.queued_shards)
    change(store, shards, shards.c.id == released[-1].shard_id + 1, characters=None)
    store.write(sweep.adopt)
    store.read(sweep.models_that_wait)
    store.read(jobs.get, key_id, job.id)
    store.read(jobs.ended, [job.id])
    look(store, key_id, job.id)
    store.read(results.page, key_id, job.id, 0, 10)
    store.read(results.one, key_id, job.id, "0")
    store.write(jobs.close, key_id, job.id)
    store.write(jobs.cancel, key_id, job.id)
    store.write(jobs.retry, key_id, job.id, None)
    while store.write(retrying.go_on).more:
        pass
    store.write(jobs.cancel, key_id, job.id)
    failed, released = submit(store, key_id, 1)
    finish(store, claim(store, released[0].shard_id, "w"), failing=[0])
    store.write(jobs.retry, key_id, failed.id, ["processing_failed"])
    store.write(retrying.go_on)
    store.write(sweep.forget_receipts)
    tell(store, key_id)


def tell(store: Store, key_id: int) -> None:
    """What becomes of a job with a webhook."""
    store.write(webhook_secrets.rotate, key_id, 0)
    store.write(webhook_secrets.rotate, key_id, 60)
    store.read(webhook_secrets.listed, key_id)
    store.read(webhook_secrets.signing, key_id)
    job, released = submit(store, key_id, 1, webhook="https://example.org/")
    finish(store, claim(store, released[0].shard_id, "w"))
    change(store, jobs_table, jobs_table.c.uuid == job.id, webhook_owed=True)
    store.write(deliveries.adopt)
    store.read(deliveries.due)
    store.read(deliveries.overdue_seconds)
    claimed = store.write(deliveries.claim, 60)
    assert claimed is not None
    store.write(deliveries.note, claimed, deliveries.Attempt("refused", 0.1, 500), None)
    store.read(deliveries.listed, key_id, job.id)
    store.write(deliveries.resend, key_id, job.id, claimed.uuid)
    store.write(jobs.delete, key_id, job.id)
    while store.write(sweep.purge):
        pass


MOMENT = datetime(2026, 1, 1, tzinfo=UTC)

SEARCHES = {
    "ix_jobs_key_newest": Wanted(metadata={"a": "b"}),
    "ix_jobs_key_state": Wanted(states=["queued", "failed"]),
    "ix_jobs_key_model": Wanted(model=MODEL, states=["completed"]),
    "ix_jobs_key_task": Wanted(task="ner", id_prefix="a"),
    "ix_jobs_key_created_at": Wanted(created_after=MOMENT, created_before=MOMENT),
    "uuid": Wanted(id_prefix="0123"),
    "error_counts": Wanted(states=["failed"], to_retry=True, codes=["worker_lost"]),
}
"""What a search is for, and what of the plans of its statements says that it goes that way."""


def look(store: Store, key_id: int, job_id: str) -> None:
    """What whoever watches asks for again and again."""
    for wanted in SEARCHES.values():
        store.read(search.find, key_id, wanted, 10, 5)
    store.read(texts.page, key_id, job_id, 0, 10, 1_000)
    store.read(texts.one, key_id, job_id, "0")
    store.read(results.page, key_id, job_id, 0, 10, code="processing_failed", text=True)
    store.read(pace.look, key_id, job_id)
    store.read(stats.look, key_id, 2)
    store.read(stats.waiting)
    store.read(tallies.recent)
    store.read(events.look, {key_id: events.Ask(1, [1, 2], MOMENT)}, [job_id])
    store.write(tallies.forget_minutes)


def plan(tx: sa.Connection, statement: Statement) -> list[str]:
    if tx.dialect.name == "sqlite":
        return [row.detail for row in tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement[0]}", statement[1])]
    tx.exec_driver_sql("SET LOCAL enable_seqscan = off")  # tables this small would be read whole
    return [row[0].strip() for row in tx.exec_driver_sql(f"EXPLAIN (COSTS OFF) {statement[0]}", statement[1])]


FEW = (
    "ix_shards_out",
    "ix_shards_leased",
    "ix_shards_unmeasured",
    "ix_turns_waiting",
    "ix_jobs_deleted",
    "ix_jobs_untold",
    "ix_jobs_open",
)
"""Partial indexes that hold little, however many jobs are active: what is in them may be read whole."""


def reads_everything(step: str) -> bool:
    if any(f"Seq Scan on {table}" in step for table in LARGE):
        return True
    return any(step.startswith(f"SCAN {table}") for table in LARGE) and not step.endswith(FEW)


def noting(store: Store, work: Callable[[], object]) -> list[Statement]:
    """Each statement that `work` runs on the store, once."""
    statements: dict[str, Statement] = {}

    def note(_c: object, _cursor: object, statement: str, parameters: Any, _context: object, many: bool) -> None:
        if statement.split()[0] in ("SELECT", "WITH", "UPDATE", "DELETE") and not many:
            statements.setdefault(statement, (statement, parameters))

    sa.event.listen(store.engine, "before_cursor_execute", note)
    work()
    sa.event.remove(store.engine, "before_cursor_execute", note)
    return list(statements.values())


@pytest.fixture
def seen(
    make_store: Callable[..., Store], key_id: int, monkeypatch: pytest.MonkeyPatch
) -> tuple[Store, list[Statement]]:
    """The store, and each statement that `work` ran on it."""
    monkeypatch.setattr(retrying, "STEP", 2)
    store = make_store(shard_documents=1, unserved_shards=2, retention_seconds=1000)
    statements = noting(store, lambda: work(store, key_id))
    assert len(statements) > 30
    return store, statements


def test_no_statement_reads_a_whole_table(seen: tuple[Store, list[Statement]]) -> None:
    store, statements = seen
    with store.engine.begin() as tx:
        offenders = {s[0]: steps for s in statements if any(map(reads_everything, steps := plan(tx, s)))}
    assert not offenders, list(offenders.items())


@pytest.mark.parametrize("way", SEARCHES)
def test_a_search_takes_the_way_that_is_made_for_it(store: Store, key_id: int, way: str) -> None:
    submit(store, key_id, 1)
    store.write(lambda tx: tx.exec_driver_sql("ANALYZE"))
    statements = noting(store, lambda: store.read(search.find, key_id, SEARCHES[way], 10, 100))
    with store.engine.begin() as tx:
        if tx.dialect.name == "postgresql":
            tx.exec_driver_sql("SET LOCAL enable_sort = off")  # a handful of jobs is sorted sooner than looked up
        steps = [step for statement in statements for step in plan(tx, statement)]
    assert any(way in step for step in steps), steps


def test_a_page_costs_neither_by_the_shards_that_are_done_nor_by_the_documents_that_succeeded(
    make_store: Callable[..., Store], key_id: int
) -> None:
    store = make_store(shard_documents=1)
    job, _ = submit(store, key_id, 2_000)
    change(store, shards, shards.c.first < 1_990, state="done")
    many = [DocumentOutcome(position, "{}") for position in range(1_990)]
    store.write(insert_results, 1, [*many, DocumentOutcome(1_990, None, "processing_failed")])
    store.write(lambda tx: tx.exec_driver_sql("ANALYZE"))
    statements = noting(store, lambda: store.read(results.page, key_id, job.id, 0, 100, "failed"))
    with store.engine.begin() as tx:
        plans = {statement[0]: " ".join(plan(tx, statement)) for statement in statements}
    of_shards = [steps for statement, steps in plans.items() if "FROM shards" in statement]
    assert len(of_shards) == 2
    assert all("ix_shards_out" in steps or "ix_shards_pending" in steps for steps in of_shards), plans
    assert [statement for statement, steps in plans.items() if "ix_results_failed" in steps], plans
