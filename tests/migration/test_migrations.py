"""The migrations make the schema that the tables describe, forwards and back, also where processes start at once."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.util import CommandError

from store import dispatch, jobs, keys, sweep, tallies
from store.jobs import NewJob
from store.session import Store, engine_url, migrate
from store.settings import StoreSettings
from store.tables import metadata
from tests.integration.interleaving import PATIENCE, write_lock_held_elsewhere

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def empty_url(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database with nothing in it."""
    if backend == "sqlite":
        yield f"sqlite:///{tmp_path / 'folder' / 'empty.sqlite3'}"
        return
    server: sa.URL = request.getfixturevalue("postgres_server")
    admin = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE empty")
    yield server.set(database="empty").render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.exec_driver_sql("DROP DATABASE empty WITH (FORCE)")
    admin.dispose()


def alembic(url: str) -> Config:
    config = Config(ROOT / "alembic.ini")
    config.set_main_option("script_location", str(ROOT / "migrations"))
    config.attributes["url"] = url
    return config


def condition(index: Any) -> object:
    """The WHERE of a partial index."""
    options = index.get("dialect_options", {})
    return options.get("sqlite_where", options.get("postgresql_where"))


def schema(url: str) -> dict[str, Any]:
    """Everything about the schema that the database can tell, but the order of columns and constraints."""
    engine = sa.create_engine(engine_url(url))
    inspector = sa.inspect(engine)
    found = {
        table: {
            "columns": {
                column["name"]: (str(column["type"]), column["nullable"]) for column in inspector.get_columns(table)
            },
            "primary key": inspector.get_pk_constraint(table),
            "foreign keys": sorted(map(str, inspector.get_foreign_keys(table))),
            "unique": sorted(str(sorted(u.items(), key=str)) for u in inspector.get_unique_constraints(table)),
            "checks": sorted(str(check["sqltext"]) for check in inspector.get_check_constraints(table)),
            "indexes": {
                (index["name"], str(index["column_names"]), index["unique"], str(condition(index)))
                for index in inspector.get_indexes(table)
            },
        }
        for table in inspector.get_table_names()
        if table != "alembic_version"
    }
    engine.dispose()
    return found


def test_an_upgrade_makes_a_working_ledger(empty_url: str) -> None:
    migrate(empty_url)
    store = Store(empty_url)
    created = store.write(keys.create, "first")
    assert store.read(keys.authenticate, created.secret).id == created.id
    assert store.write(sweep.hold_duty, "a sweeper"), "the duty's row came with the schema"
    store.close()


def test_an_upgrade_makes_what_the_tables_describe(empty_url: str, backend: str, tmp_path: Path) -> None:
    """`alembic check` compares neither conditions of indexes nor check constraints: this does."""
    migrate(empty_url)
    migrated = schema(empty_url)
    command.downgrade(alembic(empty_url), "base")
    store = Store(empty_url)
    with store.engine.begin() as tx:
        metadata.create_all(tx)
    store.close()
    assert migrated == schema(empty_url)
    assert set(migrated) == set(metadata.tables)


def test_there_is_no_drift(empty_url: str) -> None:
    migrate(empty_url)
    command.check(alembic(empty_url))  # raises where a migration is missing


def test_a_drift_would_be_seen(empty_url: str) -> None:
    migrate(empty_url)
    store = Store(empty_url)
    with store.engine.begin() as tx:
        tx.exec_driver_sql("ALTER TABLE keys DROP COLUMN name")
    store.close()
    with pytest.raises(CommandError, match="New upgrade operations"):
        command.check(alembic(empty_url))


def test_back_and_forth(empty_url: str) -> None:
    migrate(empty_url)
    migrated = schema(empty_url)
    command.downgrade(alembic(empty_url), "base")
    assert schema(empty_url) == {}
    migrate(empty_url)
    assert schema(empty_url) == migrated
    migrate(empty_url)  # nothing to do
    assert schema(empty_url) == migrated


def test_one_line_of_revisions(empty_url: str) -> None:
    from alembic.script import ScriptDirectory

    assert len(ScriptDirectory.from_config(alembic(empty_url)).get_heads()) == 1


RESULT_OF_BEFORE = """
    INSERT INTO results (job_id, position, state, output, error_code, error_message, model_revision, input_tokens,
                         output_tokens, pieces, truncated, attempts, finished_at)
    VALUES (1, {}, 'succeeded', '{{}}', NULL, NULL, 'r', 1, 2, 3, false, 1, '2026-11-21 00:00:00.000')
"""


def test_processes_of_the_first_release_go_on_through_an_upgrade(empty_url: str) -> None:
    command.upgrade(alembic(empty_url), "2026_11_21_ledger")
    store = Store(empty_url)
    store.write(lambda tx: tx.exec_driver_sql(RESULT_OF_BEFORE.format(0)))
    migrate(empty_url)
    store.write(lambda tx: tx.exec_driver_sql(RESULT_OF_BEFORE.format(1)))
    rows = store.read(lambda tx: tx.exec_driver_sql("SELECT position, output, backend, dtype FROM results").all())
    assert sorted(rows) == [(0, "{}", None, None), (1, "{}", None, None)]


def test_what_waits_in_a_ledger_of_the_first_release_is_released_after_it(empty_url: str) -> None:
    command.upgrade(alembic(empty_url), "2026_11_21_ledger")
    store = Store(empty_url, StoreSettings(unserved_shards=2))
    now = "2026-11-22 00:00:00.000"
    key = {"id": 7, "name": "k", "secret_hash": "h", "created_at": now}
    job = {
        "id": 3, "uuid": "u", "key_id": 7, "task": "ner", "model": "echo", "options": "{}", "metadata": "{}",
        "priority": 0, "state": "queued", "open": False, "total": 2, "succeeded": 0, "failed": 0, "cancelled": 0,
        "remaining_shards": 2, "created_at": now, "appended_at": now,
    }  # fmt: skip
    rows: list[tuple[str, dict[str, object]]] = [("keys", key), ("jobs", job)]
    for n in range(2):
        shard = {"job_id": 3, "first": n, "last": n, "state": "pending", "losses": 0, "suspect_attempts": 0}
        rows += [("shards", shard)]
        rows += [("documents", {"job_id": 3, "position": n, "document_id": str(n), "text": "abc"})]
    with store.engine.begin() as tx:
        for table, row in rows:
            names = ", ".join(f'"{name}"' for name in row)
            values = ", ".join(f":{name}" for name in row)
            tx.execute(sa.text(f"INSERT INTO {table} ({names}) VALUES ({values})"), row)
    migrate(empty_url)
    assert [(shard.job, shard.first) for shard in store.write(dispatch.release, "echo")] == [("u", 0), ("u", 1)]
    store.close()


def test_errors_of_before_are_counted_by_the_upgrade(empty_url: str) -> None:
    command.upgrade(alembic(empty_url), "2026_11_24_workers_machine")
    store = Store(empty_url)
    store.write(_failed_before)
    migrate(empty_url)
    assert store.read(tallies.errors_of, [1, 2]) == {1: {"late": 2, "long": 1}}
    store.close()


def _failed_before(tx: sa.Connection) -> None:
    columns = "job_id, position, state, output, error_code, truncated, attempts, finished_at"
    for number, code in enumerate(("late", "long", None, "late")):
        state, output = ("failed", "NULL") if code else ("succeeded", "'{}'")
        values = f"1, {number}, '{state}', {output}, {repr(code) if code else 'NULL'}, false, 1, '2026-11-24 00:00:00'"
        tx.exec_driver_sql(f"INSERT INTO results ({columns}) VALUES ({values})")


ALTERING = """
import sqlalchemy as sa
from alembic import op

revision = "altering"
down_revision = "{head}"
branch_labels = depends_on = None


def upgrade():
    for table in {tables}:
        with op.batch_alter_table(table, recreate="always") as batch:
            batch.add_column(sa.Column("one_more", sa.Text()))
    {more}
"""


def altered(url: str, folder: Path, more: str = "pass") -> None:
    """Run one more migration, which makes every table anew, and then does `more`."""
    from alembic.script import ScriptDirectory

    config = alembic(url)
    [head] = ScriptDirectory.from_config(config).get_heads()
    folder.mkdir()
    (folder / "altering.py").write_text(ALTERING.format(head=head, tables=sorted(metadata.tables), more=more))
    config.set_main_option("path_separator", "os")
    config.set_main_option("version_locations", f"{ROOT / 'migrations' / 'versions'}:{folder}")
    command.upgrade(config, "altering")


@pytest.mark.parametrize("backend", ["sqlite"])  # PostgreSQL alters a table in place
def test_every_table_can_be_altered_while_others_refer_to_it(empty_url: str, tmp_path: Path) -> None:
    migrate(empty_url)
    store = Store(empty_url, StoreSettings(shard_documents=1))
    key_id = store.write(keys.create, "k").id
    job = store.write(jobs.submit, NewJob(key_id, "ner", "echo"), [(None, "a"), (None, "b")]).job
    before = schema(empty_url)
    altered(empty_url, tmp_path / "versions")
    after = schema(empty_url)
    for table in metadata.tables:
        assert after[table]["columns"].pop("one_more") == ("TEXT", True), table
    assert after == before
    assert store.read(jobs.get, key_id, job.id).counts.total == 2
    with pytest.raises(sa.exc.IntegrityError):  # and the rows are looked after as before
        store.write(lambda tx: tx.exec_driver_sql("DELETE FROM jobs"))
    store.close()


@pytest.mark.parametrize("backend", ["sqlite"])
def test_a_migration_that_loses_what_others_refer_to_writes_nothing(empty_url: str, tmp_path: Path) -> None:
    migrate(empty_url)
    before = schema(empty_url)
    store = Store(empty_url)
    key_id = store.write(keys.create, "k").id
    job = store.write(jobs.submit, NewJob(key_id, "ner", "echo"), [(None, "a")]).job
    with pytest.raises(RuntimeError, match="rows of shards"):
        altered(empty_url, tmp_path / "versions", "op.execute('DELETE FROM jobs')")
    assert store.read(jobs.get, key_id, job.id).counts.total == 1
    assert schema(empty_url) == before
    store.close()


MIGRATE = """
import sys
from store import keys
from store.session import Store, migrate
print("ready", flush=True)
sys.stdin.readline()
migrate(sys.argv[1])
store = Store(sys.argv[1])
store.write(keys.create, "mine")
store.close()
"""


def test_processes_that_start_at_once_migrate_once(empty_url: str) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", MIGRATE, empty_url],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(4)
    ]  # fmt: skip
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), errors
    store = Store(empty_url)
    assert store.read(lambda tx: tx.exec_driver_sql("SELECT count(*) FROM keys").scalar()) == len(processes)
    assert store.read(lambda tx: tx.exec_driver_sql("SELECT count(*) FROM duties").scalar()) == 1
    store.close()


@pytest.mark.parametrize("backend", ["sqlite"])
def test_migrating_waits_for_another_process(empty_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two that open a new file at once, one may be refused the change to WAL without being let wait."""
    monkeypatch.setattr("store.session.BUSY_SECONDS", 0.01)
    file = tmp_path / "folder" / "empty.sqlite3"
    file.parent.mkdir()
    refused = threading.Event()
    tries: list[object] = []

    def count(connection: object, _record: object) -> None:
        tries.append(connection)
        if len(tries) == 2:
            refused.set()

    sa.event.listen(sa.pool.Pool, "connect", count, insert=True)
    migration = threading.Thread(target=migrate, args=(empty_url,))
    with write_lock_held_elsewhere(str(file)) as release:
        migration.start()
        assert refused.wait(PATIENCE), "not tried again"
        release()
        migration.join(PATIENCE)
    sa.event.remove(sa.pool.Pool, "connect", count)
    assert set(schema(empty_url)) == set(metadata.tables)
