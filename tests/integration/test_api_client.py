"""Both clients against the real api: every method, uploads through a bad network, a server that restarts."""

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import anyio
import httpx
import pytest

from store.session import Store
from tests.conftest import free_port
from tests.integration.serving import Running, serving, work
from textmill import AsyncClient, Client, errors, tasks


@pytest.fixture
def api(store: Store) -> Iterator[Running]:
    with serving(store) as running:
        yield running


@pytest.fixture
def mill(api: Running) -> Iterator[Client]:
    with Client(api.url, api.secret) as client:
        yield client


class BadNetwork(httpx.BaseTransport):
    """A real connection which loses every third request and, of the others, every third answer."""

    def __init__(self) -> None:
        self.real = httpx.HTTPTransport()
        self.count = 0
        self.lost = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.count += 1
        if self.count % 3 == 0:
            self.lost += 1
            raise httpx.ConnectError("lost request")
        answer = self.real.handle_request(request)
        if self.count % 3 == 1:
            answer.read()
            self.lost += 1
            raise httpx.ReadError("lost answer")
        return answer

    def close(self) -> None:
        self.real.close()


def test_a_job_by_python(api: Running, mill: Client) -> None:
    job = mill.submit("summarization", ["a", ("x", "b"), {"text": "c"}], model="echo", metadata={"k": 1}, num_beams=2)
    assert (job.state, job.counts.total, job.info.options, job.info.metadata) == (
        "queued",
        3,
        {"num_beams": 2},
        {"k": 1},
    )
    assert not job.ended
    with pytest.raises(errors.WaitTimeout):
        job.wait(timeout=0.1)
    with pytest.raises(errors.ResultNotReady):
        job.result("x")
    work(api.store)
    assert job.wait(timeout=240).ended
    assert [(r.id, r.output and r.output.summary_text) for r in job.results()] == [("0", "a"), ("x", "b"), ("2", "c")]
    assert job.result("x").position == 1
    assert [other.id for other in mill.jobs()] == [job.id]
    assert mill.job(job.id).state == "completed"
    assert (job.info.key, sum(b.documents_per_second for b in job.pace().buckets) > 0) == ("producer", True)
    assert [model["name"] for model in mill.models()] == ["echo"]
    assert mill.workers() == []
    job.delete()
    with pytest.raises(errors.JobNotFound):
        job.refresh()


def test_results_come_while_the_job_runs(api: Running, mill: Client) -> None:
    job = mill.submit("summarization", (f"text {n}" for n in range(1_500)), model="echo")
    work(api.store, most=1)
    results = job.results()
    first = [next(results).position for _ in range(500)]
    assert first == list(range(500))
    later = threading.Thread(target=work, args=[api.store])
    later.start()
    assert [result.position for result in results] == list(range(500, 1_500))
    later.join()


def test_cancel_and_retry(api: Running, mill: Client) -> None:
    job = mill.submit("summarization", ["fail", "fine"], model="echo")
    with pytest.raises(errors.JobNotEnded):
        job.retry()
    work(api.store)
    assert job.refresh().state == "completed_with_errors"
    assert [(r.id, r.error and r.error.code) for r in job.results("failed")] == [("0", "processing_failed")]
    assert job.retry(["processing_failed"]).counts.pending == 1
    assert job.cancel().state == "cancelled"
    with pytest.raises(errors.InvalidOptions) as raised:
        mill.submit("ner", ["x"], model="echo", temperature=1)
    assert "labels" in raised.value.details["valid"]


def test_an_upload_through_a_bad_network_arrives_whole_and_once(api: Running) -> None:
    network = BadNetwork()
    texts = [f"text {number}" for number in range(2_345)]
    with Client(api.url, api.secret, transport=network, chunk_documents=100, compress=True) as mill:
        job = mill.submit("summarization", texts, model="echo")
        work(api.store)
        job.wait()
        found = [result.output.summary_text for result in job.results() if result.output]
        assert len(list(mill.jobs())) == 1
    assert found == texts
    assert network.lost > 20


def test_a_refused_document_leaves_no_half_job(api: Running, mill: Client) -> None:
    documents = [("same", "text") if number in (5, 1_500) else f"text {number}" for number in range(2_000)]
    with pytest.raises(errors.DuplicateDocument):
        mill.submit("summarization", documents, model="echo")
    assert [job.state for job in mill.jobs()] == ["cancelled"]


def test_an_open_job_takes_the_rest_later(api: Running, mill: Client) -> None:
    texts = [f"text {number}" for number in range(250)]
    job = mill.open_job("summarization", model="echo", priority="low")
    job.upload(texts[:120])
    assert (job.counts.total, job.info.open) == (120, True)
    again = mill.job(job.id)
    assert again.upload(texts).close().info.open is False
    work(api.store)
    assert [r.output.summary_text for r in again.results() if r.output] == texts


def test_one_text(api: Running, mill: Client) -> None:
    def worker() -> None:
        while not done.wait(0.01):
            work(api.store)

    done = threading.Event()
    thread = threading.Thread(target=worker)
    thread.start()
    try:
        assert mill.summarize("a text", model="echo", timeout=240) == "a text"
        with pytest.raises(errors.ProcessingFailed, match="as asked"):
            mill.summarize("fail", model="echo", timeout=240)
    finally:
        done.set()
        thread.join()


def test_waiting_survives_a_restart_of_the_server(store: Store) -> None:
    port = free_port()
    ended: list[str] = []
    with ExitStack() as last, ExitStack() as first:
        api = first.enter_context(serving(store, port))
        mill = last.enter_context(Client(api.url, api.secret, patience=240))
        job = mill.submit("summarization", ["a", "b"], model="echo")
        waiting = threading.Thread(target=lambda: ended.append(job.wait().state))
        waiting.start()
        first.close()
        work(store)
        last.enter_context(serving(store, port, secret=api.secret))
        waiting.join(240)
        assert ended == ["completed"]


def test_a_server_that_is_not_there(api: Running) -> None:
    with (
        Client(url := f"http://127.0.0.1:{free_port()}", "key", first_patience=0.1) as mill,
        pytest.raises(errors.ServerUnreachable, match=url),
    ):
        mill.models()
    with Client(api.url, "wrong") as mill, pytest.raises(errors.Unauthorized):
        mill.models()
    with Client("localhost:8000", "key") as mill, pytest.raises(errors.InvalidRequest):
        mill.models()
    with pytest.raises(errors.InvalidRequest):
        Client(api.url, "key\n\u00e9")


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_client_finds_its_server_in_the_environment(
    kind: type[Client] | type[AsyncClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEXTMILL_URL", "http://there:1/")
    monkeypatch.delenv("TEXTMILL_API_KEY", raising=False)
    with pytest.raises(errors.InvalidRequest, match=r"no API key is named: .*TEXTMILL_API_KEY"):
        kind()
    monkeypatch.setenv("TEXTMILL_API_KEY", "k\n")
    assert kind().url == "http://there:1"
    assert kind("http://elsewhere:2").url == "http://elsewhere:2"
    monkeypatch.delenv("TEXTMILL_URL")
    with pytest.raises(errors.InvalidRequest, match=r"no server is named: .*TEXTMILL_URL"):
        kind(api_key="k")


BAD_TEXTS = ["nul\0", "half \ud800"]


@pytest.mark.parametrize(
    "bad", [*BAD_TEXTS, *[(text, "x") for text in BAD_TEXTS], ("", "x"), ("9" * 513, "x"), 5, None]
)
@pytest.mark.parametrize("before", [0, 2_500])
def test_a_bad_document_is_refused_and_leaves_no_open_job(bad: object, before: int, api: Running) -> None:
    with Client(api.url, api.secret) as mill:
        with pytest.raises(errors.InvalidRequest):
            mill.submit("ner", ["x"] * before + [bad], model="echo")  # type: ignore[list-item]
        assert [(job.info.open, job.state) for job in mill.jobs()] == ([(False, "cancelled")] if before else [])


def test_odd_documents_keep_their_ids_and_texts(api: Running) -> None:
    given = [("a/b", ""), ("two\nlines", "  \n\t"), ("..", "x" * 3_000_000), ("é\u2028 %2F", "é\U0001f600\u200d")]
    with Client(api.url, api.secret) as mill:
        job = mill.submit("summarization", given, model="echo")
        work(api.store)
        found = [(result.id, result.output and result.output.summary_text) for result in job.wait().results()]
        assert found == given
        assert [job.result(name).id for name, _ in given] == [name for name, _ in given]
        with pytest.raises(errors.DuplicateDocument):
            mill.submit("ner", [("a", "x"), ("a", "y")], model="echo")
        with pytest.raises(errors.RequestTooLarge) as raised:
            mill.submit("ner", ["x", "y" * 5_000_000, "z"], model="echo")
        assert "document 1 alone has 5000011 bytes" in raised.value.__notes__[0]
        assert [job.state for job in mill.jobs()] == ["cancelled", "completed"]


def test_the_same_awaited(api: Running) -> None:
    async def source() -> AsyncIterator[str]:
        for number in range(1_200):
            yield f"text {number}"

    async def produce() -> None:
        async with AsyncClient(api.url, api.secret) as mill:
            job = await mill.submit("summarization", source(), model="echo")
            await anyio.to_thread.run_sync(work, api.store)
            assert (await job.wait(timeout=240)).state == "completed"
            found = [result.output.summary_text async for result in job.results() if result.output]
            assert found == [f"text {number}" for number in range(1_200)]
            assert (await job.result("7")).position == 7
            blocking = await mill.submit(
                "summarization", (f"fail {n}" for n in range(2)), model="echo", priority="high"
            )
            await anyio.to_thread.run_sync(work, api.store)
            assert (await blocking.refresh()).state == "failed"
            assert (await blocking.retry()).state == "queued"
            assert (await blocking.cancel()).state == "cancelled"
            await blocking.delete()
            assert [other.id async for other in mill.jobs()] == [job.id]
            assert (await (await mill.job(job.id)).page()).results[0].id == "0"
            assert not (await (await mill.job(job.id)).pace()).exact
            opened = await mill.open_job("ner", model="echo")
            await opened.upload(["x"])
            assert (await opened.close()).counts.total == 1
            assert (await mill.models())[0]["name"] == "echo"
            assert await mill.workers() == []
            with pytest.raises(errors.JobNotFound):
                await mill.job("00000000-0000-0000-0000-000000000000")

    anyio.run(produce)


def test_both_clients_have_the_same_methods() -> None:
    from textmill import AsyncJob, Job

    for blocking, awaiting in ((Client, AsyncClient), (Job, AsyncJob)):
        names = [{name for name in vars(cls) if not name.startswith("_")} for cls in (blocking, awaiting)]
        assert names[0] == names[1]


def test_searching_acting_and_looking_by_python(api: Running, mill: Client) -> None:
    texts = ["fail", ("x/.", "ok")]
    jobs = [mill.submit("summarization", texts, model="echo", metadata={"batch": batch}) for batch in "aab"]
    assert [job.id for job in mill.jobs("queued", metadata={"batch": "a"})] == [jobs[1].id, jobs[0].id]
    assert [job.id for job in mill.jobs(["queued", "running"], id=jobs[2].id[:9], model="echo")] == [jobs[2].id]
    assert list(mill.jobs(created_before=jobs[0].info.created_at)) == []
    assert mill.cancel_jobs(None, metadata={"batch": "a"}).matched == 2
    with pytest.raises(errors.MatchChanged):
        mill.cancel_jobs(1, metadata={"batch": "a"})
    assert sorted(mill.cancel_jobs(2, metadata={"batch": "a"}).done) == sorted(job.id for job in jobs[:2])
    with pytest.raises(errors.InvalidRequest):
        mill.cancel_jobs(None, state="lost")  # type: ignore[arg-type]
    job = jobs[2]
    assert [(document.id, document.text) for document in job.documents()] == [("0", "fail"), ("x/.", "ok")]
    assert job.document("x/.").position == 1
    work(api.store)
    assert [result.text for result in job.results(code="processing_failed", text=True)] == ["fail"]
    assert [result.text for result in job.page().results] == [None, None]
    assert job.refresh().info.errors == {"processing_failed": 1}
    assert mill.retry_jobs(1, "completed_with_errors", codes=["processing_failed"]).done == [job.id]
    stats = mill.stats(hours=2)
    assert sum(bucket.documents_failed for bucket in stats.buckets) == 1
    assert stats.queued[0].documents == 1
    assert [task.name for task in mill.tasks()] == list(tasks.NAMES)


class Breaking(httpx.BaseTransport):
    """A real connection whose streams break in the middle of their second event."""

    def __init__(self) -> None:
        self.real = httpx.HTTPTransport()
        self.asked_from: list[str | None] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self.real.handle_request(request)
        if request.url.path.endswith("/events"):
            self.asked_from.append(request.headers.get("Last-Event-ID"))
            assert isinstance(answer.stream, httpx.SyncByteStream)
            answer.stream = Broken(answer.stream)
        return answer

    def close(self) -> None:
        self.real.close()


class Broken(httpx.SyncByteStream):
    def __init__(self, whole: httpx.SyncByteStream) -> None:
        self.whole = whole

    def __iter__(self) -> Iterator[bytes]:
        events = 0
        for part in self.whole:
            events += b"data:" in part
            if events == 2:
                yield part[: len(part) // 2]
                raise httpx.ReadError("lost")
            yield part

    def close(self) -> None:
        self.whole.close()


def test_events_go_on_over_connections_that_break(api: Running) -> None:
    network = Breaking()
    with Client(api.url, api.secret, transport=network) as mill:
        job = mill.submit("summarization", (f"text {n}" for n in range(1_500)), model="echo")
        told = []
        for info in job.events():
            told.append(info.counts.succeeded)
            work(api.store, most=1)
        assert job.ended
        assert told == sorted(told)
        assert told[-1] == 1_500
        assert len(network.asked_from) > 1
        assert network.asked_from[0] is None
        assert all(network.asked_from[1:])
        assert list(job.events()), "of a job that has ended, its end is told"
        of_key = mill.events()
        other = mill.submit("summarization", ["one"], model="echo")
        assert next(info.id for info in of_key if info.id == other.id) == other.id
        of_key.close()  # type: ignore[attr-defined]


def test_the_awaited_client_listens_and_searches_too(api: Running) -> None:
    async def produce() -> None:
        async with AsyncClient(api.url, api.secret) as mill:
            job = await mill.submit("summarization", ["fail", "ok"], model="echo")
            told = []
            async for info in job.events():
                told.append(info.state)
                if info.state == "queued":
                    await anyio.to_thread.run_sync(work, api.store)
            assert (told[0], told[-1]) == ("queued", "completed_with_errors")
            assert [r.text async for r in job.results("failed", text=True)] == ["fail"]
            assert [document.text async for document in job.documents()] == ["fail", "ok"]
            assert (await job.document("0")).text == "fail"
            assert (await mill.retry_jobs(1, codes=["processing_failed"])).done == [job.id]
            assert (await mill.cancel_jobs(1, "queued")).done == [job.id]
            assert [other.id async for other in mill.jobs("cancelled", "summarization")] == [job.id]
            assert (await mill.stats()).queued == []
            assert len(await mill.tasks()) == len(tasks.NAMES)

    anyio.run(produce)
