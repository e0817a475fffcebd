"""What a worker survives: real processes, real signals, real rows."""

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from store.session import Store
from store.tables import results, shards
from tests.conftest import ValkeyProcess
from tests.worker_process import Producer, Worker, running, wait_until
from workers.launcher.launcher import is_running

ONE_DATABASE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
"""Where the database plays no part."""


@pytest.fixture
def store(make_store: Callable[..., Store]) -> Store:
    """With leases that no test outlives: what runs again is what was given back, and a slow machine loses none."""
    return make_store(lease_seconds=3600)


@pytest.fixture
def producer(store: Store, key_id: int) -> Iterator[Producer]:
    producer = Producer(store, key_id)
    yield producer
    producer.close()


def count_results(store: Store) -> int:
    return store.read(lambda tx: tx.execute(sa.select(sa.func.count()).select_from(results)).scalar_one())


def losses(store: Store) -> list[int]:
    return list(store.read(lambda tx: tx.execute(sa.select(shards.c.losses).order_by(shards.c.id)).scalars().all()))


def kill_child(worker: Worker) -> int:
    [pid] = worker.children
    os.kill(pid, signal.SIGKILL)
    return pid


def test_a_killed_worker_loses_nothing(store: Store, producer: Producer, tmp_path: Path) -> None:
    with running(store, tmp_path) as worker:
        texts = [f"text {n}" if n % 100 else "[[echo:sleep=0.05]]" for n in range(10_000)]
        job = producer.submit(texts, "summarization")
        for goal in (1_000, 4_000):
            wait_until(lambda goal=goal: count_results(store) >= goal, f"{goal} results")  # type: ignore[misc]
            killed = kill_child(worker)
            wait_until(lambda pid=killed: worker.children not in ([], [pid]), "another one starts")  # type: ignore[misc]
        job = producer.wait(job)
        assert (job.state, job.counts.succeeded) == ("completed", 10_000)
        rows = producer.results(job)
        assert [row.position for row in rows] == list(range(10_000))
        assert all(json.loads(row.output or "") == {"summary_text": texts[row.position]} for row in rows)
        assert worker.stop() == 0


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)  # on SQLite locks end with their process
def test_what_a_killed_worker_has_locked_does_not_wait_for_its_lease(
    store: Store, producer: Producer, tmp_path: Path
) -> None:
    with running(store, tmp_path) as worker:
        job = producer.submit(["[[echo:sleep=1]]"])
        wait_until(lambda: producer.get(job).state == "running", "it is at work")
        with store.engine.begin() as left_behind:  # its transaction, whose end the server has not noticed
            left_behind.execute(sa.select(shards.c.id).with_for_update())
            killed = kill_child(worker)
            wait_until(lambda: worker.children not in ([], [killed]), "another one starts")
        # The lease would last for an hour.
        assert producer.wait(job).state == "completed"
        assert losses(store) == [1]
        assert worker.stop() == 0


def test_a_deployment_under_load_costs_nothing(make_store: Callable[..., Store], key_id: int, tmp_path: Path) -> None:
    store = make_store(shard_documents=100, lease_seconds=3600)
    producer = Producer(store, key_id)
    texts = ["[[echo:sleep=0.01]]" if n % 10 == 0 else f"text {n}" for n in range(12_000)]
    unhurried = {"drain_seconds": 300}
    with (
        running(store, tmp_path / "old", **unhurried) as old,
        running(store, tmp_path / "new", **unhurried) as new,
    ):
        job = producer.submit(texts)
        for worker in (old, new):
            wait_until(lambda worker=worker: succeeded(worker) > 0, "both are at work")  # type: ignore[misc]
        assert old.stop() == 0
        assert producer.wait(job).counts.succeeded == len(texts)
        wait_until(lambda: succeeded(old) + succeeded(new) >= len(texts), "the last task has ended")
        assert succeeded(old) + succeeded(new) == len(texts), "no document was processed twice"
        assert "handed back" not in old.log
        assert set(losses(store)) == {0}
        assert new.stop() == 0
    producer.close()


def succeeded(worker: Worker) -> int:
    """Documents that succeeded in tasks of this worker that have ended."""
    return sum(map(int, re.findall(r"succeeded in .*'(\d+) succeeded", worker.log)))


@pytest.mark.parametrize(
    ("marker", "how"),
    [
        ("kill", "SIGKILL"),
        ("fatal", "the device failed"),
        ("hang", "a batch ran past its deadline"),
        ("prepare-hang", "a task hung"),
    ],
)
@ONE_DATABASE
def test_a_document_that_takes_its_worker_down_fails_alone(
    marker: str, how: str, store: Store, producer: Producer, tmp_path: Path
) -> None:
    # Deadlines that a slow machine keeps where nothing hangs; fewer attempts where each costs one.
    hangs, attempts = ({"batch_deadline_seconds": 4, "progress_seconds": 4}, 1) if "hang" in marker else ({}, 2)
    settings = {"max_attempts": attempts, **hangs}
    with running(store, tmp_path, **settings) as worker:
        texts = [f"text {n}" for n in range(60)]
        texts[41] = f"[[echo:{marker}]]"
        job = producer.wait(producer.submit(texts))
        assert (job.state, job.counts.succeeded, job.counts.failed) == ("completed_with_errors", 59, 1)
        failed = producer.results(job)[41]
        assert (failed.error_code, failed.attempts) == ("worker_lost", attempts)
        # Twice with its neighbours, the rest alone; more where a machine that stands still is taken for a hang, too.
        ended = worker.log.count(f"ended ({how})")
        assert ended >= 2 + attempts if hangs else ended == 2 + attempts, worker.log
        assert worker.stop() == 0


def test_a_document_without_items_after_one_that_kills_holds_nobody_up(
    store: Store, producer: Producer, tmp_path: Path
) -> None:
    with running(store, tmp_path, max_attempts=1) as worker:
        job = producer.submit(["a", "[[echo:kill]]", "[[echo:too-long]]", "d"])
        other = producer.submit(["of another job"])
        job = producer.wait(job)
        codes = [row.error_code for row in producer.results(job)]
        assert codes == [None, "worker_lost", "document_too_long", None]
        assert producer.wait(other).state == "completed"
        assert worker.stop() == 0


@ONE_DATABASE
def test_shards_outside_a_batch_that_hangs_are_handed_back(store: Store, producer: Producer, tmp_path: Path) -> None:
    with running(store, tmp_path, batch_deadline_seconds=5, max_attempts=1) as worker:
        hangs = producer.submit(["[[echo:hang]]"])
        wait_until(lambda: "loaded" in worker.log, "the batch runs")
        waits = producer.submit(["innocent"], model="absent")  # of another model: never in one batch with it
        assert producer.wait(waits).state == "completed"
        assert losses(store)[1] == 0
        assert losses(store)[0] >= 1  # and on, until it runs alone and fails
        assert producer.get(hangs).counts.succeeded == 0


@ONE_DATABASE
def test_shards_beside_a_task_that_hangs_are_handed_back(store: Store, producer: Producer, tmp_path: Path) -> None:
    with running(store, tmp_path, progress_seconds=4, max_attempts=1) as worker:
        hangs = producer.submit(["[[echo:prepare-hang]]"])
        wait_until(lambda: producer.get(hangs).state == "running", "it is at work")
        waits = producer.submit(["[[echo:sleep=8]]"])
        wait_until(lambda: "tasks hang (prepare)" in worker.log, "the hang is noticed")
        assert producer.wait(waits).state == "completed"
        assert losses(store)[1] == 0
        assert losses(store)[0] >= 1
        assert producer.get(hangs).counts.succeeded == 0


@ONE_DATABASE
def test_work_goes_on_when_redis_comes_back_empty(
    make_store: Callable[..., Store], key_id: int, own_valkey: ValkeyProcess, tmp_path: Path
) -> None:
    quick = {"redis_url": own_valkey.url, "sweep_seconds": 0.3, "republish_seconds": 1}
    store = make_store()
    store = Store(store.url, store.settings.model_copy(update=quick))
    producer = Producer(store, key_id)
    with running(store, tmp_path, sweep_seconds=0.3, republish_seconds=1) as worker:
        job = producer.submit(["[[echo:sleep=0.02]]" if n % 50 == 0 else "x" for n in range(20_000)])
        wait_until(lambda: count_results(store) >= 1_000, "it has begun")
        own_valkey.kill()
        own_valkey.start()
        job = producer.wait(job)
        assert (job.state, job.counts.succeeded) == ("completed", 20_000)
        assert worker.stop() == 0
    producer.close()
    store.close()


@ONE_DATABASE
def test_a_worker_ends_with_its_launcher(store: Store, tmp_path: Path) -> None:
    with running(store, tmp_path) as worker:
        wait_until(lambda: "ready." in worker.log, "it is up")
        [child] = worker.children
        worker.process.kill()
        worker.process.wait()
        wait_until(lambda: not is_running(child), "the child ends")


@ONE_DATABASE
def test_a_new_launcher_expires_what_dead_workers_held(store: Store, producer: Producer, tmp_path: Path) -> None:
    with running(store, tmp_path) as worker:
        job = producer.submit(["[[echo:sleep=3]]"])
        wait_until(lambda: "loaded" in worker.log, "the batch runs")
        [child] = worker.children
        worker.process.send_signal(signal.SIGSTOP)  # it must not see its child die
        os.kill(child, signal.SIGKILL)
        worker.process.kill()
        worker.process.wait()
    # The leases would last for an hour more.
    with running(store, tmp_path) as worker:
        assert producer.wait(job).state == "completed"
        assert losses(store) == [1]
        assert worker.stop() == 0
