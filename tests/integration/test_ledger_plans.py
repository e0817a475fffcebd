"""The statements of the hot path find their rows by an index, so that a ledger of millions of rows is not slower."""

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from store import dispatch, endings, jobs, leases, results, retrying, sweep
from store.bulk import DocumentOutcome, insert_results
from store.session import Store
from store.tables import shards
from tests.integration.ledger_steps import MODEL, change, claim, documents, finish, outcomes, submit

LARGE = ("documents", "jobs", "receipts", "results", "shards", "turns", "waiting")

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
    store.read(jobs.list_jobs, key_id, None, None, 10, None)
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
        if statement.split()[0] in ("SELECT", "UPDATE", "DELETE") and not many:
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
