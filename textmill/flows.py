"""What the client says to the server and when, without doing it: no socket, no sleep, no event loop in here.

Each flow is a generator. It yields what it wants done (`Call`, `Pause`, `NextChunk`), is sent the outcome or thrown the
error, and returns its value. `Client` and `AsyncClient` drive the same flows, so that retries, resuming and waiting are
written and tested once.
"""

import json
import uuid
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter

from textmill import errors, wire
from textmill.documents import Chunk
from textmill.request import Call, Flow, NextChunk, Pause, Requests, Source, Tries

JSON = {"Content-Type": "application/json"}
NDJSON = {"Content-Type": "application/x-ndjson"}
PAGE = 500
LONG_POLL_SECONDS = 30.0

_WORKERS = TypeAdapter(list[wire.WorkerInfo])


class Flows(Requests):
    """Every call of the contract as a flow."""

    # --- submit -------------------------------------------------------------------------------------------------------

    def submit(self, source: Source, head: Mapping[str, Any], key: str | None) -> Flow[wire.Job]:
        """A job from its documents: one request where they fit into one, else open, append, close.

        When that fails midway (a document is refused, the producer's iterable raises, Ctrl-C), the job is cancelled, so
        that no half of it is processed; where the server cannot be reached, it stays open until its time is over.
        """
        first: Chunk | None = yield NextChunk(source)
        second: Chunk | None = (yield NextChunk(source)) if first else None
        if second is None:
            return (yield from self.create(head, key, first or Chunk(), open=False))
        job = yield from self.create(head, key, Chunk(), open=True)
        try:
            yield from self.upload(job, source, [c for c in (first, second) if c])
            return (yield from self.close(job.id))
        except errors.ServerUnreachable as error:
            error.add_note(f"job {job.id} stays open on the server")
            raise
        except KeyboardInterrupt as error:
            try:
                yield Call("POST", f"{_path(job.id)}/cancel", hurried=True)
            except httpx.TransportError:
                error.add_note(f"job {job.id} stays open on the server: textmill cancel {job.id}")
            raise
        except Exception as error:
            try:
                yield from self.cancel(job.id)
            except errors.TextmillError as another:
                error.add_note(f"job {job.id} could not be cancelled: {another.message}")
            raise

    def create(self, head: Mapping[str, Any], key: str | None, chunk: Chunk, open: bool) -> Flow[wire.Job]:
        """POST a job. `head`: the request without its documents. The same key and request make one job only; without
        one, a key is made up, so that no retry makes two."""
        asked = {name: value for name, value in {**head, "open": open}.items() if value is not None}
        # The documents are JSON already: spliced in, not encoded again. allow_nan: NaN is no JSON.
        try:
            start = json.dumps(asked, ensure_ascii=False, allow_nan=False)[:-1].encode()
        except (TypeError, ValueError) as error:
            raise errors.InvalidRequest(f"options and metadata must be JSON: {error}") from error
        content = start + b',"documents":' + chunk.array() + b"}"
        headers = JSON | {"Idempotency-Key": key or str(uuid.uuid4())}
        response = yield from self.ask(Call("POST", "/v1/jobs", {}, *self.packed(content, headers)))
        return wire.Job.model_validate_json(response.content)

    def upload(
        self, job: wire.Job, source: Source, taken: list[Chunk], seen: Callable[[Chunk], None] | None = None
    ) -> Flow[int]:
        """Append all documents: those of `taken`, then the source's. Returns how many the job has.

        What the job holds already is skipped, and where an answer was lost the server's total says how to go on.
        `seen` gets each chunk before it is sent or skipped.
        """
        at, stored = 0, job.counts.total
        while chunk := (taken.pop(0) if taken else (yield NextChunk(source))):
            if seen:
                seen(chunk)
            end = at + len(chunk.lines)
            while stored < end:
                before = stored
                try:
                    stored = yield from self._append(job.id, chunk.ndjson(stored - at), stored)
                except errors.UploadOffsetMismatch as error:
                    stored = int(error.details["total"])
                    if stored == before or stored < at:
                        raise
                except errors.RequestTooLarge as error:
                    if len(chunk.lines) == 1:
                        error.add_note(
                            f"document {at} alone has {len(chunk.lines[0])} bytes: split it, or raise"
                            " TEXTMILL_MAX_CHUNK_BYTES of the server"
                        )
                    raise
            at = end
        return at

    def _append(self, job_id: str, content: bytes, offset: int) -> Flow[int]:
        headers = NDJSON | {"Upload-Offset": str(offset)}
        path = f"/v1/jobs/{quote(job_id, safe='')}/documents"
        response = yield from self.ask(Call("POST", path, {}, *self.packed(content, headers)))
        return wire.Accepted.model_validate_json(response.content).total

    # --- a job --------------------------------------------------------------------------------------------------------

    def job(self, job_id: str, wait: float = 0) -> Flow[wire.Job]:
        """The job; with `wait` after its end, or after so many seconds, or earlier if the server says so."""
        content = yield from self.get(_path(job_id), slow=wait, wait=round(wait, 3) if wait else None)
        return wire.Job.model_validate_json(content)

    def close(self, job_id: str) -> Flow[wire.Job]:
        """No more documents follow."""
        return (yield from self._act(job_id, "close"))

    def cancel(self, job_id: str) -> Flow[wire.Job]:
        """Cancel what has no outcome yet."""
        return (yield from self._act(job_id, "cancel"))

    def retry(self, job_id: str, codes: list[str] | None) -> Flow[wire.Job]:
        """Process failed documents again."""
        content = wire.RetryRequest(codes=codes).model_dump_json(exclude_none=True).encode()
        tries = Tries()
        try:
            response = yield from self.ask(Call("POST", f"{_path(job_id)}/retry", {}, content, dict(JSON)), tries)
        except errors.JobNotEnded:
            if tries.made == 1:
                raise
            return (yield from self.job(job_id))  # the answer to an earlier try was lost: it runs again, as asked
        return wire.Job.model_validate_json(response.content)

    def delete(self, job_id: str) -> Flow[None]:
        """Delete an ended job."""
        tries = Tries()
        try:
            yield from self.ask(Call("DELETE", _path(job_id)), tries)
        except errors.JobNotFound:
            if tries.made == 1:
                raise

    def _act(self, job_id: str, what: str) -> Flow[wire.Job]:
        response = yield from self.ask(Call("POST", f"{_path(job_id)}/{what}"))
        return wire.Job.model_validate_json(response.content)

    def wait(self, job_id: str, timeout: float | None, seen: Callable[[wire.Job], None] | None) -> Flow[wire.Job]:
        """The job after its end; `seen` gets it about once a second until then. Raises WaitTimeout."""
        start = self.clock()
        step = 1.0 if seen else LONG_POLL_SECONDS
        wait = 0.0 if seen else step
        while True:
            left = float("inf") if timeout is None else timeout - (self.clock() - start)
            asked, wait = max(0.0, min(wait, left)), step
            before = self.clock()
            job = yield from self.job(job_id, wait=asked)
            if seen:
                seen(job)
            if job.ended:
                return job
            if left <= 0:
                raise errors.WaitTimeout(f"job {job_id} is still {job.state} after {timeout:g} s", job_id=job_id)
            if asked and self.clock() - before < asked / 2:
                yield Pause(min(1.0, asked))  # a server that does not wait as long as asked must not be asked in a rush

    # --- results ------------------------------------------------------------------------------------------------------

    def results(self, job_id: str, cursor: str | None, state: wire.ResultState | None) -> Flow[wire.ResultsPage]:
        """The next page that has something in it, or the last one. While the job runs it waits for more."""
        pause = 0.25
        while True:
            page = yield from self.page(job_id, cursor, state)
            if page.results or page.next_cursor is None:
                return page
            if page.next_cursor == cursor:
                pause = min(2 * pause, 5.0)
                yield from self.look(job_id, pause)
            cursor = page.next_cursor

    def page(self, job_id: str, cursor: str | None, state: wire.ResultState | None) -> Flow[wire.ResultsPage]:
        """One page as it is now."""
        content = yield from self.get(f"{_path(job_id)}/results", cursor=cursor, state=state, limit=PAGE)
        return wire.ResultsPage.model_validate_json(content)

    def look(self, job_id: str, seconds: float) -> Flow[wire.Job]:
        """The job after so long, or as soon as it has ended."""
        before = self.clock()
        job = yield from self.job(job_id, wait=seconds)
        left = seconds - (self.clock() - before)
        if not job.ended and left > seconds / 2:
            yield Pause(left)
        return job

    def result(self, job_id: str, document_id: str) -> Flow[wire.Result]:
        """The result of one document. Raises ResultNotReady."""
        # Dots too: "." and ".." would be taken for steps in the path.
        name = quote(document_id, safe="").replace(".", "%2E")
        return wire.Result.model_validate_json((yield from self.get(f"{_path(job_id)}/results/{name}")))

    # --- the rest -----------------------------------------------------------------------------------------------------

    def jobs(self, state: str | None, task: str | None, cursor: str | None, limit: int) -> Flow[wire.JobsPage]:
        """A page of the key's jobs, newest first."""
        content = yield from self.get("/v1/jobs", state=state, task=task, cursor=cursor, limit=limit)
        return wire.JobsPage.model_validate_json(content)

    def models(self) -> Flow[list[dict[str, Any]]]:
        """The catalogue."""
        return list(json.loads((yield from self.get("/v1/models")))["models"])

    def workers(self) -> Flow[list[wire.WorkerInfo]]:
        """The live workers."""
        return _WORKERS.validate_python(json.loads((yield from self.get("/v1/workers")))["workers"])

    def one(self, source: Source, head: Mapping[str, Any], timeout: float | None) -> Flow[wire.Output]:
        """Submit one document, wait, return its output. Raises what the document failed with."""
        job = yield from self.submit(source, {**head, "priority": "high"}, None)
        yield from self.wait(job.id, timeout, None)
        result = yield from self.result(job.id, "0")
        if result.output is None:
            code, message = (result.error.code, result.error.message) if result.error else ("document_error", None)
            raise errors.by_code().get(code, errors.DocumentError)(message, job_id=job.id)
        return result.output


def _path(job_id: str) -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}"
