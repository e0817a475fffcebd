"""Server-sent events: what is told, to whom, how a listener goes on, and that it leaves nothing behind."""

import contextlib
from collections.abc import Iterator

import httpx
import pytest

from store import jobs, keys
from store.session import Store
from tests.integration.serving import Running, serving, work
from tests.integration.test_api import job_of, problem, texts
from tests.worker_process import wait_until
from textmill import wire

FEW = {"max_listeners": 3, "max_listeners_of_key": 2}


@pytest.fixture
def api(store: Store) -> Iterator[Running]:
    with serving(store, **FEW) as running:
        yield running


class Stream:
    """An open stream, event by event."""

    def __init__(self, answer: httpx.Response) -> None:
        assert answer.headers["content-type"].startswith("text/event-stream")
        self._lines = answer.iter_lines()
        self.id = ""

    def events(self) -> Iterator[wire.Job]:
        for line in self._lines:
            name, _, value = line.partition(": ")
            if name == "id":
                self.id = value
            if name == "data":
                yield wire.Job.model_validate_json(value)

    def next(self) -> wire.Job:
        return next(self.events())

    def until(self, job_id: str, state: str) -> wire.Job:
        return next(job for job in self.events() if (job.id, job.state) == (job_id, state))


@contextlib.contextmanager
def listening(http: httpx.Client, path: str, last: str = "") -> Iterator[Stream]:
    with http.stream("GET", path, headers={"Last-Event-ID": last} if last else {}) as answer:
        assert answer.status_code == 200, answer.read()
        yield Stream(answer)


def until_listening(api: Running, count: int) -> None:
    said = f"textmill_http_listening {count}.0"
    wait_until(lambda: said in httpx.get(f"{api.url}/metrics", timeout=240).text, said)


def test_a_job_is_told_until_its_end_and_the_stream_goes_on_where_it_was(api: Running) -> None:
    with api.http() as http:
        job = http.post("/v1/jobs", json=job_of(texts(600))).json()["id"]  # two shards
        path = f"/v1/jobs/{job}/events"
        with listening(http, path) as stream:
            assert stream.next().counts.pending == 600
            work(api.store, most=1)
            while (now := stream.next()).counts.succeeded < 500:
                pass
            assert (now.state, now.counts.pending) == ("running", 100)
            seen = stream.id
        until_listening(api, 0)
        with listening(http, path, seen) as stream:
            work(api.store)
            told = [event.state for event in stream.events()]
            assert told == ["completed"], "not what was known; and then it ended by itself"
            last = stream.id
        assert http.get(path, headers={"Last-Event-ID": last}).status_code == 204
        with listening(http, path, seen) as stream:
            assert [event.state for event in stream.events()] == ["completed"]
        until_listening(api, 0)


def test_a_key_hears_of_its_own_jobs_alone_and_of_what_it_missed(api: Running, store: Store) -> None:
    other = store.write(keys.create, "other").secret
    with api.http() as http, api.http(other) as theirs:
        before = http.post("/v1/jobs", json=job_of(texts(1))).json()["id"]
        foreign = theirs.post("/v1/jobs", json=job_of(texts(1))).json()["id"]
        problem(http.get(f"/v1/jobs/{foreign}/events"), 404, "job_not_found")
        with listening(http, "/v1/events") as stream:
            assert stream.next().id == before
            new = http.post("/v1/jobs", json=job_of(texts(1))).json()["id"]
            theirs.post("/v1/jobs", json=job_of(texts(1)))
            assert stream.next().id == new
            seen = stream.id
        work(api.store)
        missed = http.post("/v1/jobs", json=job_of()).json()["id"]  # has ended at once
        with listening(http, "/v1/events", seen) as stream:
            heard = {job.id: job.state for job in (stream.next(), stream.next(), stream.next())}
            assert heard == dict.fromkeys((before, new, missed), "completed")
            mark = http.post("/v1/jobs", json=job_of(open=True)).json()["id"]
            assert stream.until(mark, "queued").open
            http.post(f"/v1/jobs/{mark}/cancel")
            assert stream.until(mark, "cancelled").ended


def test_listeners_are_few_and_one_that_leaves_makes_room(api: Running, store: Store) -> None:
    other = store.write(keys.create, "other").secret
    with api.http() as http, api.http(other) as theirs, contextlib.ExitStack() as open_streams:
        first = open_streams.enter_context(contextlib.ExitStack())
        first.enter_context(listening(http, "/v1/events"))
        open_streams.enter_context(listening(http, "/v1/events"))
        problem(http.get("/v1/events"), 429, "too_many_requests")
        open_streams.enter_context(listening(theirs, "/v1/events"))
        refused = theirs.get("/v1/events")
        problem(refused, 503, "overloaded")
        assert refused.headers["retry-after"]
        first.close()
        until_listening(api, 2)
        open_streams.enter_context(listening(theirs, "/v1/events"))
    until_listening(api, 0)


def test_silence_is_filled_and_a_stopping_server_ends_its_streams(store: Store) -> None:
    with serving(store, events_heartbeat_seconds=0.05) as api:
        with api.http() as http, http.stream("GET", "/v1/events") as answer:
            lines = answer.iter_lines()
            assert [next(lines) for _ in range(6)] == [": ", ""] * 3
            api.server.should_exit = True
            assert set(lines) <= {": ", ""}, "it ends, as a stream that is complete"


def test_a_deleted_job_ends_its_stream_and_a_retried_one_is_told_again(api: Running, store: Store) -> None:
    key_id = store.read(keys.authenticate, api.secret).id
    with api.http() as http:
        job = http.post("/v1/jobs", json=job_of([{"text": "fail"}, {"text": "ok"}])).json()["id"]
        work(store)
        with listening(http, "/v1/events") as stream:
            mark = http.post("/v1/jobs", json=job_of(texts(1))).json()["id"]
            assert stream.until(mark, "queued")
            http.post(f"/v1/jobs/{job}/retry")
            assert stream.until(job, "queued").errors == {}
            with listening(http, f"/v1/jobs/{job}/events") as of_job:
                assert of_job.next().state == "queued"
                store.write(jobs.cancel, key_id, job)
                assert [event.state for event in of_job.events()] == ["cancelled"]
