"""Canvases of somebody's Celery app that go on when their jobs have ended, in a real worker with one slot."""

import base64
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from celery import chain, chord
from celery.exceptions import SoftTimeLimitExceeded

from store import catalogue, keys
from store.session import Store, migrate
from store.settings import StoreSettings
from tests.conftest import ValkeyProcess, free_port
from tests.integration import celery_pipeline
from tests.integration.celery_pipeline import (
    DIES,
    HURRIES,
    NOTES,
    REFUSES,
    make_texts,
    mill,
    note,
    note_error,
    submit_all,
)
from tests.integration.serving import serving, work
from tests.integration.test_api_cli import Worker
from tests.worker_process import HEALTHY, PATIENCE, ROOT, running, wait_until
from textmill import Client, wire
from textmill.contrib.celery import TRIES
from textmill.errors import InvalidRequest, JobFailed

ECHO = {"model": "echo"}


class Pipeline:
    """An api, a Celery worker of somebody's, and the Redis database that it has to itself. Textmill's own workers are
    `work`: jobs end when a test says so, and no sooner."""

    def __init__(self, store: Store, valkey: ValkeyProcess, folder: Path) -> None:
        self.store = store
        self.port = free_port()
        self.secret = store.write(keys.create, "pipeline").secret
        self.broker = valkey.url.removesuffix("/0") + "/1"
        self.redis = redis.Redis.from_url(self.broker)
        self.log = folder / "celery.log"
        self.models = folder / "catalogue.toml"
        self.models.write_text(HEALTHY)
        self.api = contextlib.ExitStack()
        self.worker: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        url = f"http://127.0.0.1:{self.port}"
        return {"TEXTMILL_URL": url, "TEXTMILL_API_KEY": self.secret, "PYTHONPATH": str(ROOT)}

    def start_api(self) -> None:
        models = catalogue.load(self.models).with_echo()
        self.api.enter_context(serving(self.store, self.port, self.secret, models))

    def start_worker(self) -> None:
        command = [sys.executable, "-m", "celery", "-A", celery_pipeline.__name__, "worker", "--concurrency", "1"]
        with self.log.open("ab") as log:
            self.worker = subprocess.Popen(
                command, cwd=ROOT, env={**os.environ, **self.environment, "PIPELINE_BROKER": self.broker},
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def signal(self, number: int) -> None:
        """To the worker and its pool."""
        assert self.worker is not None
        os.killpg(self.worker.pid, number)

    def kill_worker(self) -> None:
        assert self.worker is not None
        self.signal(signal.SIGKILL)
        self.worker.wait()

    def client(self) -> Client:
        return Client(self.environment["TEXTMILL_URL"], self.secret)

    def jobs_of(self, task_id: str) -> list[wire.Job]:
        """The jobs of a Celery task."""
        with self.client() as client:
            return [job.info for job in client.jobs(metadata={"celery_task": task_id})]

    def until_submitted(self, task_id: str) -> str:
        """The id of the task's job, once it has all of its documents."""
        wait_until(lambda: [job.open for job in self.jobs_of(task_id)] == [False], f"a job is submitted\n{self.said}")
        return self.jobs_of(task_id)[0].id

    def notes(self) -> list[str]:
        return [line.decode() for line in self.redis.lrange(NOTES, 0, -1)]

    def until_noted(self, what: str) -> None:
        wait_until(lambda: what in self.notes(), f"{what} is noted\n{self.said}")

    def messages(self) -> list[str]:
        """The arguments of all messages that wait in Redis, or that a worker has and has not acknowledged."""
        bodies = re.findall(
            rb'"body": ?"([^"]*)"', b"".join([*self.redis.hvals("unacked"), *self.redis.lrange("celery", 0, -1)])
        )
        return [base64.b64decode(body).decode() for body in bodies]

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]


@pytest.fixture(scope="module")
def started(valkey_server: ValkeyProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    folder = tmp_path_factory.mktemp("pipeline")
    url = f"sqlite:///{folder / 'ledger.sqlite3'}"  # what differs between the databases lies behind the api
    migrate(url)
    store = Store(url, StoreSettings(database_url=url, redis_url=valkey_server.url))
    pipeline = Pipeline(store, valkey_server, folder)
    pipeline.redis.flushall()
    celery_pipeline.app.conf.update(broker_url=pipeline.broker, result_backend=pipeline.broker)
    pipeline.start_api()
    pipeline.start_worker()
    yield pipeline
    pipeline.kill_worker()
    pipeline.api.close()
    pipeline.redis.close()
    celery_pipeline.app.close()
    store.close()


@pytest.fixture
def pipeline(started: Pipeline) -> Pipeline:
    """With nothing noted yet."""
    started.redis.delete(NOTES)
    return started


def test_one_slot_waits_for_many_jobs_and_does_other_work(pipeline: Pipeline) -> None:
    sent = [
        chain(make_texts.s(f"text {n}", "b"), mill.run.s("summarization", **ECHO), note.s()).delay() for n in range(3)
    ]
    ids = [pipeline.until_submitted(result.parent.id) for result in sent]
    by_itself = chain(submit_all.s("a"), mill.wait.s(), note.s()).delay()
    ids.append(by_itself.parent.parent.get(timeout=PATIENCE))
    note.delay("meanwhile")
    pipeline.until_noted("meanwhile")
    assert pipeline.notes() == ["meanwhile"], "nothing has ended"
    named = [f'"{job}"' for job in ids]
    wait_until(
        lambda: (found := pipeline.messages()) != [] and all(any(job in body for job in named) for body in found),
        "what waits names jobs",
    )
    assert not any("text" in body for body in pipeline.messages()), "documents travel no more"
    work(pipeline.store)
    for job in ids:
        pipeline.until_noted(job)
    assert {result.get(timeout=PATIENCE) for result in (*sent, by_itself)} == set(ids)


def test_a_chord_comes_behind_all_of_its_jobs(pipeline: Pipeline) -> None:
    header = [mill.run.s([text], "summarization", **ECHO) for text in "abc"]
    result = chord(header)(note.s())
    ids = [pipeline.until_submitted(one.id) for one in result.parent.results]
    assert pipeline.notes() == []
    work(pipeline.store)
    assert result.get(timeout=PATIENCE) == ids


def test_failures_end_the_chain_unless_they_may_be(pipeline: Pipeline) -> None:
    head = make_texts.s("fail", "fail too", "fine")
    strict = chain(head, mill.run.s("summarization", max_failed=1, **ECHO), note.s())
    lenient = chain(head, mill.run.s("summarization", max_failed=2, **ECHO), note.s())
    refused, taken = strict.apply_async(link_error=note_error.s()), lenient.delay()
    jobs = [pipeline.until_submitted(result.parent.id) for result in (refused, taken)]
    work(pipeline.store)
    with pytest.raises(JobFailed, match="2 of 3 documents failed or were cancelled, 2 processing_failed"):
        refused.parent.get(timeout=PATIENCE)
    assert taken.get(timeout=PATIENCE) == jobs[1]
    wait_until(lambda: len(pipeline.notes()) == 2, "both are noted")
    assert any(line.startswith(f"JobFailed: job {jobs[0]}") for line in pipeline.notes())
    assert jobs[0] not in pipeline.notes()


def test_what_is_refused_is_raised_and_leaves_no_open_job(pipeline: Pipeline) -> None:
    wrong = chain(make_texts.s("fine", "nul\0"), mill.run.s("summarization", **ECHO), note.s()).delay()
    with pytest.raises(InvalidRequest, match="cannot be stored"):
        wrong.parent.get(timeout=PATIENCE)
    assert [job.state for job in pipeline.jobs_of(wrong.parent.id)] == ["cancelled"]
    pipeline.redis.set(HURRIES, "1")
    late = chain(make_texts.s("fine"), mill.run.s("summarization", **ECHO), note.s()).delay()
    with pytest.raises(SoftTimeLimitExceeded):
        late.parent.get(timeout=PATIENCE)
    assert [job.state for job in pipeline.jobs_of(late.parent.id)] == ["cancelled"]
    no_list = chain(note.s("a text"), mill.run.s("summarization", **ECHO)).delay()
    with pytest.raises(InvalidRequest, match="a list of documents, and not a str"):
        no_list.get(timeout=PATIENCE)
    assert pipeline.jobs_of(no_list.id) == []


def test_a_crash_makes_no_second_job_and_loses_none(pipeline: Pipeline) -> None:
    pipeline.redis.set(DIES, "1")
    result = chain(make_texts.s("a", "b"), mill.run.s("summarization", **ECHO), note.s()).delay()
    task = result.parent.id
    job = pipeline.until_submitted(task)
    # The process of the pool has died behind that; another one got the message again, and found the job.
    waits = f'"{job}"'
    wait_until(lambda: any(waits in body for body in pipeline.messages()), f"the job is waited for\n{pipeline.said}")
    assert pipeline.redis.get(DIES) is None
    # Now the whole worker, at a moment at which the message is with it: not on the way, where Redis may lose it.
    pipeline.signal(signal.SIGSTOP)
    for _ in range(20 * PATIENCE):
        if all(any(waits in body for body in pipeline.messages()) for _ in range(5)):
            break
        pipeline.signal(signal.SIGCONT)
        time.sleep(0.05)
        pipeline.signal(signal.SIGSTOP)
    pipeline.kill_worker()
    pipeline.redis.delete("unacked_mutex")  # it may have been about to give back what was not acknowledged
    for tag in pipeline.redis.zrange("unacked_index", 0, -1):
        pipeline.redis.zadd("unacked_index", {tag: 0})  # as if the visibility timeout were over
    pipeline.start_worker()
    work(pipeline.store)
    pipeline.until_noted(job)
    assert set(pipeline.notes()) == {job}
    assert [found.id for found in pipeline.jobs_of(task)] == [job]


@pytest.mark.parametrize("refusals", [1, TRIES], ids=["passing", "longer than the slot is held"])
def test_a_broker_that_refuses_messages_ends_no_chain(pipeline: Pipeline, refusals: int) -> None:
    pipeline.redis.rpush(REFUSES, *["1"] * refusals)
    result = chain(make_texts.s("a"), mill.run.s("summarization", **ECHO), note.s()).delay()
    wait_until(lambda: pipeline.redis.llen(REFUSES) == 0, f"the task looks again\n{pipeline.said}")
    job = pipeline.until_submitted(result.parent.id)
    work(pipeline.store)
    pipeline.until_noted(job)
    assert [found.id for found in pipeline.jobs_of(result.parent.id)] == [job]


def test_a_server_that_is_away_is_waited_for(pipeline: Pipeline) -> None:
    pipeline.api.close()
    result = chain(make_texts.s("a"), mill.run.s("summarization", **ECHO), note.s()).delay()
    wait_until(lambda: result.parent.state == "RETRY", f"it comes again\n{pipeline.said}")
    note.delay("meanwhile")
    pipeline.until_noted("meanwhile")
    pipeline.start_api()
    job = pipeline.until_submitted(result.parent.id)
    work(pipeline.store)
    assert result.get(timeout=PATIENCE) == job


def test_what_is_revoked_waits_no_longer_and_its_job_is_found(pipeline: Pipeline) -> None:
    result = chain(make_texts.s("a"), mill.run.s("summarization", **ECHO), note.s()).delay()
    job = pipeline.until_submitted(result.parent.id)
    result.parent.revoke()
    wait_until(lambda: result.parent.state == "REVOKED", f"it is revoked\n{pipeline.said}")
    with pipeline.client() as client:
        assert client.cancel_jobs(1, metadata={"celery_task": result.parent.id}).done == [job]
    note.delay("later")
    pipeline.until_noted("later")
    assert pipeline.notes() == ["later"]


def test_without_a_worker_a_task_waits_in_its_place(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in pipeline.environment.items():
        monkeypatch.setenv(name, value)
    with Worker(pipeline.store), pipeline.client() as client:
        called = mill.run(["a"], "summarization", **ECHO)
        eager = mill.run.apply((["b"], "summarization"), ECHO).get()
        submitted = submit_all("c")
        assert mill.wait(submitted) == submitted
        assert {client.job(job).state for job in (called, eager, submitted)} == {"completed"}


def test_the_page_is_true(pipeline: Pipeline, tmp_path: Path) -> None:
    """docs/celery.md's app and its commands, with an echo worker of Textmill's."""
    page = (ROOT / "docs" / "celery.md").read_text(encoding="utf-8")
    found = re.search(r"```python\n(# pipeline\.py\n.*?)```\n\n```\n(.*?)```", page, re.DOTALL)
    assert found
    (tmp_path / "pipeline.py").write_text(found[1])
    environment = {
        **os.environ, **pipeline.environment, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "CELERY_BROKER_URL": pipeline.broker.removesuffix("/1") + "/2",
    }  # fmt: skip
    log = tmp_path / "log"
    with log.open("wb") as output, running(pipeline.store, tmp_path / "worker"):
        shell = subprocess.Popen(
            ["sh", "-e"],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            assert shell.stdin is not None
            shell.stdin.write(f"{found[2]}\nwait\n".encode())
            shell.stdin.close()
            wait_until(lambda: re.search(r"\ba \[.*\bb \[", log.read_text(), re.DOTALL) is not None, log.read_text())
        finally:
            os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
