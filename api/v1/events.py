"""Jobs as server-sent events: an event whenever a job's state or progress has changed."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from api.listening import Listener, Listeners, place_of, stream, version
from api.services import JobId, Key, Parts, Services
from store import jobs

router = APIRouter(prefix="/v1", tags=["events"])

LastEventId = Annotated[str | None, Header(description="The id of the last event that was received")]

EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events `job`, with the job as JSON as their data",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


class EventStream(StreamingResponse):
    """The stream of one listener, which leaves when it is closed, from whichever side."""

    media_type = "text/event-stream"

    def __init__(self, listener: Listener, listeners: Listeners, seconds: float) -> None:
        # X-Accel-Buffering: nginx would otherwise keep events back until it has some kilobytes of them.
        super().__init__(stream(listener, seconds), headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self._listener = listener
        self._listeners = listeners

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the stream or the connection ends."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._listeners.leave(self._listener)


@router.get("/jobs/{job_id}/events", response_class=StreamingResponse, responses=EVENTS)
async def of_job(services: Services, key: Key, job_id: JobId, last_event_id: LastEventId = None) -> Response:
    """The job as it is, then whenever its state or progress has changed, until it has ended; then the stream ends.

    With the id of the event of its end, the answer is 204: nothing more will come.
    """
    job = await run_in_threadpool(services.store.read, jobs.get, key, job_id)
    if job.ended and last_event_id == version(job):
        return Response(status_code=204)
    return _listening(services, Listener(key, job_id, last_event_id, None))


@router.get("/events", response_class=StreamingResponse, responses=EVENTS)
async def of_key(services: Services, key: Key, last_event_id: LastEventId = None) -> Response:
    """The key's newest active jobs as they are, then each new job, and each change of those.

    With `Last-Event-ID` also the jobs that were new or have ended since. Jobs may come twice, never too few.
    """
    return _listening(services, Listener(key, None, None, place_of(last_event_id or "")))


def _listening(services: Parts, listener: Listener) -> EventStream:
    services.listeners.join(listener)
    return EventStream(listener, services.listeners, services.settings.events_heartbeat_seconds)
