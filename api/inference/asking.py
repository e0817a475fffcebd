"""`ask`: a few texts in, their results out, while the caller waits.

Each call is a fleeting job (`store/fleeting.py`) at high priority. The ledger is written once and read once: the end of
the job is noticed by `api/waiting.py`, and its rows are removed after the answer was given, with those of others.
"""

import asyncio
import contextlib
import logging
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from api.metrics import Metrics
from api.settings import ApiSettings
from api.v1 import door
from api.waiting import Waiters
from store import fleeting, jobs, results
from store.catalogue import Catalogue
from store.dispatcher import Dispatcher
from store.faults import brief
from store.keys import Limits
from store.session import Store
from textmill import tasks, wire
from textmill.errors import AnswerTimeout, InvalidRequest, Overloaded, TooManyDocuments, TooManyRequests, Unavailable

log = logging.getLogger(__name__)

GRACE_SECONDS = 30
"""How much longer than anybody waits for it a job may last whose api has died."""

REMOVE_SECONDS = 0.25
"""How long answered jobs wait for others, to be removed together."""

AT_ONCE = 100
"""Jobs that one transaction removes."""


class Asking:
    """The questions of this process that wait for their answers. Belongs to one event loop."""

    def __init__(
        self,
        settings: ApiSettings,
        store: Store,
        catalogue: Catalogue,
        dispatcher: Dispatcher,
        waiters: Waiters,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._store = store
        self._catalogue = catalogue
        self._dispatcher = dispatcher
        self._waiters = waiters
        self._metrics = metrics
        self._of_key: Counter[int] = Counter()
        self._ended: list[str] = []
        self._unended: list[tuple[int, str]] = []
        """Jobs that nobody waits for any more, and that are still there."""
        self._somebody = asyncio.Event()

    def __len__(self) -> int:
        return self._of_key.total()

    async def ask(
        self,
        key: int,
        gone: Callable[[], Awaitable[None]],
        task: str,
        documents: Sequence[wire.Document],
        model: str | None = None,
        options: Mapping[str, Any] | None = None,
        *,
        limits: Limits,
    ) -> list[wire.Result]:
        """The results of the documents, in their order, one each; one that failed has its `error`.

        key: whose the work is. gone: returns when the caller hangs up (`hung_up(request)`, once its body was read).
        task, model, options: as in `POST /v1/jobs`; no model: the task's default. documents: one at least, without ids;
        what a task's documents have beside the text goes in as fields (`wire.Document(text=..., question=...)`).
        limits: of the caller's key (`api.services.KeyLimits`).

        No job is left behind, whatever happens. Raises what submitting a job raises (InvalidOptions, ModelNotFound,
        InvalidText, InvalidDocument, TooManyOpenJobs, DailyLimitReached, Unavailable), TooManyDocuments,
        TooManyRequests, Overloaded; AnswerTimeout after `ask_seconds`; ClientDisconnect where the caller is gone. There
        is no idempotency key: asked again, it runs again, and nothing of the first time is left.
        """
        if not documents:
            raise InvalidRequest("there is no text in the request")
        if len(documents) > (most := self._settings.max_asked_documents):
            raise TooManyDocuments(f"more than {most} texts in one request: submit a job instead", maximum=most)
        job_id = str(uuid.uuid4())
        with self._admitted(key), self._waiters.expecting(job_id) as end:
            leaving = asyncio.ensure_future(gone())
            leaving.add_done_callback(lambda _: end.wake())
            answered = False
            try:
                await run_in_threadpool(self._submit, key, limits, job_id, task, model, dict(options or {}), documents)
                await end.within(self._settings.ask_seconds)
                if leaving.done():
                    raise ClientDisconnect
                found = await run_in_threadpool(self._results, key, job_id, len(documents))
                answered = True
                return found
            finally:
                leaving.cancel()
                self._forget(key, job_id, answered)

    def _forget(self, key: int, job_id: str, answered: bool) -> None:
        """Have the job removed, soon after the answer and not before it."""
        if answered:
            self._ended.append(job_id)
        else:
            self._unended.append((key, job_id))
        self._somebody.set()

    @contextlib.contextmanager
    def _admitted(self, key: int) -> Iterator[None]:
        if self._of_key[key] >= (most := self._settings.max_asking_of_key):
            raise TooManyRequests(f"{most} requests of this key wait for their answers already")
        if len(self) >= (most := self._settings.max_asking):
            raise Overloaded(f"{most} requests wait for their answers already")
        self._of_key[key] += 1
        try:
            yield
        finally:
            self._of_key[key] -= 1
            if not self._of_key[key]:
                del self._of_key[key]

    def _submit(
        self,
        key: int,
        limits: Limits,
        job_id: str,
        task_name: str,
        model: str | None,
        options: dict[str, Any],
        documents: Sequence[wire.Document],
    ) -> None:
        task = tasks.get(task_name)
        door.refuse_unstorable(options, "options")
        texts = door.texts_of(documents)
        chosen, canonical = door.fitted(self._catalogue, task, model, options, texts)
        new = jobs.NewJob(
            key_id=key,
            task=task.name,
            model=chosen,
            options=canonical,
            priority="high",
            id=job_id,
            expires_seconds=self._settings.ask_seconds + GRACE_SECONDS,
            # By which a second try, after a lost answer to the COMMIT, finds the job that the first one made.
            idempotency_key=job_id,
            limits=limits,
        )
        submitted = self._store.write(jobs.submit, new, texts)
        self._dispatcher.publish(submitted.released)
        self._metrics.jobs.labels(task.name, chosen).inc()
        self._metrics.documents.inc(len(texts))

    def _results(self, key: int, job_id: str, count: int) -> list[wire.Result]:
        page = self._store.read(results.page, key, job_id, 0, count)
        if page.next is None:
            return [wire.Result.model_validate_json(row.json()) for row in page.rows]
        if self._waiters.stopped:
            raise Unavailable("the server stops: ask again")
        job = self._store.read(jobs.get, key, job_id)
        message = f"no answer after {self._settings.ask_seconds:g} s: the work was given up"
        raise AnswerTimeout(f"{message}; {job.notice}" if job.notice else message)

    async def run(self) -> None:
        """Remove the jobs whose answers were given, some together, until cancelled.

        Not each for itself: its transaction would be in the way of the next request's, and cost as much.
        """
        while True:
            await self._somebody.wait()
            await asyncio.sleep(REMOVE_SECONDS)
            self._somebody.clear()
            await self.remove()

    async def remove(self) -> None:
        """Remove those that wait for it, in one call at a time. What fails is left to the sweep; where the database is
        away, the others wait for the next call."""
        there = True
        while there and self._ended:
            some = self._ended[:AT_ONCE]
            there = await self._tried(fleeting.forget_ended, some)
            # Not before: a call that is cancelled leaves them to the next one. Removed twice they are removed.
            del self._ended[: len(some)]
        while there and self._unended:
            there = await self._tried(fleeting.forget, *self._unended[0])
            del self._unended[0]
        if self._ended or self._unended:
            self._somebody.set()

    async def _tried(self, work: Callable[..., None], *arguments: Any) -> bool:
        """False: the database is away, and others need not be tried now."""
        try:
            await run_in_threadpool(self._store.write, work, *arguments)
        except Unavailable as error:
            log.warning("jobs whose answers were given are left to the sweep: %s", brief(error))
            return False
        except Exception:  # whatever it is: the next ones get their try
            log.exception("jobs whose answers were given are left to the sweep")
        return True


def hung_up(request: Request) -> Callable[[], Awaitable[None]]:
    """What `ask` takes as `gone`: it returns when the client of this request, whose body was read, closes the line."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    return gone
