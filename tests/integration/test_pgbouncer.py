"""Behind PgBouncer in transaction mode, each transaction may have another session of the server's: nothing that
Textmill does hangs on one. With a real PgBouncer, whose few sessions are fewer than the clients."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from store import jobs, keys, leases, receipts, workers
from store.bulk import DocumentOutcome
from store.jobs import NewJob
from store.session import Store, migrate
from store.settings import StoreSettings
from store.tables import receipts as receipts_table
from store.workers import WorkerRow
from tests import worker_process
from tests.integration.serving import serving
from tests.pgbouncer import SESSIONS, PgBouncer, program
from textmill import Client

CLIENTS = 8

pytestmark = pytest.mark.parametrize("backend", ["postgresql"])


@pytest.fixture(scope="module")
def pgbouncer_program() -> str:
    return program()


@pytest.fixture
def pgbouncer(pgbouncer_program: str, database_url: str, tmp_path: Path) -> Iterator[PgBouncer]:
    """PgBouncer before the test's database."""
    running = PgBouncer(pgbouncer_program, database_url, tmp_path)
    running.start()
    yield running
    running.kill()


@pytest.fixture
def pooled(pgbouncer: PgBouncer, redis_url: str) -> Iterator[Store]:
    """The ledger through it."""
    settings = StoreSettings(database_url=pgbouncer.url, redis_url=redis_url, database_patience_seconds=60)
    store = Store(pgbouncer.url, settings)
    yield store
    store.close()


def sessions(database_url: str) -> int:
    """Sessions of the test's database but for the one that asks."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with psycopg.connect(database_url.replace("+psycopg", "")) as connection:
        (count,) = connection.execute(query).fetchone() or (0,)
    return int(count)


def test_many_clients_do_their_work_in_few_sessions(pooled: Store, database_url: str) -> None:
    key = pooled.write(keys.create, "one").id
    pooled.write(workers.register, WorkerRow("w", "host", 1, "cpu", ("echo",), 100, "machine"))

    def work(_: int) -> None:
        for _ in range(12):  # prepared statements begin with the sixth of a kind
            submitted = pooled.write_once(jobs.submit, NewJob(key, "ner", "echo"), [(None, "a"), (None, "b")])
            for released in submitted.released:
                lease = pooled.write(leases.claim, released.shard_id, "w")
                if lease is not None:
                    texts = pooled.read(leases.undecided, lease, -1, 10)
                    assert pooled.write(leases.renew, "w", [lease.token]) == {lease.token}
                    outcomes = [DocumentOutcome(text.position, "{}") for text in texts]
                    pooled.write(leases.settle, lease, outcomes, True)
            pooled.read(jobs.get, key, submitted.job.id)

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(work, range(CLIENTS)))
    assert 1 <= sessions(database_url) <= SESSIONS


def test_the_limits_are_those_of_the_transaction_and_stay_in_no_session(pooled: Store, pgbouncer: PgBouncer) -> None:
    def limit(tx: sa.Connection) -> str:
        return str(tx.exec_driver_sql("SHOW statement_timeout").scalar_one())

    assert pooled.write(limit) == f"{pooled.settings.database_write_seconds:.0f}s"
    with psycopg.connect(pgbouncer.url, autocommit=True) as other:  # the session that has just become free
        other.prepare_threshold = None
        assert other.execute("SHOW statement_timeout").fetchone() == ("0",)
        assert other.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)


def test_a_direct_connection_prepares_its_statements(make_store: Callable[..., Store]) -> None:
    def prepared(tx: sa.Connection) -> int:
        return int(tx.execute(sa.text("SELECT count(*) FROM pg_prepared_statements")).scalar_one())

    store = make_store(database_pool=1)
    assert [store.read(prepared) for _ in range(10)][-1] > 0


def test_a_ledger_is_made_through_it(pooled: Store, pgbouncer: PgBouncer) -> None:
    with pooled.engine.begin() as tx:
        tx.exec_driver_sql("DROP SCHEMA public CASCADE")
        tx.exec_driver_sql("CREATE SCHEMA public")
    migrate(pgbouncer.url)
    assert pooled.write(keys.create, "first").id == 1


def test_a_call_outlives_its_restart_and_is_done_once(pooled: Store, pgbouncer: PgBouncer) -> None:
    key = pooled.write(keys.create, "one").id
    tries: list[int] = []

    def submit(tx: sa.Connection) -> str:
        submitted = jobs.submit(tx, NewJob(key, "ner", "echo"), [(None, "a")])
        if not tries:
            pgbouncer.kill()  # with the transaction's session
            pgbouncer.start()
        tries.append(1)
        return submitted.job.id

    job = pooled.write_once(submit)
    assert len(tries) == 2
    assert pooled.read(jobs.get, key, job).counts.total == 1
    written = sa.select(sa.func.count()).select_from(receipts_table)
    assert pooled.read(lambda tx: tx.execute(written).scalar_one()) == 1, receipts.__doc__


def test_the_whole_system_works_behind_it(pooled: Store, tmp_path: Path) -> None:
    texts = [f"text {number}" for number in range(600)]
    with worker_process.running(pooled, tmp_path / "worker", shard_documents=50), serving(pooled) as api:
        with Client(api.url, api_key=api.secret) as mill:
            found = [mill.submit("ner", texts, model="echo") for _ in range(3)]
            for job in found:
                job.wait()
                assert [result.id for result in job.results()] == [str(number) for number in range(len(texts))]
