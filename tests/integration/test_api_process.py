"""`python -m api` as a process: keys, serving, what it says when it cannot start, and how it stops."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from store import schema
from store.session import Store
from tests.conftest import free_port
from textmill import Client

MakeStore = Callable[..., Store]
ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["sqlite"])
def backend(request: pytest.FixtureRequest) -> str:
    """SQLite alone: this is about the process."""
    return str(request.param)


def environment(store: Store, **more: str) -> dict[str, str]:
    given = {"DATABASE_URL": store.url, "REDIS_URL": store.settings.redis_url, "TEXTMILL_ECHO": "1"}
    return {**os.environ, **given, **more}


def api(store: Store, *arguments: str, **more: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "api", *arguments], cwd=ROOT, env=environment(store, **more),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@contextmanager
def running(store: Store) -> Iterator[tuple["subprocess.Popen[str]", Client]]:
    out, _ = api(store, "keys", "create", "producer").communicate(timeout=240)
    port = free_port()
    process = api(store, TEXTMILL_PORT=str(port))
    try:
        with Client(f"http://127.0.0.1:{port}", out, first_patience=240) as mill:
            mill.models()  # answered: it serves
            yield process, mill
    finally:
        process.kill()
        process.communicate(timeout=240)


def test_it_serves_and_stops_at_once_although_somebody_waits(store: Store) -> None:
    with running(store) as (process, mill):
        job = mill.submit("summarization", ["text"], model="echo")
        key = {"Authorization": mill._client.headers["Authorization"]}
        answers: list[int] = []

        def wait() -> None:
            answers.append(httpx.get(f"{mill.url}/v1/jobs/{job.id}?wait=60", headers=key, timeout=240).status_code)

        waiting = threading.Thread(target=wait)
        waiting.start()
        for _ in range(5_000):
            if "textmill_http_waiting 1.0" in httpx.get(f"{mill.url}/metrics", timeout=240).text:
                break
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=240) == -signal.SIGTERM  # uvicorn ends as the signal says, after its shutdown
        waiting.join(240)
        assert answers == [200]


@pytest.mark.parametrize("command", [["api"], ["api", "keys", "create", "k"], ["workers", "--gpus", "none"]])
def test_a_database_that_was_never_migrated_is_named_with_the_command(
    store: Store, tmp_path: Path, command: list[str]
) -> None:
    given = environment(store, DATABASE_URL=f"sqlite:///{tmp_path / 'new.sqlite3'}")
    ended = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, env=given, capture_output=True, text=True, timeout=240,
        check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert "make migrate" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_database_of_the_previous_release_is_refused_and_one_of_the_next_is_not(make_store: MakeStore) -> None:
    store = make_store()
    schema.check(store)
    store.write(lambda tx: tx.exec_driver_sql("ALTER TABLE jobs ADD COLUMN of_the_next TEXT"))
    schema.check(store)
    store.write(lambda tx: tx.exec_driver_sql("ALTER TABLE results DROP COLUMN dtype"))
    with pytest.raises(schema.NotMigrated, match="make migrate"):
        schema.check(store)


def test_the_api_needs_no_torch(store: Store) -> None:
    code = "import sys, api.main; print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_a_revoked_key(store: Store) -> None:
    out, err = api(store, "keys", "create", "second").communicate(timeout=240)
    assert out.startswith("tm_")
    number = err.split()[1]
    api(store, "keys", "revoke", number).communicate(timeout=240)
    from store import keys
    from textmill.errors import Unauthorized

    with pytest.raises(Unauthorized):
        store.read(keys.authenticate, out.strip())
    for unknown in ("999", number):
        process = api(store, "keys", "revoke", unknown)
        assert f"no key {unknown} is in force" in process.communicate(timeout=240)[1]
        assert process.returncode == 2


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"TEXTMILL_PORT": "many"}, "port"),
        ({"TEXTMILL_CATALOGUE": "nowhere.toml"}, "nowhere.toml"),
        ({"DATABASE_URL": "mysql://host/db"}, "mysql"),
    ],
)
def test_what_it_cannot_start_with_is_named(store: Store, wrong: dict[str, str], says: str) -> None:
    process = api(store, **wrong)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 1
    assert says in err
    assert "Traceback" not in err
