"""Rule 14: a transaction whose COMMIT was done, and whose answer was lost, is done once.

Over a real connection that ends between the server's COMMIT and the answer to it; and on both databases, with the
answer taken away in the driver.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from store import jobs, keys, leases, sweep, workers
from store import receipts as receipts_module
from store.session import Store, db_time
from store.settings import StoreSettings
from store.tables import documents as documents_table
from store.tables import jobs as jobs_table
from store.tables import keys as keys_table
from store.tables import receipts
from store.workers import WorkerRow
from tests.integration.interleaving import Contender, lost_reply_to_commit
from tests.integration.ledger_steps import change, claim, documents, finish, job_row, run, shard_row, submit
from tests.integration.serving import serving, work
from tests.proxy import Proxy, proxied
from textmill.errors import JobNotFound
from textmill.wire import Job

MakeStore = Callable[..., Store]


class Loses:
    """A store of which the answer to the next COMMIT is lost."""

    def __init__(self, store: Store, proxy: Proxy | None) -> None:
        self.store = store
        self._proxy = proxy

    def __call__(self, call: Callable[..., object], *args: object) -> object:
        """What `call(*args)` of this store returns."""
        if self._proxy is None:
            with lost_reply_to_commit(self.store):
                return call(*args)
        self.store.read(jobs.ended, [])  # so that the pool has a connection
        self._proxy.lose_reply_to(b"COMMIT\0")  # with its end: READ COMMITTED is said as well
        try:
            return call(*args)
        finally:
            assert self._proxy.lost, "nothing was committed"


@pytest.fixture
def loses(database_url: str, redis_url: str, backend: str) -> Iterator[Loses]:
    settings = {"redis_url": redis_url, "shard_documents": 1}
    proxy, url = proxied(database_url) if backend == "postgresql" else (None, database_url)
    store = Store(url, StoreSettings(database_url=url, **settings))
    yield Loses(store, proxy)
    store.close()
    if proxy:
        proxy.close()


def count(store: Store, table: sa.Table) -> int:
    return store.read(lambda tx: tx.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def ended(store: Store, key_id: int) -> Job:
    """A job with one document, which failed."""
    job, released = submit(store, key_id, 1)
    run(store, released[0].shard_id, failing=[0])
    return job


def test_a_job_is_submitted_once(loses: Loses, store: Store, key_id: int) -> None:
    submitted = loses(loses.store.write_once, jobs.submit, jobs.NewJob(key_id, "ner", "echo"), documents(3))
    assert isinstance(submitted, jobs.Submitted)
    assert submitted.created
    assert len(submitted.released) == 3, "and its shards are published"
    assert count(store, jobs_table) == 1
    assert store.read(jobs.get, key_id, submitted.job.id).counts.total == 3


def test_documents_are_appended_once(loses: Loses, store: Store, key_id: int) -> None:
    job, _ = submit(store, key_id, 0, open=True)
    appended = loses(loses.store.write_once, jobs.append, key_id, job.id, documents(3), None)
    assert isinstance(appended, jobs.Appended)
    assert (appended.accepted, appended.total, len(appended.released)) == (3, 3, 3)
    assert count(store, documents_table) == 3


def test_a_job_is_retried_once(loses: Loses, store: Store, key_id: int) -> None:
    job = ended(store, key_id)
    retried = loses(loses.store.write_once, jobs.retry, key_id, job.id, None)
    assert isinstance(retried, jobs.Retried)
    assert retried.job.state == "queued"
    assert len(retried.released) == 1


def test_a_job_is_deleted_once(loses: Loses, store: Store, key_id: int) -> None:
    job = ended(store, key_id)
    loses(loses.store.write_once, jobs.delete, key_id, job.id)
    with pytest.raises(JobNotFound):
        store.read(jobs.get, key_id, job.id)


@pytest.mark.parametrize("call", [jobs.cancel, jobs.close])
def test_what_ends_a_job_is_done_once(loses: Loses, store: Store, key_id: int, call: Callable[..., Job]) -> None:
    """Done again, it would find what another call has made of the job meanwhile: here, that it is gone."""
    job, _ = submit(store, key_id, 0, open=True)
    tries: list[Job] = []

    def deleted_meanwhile(tx: sa.Connection) -> Job:
        if tries:
            jobs.delete(tx, key_id, job.id)
        tries.append(call(tx, key_id, job.id))
        return tries[-1]

    told = loses(loses.store.write_once, deleted_meanwhile)
    assert isinstance(told, Job)
    assert len(tries) == 1
    assert told.state in ("cancelled", "failed", "completed")


def test_a_key_is_made_once(loses: Loses, store: Store) -> None:
    made = loses(loses.store.write_once, keys.create, "new")
    assert isinstance(made, keys.NewKey)
    assert count(store, keys_table) == 1
    assert store.read(keys.authenticate, made.secret).id == made.id


def test_a_key_is_revoked_once(loses: Loses, key_id: int) -> None:
    loses(loses.store.write_once, keys.revoke, key_id)  # a second time it would not be found


def test_every_call_of_the_api_is_done_once(loses: Loses) -> None:
    with serving(loses.store, key_cache_seconds=60) as api, api.http() as http:
        http.get("/v1/jobs").raise_for_status()  # the key is known from here on: a call is one transaction

        def call(status: int, method: str, path: str, **body: object) -> Any:
            answer = loses(functools.partial(http.request, method, path, json=body or None))
            assert isinstance(answer, httpx.Response)
            assert answer.status_code == status, answer.text
            return answer.json() if answer.content else None

        ours = {"task": "summarization", "model": "echo", "documents": [{"text": "fail"}], "open": True}
        job = f"/v1/jobs/{call(201, 'POST', '/v1/jobs', **ours)['id']}"
        appended = call(200, "POST", f"{job}/documents", documents=[{"text": "fail too"}])
        assert appended == {"accepted": 1, "total": 2}
        assert call(200, "POST", f"{job}/close")["open"] is False
        assert work(loses.store) == 2
        assert call(200, "POST", f"{job}/retry")["state"] == "queued"
        assert call(200, "POST", f"{job}/cancel")["counts"]["cancelled"] == 2
        assert len(http.get("/v1/jobs").json()["jobs"]) == 1
        call(204, "DELETE", job)
        assert http.get("/v1/jobs").json()["jobs"] == []


def test_a_claim_is_found_again(loses: Loses, store: Store, key_id: int) -> None:
    """By the token that its caller has made: a claim for each shard is too often for a row of its own."""
    _, released = submit(store, key_id, 1)
    lease = loses(loses.store.write, leases.claim, released[0].shard_id, "w", "f" * 32)
    assert isinstance(lease, leases.Lease)
    assert lease.token == "f" * 32
    assert lease.losses == 0, "nobody lost it"
    assert finish(store, lease).ended


def test_an_attempt_is_counted_once(loses: Loses, store: Store, key_id: int) -> None:
    _, released = submit(store, key_id, 1)
    lease = claim(store, released[0].shard_id)
    assert loses(loses.store.write, leases.attempt, lease, 0) == 1
    assert shard_row(store, lease.shard_id)["suspect_attempts"] == 1


def test_a_worker_registers_once(loses: Loses, store: Store) -> None:
    row = WorkerRow("w", "host", 1, "cpu", ("echo",), 1, "machine")
    loses(loses.store.write, workers.register, row)
    assert [worker.id for worker in store.read(workers.live)] == ["w"]


def test_what_was_not_committed_is_done_again(loses: Loses, store: Store, key_id: int) -> None:
    """A try that came as far as its COMMIT proves nothing."""
    job = ended(store, key_id)
    once = receipts_module.Once(jobs.delete)
    with loses.store.engine.connect() as connection:
        connection.begin()
        once(connection, key_id, job.id)
        connection.rollback()
    loses.store.write(once, key_id, job.id)
    assert job_row(store, job)["deleted_at"] is not None


@pytest.mark.parametrize("backend", ["postgresql"])  # SQLite has one writer
def test_a_commit_that_is_still_under_way_is_waited_for(loses: Loses, make_store: MakeStore, key_id: int) -> None:
    """The server may be about to commit when the answer is given up."""
    job = ended(loses.store, key_id)
    once = receipts_module.Once(jobs.delete)
    with loses.store.engine.execution_options(textmill_receipt=once.token).begin() as slow:
        once(slow, key_id, job.id)
        again = Contender(make_store(), once, key_id, job.id)
        slow.commit()
    again.result()


def test_receipts_are_written_by_what_needs_them_and_removed_by_time(make_store: MakeStore, key_id: int) -> None:
    store = make_store(purge_rows=2)
    submit(store, key_id)
    assert count(store, receipts) == 0
    for _ in range(3):
        store.write_once(jobs.submit, jobs.NewJob(key_id, "ner", "echo"), documents(1))
    assert count(store, receipts) == 3
    assert not store.write(sweep.forget_receipts), "none of them is old"
    change(store, receipts, sa.true(), written_at=db_time(-receipts_module.KEPT_SECONDS - 60))
    while store.write(sweep.forget_receipts):
        pass
    assert count(store, receipts) == 0


def test_a_receipt_costs_no_exchange_with_the_server(store: Store) -> None:
    statements: list[str] = []
    sa.event.listen(
        store.engine, "before_cursor_execute", lambda _c, _cursor, statement, *_rest: statements.append(statement)
    )

    def nothing(_tx: sa.Connection) -> None: ...

    store.write(nothing)
    plain, statements[:] = len(statements), []
    store.write_once(nothing)
    assert len(statements) == plain + (store.dialect == "sqlite")  # which has no server
