"""Traces from a request to the stored results, as a real collector is told of them by real processes."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from store import jobs, leases, traces
from store.session import Store
from store.spans import Spans
from tests.collector import Collector, Told, collecting
from tests.conftest import free_port
from tests.integration.ledger_steps import claim, finish, job_row, run, submit
from tests.integration.test_api_process import running as api_running
from tests.worker_process import Producer, running, wait_until
from textmill.wire import ENDED_STATES

ROOT = Path(__file__).parents[2]
TRACE, CLIENT_SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CLIENT = {"traceparent": f"00-{TRACE}-{CLIENT_SPAN}-01"}
SECRET = "nobody is to read this"

sqlite_alone = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
"""For what is not the database's."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture
def producer(store: Store, key_id: int) -> Iterator[Producer]:
    producer = Producer(store, key_id)
    yield producer
    producer.close()


def switch_on(monkeypatch: pytest.MonkeyPatch, address: str, **more: str) -> None:
    """As docs/operations.md says it, but for the collector's address."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- traces: tested -->\n```\n(.*?)```", page, re.DOTALL)
    assert found
    set_here = dict(re.findall(r"\b([A-Z_]+)=(\S+)", found[1]))
    assert {"TEXTMILL_TRACES", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_TRACES_SAMPLER"} <= set(set_here)
    for name, value in {**set_here, "OTEL_EXPORTER_OTLP_ENDPOINT": address, **more}.items():
        monkeypatch.setenv(name, value)


def one(found: list[Told]) -> Told:
    assert len(found) == 1, found
    return found[0]


@sqlite_alone
def test_one_trace_leads_from_the_request_to_the_stored_results(
    store: Store, collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch_on(monkeypatch, collector.url, OTEL_BSP_SCHEDULE_DELAY="50", OTEL_EXPORTER_OTLP_TIMEOUT="240")
    port = free_port()

    def whole(name: str, count: str, of: int) -> None:
        wait_until(lambda: sum(span.attributes[count] for span in collector.of(name)) == of, name)

    texts = [*(f"{SECRET} {n}" for n in range(40)), f"[[echo:prepare-raise]]{SECRET}"]
    with running(store, tmp_path, log_format="json", worker_metrics_port=port) as worker, api_running(store) as api:
        process, mill = api
        key = str(mill._client.headers["Authorization"])
        with httpx.Client(base_url=mill.url, headers={"Authorization": key}, timeout=240) as http:
            body = {"task": "ner", "model": "echo", "open": True, "documents": [{"text": text} for text in texts]}
            job = http.post("/v1/jobs", json=body, headers=CLIENT).json()["id"]
            more = {"documents": [{"text": SECRET}]}
            assert http.post(f"/v1/jobs/{job}/documents", json=more).status_code == 200
            http.post(f"/v1/jobs/{job}/close")
            wait_until(lambda: http.get(f"/v1/jobs/{job}?wait=60").json()["state"] in ENDED_STATES, "the job ends")
            assert http.get("/v1/jobs", params={"metadata.customer": SECRET}).status_code == 200
            assert http.get("/metrics").status_code == 200
        counted = f'textmill_document_age_seconds_count{{model="echo",task="ner"}} {len(texts) + 1}.0'
        metrics = f"http://127.0.0.1:{port}/metrics"
        wait_until(lambda: counted in httpx.get(metrics, timeout=240).text, "each document has its age")
        waits = 'textmill_document_wait_seconds_bucket{le="+Inf",model="echo",task="ner"}'
        assert waits in httpx.get(metrics, timeout=240).text
        whole("process textmill.echo", "textmill.documents", len(texts) + 1)
        whole("settle textmill.echo", "textmill.documents", len(texts) + 1)
        whole("batch echo", "textmill.batch.items", len(texts))  # but for the one that fails
        wait_until(lambda: bool(collector.of("POST /v1/jobs/{job_id}/close")), "the api's come, too")
        assert worker.stop() == 0
        process.send_signal(signal.SIGTERM)
        process.wait(240)
        lines = [json.loads(line) for line in worker.log.splitlines() if line.startswith("{")]

    asked = one(collector.of("POST /v1/jobs"))
    assert (asked.trace, asked.parent, asked.kind, asked.service) == (TRACE, CLIENT_SPAN, "server", "textmill-api")
    assert asked.attributes == {
        "http.request.method": "POST", "url.scheme": "http", "http.route": "/v1/jobs",
        "http.response.status_code": 201,
    }  # fmt: skip

    shards = {span.id: span for span in collector.of("process textmill.echo", TRACE)}
    assert {span.parent for span in shards.values()} == {asked.id}
    assert {(span.kind, span.service) for span in shards.values()} == {("consumer", "textmill-worker")}
    assert {span.attributes["messaging.message.conversation_id"] for span in shards.values()} == {job}

    batches = collector.of("batch echo")
    for batch in batches:
        assert batch.trace == TRACE
        assert batch.parent in shards
        assert (TRACE, batch.parent) in batch.links
        assert {trace for trace, _ in batch.links} == {TRACE}
        assert {shard for _, shard in batch.links} <= set(shards)
    assert {shard for batch in batches for _, shard in batch.links} == set(shards)

    settles = collector.of("settle textmill.echo")
    assert {span.parent for span in settles} == set(shards)
    assert sorted(span.parent for span in settles if span.attributes["textmill.closing"]) == sorted(shards)
    for span in (*batches, *settles):
        assert shards[span.parent].start <= span.start <= span.end <= shards[span.parent].end

    appended = one(collector.of("POST /v1/jobs/{job_id}/documents"))
    assert (appended.trace != TRACE, appended.links) == (True, [(TRACE, asked.id)])

    told = [line for line in lines if "could not be prepared" in line["message"]]
    assert [(line["job"], line["trace_id"], line["span_id"] in shards) for line in told] == [(job, TRACE, True)]
    assert not [span for span in collector.spans if "/metrics" in (*span.attributes.values(), span.name.split()[-1])]
    for hidden in (SECRET, SECRET.replace(" ", "+"), SECRET.replace(" ", "%20"), key.split()[1]):
        assert hidden.encode() not in collector.bytes


@sqlite_alone
def test_a_batch_of_two_jobs_has_links_to_both(
    store: Store, producer: Producer, collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch_on(monkeypatch, collector.url, OTEL_BSP_SCHEDULE_DELAY="50")

    def told_jobs() -> dict[str, Told]:
        return {span.attributes["textmill.job"]: span for span in collector.of("process textmill.echo")}

    def shared(pair: list[str]) -> list[Told]:
        return [span for span in collector.of("batch echo") if {trace for trace, _ in span.links} >= set(pair)]

    with running(store, tmp_path) as worker:
        # While the engine is busy with one text, two jobs come. Where they came too late, it is busy for longer.
        for attempt in range(7):
            pair = [f"{attempt + 1:016x}{number:016x}" for number in (1, 2)]
            given = [producer.submit([f"[[echo:sleep={0.5 * 2**attempt}]]"])]
            for trace in pair:
                with traces.about(f"00-{trace}-{CLIENT_SPAN}-01"):
                    given.append(producer.submit(["as long as the other one"]))
            for job in given:
                assert producer.wait(job).state == "completed"
            ids = {job.id for job in given}
            wait_until(lambda ids=ids: ids <= told_jobs().keys(), "the collector hears of them")
            if shared(pair):
                break
        assert worker.stop() == 0

    batch = one(shared(pair))
    served = [span for span in told_jobs().values() if span.trace in pair]
    assert {(span.trace, span.id) for span in served} <= set(batch.links)
    assert (batch.trace, batch.parent) in batch.links
    for span in served:
        assert span.links == ([] if span.trace == batch.trace else [(batch.trace, batch.id)])


@sqlite_alone
def test_a_collector_that_is_away_costs_nothing_but_the_spans(
    store: Store, producer: Producer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    switch_on(
        monkeypatch, f"http://127.0.0.1:{port}", OTEL_BSP_SCHEDULE_DELAY="50", OTEL_EXPORTER_OTLP_TIMEOUT="2"
    )  # fmt: skip

    def work() -> bool:
        return producer.wait(producer.submit(["text"])).state == "completed"

    with running(store, tmp_path) as worker:
        wait_until(lambda: work() and "takes no spans" in worker.log, "it says that the collector is away")
        assert work()
        with collecting(port) as collector:
            wait_until(lambda: work() and "takes spans again" in worker.log, "it says that the collector is back")
            assert collector.spans
            assert worker.stop() == 0
    away, back = worker.log.count("takes no spans"), worker.log.count("takes spans again")
    assert 0 <= away - back <= 1  # one of each, but where the collector is slower than the exporter waits


@sqlite_alone
def test_a_collector_that_hangs_keeps_nobody_waiting(
    store: Store, producer: Producer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collecting(answers=False) as collector:
        switch_on(monkeypatch, collector.url, OTEL_BSP_SCHEDULE_DELAY="50", OTEL_EXPORTER_OTLP_TIMEOUT="600")
        with running(store, tmp_path) as worker:
            assert producer.wait(producer.submit(["text"])).state == "completed"
            assert collector.asked.wait(240)
            assert producer.wait(producer.submit(["another text"])).state == "completed"
            assert worker.stop() == 0
            assert collector.spans == []  # it has not answered all the while


def test_spans_that_nobody_takes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    with collecting(answers=False) as collector:
        bounds = {"OTEL_BSP_MAX_QUEUE_SIZE": "64", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "16"}
        switch_on(monkeypatch, collector.url, OTEL_EXPORTER_OTLP_TIMEOUT="600", **bounds)
        spans = Spans("test")
        spans.start()
        for _ in range(5_000):
            with spans.step("a step"):
                pass
        collector.answers.set()
        spans.stop(240)
    assert 0 < len(collector.spans) <= 64 + 16  # those that waited, and those that were on their way


@pytest.mark.parametrize(("flag", "sampler"), [("00", "parentbased_always_on"), ("01", "always_off")])
@sqlite_alone
def test_what_is_not_sampled_is_handed_on_and_not_told(
    store: Store, key_id: int, collector: Collector, monkeypatch: pytest.MonkeyPatch, flag: str, sampler: str
) -> None:
    switch_on(monkeypatch, collector.url, OTEL_TRACES_SAMPLER=sampler)
    spans = Spans("test")
    spans.start()
    given = {"traceparent": f"00-{TRACE}-{CLIENT_SPAN}-{flag}"}
    with spans.request("POST", "/v1/jobs", "http", given) as ended:
        handed_on = traces.current()
        job, [released] = submit(store, key_id)
        ended("/v1/jobs", 201)
    lease = claim(store, released.shard_id)
    with spans.shard(lease, 0) as shard:
        assert shard is None
        with spans.settle(lease, 1, True):
            pass
    spans.stop(240)
    assert handed_on is not None
    assert re.fullmatch(rf"00-{TRACE}-[0-9a-f]{{16}}-00", handed_on)
    assert job_row(store, job)["traceparent"] == lease.traceparent == handed_on
    assert collector.spans == []


def test_the_ledger_keeps_it_through_a_queue_again_and_a_retry_changes_it(store: Store, key_id: int) -> None:
    first, second = f"00-{TRACE}-{CLIENT_SPAN}-01", f"00-{TRACE}-{'1' * 16}-01"
    with traces.about(first):
        job, [released] = submit(store, key_id)
    lease = claim(store, released.shard_id)
    store.write(leases.release, lease)
    again = claim(store, released.shard_id)
    assert (lease.traceparent, again.traceparent) == (first, first)
    assert lease.queued_seconds is not None
    assert lease.age_seconds is not None
    assert again.queued_seconds is not None
    assert 0 <= lease.queued_seconds <= again.queued_seconds
    assert lease.queued_seconds <= lease.age_seconds
    finish(store, again, failing=[1])
    with traces.about(second):
        [retried] = store.write(jobs.retry, key_id, job.id, None).released
    assert claim(store, retried.shard_id).traceparent == second
    plain, [released] = submit(store, key_id)
    run(store, released.shard_id, failing=[0])
    store.write(jobs.retry, key_id, plain.id, None)
    assert job_row(store, plain)["traceparent"] is None


def test_neither_tracer_nor_exporter_is_imported_while_it_is_off() -> None:
    code = (
        "import sys, api.main, workers.app; print([name for name in sys.modules if name == 'store.spans' or "
        "name.startswith(('opentelemetry.sdk.trace', 'opentelemetry.exporter', 'google.protobuf'))])"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "TEXTMILL_"))}
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )  # fmt: skip
    assert ran.stdout.strip() == "[]"


def test_without_the_packages_the_start_names_the_command(tmp_path: Path) -> None:
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").touch()  # in the place of the real one
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]), "TEXTMILL_TRACES": "on",
    }  # fmt: skip
    code = "from store.settings import StoreSettings; StoreSettings()"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert ran.returncode == 1
    assert "pip install -c constraints.txt --group traces" in ran.stderr
