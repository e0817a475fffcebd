"""A Redis that answers and takes no writes (its memory is full, or it cannot save): workers wait, and come back."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from store.session import Store
from tests.conftest import ValkeyProcess
from tests.worker_process import Producer, Worker, running, wait_until

QUICK = {"sweep_seconds": 0.3, "republish_seconds": 1}


@pytest.fixture(params=["sqlite"])
def backend(request: pytest.FixtureRequest) -> str:
    """One database: it plays no part."""
    return str(request.param)


@pytest.fixture
def own_store(store: Store, own_valkey: ValkeyProcess) -> Iterator[Store]:
    """The ledger, with a Redis of the test's own."""
    made = Store(store.url, store.settings.model_copy(update={"redis_url": own_valkey.url, **QUICK}))
    yield made
    made.close()


@pytest.fixture
def producer(own_store: Store, key_id: int) -> Iterator[Producer]:
    producer = Producer(own_store, key_id)
    yield producer
    producer.close()


def refusals(worker: Worker) -> int:
    """How often the worker's loop ended at it."""
    return sum(worker.log.count(f"consumer: {text}") for text in ("Cannot connect", "Connection to broker lost"))


def full(client: redis.Redis, folder: Path, now: bool) -> None:
    """The memory is full. What is there may be taken out, nothing be put in."""
    client.config_set("maxmemory", 1 if now else 0)


def unsaved(client: redis.Redis, folder: Path, now: bool) -> None:
    """It was told to save, and cannot: MISCONF."""
    if not now:
        client.config_set("save", "")
        return
    client.config_set("save", "3600 1")
    (folder / "dump.rdb").mkdir()  # a file that cannot be replaced
    client.set("something", 1)
    client.bgsave()
    wait_until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err", "the save fails")


@pytest.fixture(params=[full, unsaved])
def refuse(request: pytest.FixtureRequest, own_valkey: ValkeyProcess) -> Iterator[Callable[[bool], None]]:
    """Make Redis refuse writes, or take them again."""
    with redis.Redis.from_url(own_valkey.url) as client:
        yield lambda now: request.param(client, own_valkey.folder, now)


def test_a_running_worker_waits_and_comes_back(
    own_store: Store, producer: Producer, refuse: Callable[[bool], None], tmp_path: Path
) -> None:
    with running(own_store, tmp_path, concurrency=4, **QUICK) as worker:
        first = producer.submit(["[[echo:sleep=1]]"])
        wait_until(lambda: producer.get(first).state == "running", "it is at work")
        [child] = children = worker.children
        os.kill(child, signal.SIGSTOP)  # a message must be in Redis still when that begins to refuse
        others = [producer.submit([f"{n}"]) for n in range(5)]
        wait_until(lambda: producer.published >= 2, "a message is in Redis")
        refuse(True)
        os.kill(child, signal.SIGCONT)
        late = producer.submit(["while it refuses"])
        assert producer.wait(first).state == "completed", "what is at work ends"
        wait_until(lambda: refusals(worker) > 0, "it meets the refusal")
        refuse(False)
        for job in (*others, late):
            assert producer.wait(job).state == "completed", worker.log
        assert worker.children == children, "the process lived on"
        assert "Unrecoverable" not in worker.log
        assert worker.stop() == 0


def test_a_starting_worker_waits_and_comes_up(
    own_store: Store, producer: Producer, refuse: Callable[[bool], None], tmp_path: Path
) -> None:
    refuse(True)
    with running(own_store, tmp_path, **QUICK) as worker:
        wait_until(lambda: refusals(worker) > 2, "it meets the refusal, again and again")
        children = worker.children
        job = producer.submit(["a"])
        refuse(False)
        assert producer.wait(job).state == "completed", worker.log
        assert worker.children == children, "the process lived on"
        assert worker.stop() == 0


def test_a_worker_that_waits_can_be_stopped(own_store: Store, refuse: Callable[[bool], None], tmp_path: Path) -> None:
    refuse(True)
    with running(own_store, tmp_path, **QUICK) as worker:
        wait_until(lambda: refusals(worker) > 2, "it meets the refusal, again and again")
        assert worker.stop() == 0, worker.log
