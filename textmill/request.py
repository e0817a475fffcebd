"""One request of the client with its patience: what is tried again, after how long, and what an answer means.

What is to be done is yielded, see `textmill/flows.py`: no socket, no sleep, no event loop in here either.
"""

import gzip
import random
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

import httpx
from pydantic import ValidationError

from textmill import errors, wire
from textmill.documents import Chunk

T = TypeVar("T")

Source: TypeAlias = Iterator[Chunk] | AsyncIterator[Chunk]


@dataclass(frozen=True)
class Call:
    """Send this request; the outcome is an httpx.Response with its body read, the error an httpx.TransportError."""

    method: str
    path: str
    params: dict[str, str] = field(default_factory=dict)
    content: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    slow_seconds: float = 0
    """How much longer than usual the answer may take."""
    hurried: bool = False
    """Somebody has pressed Ctrl-C: the answer has a second."""
    streamed: bool = False
    """The body of a good answer is not read yet: it comes bit by bit, and whoever asked closes it."""


@dataclass(frozen=True)
class Pause:
    """Wait before the next try."""

    seconds: float


@dataclass(frozen=True)
class NextChunk:
    """Take the next chunk from the producer's documents; the outcome is None at their end."""

    source: Source


Effect: TypeAlias = Call | Pause | NextChunk
Flow: TypeAlias = Generator[Effect, Any, T]

LONGEST_PAUSE = 10.0
SERVER_ERRORS = 5
"""Answers of 500 in a row that are put down to bad luck."""


@dataclass
class Tries:
    """How often one request was sent."""

    made: int = 0


@dataclass
class Requests:
    """The client's settings, and one request as a flow."""

    patience: float
    """Seconds for which a request is tried again while a server that had answered before does not."""
    first_patience: float
    """The same before the first answer ever: then the address is more likely wrong than the server restarting."""
    compress: bool
    address: str = "the server"
    """What is said not to answer."""
    clock: Callable[[], float] = time.monotonic
    reached: bool = False

    def ask(self, call: Call, tries: Tries | None = None) -> Flow[httpx.Response]:
        """The answer, below 400. `tries` counts, for calls where having asked before changes what an error means.

        Connection errors, 408, 429, 502, 503, 504 are tried again with growing pauses until the patience is over, 500 a
        few times; not where the server says that it will take longer. Raises the exception that the answer names, or
        ServerUnreachable.
        """
        start, pause, broken = self.clock(), 0.2, 0
        tries = tries or Tries()
        while True:
            tries.made += 1
            wanted = 0.0
            try:
                response: httpx.Response = yield call
            except (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.InvalidURL) as error:
                raise errors.InvalidRequest(f"the server's address or key is not usable: {error}") from error
            except httpx.TransportError as error:
                failure: errors.TextmillError = errors.ServerUnreachable(
                    f"{self.address} does not answer: {type(error).__name__}: {error}"
                )
                failure.__cause__ = error
            else:
                self.reached = True
                if response.status_code < 400:
                    return response
                failure = error_of(response)
                broken += response.status_code == 500
                if response.status_code not in (408, 429, 500, 502, 503, 504) or broken > SERVER_ERRORS:
                    raise failure
                wanted = _retry_after(response)
            left = start + (self.patience if self.reached else self.first_patience) - self.clock()
            if left <= 0 or wanted > max(left, LONGEST_PAUSE):
                raise failure
            # Not beyond the patience: a wrong address is told when that is over.
            yield Pause(max(wanted, min(left, pause * random.uniform(0.5, 1))))  # nosec B311 # no secret
            pause = min(2 * pause, LONGEST_PAUSE)

    def get(self, path: str, slow: float = 0, **params: Any) -> Flow[bytes]:
        """The body that a GET of the path brings; parameters that are None are left out. slow: as in `Call`."""
        given = {name: str(value) for name, value in params.items() if value is not None}
        response = yield from self.ask(Call("GET", path, given, slow_seconds=slow))
        return response.content

    def packed(self, content: bytes, headers: dict[str, str]) -> tuple[bytes, dict[str, str]]:
        """Content and headers of an upload: compressed, where that is wanted and worth it."""
        if not self.compress or len(content) < 1_000:
            return content, headers
        # mtime=0: the same documents are the same bytes, also for whoever compares bodies under one idempotency key.
        return gzip.compress(content, compresslevel=1, mtime=0), headers | {"Content-Encoding": "gzip"}


def _retry_after(response: httpx.Response) -> float:
    value = response.headers.get("retry-after", "")
    return float(value) if value.isdecimal() else 0.0


def error_of(response: httpx.Response) -> errors.TextmillError:
    """The exception that an answer of 400 and above stands for. An answer that is not Textmill's names its status."""
    try:
        problem = wire.Problem.model_validate_json(response.content)
    except ValidationError:
        status = response.status_code
        cls = errors.Unavailable if status >= 500 or status == 429 else errors.TextmillError
        return cls(f"the server answered {status} {response.reason_phrase}, and not in Textmill's form", status=status)
    error = errors.by_code().get(problem.code, errors.TextmillError)(problem.detail)
    error.details = problem.details
    return error
