"""Dependencies that read a request's body, after its key was found good: nobody unknown can make us read megabytes."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request

from api.services import Key, Services
from api.v1 import limits
from textmill import keys, webhooks, wire


async def _job_body(request: Request, services: Services, _key: Key) -> AsyncIterator[bytes]:
    limits.media_type(request, limits.JSON)
    async with services.bodies.read(request, services.settings.max_job_bytes) as body:
        yield body


async def _chunk_body(request: Request, services: Services, _key: Key) -> AsyncIterator[bytes]:
    limits.media_type(request, limits.JSON | limits.NDJSON)
    async with services.bodies.read(request, services.settings.max_chunk_bytes) as body:
        yield body


async def _small_body(request: Request, services: Services, _key: Key) -> AsyncIterator[bytes]:
    limits.media_type(request, limits.JSON)
    async with services.bodies.read(request, limits.SMALL_BODY) as body:
        yield body


# Still encoded as it came: decompressing is work for the endpoint's thread and not for the event loop.
JobBody = Annotated[bytes, Depends(_job_body)]
ChunkBody = Annotated[bytes, Depends(_chunk_body)]
SmallBody = Annotated[bytes, Depends(_small_body)]

BODIES: dict[tuple[str, str], dict[str, type]] = {
    ("/v1/jobs", "post"): {"application/json": wire.JobRequest},
    ("/v1/jobs/{job_id}/documents", "post"): {
        "application/json": wire.DocumentsRequest,
        "application/x-ndjson": wire.Document,
    },
    ("/v1/jobs/{job_id}/retry", "post"): {"application/json": wire.RetryRequest},
    ("/v1/jobs/cancel", "post"): {"application/json": wire.CancelMatching},
    ("/v1/jobs/retry", "post"): {"application/json": wire.RetryMatching},
    ("/v1/webhooks/secrets", "post"): {"application/json": webhooks.WebhookSecretRequest},
    ("/v1/keys", "post"): {"application/json": keys.KeyRequest},
    ("/v1/keys/{key_id}", "patch"): {"application/json": keys.KeyChange},
    ("/v1/keys/{key_id}/rotate", "post"): {"application/json": keys.RotateRequest},
}
"""Bodies that FastAPI does not know of, because `door.py` parses them: (path, method) -> media type -> type."""

OPTIONAL_BODIES = frozenset({"/v1/jobs/{job_id}/retry", "/v1/keys/{key_id}/rotate", "/v1/webhooks/secrets"})
"""Paths that take a call without one."""
