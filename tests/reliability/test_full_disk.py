"""A disk that is full: what the api answers meanwhile, and that it goes on afterwards."""

import resource
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from store import keys
from store.session import Store
from tests.integration.serving import serving
from tests.integration.test_api_process import running as api_process

BIG = {"task": "ner", "model": "echo", "documents": [{"text": "x" * 200_000} for _ in range(5)]}


@pytest.fixture(params=["sqlite"])
def backend(request: pytest.FixtureRequest) -> str:
    """SQLite alone: PostgreSQL's disk is its server's, and its codes stand in the table of `store/faults.py`."""
    return str(request.param)


@pytest.fixture
def fill(store: Store) -> Iterator[Callable[[bool], None]]:
    """Leave the database no page more than it has, or as many as it likes."""
    full: list[bool] = [False]

    def limit(connection: sa.engine.interfaces.DBAPIConnection, *_: object) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA max_page_count = {1 if full[0] else 1_000_000_000}")  # never below what there is
        cursor.close()

    sa.event.listen(store.engine, "checkout", limit)
    yield lambda now: full.__setitem__(0, now)
    sa.event.remove(store.engine, "checkout", limit)


def refused(answer: httpx.Response) -> None:
    assert (answer.status_code, answer.json()["code"]) == (503, "store_busy"), answer.text
    assert "Retry-After" in answer.headers
    assert "disk is full" in answer.json()["detail"]


def test_a_full_disk_is_told_at_once_and_gets_over(
    store: Store, fill: Callable[[bool], None], caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[str] = []
    with serving(store, key_use_seconds=3600) as api, api.http() as http:
        job = http.post("/v1/jobs", json={"task": "ner", "model": "echo", "open": True}).json()["id"]
        fill(True)
        sa.event.listen(store.engine, "begin", lambda _: tries.append(threading.current_thread().name))
        refused(http.post("/v1/jobs", json=BIG))
        of_requests = [name for name in tries if name.startswith("AnyIO")]  # others look for batches meanwhile
        assert len(of_requests) == 2, "one to look the key up, one that fails"
        refused(http.post(f"/v1/jobs/{job}/documents", json={"documents": BIG["documents"]}))
        assert http.get(f"/v1/jobs/{job}").json()["counts"]["total"] == 0
        said = [record for record in caplog.records if record.name == "api.errors"]
        assert [record.exc_info for record in said] == [None, None], "a line each, and no traceback"
        assert all(record.getMessage().endswith("(OperationalError: database or disk is full)") for record in said)
        fill(False)
        assert http.post("/v1/jobs", json=BIG).status_code == 201
        assert http.post(f"/v1/jobs/{job}/documents", json={"documents": BIG["documents"]}).json()["total"] == 5


def test_a_file_that_cannot_grow_is_a_full_disk(store: Store, tmp_path: Path) -> None:
    """The operating system refuses, and SQLite calls that an I/O error: a real process, whose files may not grow."""
    with api_process(store) as (process, mill), httpx.Client(base_url=mill.url, timeout=240) as http:
        http.headers["Authorization"] = f"Bearer {store.write(keys.create, 'second').secret}"
        before = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (4096, before[1]))
        refused(http.post("/v1/jobs", json=BIG))
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, before)
        assert http.post("/v1/jobs", json=BIG).status_code == 201
