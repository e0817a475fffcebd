"""A worker process, end to end but for HTTP: real Valkey, both databases, the echo model."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from store import workers
from store.bulk import NewDocument
from store.jobs import NewJob
from store.session import Store
from store.tables import results, shards
from tests.conftest import free_port
from tests.worker_process import BROKEN, PLAIN, Producer, Worker, running, wait_until


@pytest.fixture
def producer(store: Store, key_id: int) -> Iterator[Producer]:
    producer = Producer(store, key_id)
    yield producer
    producer.close()


@pytest.fixture
def worker(store: Store, tmp_path: Path) -> Iterator[Worker]:
    with running(store, tmp_path) as started:
        yield started
        assert started.stop() == 0, started.log


def states(store: Store) -> list[str]:
    return list(store.read(lambda tx: tx.execute(sa.select(shards.c.state).order_by(shards.c.id)).scalars().all()))


def stored_results(store: Store) -> int:
    return store.read(lambda tx: tx.execute(sa.select(sa.func.count()).select_from(results)).scalar_one())


def test_documents_come_back_with_their_output(worker: Worker, producer: Producer) -> None:
    texts = [f"text number {n}" for n in range(1200)]  # several shards

    job = producer.wait(producer.submit(texts, "summarization"))

    assert (job.state, job.counts.succeeded) == ("completed", 1200)
    rows = producer.results(job)
    assert [json.loads(row.output or "") for row in rows] == [{"summary_text": text} for text in texts]
    assert {row.model_revision for row in rows} == {"echo"}


def test_each_task_has_its_own_output(worker: Worker, producer: Producer) -> None:
    translation = producer.wait(producer.submit(["olá"], "translation"))
    ner = producer.wait(producer.submit(["Ada"], "ner"))

    assert [row.output for row in producer.results(translation)] == ['{"translation_text":"olá"}']
    assert [row.output for row in producer.results(ner)] == ['{"entities":[]}']


def test_one_bad_document_never_fails_its_neighbours(worker: Worker, producer: Producer) -> None:
    bad = {
        3: ("[[echo:raise]]", "processing_failed"),
        7: ("[[echo:oom]]", "out_of_memory"),
        11: ("[[echo:too-long]]", "document_too_long"),
        13: ("[[echo:prepare-raise]]", "processing_failed"),
        17: ("[[echo:pieces=5]][[echo:raise]]", "processing_failed"),
        19: ("half a pair: \ud800".encode("utf-8", "replace").decode(), None),
        23: ("[[echo:oom-above=2]]", None),
        29: ("[[echo:pieces=5]][[echo:rounds=3]]", None),
    }
    texts = [bad[n][0] if n in bad else f"good {n}" for n in range(200)]

    job = producer.wait(producer.submit(texts, "translation"))

    assert job.state == "completed_with_errors"
    rows = producer.results(job)
    assert {row.position: row.error_code for row in rows if row.error_code} == {n: c for n, (_, c) in bad.items() if c}
    assert all(json.loads(row.output)["translation_text"] == texts[row.position] for row in rows if row.output)
    assert rows[29].pieces == 5


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)  # nothing of it is the database's
def test_a_document_that_could_not_be_read_fails_with_its_reason(worker: Worker, producer: Producer) -> None:
    reasons = [("file_encrypted", "a.pdf is encrypted"), ("file_of_tomorrow", "who knows"), ("file_damaged", "b\udc80")]
    given: list[NewDocument] = [(None, "fine")]
    for code, message in reasons:
        given.append((code, "", json.dumps({"unreadable": {"code": code, "message": message}})))
    job = producer.wait(producer.submit_documents(NewJob(producer.key_id, "ner", "echo"), given))
    assert job.counts.succeeded == 1
    assert [(row.error_code, row.error_message) for row in producer.results(job)[1:]] == [
        ("file_encrypted", "a.pdf is encrypted"), ("file_unreadable", "who knows"), ("file_damaged", "b?"),
    ]  # fmt: skip


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)  # nothing of it is the database's
def test_equal_work_is_done_once_and_everybody_gets_their_own_outcome(
    store: Store, producer: Producer, tmp_path: Path
) -> None:
    kinds = [*(f"[[echo:same]]text {n}" for n in range(9)), "[[echo:same]][[echo:raise]]"]
    texts = [kinds[n % len(kinds)] for n in range(1000)]
    port = free_port()
    with running(store, tmp_path, worker_metrics_port=port) as worker:
        one, other = producer.submit(texts, "summarization"), producer.submit(texts, "translation")
        jobs = [(producer.wait(one), "summary_text"), (producer.wait(other), "translation_text")]
        address = f"http://127.0.0.1:{port}/metrics"
        metrics = httpx.get(address, timeout=240).text
        for task in ("summarization", "translation"):
            for outcome, count in (("succeeded", 900), ("processing_failed", 100)):
                line = f'textmill_documents_ended_total{{model="echo",outcome="{outcome}",task="{task}"}} {count}.0'
                wait_until(
                    lambda line=line: line in httpx.get(address, timeout=240).text, "counted right after the commit"
                )
        assert worker.stop() == 0
    for job, field in jobs:
        rows = producer.results(job)
        assert [row.output and json.loads(row.output)[field] for row in rows] == [
            None if "raise" in text else text for text in texts
        ]
        assert {row.error_code for row in rows} == {None, "processing_failed"}
    assert f'textmill_shared_items_total{{model="echo"}} {2 * 900 - 9}.0' in metrics.splitlines()


def test_a_model_that_fails_on_its_canary_is_an_error_of_the_job(worker: Worker, producer: Producer) -> None:
    job = producer.wait(producer.submit(["[[echo:broken]]"]))

    assert job.state == "failed"
    assert job.error is not None
    assert job.error.code == "model_error"
    assert producer.wait(producer.submit(["fine"])).state == "completed"


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)  # it imports torch, which is slow: once is enough
def test_a_model_that_cannot_be_loaded_fails_its_own_jobs_only(
    store: Store, producer: Producer, tmp_path: Path
) -> None:
    with running(store, tmp_path, entries=BROKEN) as worker:
        wait_until(lambda: "imported ahead" in worker.log, "what the model needs is there")
        assert worker.log.index(" ready.") < worker.log.index("imported ahead"), "the start waits for nothing"
        absent = producer.submit(["a", "b"], model="absent")
        echo = producer.submit(["c"])

        assert producer.wait(echo).state == "completed"
        failed = producer.wait(absent)
        assert failed.state == "failed"
        assert failed.error is not None
        assert failed.error.code == "model_unavailable"
        assert [row.error_code for row in producer.results(failed)] == ["model_unavailable"] * 2
        assert worker.stop() == 0


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_a_backend_that_cannot_be_imported_fails_the_jobs_of_its_models(
    store: Store, producer: Producer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError('libnothing.so: cannot open shared object')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    with running(store, tmp_path, entries=BROKEN, model_unavailable_seconds=0) as worker:
        wait_until(lambda: "absent: its backend cannot be imported: libnothing.so" in worker.log, "it says so")
        failed = producer.wait(producer.submit(["a"], model="absent"))
        assert failed.error is not None
        assert "libnothing.so" in failed.error.message
        assert producer.wait(producer.submit(["c"])).state == "completed"
        assert worker.stop() == 0


SHARDS = 90


def losses(store: Store) -> list[int]:
    return list(store.read(lambda tx: tx.execute(sa.select(shards.c.losses)).scalars().all()))


def test_a_worker_that_cannot_load_a_model_leaves_it_to_one_that_can(
    store: Store, producer: Producer, tmp_path: Path
) -> None:
    """A broken worker is the quickest of all: it would fail most of the queue before the healthy one is half done."""
    with (
        running(store, tmp_path / "healthy") as second,
        running(store, tmp_path / "broken", entries=BROKEN, model_unavailable_seconds=0) as first,
    ):
        wait_until(lambda: len(store.read(workers.live)) == 2, "both are registered")
        job = producer.wait(producer.submit(["[[echo:sleep=0.01]]"] * 4000, model="absent"))
        assert (job.state, job.counts.succeeded) == ("completed", 4000), job.error
        assert set(losses(store)) == {0}
        wait_until(lambda: any(w.failed == ["absent"] for w in store.read(workers.live)), "the registry says so")
        assert producer.wait(producer.submit(["another model"])).state == "completed"
        assert (first.stop(), second.stop()) == (0, 0)


def test_a_model_that_failed_is_tried_again(store: Store, producer: Producer, tmp_path: Path) -> None:
    """Its documents wait meanwhile, as far as `model_unavailable_seconds` goes."""
    patience = {"model_retry_seconds": 1, "model_unavailable_seconds": 600}
    with running(store, tmp_path / "broken", entries=BROKEN, **patience) as broken:
        job = producer.submit(["a"], model="absent")
        wait_until(lambda: broken.log.count("could not be opened") > 1, "it is tried again")
        assert producer.get(job).counts.failed == 0
        with running(store, tmp_path / "healthy") as healthy:
            assert producer.wait(job).state == "completed"
            assert healthy.stop() == 0
        assert broken.stop() == 0
    assert losses(store) == [0]


def test_results_of_an_unfinished_shard_are_stored_meanwhile(store: Store, producer: Producer, tmp_path: Path) -> None:
    with running(store, tmp_path, settle_seconds=0.1, drain_seconds=0) as worker:
        # It goes round for minutes: the other document has its outcome after the first.
        job = producer.submit(["quick", "[[echo:rounds=400]][[echo:sleep=0.5]]"])
        wait_until(lambda: stored_results(store) == 1, "the quick document is stored")
        assert (producer.get(job).state, producer.get(job).counts.succeeded) == ("running", 1)
        assert worker.stop() == 0


def test_cancelling_stops_the_work_in_progress(store: Store, producer: Producer, tmp_path: Path) -> None:
    patient = store.settings.model_copy(update={"lease_seconds": 1.5})
    with running(Store(store.url, patient), tmp_path, batch_tokens=1) as worker:
        job = producer.submit(["[[echo:sleep=1]]"] * 400)  # longer than anybody waits, one by one
        wait_until(lambda: "leased" in states(store), "the shard is claimed")
        producer.cancel(job)
        wait_until(lambda: "lease is gone" in worker.log, "the worker hears of it")
        assert producer.get(job).state == "cancelled"
        assert producer.wait(producer.submit(["next"])).state == "completed"
        assert worker.stop() == 0


def test_sigterm_lets_shards_finish(store: Store, producer: Producer, tmp_path: Path) -> None:
    with running(store, tmp_path, drain_seconds=300) as worker:
        job = producer.submit(["[[echo:sleep=1]]"])
        wait_until(lambda: states(store) == ["leased"], "the shard is claimed")
        assert worker.stop() == 0
        assert producer.get(job).state == "completed"


def test_a_worker_that_drains_says_so(store: Store, producer: Producer, tmp_path: Path) -> None:
    with running(store, tmp_path, drain_seconds=600, batch_tokens=1) as worker:
        job = producer.submit(["[[echo:sleep=0.3]]"] * 400)
        wait_until(lambda: "leased" in states(store), "the shard is claimed")
        assert [info.draining for info in store.read(workers.live)] == [False]
        worker.process.send_signal(signal.SIGTERM)
        wait_until(lambda: [info.draining for info in store.read(workers.live)] == [True], "the registry says so")
        producer.cancel(job)  # so that the process need not finish it
        assert worker.process.wait(600) == 0, worker.log
    assert store.read(workers.live) == []


def test_sigterm_hands_back_what_does_not_finish_in_time(store: Store, producer: Producer, tmp_path: Path) -> None:
    with running(store, tmp_path, drain_seconds=0.5, batch_tokens=1, settle_seconds=0.1) as worker:
        job = producer.submit(["[[echo:sleep=0.2]]"] * 450)  # one shard, of a minute and a half
        wait_until(lambda: stored_results(store) > 0, "some of it is stored")
        assert worker.stop() == 0, worker.log
        shard = store.read(lambda tx: tx.execute(sa.select(shards.c.state, shards.c.losses)).one())
        assert tuple(shard) == ("queued", 0)
        done = producer.get(job).counts.succeeded
        assert 0 < done < 450  # what was done is kept
    assert store.read(workers.live) == []


def test_sigterm_does_not_wait_for_a_pass_that_hangs(store: Store, producer: Producer, tmp_path: Path) -> None:
    with running(store, tmp_path, drain_seconds=0.2) as worker:
        producer.submit(["[[echo:hang]]"])
        wait_until(lambda: states(store) == ["leased"], "the shard is claimed")
        assert worker.stop() == 0, worker.log
    assert states(store) == ["queued"]


def test_a_worker_is_registered_while_it_runs(store: Store, worker: Worker) -> None:
    wait_until(lambda: len(store.read(workers.live)) == 1, "it registers")
    [info] = store.read(workers.live)
    assert (info.device, info.models, info.slots) == ("cpu", ["absent", "echo"], 12)
    assert [info.pid] == worker.children


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)  # nothing of it is the database's
def test_free_slots_are_filled_at_once_without_events(store: Store, producer: Producer, tmp_path: Path) -> None:
    """Celery alone notices a freed slot when an event is sent or its poll times out: a second for each shard. As it is
    they take some hundredths of one, so that a slow machine may take its time."""
    one_each = Store(store.url, store.settings.model_copy(update={"shard_documents": 1, "unserved_shards": 100}))
    many = Producer(one_each, producer.key_id)
    with running(store, tmp_path, concurrency=1, task_events=False) as worker:
        job = many.wait(many.submit(["x"] * SHARDS))
        assert job.finished_at is not None
        assert job.started_at is not None
        assert (job.finished_at - job.started_at).total_seconds() < 0.9 * SHARDS, worker.log
        assert worker.stop() == 0
    many.close()
    one_each.close()


def test_the_plain_celery_command_works_too(store: Store, producer: Producer, tmp_path: Path) -> None:
    with running(store, tmp_path, PLAIN) as worker:
        assert producer.wait(producer.submit(["a", "b"])).state == "completed"
        assert worker.stop() == 0


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)  # nothing of it is the database's
def test_the_log_may_be_objects(store: Store, producer: Producer, tmp_path: Path) -> None:
    with running(store, tmp_path, log_format="json") as worker:
        job = producer.submit(["[[echo:prepare-raise]]"])
        assert producer.wait(job).state == "failed"
        assert worker.stop() == 0
        lines = [json.loads(line) for line in worker.log.splitlines() if line.startswith("{")]
    assert {"launcher", "worker"} == {line["process"] for line in lines}
    assert any(line.get("job") == job.id and isinstance(line["shard"], int) for line in lines)
    assert not [line for line in worker.log.splitlines() if "INFO" in line and not line.startswith("{")]
