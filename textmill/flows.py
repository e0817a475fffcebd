"""What the client says to the server and when, without doing it: no socket, no sleep, no event loop in here.

Each flow is a generator. It yields what it wants done (`Call`, `Pause`, `NextChunk`), is sent the outcome or thrown the
error, and returns its value. `Client` and `AsyncClient` drive the same flows, so that retries, resuming and waiting are
written and tested once.
"""

import json
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter, ValidationError

from textmill import errors, webhooks, wire
from textmill.documents import Chunk
from textmill.request import Call, Flow, NextChunk, Pause, Requests, Source, Tries

JSON = {"Content-Type": "application/json"}
NDJSON = {"Content-Type": "application/x-ndjson"}
PAGE = 500
LONG_POLL_SECONDS = 30.0

RECONNECT_SECONDS = 0.5

_WORKERS = TypeAdapter(list[wire.WorkerInfo])
_TASKS = TypeAdapter(list[wire.TaskInfo])


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
                    if len(chunk.lines) == 1 and chunk.instead is not None:
                        # A whole file: it fails by itself, and the others go on.
                        chunk = Chunk([chunk.instead])
                        continue
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

    def results(self, job_id: str, cursor: str | None, asked: Mapping[str, Any]) -> Flow[wire.ResultsPage]:
        """The next page that has something in it, or the last one. While the job runs it waits for more."""
        pause = 0.25
        while True:
            page = yield from self.page(job_id, cursor, asked)
            if page.results or page.next_cursor is None:
                return page
            if page.next_cursor == cursor:
                pause = min(2 * pause, 5.0)
                yield from self.look(job_id, pause)
            cursor = page.next_cursor

    def page(self, job_id: str, cursor: str | None, asked: Mapping[str, Any]) -> Flow[wire.ResultsPage]:
        """One page as it is now. asked: which of them, as `results_asked` has it."""
        content = yield from self.get(f"{_path(job_id)}/results", cursor=cursor, limit=PAGE, **asked)
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
        content = yield from self.get(f"{_path(job_id)}/results/{_segment(document_id)}")
        return wire.Result.model_validate_json(content)

    def documents(self, job_id: str, cursor: str | None) -> Flow[wire.DocumentsPage]:
        """A page of the documents as they were submitted."""
        content = yield from self.get(f"{_path(job_id)}/documents", cursor=cursor, limit=PAGE)
        return wire.DocumentsPage.model_validate_json(content)

    def document(self, job_id: str, document_id: str) -> Flow[wire.StoredDocument]:
        """One document as it was submitted."""
        content = yield from self.get(f"{_path(job_id)}/documents/{_segment(document_id)}")
        return wire.StoredDocument.model_validate_json(content)

    def pace(self, job_id: str) -> Flow[wire.Pace]:
        """How fast the job went over its time."""
        return wire.Pace.model_validate_json((yield from self.get(f"{_path(job_id)}/pace")))

    # --- events -------------------------------------------------------------------------------------------------------

    def events(self, job_id: str | None, last_id: str | None, again: bool) -> Flow[httpx.Response]:
        """A stream of events, not read yet: of the job, or of all of the key's; behind the event of that id. `again`:
        there was one before, and a server that closes each at once must not be asked in a rush."""
        if again:
            yield Pause(RECONNECT_SECONDS)
        path = "/v1/events" if job_id is None else f"{_path(job_id)}/events"
        headers = {"Last-Event-ID": last_id} if last_id else {}
        return (yield from self.ask(Call("GET", path, headers=headers, streamed=True)))

    # --- webhooks -----------------------------------------------------------------------------------------------------

    def deliveries(self, job_id: str) -> Flow[list[webhooks.Delivery]]:
        """What was told to the job's webhook, newest first."""
        content = yield from self.get(f"{_path(job_id)}/deliveries")
        return webhooks.DeliveriesPage.model_validate_json(content).deliveries

    def resend(self, job_id: str, delivery_id: str) -> Flow[webhooks.Delivery]:
        """Send a delivery again."""
        path = f"{_path(job_id)}/deliveries/{_segment(delivery_id)}/resend"
        return webhooks.Delivery.model_validate_json((yield from self.ask(Call("POST", path))).content)

    def webhook_secrets(self) -> Flow[list[webhooks.WebhookSecret]]:
        """Those that sign, newest first."""
        content = yield from self.get("/v1/webhooks/secrets")
        return webhooks.WebhookSecretsPage.model_validate_json(content).secrets

    def new_webhook_secret(self, overlap_seconds: float) -> Flow[webhooks.NewWebhookSecret]:
        """Make one."""
        try:
            asked = webhooks.WebhookSecretRequest(overlap_seconds=overlap_seconds)
        except ValidationError as error:
            raise errors.InvalidRequest(f"overlap_seconds: {error.errors()[0]['msg']}") from error
        content = asked.model_dump_json().encode()
        response = yield from self.ask(Call("POST", "/v1/webhooks/secrets", {}, content, dict(JSON)))
        return webhooks.NewWebhookSecret.model_validate_json(response.content)

    # --- the rest -----------------------------------------------------------------------------------------------------

    def jobs(self, filters: Mapping[str, Any], cursor: str | None, limit: int) -> Flow[wire.JobsPage]:
        """A page of the key's jobs, newest first; it may be empty, and yet not be the last one."""
        asked = {name: value for name, value in filters.items() if name != "metadata"}
        asked["state"] = ",".join(_states(filters.get("state"))) or None
        for name in ("created_after", "created_before"):
            if asked.get(name) is not None:
                asked[name] = asked[name].isoformat()
        asked |= {f"metadata.{name}": value for name, value in (filters.get("metadata") or {}).items()}
        content = yield from self.get("/v1/jobs", cursor=cursor, limit=limit, **asked)
        return wire.JobsPage.model_validate_json(content)

    def cancel_matching(self, filters: Mapping[str, Any], expected: int | None) -> Flow[wire.Acted]:
        """Cancel all jobs that match, if they are as many as expected."""
        return (yield from self._act_on_matching("cancel", wire.CancelMatching, filters, expected))

    def retry_matching(
        self, filters: Mapping[str, Any], codes: list[str] | None, expected: int | None
    ) -> Flow[wire.Acted]:
        """Process failed documents of all jobs that match again, if they are as many as expected."""
        return (yield from self._act_on_matching("retry", wire.RetryMatching, {**filters, "codes": codes}, expected))

    def _act_on_matching(
        self, what: str, body: type[wire.CancelMatching], filters: Mapping[str, Any], expected: int | None
    ) -> Flow[wire.Acted]:
        """Step by step, as far as each call of the server's goes, until nothing is left."""
        given = {name: value for name, value in filters.items() if value is not None}
        try:
            asked = body.model_validate({**given, "state": _states(filters.get("state"))})
        except ValidationError as error:
            raise errors.InvalidRequest(f"{what}: {error.errors()[0]['loc'][0]}: {error.errors()[0]['msg']}") from error
        matched: int | None = None
        done: list[str] = []
        while True:
            content = asked.model_copy(update={"expected": expected}).model_dump_json(exclude_none=True).encode()
            response = yield from self.ask(Call("POST", f"/v1/jobs/{what}", {}, content, dict(JSON)))
            answer = wire.Acted.model_validate_json(response.content)
            matched = answer.matched if matched is None else matched
            done += answer.done
            if expected is None or answer.left == 0:
                return wire.Acted(matched=matched, done=done, left=answer.left)
            expected = answer.left

    def stats(self, hours: float) -> Flow[wire.Stats]:
        """What waits, and what was settled over the last hours."""
        return wire.Stats.model_validate_json((yield from self.get("/v1/stats", hours=hours)))

    def tasks(self) -> Flow[list[wire.TaskInfo]]:
        """The tasks that the server knows."""
        return _TASKS.validate_python(json.loads((yield from self.get("/v1/tasks")))["tasks"])

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


def results_asked(state: str | None, code: str | None, text: bool) -> dict[str, Any]:
    """Which results, as the server is asked for them."""
    return {"state": state, "code": code, "include": "text" if text else None}


def _states(given: str | Iterable[str] | None) -> list[str]:
    if given is None:
        return []
    return [given] if isinstance(given, str) else list(given)


def _segment(name: str) -> str:
    # Dots too: "." and ".." would be taken for steps in the path.
    return quote(name, safe="").replace(".", "%2E")


def _path(job_id: str) -> str:
    if not job_id:
        raise errors.JobNotFound("the id of a job is empty")  # that path is the list of jobs
    return f"/v1/jobs/{_segment(job_id)}"
