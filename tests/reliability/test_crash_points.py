"""Processes that die at named points: between two steps of which somebody might think that nothing comes between them.

Real processes, each killed by SIGKILL once, at the same call every time (`crashing/sitecustomize.py`).
"""

import contextlib
import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import redis
import sqlalchemy as sa

from store import keys
from store.dispatcher import Dispatcher
from store.queue import celery_app, redis_lists
from store.session import Store
from store.sweep import Sweeper
from store.tables import shards
from tests.conftest import ValkeyProcess, free_port
from tests.integration.serving import serving, work
from tests.integration.test_api_process import api
from tests.worker_process import PATIENCE, Producer, Worker, running, wait_until
from textmill.wire import Job
from workers.launcher.launcher import is_running

TEXTS = [f"text {n}" for n in range(120)]
CrashAt = Callable[[str], Path]


@pytest.fixture
def crash_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CrashAt:
    """Make processes that are started from now on die at a point, the first that comes there alone. Gives the file that
    is there once one has died."""

    def arm(point: str) -> Path:
        mark = tmp_path / "died"
        monkeypatch.setenv("CRASH_AT", point)
        monkeypatch.setenv("CRASH_MARK", str(mark))
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "crashing"))
        return mark

    return arm


@pytest.fixture
def store(make_store: Callable[..., Store]) -> Store:
    """With leases that no test outlives: what runs again is what was given back."""
    return make_store(lease_seconds=3600)


@pytest.fixture
def producer(store: Store, key_id: int) -> Iterator[Producer]:
    producer = Producer(store, key_id)
    yield producer
    producer.close()


def shards_of(store: Store) -> list[tuple[str, int]]:
    """State and losses of all shards, in order."""
    query = sa.select(shards.c.state, shards.c.losses).order_by(shards.c.id)
    return [(row.state, row.losses) for row in store.read(lambda tx: tx.execute(query).all())]


# --- the api ----------------------------------------------------------------------------------------------------------

JOB = {"task": "summarization", "model": "echo", "documents": [{"text": text} for text in TEXTS]}
CHUNK = 60
AS_JSON = {"Content-Type": "application/json"}
OPEN = {"task": "summarization", "model": "echo", "open": True}


@contextlib.contextmanager
def doomed_api(store: Store, secret: str) -> Iterator[tuple["subprocess.Popen[str]", httpx.Client]]:
    """An api process that is about to die, and a producer's line to it. It sweeps nothing before it does."""
    port = free_port()
    process = api(store, TEXTMILL_PORT=str(port), TEXTMILL_SWEEP_SECONDS="1000")
    try:
        with producers_line(f"http://127.0.0.1:{port}", secret) as http:
            wait_until(lambda: answers(http), "the api is up")
            yield process, http
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE)


def producers_line(url: str, secret: str) -> httpx.Client:
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {secret}"}, timeout=PATIENCE)


def answers(http: httpx.Client) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return http.get("/health/live").is_success
    return False


def dies_unanswered(process: "subprocess.Popen[str]", call: Callable[[], object]) -> None:
    with pytest.raises(httpx.TransportError):
        call()
    assert process.wait(timeout=PATIENCE) == -signal.SIGKILL


@pytest.fixture
def secret(store: Store) -> str:
    return store.write(keys.create, "producer").secret


BEFORE_THE_COMMIT = "store.dispatch:release:before:{}"
BETWEEN_COMMIT_AND_PUBLISH = "store.dispatcher:Dispatcher.publish:before:{}"
"""Which is also where the producer's answer is lost."""


@pytest.mark.parametrize("point", [BEFORE_THE_COMMIT, BETWEEN_COMMIT_AND_PUBLISH], ids=["before", "after"])
def test_a_submit_whose_api_dies(point: str, store: Store, secret: str, crash_at: CrashAt) -> None:
    crash_at(point.format(1))
    key = {"Idempotency-Key": "once"}
    with doomed_api(store, secret) as (process, http):
        dies_unanswered(process, lambda: http.post("/v1/jobs", json=JOB, headers=key))
    committed = point == BETWEEN_COMMIT_AND_PUBLISH
    assert bool(shards_of(store)) == committed
    with serving(store, secret=secret) as again, again.http() as http:
        answer = http.post("/v1/jobs", json=JOB, headers=key)
        assert answer.status_code == (200 if committed else 201)
        [job] = http.get("/v1/jobs").json()["jobs"]
        assert answer.json()["id"] == job["id"]
        work(store)
        assert http.get(f"/v1/jobs/{job['id']}").json()["counts"]["succeeded"] == len(TEXTS)


@pytest.mark.parametrize("point", [BEFORE_THE_COMMIT, BETWEEN_COMMIT_AND_PUBLISH], ids=["before", "after"])
def test_an_upload_whose_api_dies(point: str, store: Store, secret: str, crash_at: CrashAt) -> None:
    crash_at(point.format(3))  # the job's opening, the first chunk, the second
    with doomed_api(store, secret) as (process, http):
        job = f"/v1/jobs/{http.post('/v1/jobs', json=OPEN).json()['id']}"
        assert append(http, job, 0).json() == {"accepted": CHUNK, "total": CHUNK}
        dies_unanswered(process, lambda: append(http, job, CHUNK))
    committed = point == BETWEEN_COMMIT_AND_PUBLISH
    with serving(store, secret=secret) as again, again.http() as http:
        assert append(http, job, CHUNK).json() == {"accepted": CHUNK * (not committed), "total": 2 * CHUNK}
        http.post(f"{job}/close")
        work(store)
        results = http.get(f"{job}/results", params={"limit": "1000"}).json()["results"]
        assert [one["output"]["summary_text"] for one in results] == TEXTS[: 2 * CHUNK]


def append(http: httpx.Client, job: str, offset: int) -> httpx.Response:
    body = {"documents": JOB["documents"][offset : offset + CHUNK]}
    return http.post(f"{job}/documents", json=body, headers={"Upload-Offset": str(offset)})


def test_an_api_that_dies_in_the_middle_of_a_body_has_taken_nothing_of_it(store: Store, secret: str) -> None:
    with doomed_api(store, secret) as (process, http):
        job = f"/v1/jobs/{http.post('/v1/jobs', json=OPEN).json()['id']}"

        def body() -> Iterator[bytes]:
            yield b'{"documents": [{"text": "first"},'
            assert http.get("/metrics").is_success  # it is at work, and has the first half
            process.kill()
            yield b'{"text": "second"}]}'

        dies_unanswered(process, lambda: http.post(f"{job}/documents", content=body(), headers=AS_JSON))
    with serving(store, secret=secret) as again, again.http() as http:
        assert http.get(job).json()["counts"]["total"] == 0


def test_what_was_committed_and_not_published_is_published_by_a_sweep(
    make_store: Callable[..., Store], secret: str, crash_at: CrashAt
) -> None:
    store = make_store(republish_seconds=0)
    crash_at(BETWEEN_COMMIT_AND_PUBLISH.format(1))
    with doomed_api(store, secret) as (process, http):
        dies_unanswered(process, lambda: http.post("/v1/jobs", json=JOB))
    queued = shards_of(store).count(("queued", 0))
    assert queued > 0
    dispatcher = Dispatcher(celery_app(store.settings.redis_url))
    dispatcher.start()
    sweeper = Sweeper(store, dispatcher)
    assert sweeper.sweep()
    assert sweeper.sweep()  # on two sweeps running: a message might just be on its way
    dispatcher.stop()
    with redis.Redis.from_url(store.settings.redis_url) as client:
        assert sum(client.llen(name) for name in redis_lists("echo")) == queued


# --- the worker -------------------------------------------------------------------------------------------------------

POINTS = {
    "after the claim": "workers.shards.keeper:Keeper.hold:before:1",
    "while its model is loaded": "workers.backends.echo.mirror:Mirror.load:before:1",
    "between two settles": "workers.shards.ledger:Ledger.settle:before:2",
    "inside a settle's transaction": "store.endings:count_settled:before:2",
    "before the last settle": "workers.shards.ledger:Ledger.settle:before:3",
    "inside the last settle's transaction": "store.endings:end_if_finished:after:1",
    "after the last settle": "workers.shards.ledger:Ledger._settle:after:3",
}
"""Of a job of one shard, in settles of 50 documents: two in the middle of it, and the last."""


@pytest.mark.parametrize("point", POINTS)
def test_a_worker_dies(point: str, store: Store, producer: Producer, crash_at: CrashAt, tmp_path: Path) -> None:
    died = crash_at(POINTS[point])
    with running(store, tmp_path, settle_documents=50, settle_seconds=1000, credit_tokens=50) as worker:
        job = producer.wait(producer.submit(TEXTS, "summarization"))
        wait_until(lambda: "ended (SIGKILL)" in worker.log, "it dies")
        assert died.exists()
        right(producer, job)
        assert shards_of(store) == [("done", 0 if point == "after the last settle" else 1)]
        # Another one takes its place, and ends as it should.
        assert producer.wait(producer.submit(["next"])).state == "completed"
        assert worker.stop() == 0


def right(producer: Producer, job: Job) -> None:
    """Each document has its outcome, and the counts say so."""
    assert (job.state, job.counts.succeeded) == ("completed", len(TEXTS))
    outcomes = producer.results(job)
    assert [json.loads(one.output or "")["summary_text"] for one in outcomes] == TEXTS


# --- the launcher -----------------------------------------------------------------------------------------------------


def test_a_launcher_dies_while_it_looks_after_a_dead_worker(
    store: Store, producer: Producer, crash_at: CrashAt, tmp_path: Path
) -> None:
    """Between noticing its worker's end and putting its shards back into the queue."""
    died = crash_at("workers.launcher.launcher:Launcher._expire:before:1")
    with running(store, tmp_path) as worker:
        job = producer.submit(["[[echo:sleep=1]]", *TEXTS[1:]], "summarization")
        wait_until(lambda: producer.get(job).state == "running", "it is at work")
        [child] = worker.children
        os.kill(child, signal.SIGKILL)
        assert worker.process.wait(PATIENCE) == -signal.SIGKILL
        assert died.exists()
    # The lease would last for an hour more.
    with running(store, tmp_path) as worker:
        assert producer.wait(job).counts.succeeded == len(TEXTS)
        assert {losses for _, losses in shards_of(store)} == {1}
        assert worker.stop() == 0


def test_a_launcher_dies_and_its_worker_hands_back(store: Store, producer: Producer, tmp_path: Path) -> None:
    with running(store, tmp_path, drain_seconds=0) as worker:
        texts = [f"[[echo:sleep=0.1]] {n}" for n in range(20)]
        job = producer.submit(texts, "summarization")
        wait_until(lambda: producer.get(job).state == "running", "it is at work")
        [child] = worker.children
        worker.process.kill()
        worker.process.wait()
        wait_until(lambda: not is_running(child), "the worker ends")
    with running(store, tmp_path) as worker:
        assert producer.wait(job).counts.succeeded == len(texts)
        assert {losses for _, losses in shards_of(store)} == {0}
        assert worker.stop() == 0


# --- Redis ------------------------------------------------------------------------------------------------------------


def pauses(worker: Worker) -> list[float]:
    """Between the tries to reach Redis, in seconds, as the worker's log has them."""
    return [float(seconds) for seconds in re.findall(r"Trying again in ([0-9.]+) seconds", worker.log)]


def test_redis_is_gone_for_a_while(
    make_store: Callable[..., Store], key_id: int, own_valkey: ValkeyProcess, tmp_path: Path
) -> None:
    store = make_store(sweep_seconds=0.3, republish_seconds=1, lease_seconds=3600)
    store = Store(store.url, store.settings.model_copy(update={"redis_url": own_valkey.url}))
    producer = Producer(store, key_id)
    with running(store, tmp_path, sweep_seconds=0.3, republish_seconds=1) as worker:
        at_work = producer.submit(["[[echo:sleep=0.5]]"] * 8)
        wait_until(lambda: producer.get(at_work).state == "running", "it is at work")
        own_valkey.kill()
        late = producer.submit(["while Redis is gone"])
        wait_until(lambda: len(pauses(worker)) > 2, "the worker tries to reach Redis, again and again")
        assert max(pauses(worker)) <= 3, "however long it is away"
        assert producer.wait(at_work).state == "completed", "what is at work ends"
        assert producer.get(late).state == "queued"
        own_valkey.start()
        assert producer.wait(late).state == "completed"
        assert {losses for _, losses in shards_of(store)} == {0}
        assert worker.stop() == 0
    producer.close()
    store.close()
