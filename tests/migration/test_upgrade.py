"""Each migration on a ledger with rows, while processes of the release before it run: they lose nothing, and what they
read and write goes on working. And one step down and up again."""

import itertools
import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.script import ScriptDirectory

from store import dispatch, jobs, leases, results, sweep
from store.session import Store, db_time, engine_url, migrate
from tests.integration.interleaving import PATIENCE
from tests.integration.ledger_steps import new_key, outcomes, submit
from tests.migration.test_migrations import ROOT, alembic, empty_url, schema

__all__ = ["empty_url"]

FIRST = "2026_11_21_ledger"
"""What release 0.1.0 made."""

FITTING: dict[str, dict[str, object]] = {
    "jobs": {"state": "queued", "open": False, "total": 1, "succeeded": 0, "failed": 0, "cancelled": 0,
             "remaining_shards": 1, "priority": 0, "options": "{}", "metadata": "{}", "model": "echo", "task": "ner",
             "deleted_at": None, "started_at": None, "finished_at": None, "error_code": None, "error_message": None},
    "shards": {"state": "pending", "first": 0, "last": 0, "token": None, "losses": 0, "suspect": None,
               "suspect_attempts": 0, "lease_expires_at": None, "worker_id": None},
    "workers": {"models": '["echo"]', "resident": "[]", "speeds": None, "failed": None, "batches": None},
    "documents": {"position": 0},
    "results": {"state": "succeeded"},
    "files": {"part": "output"},
    "orders": {"state": "completed"},
    "deliveries": {"state": "pending"},
}  # fmt: skip
"""What a row must have besides any value of each column's type."""


def revisions() -> list[str]:
    found = ScriptDirectory.from_config(alembic("sqlite://")).walk_revisions()
    return [script.revision for script in found][::-1]


def tables_of(url: str) -> sa.MetaData:
    """The tables as they are now, with no column that a later release adds: what that release's processes name."""
    engine = sa.create_engine(engine_url(url))
    metadata = sa.MetaData()
    metadata.reflect(engine)
    metadata.remove(metadata.tables["alembic_version"])
    engine.dispose()
    return metadata


def value(column: sa.Column[Any], number: int) -> object:
    kinds = {int: number, str: str(number), float: float(number), bool: False, bytes: b"", datetime: datetime.now(UTC)}
    if column.name.endswith("_at") and isinstance(column.type, sa.String):
        return "2026-11-21 00:00:00.000"
    return kinds[column.type.python_type]


def row_of(table: sa.Table, number: int) -> dict[str, object]:
    """A row that names all columns."""
    fitting = FITTING.get(table.name, {})
    return {column.name: fitting.get(column.name, value(column, number)) for column in table.columns}


def add_rows(store: Store, of: sa.MetaData, number: int) -> None:
    """A row in each table that names all columns that there were."""
    with store.engine.begin() as tx:
        for table in of.sorted_tables:
            tx.execute(sa.insert(table), row_of(table, number))


def rows(store: Store, of: sa.MetaData, below: int) -> dict[str, list[Any]]:
    """What a process reads that knows these columns, of the rows with smaller numbers."""
    with store.engine.connect() as tx:
        return {
            table.name: sorted(
                repr(row)
                for row in tx.execute(sa.select(*table.primary_key.columns, table)).all()
                if str(row[0]).isdigit() and int(row[0]) < below
            )
            for table in of.sorted_tables
        }


class Process:
    """A process of the release before: it writes again and again, with the columns that it knows."""

    def __init__(self, url: str, of: sa.MetaData, first: int) -> None:
        self._store = Store(url)
        self._tables = of.tables
        self._numbers = itertools.count(first)
        self._stop = threading.Event()
        self._wrote = threading.Event()
        self._errors: list[Exception] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Process":
        self._thread.start()
        self.writes_again()
        return self

    def writes_again(self) -> None:
        """Return after a write that began after this call."""
        for _ in range(2):
            self._wrote.clear()
            assert self._wrote.wait(PATIENCE), self._errors

    def __exit__(self, *_: object) -> None:
        self.writes_again()
        self._stop.set()
        self._thread.join(PATIENCE)
        self._store.close()
        assert self._errors == []

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._store.write(self._write)
            except Exception as error:  # noqa: BLE001 - handed to the test
                self._errors.append(error)
                return
            self._wrote.set()

    def _write(self, tx: sa.Connection) -> None:
        number = next(self._numbers)
        for name in ("keys", "jobs", "shards"):
            tx.execute(sa.insert(self._tables[name]), row_of(self._tables[name], number))
        table = self._tables["jobs"]
        assert tx.execute(sa.update(table).where(table.c.id == number).values(total=2)).rowcount == 1
        assert tx.execute(sa.select(table).where(table.c.id == number)).one().total == 2


@pytest.fixture
def steps() -> Iterator[tuple[str, str]]:
    return itertools.pairwise(revisions())


def test_every_migration_leaves_the_release_before_it_running(empty_url: str, steps: Iterator[tuple[str, str]]) -> None:
    command.upgrade(alembic(empty_url), FIRST)
    store = Store(empty_url)
    for number, (_, revision) in enumerate(steps, start=1):
        known = tables_of(empty_url)
        add_rows(store, known, number)
        before = rows(store, known, number + 1)
        with Process(empty_url, known, 100_000 * number) as process:
            command.upgrade(alembic(empty_url), revision)
            process.writes_again()
        assert rows(store, known, number + 1) == before, f"{revision} changes what was there"
        add_rows(store, known, 500 + number)  # with the old columns alone: what is new may be missing
    store.close()
    command.check(alembic(empty_url))


def test_every_migration_can_be_taken_back_and_made_again(empty_url: str, steps: Iterator[tuple[str, str]]) -> None:
    command.upgrade(alembic(empty_url), FIRST)
    store, was = Store(empty_url), schema(empty_url)
    for number, (earlier, revision) in enumerate(steps, start=1):
        known = tables_of(empty_url)
        add_rows(store, known, number)
        before = rows(store, known, number + 1)
        command.upgrade(alembic(empty_url), revision)
        made = schema(empty_url)
        store.engine.dispose()  # what it had prepared was of the other schema
        command.downgrade(alembic(empty_url), earlier)
        assert schema(empty_url) == was, f"{revision} is not taken back as a whole"
        assert rows(store, known, number + 1) == before
        command.upgrade(alembic(empty_url), revision)
        assert schema(empty_url) == made
        assert rows(store, known, number + 1) == before
        was = made
    store.close()


OWN = "own"
"""A model of which nothing else waits."""


class FirstRelease:
    """What processes of 0.1.0 do to the ledger: its statements, with the columns that it knows."""

    def __init__(self, store: Store, known: sa.MetaData) -> None:
        self._store = store
        self._keys = known.tables["keys"]
        self._jobs, self._documents = known.tables["jobs"], known.tables["documents"]
        self._shards, self._results = known.tables["shards"], known.tables["results"]

    def submit(self, number: int, texts: list[str]) -> None:
        """A key and a job of that number, with a pending shard."""
        of_job = {"job_id": number, "first": 0, "last": len(texts) - 1, "id": number}
        rows = [{"job_id": number, "position": n, "document_id": str(n), "text": t} for n, t in enumerate(texts)]
        with self._store.engine.begin() as tx:
            tx.execute(sa.insert(self._keys), row_of(self._keys, number))
            tx.execute(sa.insert(self._jobs), row_of(self._jobs, number) | {"total": len(texts), "model": OWN})
            tx.execute(sa.insert(self._documents), rows)
            tx.execute(sa.insert(self._shards), row_of(self._shards, number) | of_job)

    def process(self, shard_id: int) -> None:
        """Claim the shard, decide its documents, settle: each a transaction of 0.1.0's worker."""
        shard, job = self._shards, self._jobs
        leased = {"state": "leased", "token": "t", "worker_id": "w", "lease_expires_at": db_time(60)}
        active = shard.c.job_id.in_(sa.select(job.c.id).where(job.c.state.in_(("queued", "running"))))
        claim = sa.update(shard).where(shard.c.id == shard_id, shard.c.state == "queued", active).values(**leased)
        with self._store.engine.begin() as tx:
            held = tx.execute(claim.returning(shard.c.job_id, shard.c.first, shard.c.last)).one()
            first = sa.and_(job.c.id == held.job_id, job.c.state == "queued")
            tx.execute(sa.update(job).where(first).values(state="running", started_at=db_time()))
        positions = range(held.first, held.last + 1)
        result = row_of(self._results, 1) | {"job_id": held.job_id, "output": '{"entities": []}', "error_code": None}
        mine = job.c.id == held.job_id
        with self._store.engine.begin() as tx:
            closed = sa.update(shard).where(shard.c.id == shard_id, shard.c.state == "leased", shard.c.token == "t")
            assert tx.execute(closed.values(state="done")).rowcount == 1
            tx.execute(sa.insert(self._results), [result | {"position": n} for n in positions])
            counts = {"succeeded": job.c.succeeded + len(positions), "remaining_shards": job.c.remaining_shards - 1}
            tx.execute(sa.update(job).where(mine).values(**counts))
            over = sa.and_(mine, job.c.remaining_shards == 0, sa.not_(job.c.open))
            tx.execute(sa.update(job).where(over).values(state="completed", finished_at=db_time()))

    def look(self, number: int) -> tuple[str, int]:
        """The job's state, and how many of its documents have a result with an output."""
        done = sa.select(sa.func.count()).where(self._results.c.job_id == number, self._results.c.output.is_not(None))
        with self._store.engine.connect() as tx:
            job = tx.execute(sa.select(self._jobs).where(self._jobs.c.id == number)).one()
            return job.state, tx.execute(done).scalar_one()


@pytest.fixture
def upgraded(empty_url: str) -> Iterator[tuple[Store, sa.MetaData]]:
    """The newest schema, made while a process of 0.1.0 wrote all the time; and the tables that it knows."""
    command.upgrade(alembic(empty_url), FIRST)
    known = tables_of(empty_url)
    with Process(empty_url, known, 100_000) as process:
        migrate(empty_url)
        process.writes_again()
    store = Store(empty_url)
    yield store, known
    store.close()


def test_a_worker_of_the_first_release_does_what_a_new_api_accepts(upgraded: tuple[Store, sa.MetaData]) -> None:
    store, known = upgraded
    key = new_key(store)
    job, released = submit(store, key, 3, model=OWN)
    earlier = FirstRelease(store, known)
    for shard in released:
        earlier.process(shard.shard_id)
    seen = store.read(jobs.get, key, job.id)
    assert (seen.state, seen.counts.succeeded) == ("completed", 3)
    page = store.read(results.page, key, job.id, 0, 10)
    assert [(row.outcome.position, row.outcome.backend) for row in page.rows] == [(0, None), (1, None), (2, None)]


def test_a_new_worker_does_what_an_api_of_the_first_release_accepts(upgraded: tuple[Store, sa.MetaData]) -> None:
    store, known = upgraded
    earlier = FirstRelease(store, known)
    earlier.submit(7, ["one", "two"])
    while store.write(sweep.adopt):
        pass
    [released] = store.write(dispatch.release, OWN)
    lease = store.write(leases.claim, released.shard_id, "w")
    assert lease is not None
    done = outcomes([0, 1])
    assert store.write(
        leases.settle, lease, [outcome._replace(backend="torch", dtype="float32") for outcome in done], True
    ).ended
    assert earlier.look(7) == ("completed", 2)


@pytest.mark.parametrize("backend", ["postgresql"])
def test_the_large_index_may_be_made_before_the_migration(empty_url: str) -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    [statement] = re.findall(r"```sql\n(CREATE INDEX CONCURRENTLY .*?);\n```", page, re.DOTALL)
    command.upgrade(alembic(empty_url), "head")
    made = schema(empty_url)
    command.downgrade(alembic(empty_url), FIRST)
    engine = sa.create_engine(engine_url(empty_url), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()
    command.upgrade(alembic(empty_url), "head")
    assert schema(empty_url) == made


def test_a_job_of_the_first_release_ends_after_all_migrations(empty_url: str) -> None:
    command.upgrade(alembic(empty_url), FIRST)
    store = Store(empty_url)
    known = tables_of(empty_url)
    known.remove(known.tables["results"])
    add_rows(store, known, 7)
    migrate(empty_url)
    (released,) = store.write(dispatch.release, "echo")
    lease = store.write(leases.claim, released.shard_id, "w")
    assert lease is not None
    assert store.write(leases.settle, lease, outcomes([0]), True).ended
    assert store.read(jobs.get, 7, "7").state == "completed"
    store.close()
