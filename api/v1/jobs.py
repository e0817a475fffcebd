"""Jobs: submit, append, close, look, wait, cancel, retry, delete."""

import hashlib
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from api.services import JobId, Key, KeyLimits, Services
from api.settings import ApiSettings
from api.v1 import door, limits
from api.v1.bodies import ChunkBody, JobBody, SmallBody
from api.webhooks import addresses
from store import jobs, pace, texts
from store.hints import Ended
from textmill import tasks, wire
from textmill.errors import DuplicateDocument, InvalidRequest, NotSupported

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

LARGEST_OFFSET = 2**31 - 1


@router.post("", status_code=201)
def submit(
    request: Request,
    response: Response,
    services: Services,
    key: Key,
    key_limits: KeyLimits,
    body: JobBody,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
) -> wire.Job:
    """Submit a job. With `open`, documents may be appended until it is closed."""
    body = limits.decoded(request, body, services.settings.max_job_bytes)
    asked, documents = door.parse_job(body, services.settings)
    task = tasks.get(asked.task)
    model, canonical = door.fitted(services.catalogue, task, asked.model, asked.options, documents)
    new = jobs.NewJob(
        key_id=key,
        task=task.name,
        model=model,
        options=canonical,
        priority=asked.priority,
        metadata=asked.metadata,
        open=asked.open,
        idempotency_key=idempotency_key,
        body_hash=hashlib.sha256(body).hexdigest() if idempotency_key else None,
        limits=key_limits,
        webhook=_webhook(services.settings, asked.webhook),
    )
    # The idempotency key says by itself that the job is there.
    write = services.store.write if idempotency_key else services.store.write_once
    submitted = write(jobs.submit, new, documents)
    services.dispatcher.publish(submitted.released)
    if submitted.created:
        services.metrics.jobs.labels(task.name, model).inc()
        services.metrics.documents.inc(len(documents))
    else:
        response.status_code = 200
    response.headers["Location"] = f"/v1/jobs/{submitted.job.id}"
    return submitted.job


@router.post("/{job_id}/documents")
def append(
    request: Request,
    services: Services,
    key: Key,
    key_limits: KeyLimits,
    job_id: JobId,
    body: ChunkBody,
    upload_offset: Annotated[int | None, Header(ge=0, le=LARGEST_OFFSET)] = None,
) -> wire.Accepted:
    """Append documents to an open job. `Upload-Offset`, the position of the first one, makes repeating harmless."""
    settings = services.settings
    body = limits.decoded(request, body, settings.max_chunk_bytes)
    ndjson = limits.media_type(request, limits.JSON | limits.NDJSON) in limits.NDJSON
    documents = (door.parse_ndjson if ndjson else door.parse_documents)(body, settings.max_chunk_documents)

    def check(task: str, model: str, options: dict[str, Any]) -> None:
        door.check_fields(task, options, services.catalogue.entries.get(model), documents)

    write = services.store.write_once if upload_offset is None else services.store.write
    try:
        appended = write(jobs.append, key, job_id, documents, upload_offset, check, key_limits)
    except DuplicateDocument as error:
        raise _which(services, key, job_id, documents) or error from None
    services.dispatcher.publish(appended.released)
    services.metrics.documents.inc(appended.accepted)
    services.traces.link(appended.traceparent)
    return wire.Accepted(accepted=appended.accepted, total=appended.total)


def _which(services: Services, key: Key, job_id: str, batch: door.Texts) -> DuplicateDocument | None:
    """Which document the job has already; None where that cannot be told. The database says no more than that there is
    one, and asking it beforehand would cost every chunk a query."""
    name = services.store.read(texts.taken, key, job_id, [given for given, *_ in batch if given is not None])
    if name is None:
        return None
    index = next(at for at, (given, *_) in enumerate(batch) if given == name)
    message = f"document {index} of this request has the id {name!r}, which the job has already"
    return DuplicateDocument(message, id=name, index=index)


@router.post("/{job_id}/close")
def close(services: Services, key: Key, job_id: JobId) -> wire.Job:
    """No more documents follow. Closing a closed job changes nothing."""
    closed = services.store.write_once(jobs.close, key, job_id)
    services.dispatcher.hint([Ended(job_id, key)] if closed.ended else [])
    return closed


@router.get("/{job_id}")
async def get(
    services: Services,
    key: Key,
    job_id: JobId,
    wait: Annotated[float, Query(ge=0, description="Seconds to wait for the job's end; cut to the server's limit")] = 0,
) -> wire.Job:
    """The job; with `wait` when it has ended, or as it is when the time is up."""
    with services.waiters.expecting(job_id) as end:
        job = await run_in_threadpool(services.store.read, jobs.get, key, job_id)
        if wait == 0 or job.state in wire.ENDED_STATES:
            return job
        await end.within(min(wait, services.settings.max_wait_seconds))
    return await run_in_threadpool(services.store.read, jobs.get, key, job_id)


@router.get("/{job_id}/pace")
def look_at_pace(services: Services, key: Key, job_id: JobId) -> wire.Pace:
    """How fast the job went over its time: documents per second in at most 60 buckets, from when it started last.

    Of jobs with more than 500 outcomes it is reckoned from a sample of them, so that no job costs more than another.
    """
    return services.store.read(pace.look, key, job_id)


@router.post("/{job_id}/cancel")
def cancel(services: Services, key: Key, job_id: JobId) -> wire.Job:
    """Cancel what has no outcome yet. Cancelling an ended job changes nothing."""
    cancelled = services.store.write_once(jobs.cancel, key, job_id)
    services.dispatcher.hint([Ended(job_id, key)])
    return cancelled


@router.post("/{job_id}/retry")
def retry(request: Request, services: Services, key: Key, job_id: JobId, body: SmallBody) -> wire.Job:
    """Process the failed documents of an ended job again: all of them, or those that failed with one of `codes`."""
    codes = door.parse_retry(limits.decoded(request, body, limits.SMALL_BODY))
    retried = services.store.write_once(jobs.retry, key, job_id, codes)
    services.dispatcher.publish(retried.released)
    return retried.job


@router.delete("/{job_id}", status_code=204)
def delete(services: Services, key: Key, job_id: JobId) -> None:
    """Delete an ended job with its texts and results."""
    services.store.write_once(jobs.delete, key, job_id)


def _webhook(settings: ApiSettings, given: str | None) -> str | None:
    if given is None:
        return None
    if not settings.webhook_senders:
        raise NotSupported("webhook: this installation sends none; wait for the job with GET ?wait=")
    return addresses.checked(given, settings.webhook_networks)


def check_page(limit: int, most: int) -> None:
    """Raises InvalidRequest for a page larger than the server gives."""
    if limit > most:
        raise InvalidRequest(f"limit: at most {most} on one page", maximum=most)
