"""An upload: multipart/form-data -> a file in the ledger, in pieces as they arrive.

What a process holds of a file is what arrived since the last end of a line, and a chunk's worth. The parser is the
package `multipart`: starlette's own keeps a whole file on the disk before anybody can look at it.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import multipart
from fastapi import Request
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.concurrency import run_in_threadpool

from api.openai.shapes import ExpiresAfter
from api.services import Parts
from api.v1.limits import Held
from store import files
from store.files import StoredFile
from textmill.errors import BodyTimeout, InvalidRequest, InvalidText, RequestTooLarge, Unavailable, UnsupportedMediaType
from textmill.wire import unstorable

CHUNK = 256 * 1024
"""Bytes of a chunk, about: it ends with a line."""

FORM_BYTES = 65_536
"""Bytes of everything in a form but its file."""

NAME_LENGTH = 512


class Form(BaseModel):
    """What a form has beside its file."""

    model_config = ConfigDict(extra="forbid")

    purpose: str
    expires_after: ExpiresAfter | None = None


class Cutter:
    """Bytes as they come -> chunks that end with a line, but for lines that are longer than the longest that is taken:
    these are cut anywhere."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._waiting = bytearray()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, data: bytes) -> bytes | None:
        """A chunk, where there is enough for one."""
        self._waiting += data
        if len(self._waiting) < CHUNK:
            return None
        end = self._waiting.rfind(b"\n") + 1
        if not end and len(self._waiting) <= self._longest:
            return None
        return self._take(end or len(self._waiting))

    def rest(self) -> bytes | None:
        """What is left at the end."""
        return self._take(len(self._waiting)) if self._waiting else None

    def _take(self, end: int) -> bytes:
        chunk = bytes(self._waiting[:end])
        del self._waiting[:end]
        return chunk


class Upload:
    """One request's file on its way into the ledger."""

    written: Callable[[], None]
    """Called whenever a chunk has been stored."""

    def __init__(self, services: Parts, key: int, held: Held) -> None:
        self._store = services.store
        self._most = services.settings.max_file_bytes
        self._key = key
        self._held = held
        self._cutter = Cutter(services.settings.max_chunk_bytes)
        self._file: int | None = None
        self._chunks = 0
        self._size = 0
        self._fields: dict[str, bytearray] = {}

    async def take(self, event: Any, segment: Any) -> None:
        """What the parser says next. segment: the part of the form that it is in. Raises InvalidRequest and its kin."""
        if isinstance(event, multipart.MultipartSegment):
            if event.filename is None:
                self._fields[event.name] = bytearray()
            else:
                await self._begin(event)
        elif event is not None and segment.filename is not None:
            await self._add(event)
        elif event is not None:
            self._fields[segment.name] += event
            if sum(map(len, self._fields.values())) > FORM_BYTES:
                raise RequestTooLarge(f"the form's fields are larger than {FORM_BYTES} bytes", maximum=FORM_BYTES)

    async def _begin(self, segment: Any) -> None:
        if segment.name != "file" or self._file is not None:
            raise InvalidRequest("the form has one file, by the name `file`", param="file")
        name = segment.filename or "file"
        if (position := unstorable(name)) is not None:
            raise InvalidText(f"the file's name has a character that cannot be stored at {position}", field="file")
        if len(name) > NAME_LENGTH:
            raise InvalidRequest(f"the file's name is longer than {NAME_LENGTH} characters", param="file")
        self._file = await run_in_threadpool(self._store.write_once, files.begin, self._key, name, "batch")

    async def _add(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._most:
            raise too_large(self._most)
        chunk = self._cutter.add(bytes(data))
        self._held.hold(len(self._cutter) + len(chunk or b""))
        await self._write(chunk)

    async def _write(self, chunk: bytes | None) -> None:
        if chunk is not None:
            assert self._file is not None
            await run_in_threadpool(self._store.write_once, files.add_chunk, self._file, self._chunks, chunk)
            self._chunks += 1
            self._held.hold(len(self._cutter))
            self.written()

    async def complete(self, seconds: float) -> StoredFile:
        """The form has ended. seconds: how long the file is kept where the form does not say. Raises InvalidRequest."""
        form = _form(self._fields)
        if form.purpose != "batch":
            raise InvalidRequest(f"purpose {form.purpose[:64]!r}: files are taken for `batch` alone", param="purpose")
        if self._file is None:
            raise InvalidRequest("the form has no file", param="file")
        await self._write(self._cutter.rest())
        kept = seconds if form.expires_after is None else form.expires_after.seconds
        return await run_in_threadpool(self._store.write, files.complete, self._file, self._size, kept)

    async def give_up(self) -> None:
        """Nobody will ever see it."""
        if self._file is not None:
            with contextlib.suppress(Unavailable):  # the sweep finds it
                await run_in_threadpool(self._store.write, files.give_up, self._file)


async def receive(request: Request, services: Parts, key: int) -> StoredFile:
    """The file of the request. Raises InvalidRequest and its kin, RequestTooLarge, BodyTimeout, Overloaded."""
    settings = services.settings
    parser = _parser(request)
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > settings.max_file_bytes + 2 * FORM_BYTES:
        raise too_large(settings.max_file_bytes)
    with services.bodies.holding() as held:
        upload = Upload(services, key, held)
        try:
            # A time for each chunk and not for all: how long a large file takes is the line's business.
            async with _patience(settings.body_seconds) as upload.written:
                await _feed(request, parser, upload)
                return await upload.complete(settings.file_seconds)
        except multipart.MultipartError as error:
            await upload.give_up()
            raise InvalidRequest(f"the body is no multipart/form-data: {error}") from error
        except Exception:
            await upload.give_up()
            raise


async def _feed(request: Request, parser: Any, upload: Upload) -> None:
    segment: Any = None
    async for part in request.stream():
        if part:
            for event in parser.parse(part):
                if isinstance(event, multipart.MultipartSegment):
                    segment = event
                await upload.take(event, segment)
    parser.close()  # raises where the end is missing


@contextlib.asynccontextmanager
async def _patience(seconds: float) -> Any:
    """Gives a function that starts the time anew. Raises BodyTimeout."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(seconds) as limit:
            yield lambda: limit.reschedule(loop.time() + seconds)
    except TimeoutError:
        raise BodyTimeout(f"nothing of the file arrived for {seconds:g} s") from None


def _parser(request: Request) -> Any:
    kind, options = multipart.parse_options_header(request.headers.get("content-type", ""))
    if kind != "multipart/form-data" or not options.get("boundary"):
        raise UnsupportedMediaType("send the file as multipart/form-data", valid=["multipart/form-data"])
    try:
        return multipart.PushMultipartParser(options["boundary"], max_segment_count=16)
    except (multipart.MultipartError, UnicodeError) as error:
        raise InvalidRequest(f"the body is no multipart/form-data: {error}") from error


def _form(fields: Mapping[str, bytes | bytearray]) -> Form:
    """The form's fields, of which `expires_after[seconds]` is one of another's. Raises InvalidRequest."""
    read: dict[str, Any] = {}
    for name, raw in fields.items():
        try:
            value = raw.decode()
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"{name[:64]}: not UTF-8", param=name[:64]) from error
        outer, _, inner = name.partition("[")
        if inner:
            within = read.setdefault(outer, {})
            if not isinstance(within, dict):
                raise InvalidRequest(f"{outer[:64]}: given twice", param=outer[:64])
            within[inner.removesuffix("]")] = value
        else:
            read[name] = value
    try:
        return Form.model_validate(read)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise InvalidRequest(f"{place}: {first['msg']}", param=place) from error


def too_large(limit: int) -> RequestTooLarge:
    """The refusal of a file over the limit."""
    return RequestTooLarge(f"the file is larger than {limit} bytes: make several of it", maximum=limit)
