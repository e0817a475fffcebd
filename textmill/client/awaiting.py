"""The client that is awaited, and its jobs; on asyncio and on trio."""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack, cast

import anyio
import anyio.to_thread
import httpx

from textmill import tasks, webhooks, wire
from textmill.client.base import ClientBase, JobFilters, JobView, Settings, conversation, head_of, request_of
from textmill.documents import Chunk, DocumentLike, Documents, async_chunks, chunks
from textmill.errors import DeliveryNotFound
from textmill.events import EventReader
from textmill.flows import results_asked
from textmill.frames import Frame, to_arrow
from textmill.progress import Bar
from textmill.request import Call, Effect, Flow, NextChunk, Source

F = TypeVar("F")
T = TypeVar("T")


class AsyncJob(JobView):
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
        await self._client._run(
            self._client._flows.upload(self.info, self._client._source(documents, self.info.task), [], seen)
        )
        return await self.refresh()

    async def close(self) -> Self:
        """No more documents follow."""
        return await self._updated(self._client._flows.close(self.id))

    async def wait(self, timeout: float | None = None, progress: bool = False) -> Self:
        """Return when the job has ended. Raises WaitTimeout after `timeout` seconds; the job goes on then."""
        with Bar(self.info) if progress else Bar.none() as seen:
            return await self._updated(self._client._flows.wait(self.id, timeout, seen))

    async def results(
        self, state: wire.ResultState | None = None, *, code: str | None = None, text: bool = False
    ) -> AsyncIterator[wire.Result]:
        """All results in document order, page by page. While the job runs, it waits for what is missing.

        code: those that failed with it. text: each with its document's text.
        """
        asked, cursor = results_asked(state, code, text), None
        while True:
            page = await self._client._run(self._client._flows.results(self.id, cursor, asked))
            for result in page.results:
                yield result
            cursor = page.next_cursor
            if cursor is None:
                return

    async def page(
        self,
        cursor: str | None = None,
        state: wire.ResultState | None = None,
        *,
        code: str | None = None,
        text: bool = False,
    ) -> wire.ResultsPage:
        """One page of results as it is now, for readers who keep their place: go on from its `next_cursor`."""
        asked = results_asked(state, code, text)
        return await self._client._run(self._client._flows.page(self.id, cursor, asked))

    async def to_arrow(self) -> Any:
        """All results as a pyarrow.Table; while the job runs, it waits for what is missing. Wants textmill[parquet]."""
        return to_arrow(self.info.task, [result async for result in self.results()])

    async def to_pandas(self) -> Any:
        """The same as a pandas.DataFrame."""
        return (await self.to_arrow()).to_pandas()

    async def documents(self) -> AsyncIterator[wire.StoredDocument]:
        """The documents as they were submitted, in their order: those that the job has now."""
        cursor: str | None = None
        while True:
            page = await self._client._run(self._client._flows.documents(self.id, cursor))
            for document in page.documents:
                yield document
            cursor = page.next_cursor
            if cursor is None:
                return

    async def document(self, document_id: str) -> wire.StoredDocument:
        """One document as it was submitted. Raises DocumentNotFound."""
        return await self._client._run(self._client._flows.document(self.id, document_id))

    async def pace(self) -> wire.Pace:
        """How fast the job went, in buckets from when it started last to its end or now."""
        return await self._client._run(self._client._flows.pace(self.id))

    async def events(self) -> AsyncIterator[wire.Job]:
        """The job as it is, then whenever its state or progress has changed, until it has ended."""
        async for info in self._client._listen(self.id):
            self.info = info
            yield info

    async def result(self, document_id: str) -> wire.Result:
        """The result of one document. Raises ResultNotReady, DocumentNotFound."""
        return await self._client._run(self._client._flows.result(self.id, document_id))

    async def cancel(self) -> Self:
        """Cancel what has no outcome yet."""
        return await self._updated(self._client._flows.cancel(self.id))

    async def retry(self, codes: Iterable[str] | None = None) -> Self:
        """Process failed documents again: all, or those that failed with one of the codes. The job must have ended."""
        return await self._updated(self._client._flows.retry(self.id, None if codes is None else list(codes)))

    async def deliveries(self) -> list[webhooks.Delivery]:
        """What was told to the job's webhook, newest first: each time that it ended, with the attempts."""
        return await self._client._run(self._client._flows.deliveries(self.id))

    async def resend(self, delivery_id: str | None = None) -> webhooks.Delivery:
        """Send a delivery again at once, under the same id: the newest where none is named. Raises DeliveryNotFound."""
        if delivery_id is None:
            made = await self.deliveries()
            if not made:
                raise DeliveryNotFound("the job has no deliveries: it has no webhook, or has not ended")
            delivery_id = made[0].id
        return await self._client._run(self._client._flows.resend(self.id, delivery_id))

    async def delete(self) -> None:
        """Delete the job, which must have ended, with its texts and results."""
        await self._client._run(self._client._flows.delete(self.id))

    async def _updated(self, flow: Flow[wire.Job]) -> Self:
        self.info = await self._client._run(flow)
        return self


class AsyncClient(ClientBase):
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
        webhook: str | None = None,
        **options: Any,
    ) -> AsyncJob:
        """Submit a job, as `Client.submit` does. A blocking iterable is read on a thread."""
        head = head_of(task, model, priority, metadata, options, webhook)
        return AsyncJob(self, await self._run(self._flows.submit(self._source(documents, task), head, idempotency_key)))

    async def map(
        self, frame: F, task: str, *, column: str = "text", id_column: str | None = None, model: str | None = None,
        priority: wire.Priority = "normal", metadata: dict[str, Any] | None = None, progress: bool = False,
        **options: Any,
    ) -> F:  # fmt: skip
        """A pandas, polars or Arrow frame with new columns: what the task makes of each text of a column.

        It waits for the end of the job. Rows that failed have nothing in the task's columns, and their reason in
        `error_code` and `error_message`. Wants textmill[frames].
        """
        table = Frame(frame, task, column, id_column)
        source, told = table.documents(), {"model": model, "priority": priority, "metadata": metadata}
        job = await self.submit(task, source, **told, **options)  # type: ignore[arg-type]
        await job.wait(progress=progress)
        return table.with_results([result async for result in job.results()])

    async def open_job(
        self,
        task: str,
        *,
        model: str | None = None,
        priority: wire.Priority = "normal",
        metadata: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
        webhook: str | None = None,
        **options: Any,
    ) -> AsyncJob:
        """A job that takes documents until it is closed: `upload`, then `close`."""
        head = head_of(task, model, priority, metadata, options, webhook)
        return AsyncJob(self, await self._run(self._flows.create(head, idempotency_key, Chunk(), open=True)))

    async def job(self, job_id: str) -> AsyncJob:
        """The job of that id. Raises JobNotFound."""
        return AsyncJob(self, await self._run(self._flows.job(job_id)))

    async def jobs(
        self,
        state: wire.JobState | Iterable[wire.JobState] | None = None,
        task: str | None = None,
        **filters: Unpack[JobFilters],
    ) -> AsyncIterator[AsyncJob]:
        """This key's jobs, newest first; those that fit, where something is asked."""
        asked, cursor = {"state": state, "task": task, **filters}, None
        while True:
            page = await self._run(self._flows.jobs(asked, cursor, 100))
            for info in page.jobs:
                yield AsyncJob(self, info)
            cursor = page.next_cursor
            if cursor is None:
                return

    async def cancel_jobs(
        self,
        expected: int | None,
        state: wire.JobState | Iterable[wire.JobState] | None = None,
        task: str | None = None,
        **filters: Unpack[JobFilters],
    ) -> wire.Acted:
        """Cancel all jobs that match and have not ended, if they are as many as expected: else MatchChanged is raised,
        and nothing is done. None: nothing is done, and the answer says how many they are."""
        asked = {"state": state, "task": task, **filters}
        return await self._run(self._flows.cancel_matching(asked, expected))

    async def retry_jobs(
        self,
        expected: int | None,
        state: wire.JobState | Iterable[wire.JobState] | None = None,
        task: str | None = None,
        *,
        codes: Iterable[str] | None = None,
        **filters: Unpack[JobFilters],
    ) -> wire.Acted:
        """Process failed documents of all ended jobs that match again: all, or those that failed with one of the codes.
        `expected` as in `cancel_jobs`."""
        asked = {"state": state, "task": task, **filters}
        return await self._run(self._flows.retry_matching(asked, None if codes is None else list(codes), expected))

    async def events(self) -> AsyncIterator[wire.Job]:
        """This key's newest active jobs as they are, then each new job and each change, without an end; through
        restarts of the server. A job may come twice."""
        async for info in self._listen(None):
            yield info

    async def webhook_secrets(self) -> list[webhooks.WebhookSecret]:
        """The secrets by which this key's webhooks are signed, newest first, without themselves."""
        return await self._run(self._flows.webhook_secrets())

    async def new_webhook_secret(self, overlap_seconds: float = 86_400) -> webhooks.NewWebhookSecret:
        """Make the first secret, or a new one, while that of now signs as well for so long. It is shown this once."""
        return await self._run(self._flows.new_webhook_secret(overlap_seconds))

    async def stats(self, hours: float = 1) -> wire.Stats:
        """What waits of this key's work, and what was settled over the last hours."""
        return await self._run(self._flows.stats(hours))

    async def tasks(self) -> list[wire.TaskInfo]:
        """The tasks that the server knows, with the meaning of their options."""
        return await self._run(self._flows.tasks())

    async def models(self) -> list[dict[str, Any]]:
        """The models that the server offers."""
        return await self._run(self._flows.models())

    async def workers(self) -> list[wire.WorkerInfo]:
        """The live workers."""
        return await self._run(self._flows.workers())

    async def one(
        self,
        task: str,
        text: str | Mapping[str, Any],
        *,
        model: str | None = None,
        timeout: float | None = None,
        **options: Any,
    ) -> wire.Output:
        """What the task makes of one text, or of one document with what it has beside it, before all else that this key
        has in work. Raises what it failed with."""
        head = head_of(task, model, "high", None, options)
        return await self._run(
            self._flows.one(chunks([text], self._chunker(), known=tasks.fields_of(task)), head, timeout)
        )

    async def summarize(self, text: str, **options: Any) -> str:
        """The summary of one text. options: those of `one` and of the task, as in all that follow."""
        return cast(str, (await self.one("summarization", text, **options)).summary_text)

    async def translate(self, text: str, **options: Any) -> str:
        """The translation of one text; `target_lang`, `source_lang`."""
        return cast(str, (await self.one("translation", text, **options)).translation_text)

    async def entities(self, text: str, **options: Any) -> list[wire.Entity]:
        """The named entities of one text."""
        return cast(list[wire.Entity], (await self.one("ner", text, **options)).entities)

    async def classify(self, text: str, **options: Any) -> list[wire.Label]:
        """The labels that fit one text, best first: `top_k` of the model's own, or all of `candidate_labels`."""
        task = "zero-shot-classification" if "candidate_labels" in options else "text-classification"
        return cast(list[wire.Label], (await self.one(task, text, **options)).labels)

    async def answer(self, text: str, question: str, **options: Any) -> list[wire.Answer]:
        """What one text answers to a question, best first."""
        return cast(
            list[wire.Answer], (await self.one("question-answering", text, question=question, **options)).answers
        )

    async def fill(self, text: str, **options: Any) -> list[list[wire.Filling]]:
        """The words for each mask of one text, best first."""
        return cast(list[list[wire.Filling]], (await self.one("fill-mask", text, **options)).masks)

    async def generate(
        self, text: str | None = None, *, messages: Sequence[Mapping[str, str]] | None = None, **options: Any
    ) -> str:
        """What one text is gone on with, or what the assistant says to `messages`, `{"role", "content"}` each."""
        document = conversation(text, messages)
        return cast(str, (await self.one("text-generation", document, **options)).generated_text)

    async def embed(self, text: str, **options: Any) -> list[float]:
        """The vector of one text."""
        return cast(list[float], (await self.one("feature-extraction", text, **options)).embedding)

    def _source(self, documents: Documents | AsyncIterable[DocumentLike], task: str) -> Source:
        known = tasks.fields_of(task)
        if isinstance(documents, AsyncIterable):
            return async_chunks(documents, self._chunker(), known=known)
        return chunks(documents, self._chunker(), known=known)

    async def _listen(self, job_id: str | None) -> AsyncIterator[wire.Job]:
        """The events of a job until its end, or of the key without one; a stream that breaks goes on behind its last
        event."""
        reader, again = EventReader(), False
        while True:
            response = await self._run(self._flows.events(job_id, reader.last_id, again))
            again = True
            try:
                async for line in response.aiter_lines():
                    if (job := reader.read(line)) is not None:
                        yield job
            except httpx.TransportError:
                pass  # asked for again; the flow's patience decides how long
            finally:
                await response.aclose()
            reader.broken()
            if response.status_code == httpx.codes.NO_CONTENT or (job_id and reader.latest and reader.latest.ended):
                return

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
            response = await self._client.send(request_of(self._client, effect), stream=effect.streamed)
            if effect.streamed and response.is_error:
                await response.aread()
            return response
        if isinstance(effect, NextChunk):
            if isinstance(effect.source, AsyncIterator):
                return await anext(effect.source, None)
            return await anyio.to_thread.run_sync(next, effect.source, None)
        await anyio.sleep(effect.seconds)
        return None
