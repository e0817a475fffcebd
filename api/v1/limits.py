"""Bodies of requests: read with a limit, decompressed with a limit."""

import zlib

from fastapi import Request

from textmill.errors import InvalidRequest, RequestTooLarge, UnsupportedMediaType

JSON = frozenset({"application/json"})
NDJSON = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})

SMALL_BODY = 65_536
"""Bytes of a body that carries no documents."""


async def read_body(request: Request, limit: int) -> bytes:
    """The body as it came over the line, at most `limit` bytes of it. Raises RequestTooLarge."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise too_large(limit)
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise too_large(limit)
        parts.append(part)
    return b"".join(parts)


def media_type(request: Request, allowed: frozenset[str]) -> str:
    """The body's media type; JSON where the header is missing. Raises UnsupportedMediaType."""
    found = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if found not in allowed:
        raise UnsupportedMediaType(f"Content-Type {found!r} is not taken here", valid=sorted(allowed))
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
        f"the body is larger than {limit} bytes: open the job and append its documents in chunks", maximum=limit
    )
