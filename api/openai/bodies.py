"""Bodies of requests in JSON, read after their key was found good."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request

from api.services import Key, Services
from api.v1 import limits


async def _small(request: Request, services: Services, _key: Key) -> AsyncIterator[bytes]:
    limits.media_type(request, limits.JSON)
    async with services.bodies.read(request, limits.SMALL_BODY) as body:
        yield body


async def _call(request: Request, services: Services, _key: Key) -> AsyncIterator[bytes]:
    limits.media_type(request, limits.JSON)
    async with services.bodies.read(request, services.settings.max_chunk_bytes) as body:
        yield body


SmallBody = Annotated[bytes, Depends(_small)]
CallBody = Annotated[bytes, Depends(_call)]
