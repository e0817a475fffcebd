"""Bodies of requests: read with limits of size, time and number, decompressed with a limit."""

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator, Iterator

from fastapi import Request

from textmill.errors import BodyTimeout, InvalidRequest, Overloaded, RequestTooLarge, UnsupportedMediaType

JSON = frozenset({"application/json"})
NDJSON = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})

SMALL_BODY = 65_536
"""Bytes of a body that carries no documents."""


class Bodies:
    """The bodies that this process holds. Read on the event loop alone, so that nothing has to be locked."""

    def __init__(self, most: int, seconds: float) -> None:
        """Hold at most `most` bytes, one body in any case; a body has to be there within `seconds`."""
        self._most = most
        self._seconds = seconds
        self.held = 0
        """Bytes in memory, of bodies that still arrive and of those that are worked on."""

    @contextlib.asynccontextmanager
    async def read(self, request: Request, limit: int) -> AsyncIterator[bytes]:
        """The body as it came over the line, at most `limit` bytes of it; held until the block ends.

        Raises RequestTooLarge, BodyTimeout, Overloaded.
        """
        declared = request.headers.get("content-length", "")
        if declared.isdecimal():
            if int(declared) > limit:
                raise too_large(limit)
            self._refuse_above(int(declared), mine=0)  # before it is sent; what is stalled reserves nothing
        parts: list[bytes] = []
        size = 0
        try:
            try:
                async with asyncio.timeout(self._seconds):
                    async for part in request.stream():
                        size += len(part)
                        self.held += len(part)
                        if size > limit:
                            raise too_large(limit)
                        self._refuse_above(0, mine=size)
                        parts.append(part)
            except TimeoutError:
                raise BodyTimeout(f"the body was not complete after {self._seconds:g} s") from None
            yield b"".join(parts)
        finally:
            self.held -= size

    @contextlib.contextmanager
    def holding(self) -> Iterator["Held"]:
        """For a body that passes through: what of it is in memory, until the block ends."""
        mine = Held(self)
        try:
            yield mine
        finally:
            mine.hold(0)

    def _refuse_above(self, more: int, mine: int) -> None:
        others = self.held - mine
        if others and self.held + more > self._most:
            raise Overloaded


class Held:
    """What one body that passes through has in memory at the moment."""

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self._size = 0

    def hold(self, size: int) -> None:
        """It is so much now. Raises Overloaded."""
        self._bodies.held += size - self._size
        self._size = size
        self._bodies._refuse_above(0, mine=size)


def media_type(request: Request, allowed: frozenset[str]) -> str:
    """The body's media type; JSON where the header is missing. Raises UnsupportedMediaType."""
    found = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if found not in allowed:
        valid = sorted(allowed)
        raise UnsupportedMediaType(f"Content-Type {found!r} is not taken here, but {', '.join(valid)}", valid=valid)
    return found


def decoded(request: Request, body: bytes, limit: int) -> bytes:
    """The body with its Content-Encoding undone.

    Raises RequestTooLarge as soon as the result passes `limit` bytes (a small gzip can hide a large text),
    UnsupportedMediaType for anything but gzip, InvalidRequest for a broken one.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding != "gzip":
        raise UnsupportedMediaType(f"Content-Encoding {encoding!r} is not taken here", valid=["gzip", "identity"])
    parts: list[bytes] = []
    size = 0
    while body:
        member = zlib.decompressobj(wbits=31)
        try:
            part = member.decompress(body, limit + 1 - size)
        except zlib.error as error:
            raise InvalidRequest(f"the body is not gzip: {error}") from error
        size += len(part)
        if size > limit:
            raise too_large(limit)
        if not member.eof:
            raise InvalidRequest("the gzip body is cut short")
        parts.append(part)
        body = member.unused_data
    return b"".join(parts)


def too_large(limit: int) -> RequestTooLarge:
    """The refusal of a body over the limit."""
    return RequestTooLarge(
        f"the body is larger than {limit} bytes: append the documents to an open job, in smaller chunks", maximum=limit
    )
