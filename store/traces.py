"""Traces: what a request, a shard, its settles and the batches that serve it had to do with each other.

Here is what the processes say, and who is asked where nothing is to be told: that is the default, and costs a call that
does nothing. `store/spans.py` tells it, by OpenTelemetry, and is imported only there.

A job's context is a column of its row (`traceparent`, as W3C's Trace Context has it) and not a header of its messages:
messages are lost and published again by whoever finds out, who knows nothing of the request.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeAlias

from store import logs

if TYPE_CHECKING:
    from store.leases import Lease

Within: TypeAlias = contextlib.AbstractContextManager[Any]

_current: ContextVar[str | None] = ContextVar("traceparent", default=None)


def current() -> str | None:
    """The `traceparent` of what this thread, or coroutine, is doing. None: nothing that is traced."""
    return _current.get()


@contextlib.contextmanager
def about(traceparent: str) -> Iterator[None]:
    """What is done within the block belongs to this span, and what is logged names it."""
    _, trace_id, span_id, _ = traceparent.split("-")
    token = _current.set(traceparent)
    try:
        with logs.about(trace_id=trace_id, span_id=span_id):
            yield
    finally:
        _current.reset(token)


class Traces:
    """Of a process that tells nothing. Each method returns what surrounds the thing that it is about."""

    on = False

    def start(self) -> None:
        """Begin to send spans. In the process that makes them, after every fork."""

    def stop(self, seconds: float = 3) -> None:
        """Send what is left, for so long at most, and end."""

    def request(
        self, method: str, path: str, scheme: str, headers: Mapping[str, str]
    ) -> contextlib.AbstractContextManager[Callable[[str | None, int | None], None]]:
        """A request of HTTP. The block is given what is to be told of its end: the route, and the status."""
        return contextlib.nullcontext(lambda route, status: None)

    def step(self, name: str, **attributes: str) -> Within:
        """Something that a process does by itself."""
        return _NOTHING

    def link(self, traceparent: str | None) -> None:
        """What is being done has to do with another trace, too."""

    def shard(self, lease: "Lease", began_ns: int) -> Within:
        """The work on a leased shard, from the moment `began_ns` (nanoseconds since 1970) on. The block is given what
        `batch` takes; None: nothing is told of this shard."""
        return _NOTHING

    def settle(self, lease: "Lease", documents: int, closing: bool) -> Within:
        """The transaction that stores so many outcomes."""
        return _NOTHING

    def batch(self, model: str, shards: Sequence[Any], items: int, padded_tokens: int) -> Within:
        """The batch of a model that serves these shards, by what `shard` gave."""
        return _NOTHING


_NOTHING: Within = contextlib.nullcontext()


def of(on: bool, service: str) -> Traces:
    """What a process tells with, not yet started. service: what it is, `api` or `worker`."""
    if not on:
        return Traces()
    from store.spans import Spans

    return Spans(service)
