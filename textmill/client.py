"""Client and AsyncClient: the same methods over the same flows (`textmill/flows.py`), one blocking and one awaiting.

Both keep trying through a restart of the server: connection errors, 429, 502, 503 and 504 are tried again for
`patience` seconds, with growing pauses. Every submit carries an idempotency key, so that no retry makes a second job.
"""

import os
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Self, TypedDict, TypeVar, Unpack, cast
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import httpx

from textmill import wire
from textmill.documents import Chunk, Chunker, DocumentLike, Documents, async_chunks, chunks
from textmill.errors import InvalidRequest
from textmill.flows import Call, Effect, Flow, Flows, NextChunk, Source
from textmill.progress import Bar

T = TypeVar("T")

TIMEOUT_SECONDS = 60.0
CONNECT_TIMEOUT_SECONDS = 5.0
HURRIED_SECONDS = 1.0
LOCAL = ("localhost", "127.0.0.1", "::1")


class Settings(TypedDict, total=False):
    """What a client can be told besides the server's address and key."""

    patience: float
    """Seconds for which a request is tried again while the server does not answer: 300."""
    first_patience: float
    """The same before it has answered for the first time: 4, since then the address is more likely wrong."""
    compress: bool
    """gzip uploads. By default unless the server is on this machine."""
    chunk_documents: int
    """Documents in one upload request: 1,000, which is also the server's limit unless it is set otherwise."""
    chunk_bytes: int
    """Bytes of documents in one upload request: a little under 4 MiB, the server's limit."""


class _Base:
    """What both clients are made of."""

    def __init__(self, url: str | None, api_key: str | None, settings: Settings) -> None:
        self.url = _given(url, "TEXTMILL_URL", "server").rstrip("/")
        api_key = _given(api_key, "TEXTMILL_API_KEY", "API key").strip()
        if not (api_key and api_key.isascii() and api_key.isprintable()):
            raise InvalidRequest("the API key has characters that no key has, or none at all")
        # Measured: compressing costs more than loopback does, and less than most networks.
        compress = settings.get("compress", urlsplit(self.url).hostname not in LOCAL)
        self._flows = Flows(settings.get("patience", 300), settings.get("first_patience", 4), compress, self.url)
        self._chunk_documents = settings.get("chunk_documents", wire.CHUNK_DOCUMENTS)
        self._chunk_bytes = settings.get("chunk_bytes", wire.CHUNK_BYTES - 128 * 1024)
        self._http: dict[str, Any] = {
            "base_url": self.url,
            "headers": {"Authorization": f"Bearer {api_key}"},
            "timeout": httpx.Timeout(TIMEOUT_SECONDS, connect=CONNECT_TIMEOUT_SECONDS),
        }

    def _chunker(self) -> Chunker:
        return Chunker(self._chunk_documents, self._chunk_bytes)


def _given(value: str | None, variable: str, what: str) -> str:
    found = os.environ.get(variable) if value is None else value
    if found is None:
        raise InvalidRequest(f"no {what} is named: give it to the client, or set {variable} in the environment")
    return found


def _request(client: httpx.Client | httpx.AsyncClient, call: Call) -> httpx.Request:
    timeout = httpx.Timeout(TIMEOUT_SECONDS + call.slow_seconds, connect=CONNECT_TIMEOUT_SECONDS)
    if call.hurried:
        timeout = httpx.Timeout(HURRIED_SECONDS)
    return client.build_request(
        call.method, call.path, params=call.params, content=call.content, headers=call.headers, timeout=timeout
    )


def _head(
    task: str,
    model: str | None,
    priority: wire.Priority,
    metadata: dict[str, Any] | None,
    options: dict[str, Any],
) -> dict[str, Any]:
    return {"task": task, "model": model, "priority": priority, "metadata": metadata, "options": options}


class _View:
    """A job as the server last described it: `refresh`, `wait` and the rest bring it up to date."""

    def __init__(self, info: wire.Job) -> None:
        self.info = info

    @property
    def id(self) -> str:
        """The job's id."""
        return self.info.id

    @property
    def state(self) -> str:
        """queued, running, completed, completed_with_errors, failed or cancelled; a newer server may know more."""
        return self.info.state

    @property
    def ended(self) -> bool:
        """Whether every document has its outcome."""
        return self.info.ended

    @property
    def counts(self) -> wire.Counts:
        """Documents by outcome."""
        return self.info.counts

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.info.task} {self.state}>"


# --- blocking ---------------------------------------------------------------------------------------------------------


class Job(_View):
    """A job of a `Client`."""

    def __init__(self, client: "Client", info: wire.Job) -> None:
        super().__init__(info)
        self._client = client

    def refresh(self, wait: float = 0) -> Self:
        """Ask the server for the job's state; with `wait` after its end, or after so many seconds."""
        return self._updated(self._client._flows.look(self.id, wait))

    def upload(self, documents: Documents, seen: Callable[[Chunk], None] | None = None) -> Self:
        """Append documents to an open job. They are the job's documents from its first one on: those that it has
        already are skipped, so an interrupted upload goes on when it is called again. seen: gets each chunk before it
        is sent or skipped."""
        self._client._run(self._client._flows.upload(self.info, chunks(documents, self._client._chunker()), [], seen))
        return self.refresh()

    def close(self) -> Self:
        """No more documents follow."""
        return self._updated(self._client._flows.close(self.id))

    def wait(self, timeout: float | None = None, progress: bool = False) -> Self:
        """Return when the job has ended. Raises WaitTimeout after `timeout` seconds; the job goes on then."""
        with Bar(self.info) if progress else Bar.none() as seen:
            return self._updated(self._client._flows.wait(self.id, timeout, seen))

    def results(self, state: wire.ResultState | None = None) -> Iterator[wire.Result]:
        """All results in document order, page by page. While the job runs, it waits for what is missing."""
        cursor: str | None = None
        while True:
            page = self._client._run(self._client._flows.results(self.id, cursor, state))
            yield from page.results
            cursor = page.next_cursor
            if cursor is None:
                return

    def page(self, cursor: str | None = None, state: wire.ResultState | None = None) -> wire.ResultsPage:
        """One page of results as it is now, for readers who keep their place: go on from its `next_cursor`."""
        return self._client._run(self._client._flows.page(self.id, cursor, state))

    def result(self, document_id: str) -> wire.Result:
        """The result of one document. Raises ResultNotReady, DocumentNotFound."""
        return self._client._run(self._client._flows.result(self.id, document_id))

    def cancel(self) -> Self:
        """Cancel what has no outcome yet."""
        return self._updated(self._client._flows.cancel(self.id))

    def retry(self, codes: Iterable[str] | None = None) -> Self:
        """Process failed documents again: all, or those that failed with one of the codes. The job must have ended."""
        return self._updated(self._client._flows.retry(self.id, None if codes is None else list(codes)))

    def delete(self) -> None:
        """Delete the job, which must have ended, with its texts and results."""
        self._client._run(self._client._flows.delete(self.id))

    def _updated(self, flow: Flow[wire.Job]) -> Self:
        self.info = self._client._run(flow)
        return self


class Client(_Base):
    """Textmill's client. Threads may share one.

    url, api_key: those of TEXTMILL_URL and TEXTMILL_API_KEY in the environment where they are not given.
    transport: an httpx transport, for tests and special networks. settings: see `Settings`.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(url, api_key, settings)
        self._client = httpx.Client(transport=transport, **self._http)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def submit(
        self,
        task: str,
        documents: Documents,
        *,
        model: str | None = None,
        priority: wire.Priority = "normal",
        metadata: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> Job:
        """Submit a job: it is on the server, and being processed, when this returns.

        documents: any iterable of texts, (id, text), {"id", "text"} or paths, or an open file with a document a line;
        read once, in chunks. options: as in the HTTP contract. Where a document is refused midway the job is cancelled.
        """
        head = _head(task, model, priority, metadata, options)
        source = chunks(documents, self._chunker())
        return Job(self, self._run(self._flows.submit(source, head, idempotency_key)))

    def open_job(
        self,
        task: str,
        *,
        model: str | None = None,
        priority: wire.Priority = "normal",
        metadata: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> Job:
        """A job that takes documents until it is closed: `upload`, then `close`."""
        head = _head(task, model, priority, metadata, options)
        return Job(self, self._run(self._flows.create(head, idempotency_key, Chunk(), open=True)))

    def job(self, job_id: str) -> Job:
        """The job of that id. Raises JobNotFound."""
        return Job(self, self._run(self._flows.job(job_id)))

    def jobs(self, state: wire.JobState | None = None, task: str | None = None) -> Iterator[Job]:
        """This key's jobs, newest first."""
        cursor: str | None = None
        while True:
            page = self._run(self._flows.jobs(state, task, cursor, 100))
            yield from (Job(self, info) for info in page.jobs)
            cursor = page.next_cursor
            if cursor is None:
                return

    def models(self) -> list[dict[str, Any]]:
        """The models that the server offers."""
        return self._run(self._flows.models())

    def workers(self) -> list[wire.WorkerInfo]:
        """The live workers."""
        return self._run(self._flows.workers())

    def summarize(self, text: str, *, timeout: float | None = None, **options: Any) -> str:
        """The summary of one text. Raises what it failed with."""
        return cast(str, self._one("summarization", text, timeout, options).summary_text)

    def translate(self, text: str, *, timeout: float | None = None, **options: Any) -> str:
        """The translation of one text; `target_lang`, `source_lang`. Raises what it failed with."""
        return cast(str, self._one("translation", text, timeout, options).translation_text)

    def entities(self, text: str, *, timeout: float | None = None, **options: Any) -> list[wire.Entity]:
        """The named entities of one text. Raises what it failed with."""
        return cast(list[wire.Entity], self._one("ner", text, timeout, options).entities)

    def _one(self, task: str, text: str, timeout: float | None, options: dict[str, Any]) -> wire.Output:
        head = _head(task, options.pop("model", None), "high", None, options)
        return self._run(self._flows.one(chunks([text], self._chunker()), head, timeout))

    def _run(self, flow: Flow[T]) -> T:
        """Do what the flow asks for until it returns."""
        try:
            effect = next(flow)
            while True:
                try:
                    outcome = self._do(effect)
                except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the flow decides, and raises the rest
                    effect = flow.throw(error)
                else:
                    effect = flow.send(outcome)
        except StopIteration as done:
            return cast(T, done.value)

    def _do(self, effect: Effect) -> httpx.Response | Chunk | None:
        if isinstance(effect, Call):
            return self._client.send(_request(self._client, effect))
        if isinstance(effect, NextChunk):
            return next(cast(Iterator[Chunk], effect.source), None)
        time.sleep(effect.seconds)
        return None


# --- awaiting ---------------------------------------------------------------------------------------------------------


class AsyncJob(_View):
    """A job of an `AsyncClient`."""

    def __init__(self, client: "AsyncClient", info: wire.Job) -> None:
        super().__init__(info)
        self._client = client

    async def refresh(self, wait: float = 0) -> Self:
        """Ask the server for the job's state; with `wait` after its end, or after so many seconds."""
        return await self._updated(self._client._flows.look(self.id, wait))

    async def upload(
        self, documents: Documents | AsyncIterable[DocumentLike], seen: Callable[[Chunk], None] | None = None
    ) -> Self:
        """Append documents to an open job. They are the job's documents from its first one on: those that it has
        already are skipped, so an interrupted upload goes on when it is called again. seen: gets each chunk before it
        is sent or skipped."""
        await self._client._run(self._client._flows.upload(self.info, self._client._source(documents), [], seen))
        return await self.refresh()

    async def close(self) -> Self:
        """No more documents follow."""
        return await self._updated(self._client._flows.close(self.id))

    async def wait(self, timeout: float | None = None, progress: bool = False) -> Self:
        """Return when the job has ended. Raises WaitTimeout after `timeout` seconds; the job goes on then."""
        with Bar(self.info) if progress else Bar.none() as seen:
            return await self._updated(self._client._flows.wait(self.id, timeout, seen))

    async def results(self, state: wire.ResultState | None = None) -> AsyncIterator[wire.Result]:
        """All results in document order, page by page. While the job runs, it waits for what is missing."""
        cursor: str | None = None
        while True:
            page = await self._client._run(self._client._flows.results(self.id, cursor, state))
            for result in page.results:
                yield result
            cursor = page.next_cursor
            if cursor is None:
                return

    async def page(self, cursor: str | None = None, state: wire.ResultState | None = None) -> wire.ResultsPage:
        """One page of results as it is now, for readers who keep their place: go on from its `next_cursor`."""
        return await self._client._run(self._client._flows.page(self.id, cursor, state))

    async def result(self, document_id: str) -> wire.Result:
        """The result of one document. Raises ResultNotReady, DocumentNotFound."""
        return await self._client._run(self._client._flows.result(self.id, document_id))

    async def cancel(self) -> Self:
        """Cancel what has no outcome yet."""
        return await self._updated(self._client._flows.cancel(self.id))

    async def retry(self, codes: Iterable[str] | None = None) -> Self:
        """Process failed documents again: all, or those that failed with one of the codes. The job must have ended."""
        return await self._updated(self._client._flows.retry(self.id, None if codes is None else list(codes)))

    async def delete(self) -> None:
        """Delete the job, which must have ended, with its texts and results."""
        await self._client._run(self._client._flows.delete(self.id))

    async def _updated(self, flow: Flow[wire.Job]) -> Self:
        self.info = await self._client._run(flow)
        return self


class AsyncClient(_Base):
    """The same as `Client`, to be awaited; on asyncio and on trio. Documents may come from an asynchronous iterable."""

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(url, api_key, settings)
        self._client = httpx.AsyncClient(transport=transport, **self._http)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Give the connections back."""
        await self._client.aclose()

    async def submit(
        self,
        task: str,
        documents: Documents | AsyncIterable[DocumentLike],
        *,
        model: str | None = None,
        priority: wire.Priority = "normal",
        metadata: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> AsyncJob:
        """Submit a job, as `Client.submit` does. A blocking iterable is read on a thread."""
        head = _head(task, model, priority, metadata, options)
        return AsyncJob(self, await self._run(self._flows.submit(self._source(documents), head, idempotency_key)))

    async def open_job(
        self,
        task: str,
        *,
        model: str | None = None,
        priority: wire.Priority = "normal",
        metadata: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> AsyncJob:
        """A job that takes documents until it is closed: `upload`, then `close`."""
        head = _head(task, model, priority, metadata, options)
        return AsyncJob(self, await self._run(self._flows.create(head, idempotency_key, Chunk(), open=True)))

    async def job(self, job_id: str) -> AsyncJob:
        """The job of that id. Raises JobNotFound."""
        return AsyncJob(self, await self._run(self._flows.job(job_id)))

    async def jobs(self, state: wire.JobState | None = None, task: str | None = None) -> AsyncIterator[AsyncJob]:
        """This key's jobs, newest first."""
        cursor: str | None = None
        while True:
            page = await self._run(self._flows.jobs(state, task, cursor, 100))
            for info in page.jobs:
                yield AsyncJob(self, info)
            cursor = page.next_cursor
            if cursor is None:
                return

    async def models(self) -> list[dict[str, Any]]:
        """The models that the server offers."""
        return await self._run(self._flows.models())

    async def workers(self) -> list[wire.WorkerInfo]:
        """The live workers."""
        return await self._run(self._flows.workers())

    async def summarize(self, text: str, *, timeout: float | None = None, **options: Any) -> str:
        """The summary of one text. Raises what it failed with."""
        return cast(str, (await self._one("summarization", text, timeout, options)).summary_text)

    async def translate(self, text: str, *, timeout: float | None = None, **options: Any) -> str:
        """The translation of one text; `target_lang`, `source_lang`. Raises what it failed with."""
        return cast(str, (await self._one("translation", text, timeout, options)).translation_text)

    async def entities(self, text: str, *, timeout: float | None = None, **options: Any) -> list[wire.Entity]:
        """The named entities of one text. Raises what it failed with."""
        return cast(list[wire.Entity], (await self._one("ner", text, timeout, options)).entities)

    def _source(self, documents: Documents | AsyncIterable[DocumentLike]) -> Source:
        if isinstance(documents, AsyncIterable):
            return async_chunks(documents, self._chunker())
        return chunks(documents, self._chunker())

    async def _one(self, task: str, text: str, timeout: float | None, options: dict[str, Any]) -> wire.Output:
        head = _head(task, options.pop("model", None), "high", None, options)
        return await self._run(self._flows.one(chunks([text], self._chunker()), head, timeout))

    async def _run(self, flow: Flow[T]) -> T:
        """Do what the flow asks for until it returns."""
        try:
            effect = next(flow)
            while True:
                try:
                    outcome = await self._do(effect)
                except Exception as error:  # noqa: BLE001 - the flow decides, and raises what it does not handle
                    effect = flow.throw(error)
                else:
                    effect = flow.send(outcome)
        except StopIteration as done:
            return cast(T, done.value)

    async def _do(self, effect: Effect) -> httpx.Response | Chunk | None:
        if isinstance(effect, Call):
            return await self._client.send(_request(self._client, effect))
        if isinstance(effect, NextChunk):
            if isinstance(effect.source, AsyncIterator):
                return await anext(effect.source, None)
            return await anyio.to_thread.run_sync(next, effect.source, None)
        await anyio.sleep(effect.seconds)
        return None
