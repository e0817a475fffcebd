"""Spans, sent by OpenTelemetry's SDK to a collector (OTLP over HTTP). Where to, how many of them, with which attributes
of the process: that is said by the SDK's own variables (`OTEL_...`).

They wait in a bounded queue, which a thread of the SDK's sends now and then; of more than fit, the oldest are lost. No
text is in them, nor what may quote one, as an error's message: errors are told by their code.
"""

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.trace import Link, Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from store.leases import Lease
from store.queue import queue_name
from store.traces import Traces, about
from textmill.errors import TextmillError

log = logging.getLogger(__name__)

METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})
"""Of HTTP. A client may send anything as its method: another one is told as `_OTHER`."""

_w3c = TraceContextTextMapPropagator()


class Spans(Traces):
    """Of a process that tells what it does. Threads share one."""

    on = True

    def __init__(self, service: str) -> None:
        self._service = service
        self._provider: TracerProvider | None = None
        self._tracer: trace.Tracer = trace.NoOpTracer()

    def start(self) -> None:
        """Make the queue and the thread that sends. Not when it is made: a fork would leave the thread behind."""
        own = Resource.create({
            "service.name": f"textmill-{self._service}",
            "service.instance.id": f"{socket.gethostname()}-{os.getpid()}",
            "process.pid": os.getpid(),
        })  # fmt: skip
        # What the environment says of the process goes before what is known of it here.
        provider = TracerProvider(resource=own.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(_Exporter()))
        self._provider, self._tracer = provider, provider.get_tracer("textmill")

    def stop(self, seconds: float = 3) -> None:
        """The SDK's own way to end waits for a collector that does not answer, up to half a minute."""
        provider, self._provider = self._provider, None
        if provider is None:
            return
        ending = threading.Thread(target=provider.shutdown, name="traces", daemon=True)
        ending.start()
        ending.join(seconds)
        if ending.is_alive():
            log.warning("the collector did not take the last spans within %.0f s", seconds)

    @contextlib.contextmanager
    def request(
        self, method: str, path: str, scheme: str, headers: Mapping[str, str]
    ) -> Iterator[Callable[[str | None, int | None], None]]:
        """In the trace of the client, where it says one. The query is left out, and the path where a route is known:
        producers' searches and names of documents are theirs."""
        known = method if method in METHODS else "_OTHER"
        attributes = {"http.request.method": known, "url.scheme": scheme}
        name = known if known in METHODS else "HTTP"
        span = self._tracer.start_span(name, _w3c.extract(headers), SpanKind.SERVER, attributes)

        def ended(route: str | None, status: int | None) -> None:
            if route is None:
                span.set_attribute("url.path", path)
            else:
                span.update_name(f"{name} {route}")
                span.set_attribute("http.route", route)
            if status is not None:
                span.set_attribute("http.response.status_code", status)
                if status >= 500:
                    span.set_attribute("error.type", str(status))
                    span.set_status(StatusCode.ERROR)

        with _within(span):
            yield ended

    @contextlib.contextmanager
    def step(self, name: str, **attributes: str) -> Iterator[None]:
        """A span of its own."""
        told = {f"textmill.{key}": value for key, value in attributes.items()}
        with _within(self._tracer.start_span(name, attributes=told)):
            yield

    def link(self, traceparent: str | None) -> None:
        """From the span of the moment."""
        context = _context(traceparent)
        if context.trace_flags.sampled and context.trace_id != trace.get_current_span().get_span_context().trace_id:
            trace.get_current_span().add_link(context)

    @contextlib.contextmanager
    def shard(self, lease: Lease, began_ns: int) -> Iterator[Span | None]:
        """A consumer's span, in the trace of the request that the job came by, or in one of its own."""
        queue = queue_name(lease.model)
        attributes: dict[str, Any] = {
            "messaging.system": "celery",
            "messaging.destination.name": queue,
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.message.id": str(lease.shard_id),
            "messaging.message.conversation_id": lease.job,
            "textmill.job": lease.job,
            "textmill.shard": lease.shard_id,
            "textmill.task": lease.task,
            "textmill.model": lease.model,
            "textmill.documents": lease.last - lease.first + 1,
            "textmill.losses": lease.losses,
        }
        parent = trace.set_span_in_context(trace.NonRecordingSpan(_context(lease.traceparent)), Context())
        span = self._tracer.start_span(f"process {queue}", parent, SpanKind.CONSUMER, attributes, start_time=began_ns)
        with _within(span):
            yield span if span.is_recording() else None

    @contextlib.contextmanager
    def settle(self, lease: Lease, documents: int, closing: bool) -> Iterator[None]:
        """Within its shard."""
        queue = queue_name(lease.model)
        attributes: dict[str, Any] = {
            "messaging.system": "celery",
            "messaging.destination.name": queue,
            "messaging.operation.name": "settle",
            "messaging.operation.type": "settle",
            "messaging.message.id": str(lease.shard_id),
            "textmill.documents": documents,
            "textmill.closing": closing,
        }
        with _within(self._tracer.start_span(f"settle {queue}", kind=SpanKind.CLIENT, attributes=attributes)):
            yield

    @contextlib.contextmanager
    def batch(self, model: str, shards: Sequence[Span], items: int, padded_tokens: int) -> Iterator[None]:
        """One span, whose parent is one of the shards and which has a link to each of them. The others' traces lead
        here, too, by a link of their shard's. A span in each of the traces would count the engine's time twice."""
        if not shards:
            yield
            return
        attributes: dict[str, Any] = {
            "textmill.model": model,
            "textmill.batch.items": items,
            "textmill.batch.tokens": padded_tokens,
        }
        parent = trace.set_span_in_context(shards[0], Context())
        links = [Link(shard.get_span_context()) for shard in shards]
        span = self._tracer.start_span(f"batch {model}", parent, attributes=attributes, links=links)
        context = span.get_span_context()
        for shard in shards:
            # One that was stopped meanwhile has ended: the SDK would say so.
            if shard.is_recording() and shard.get_span_context().trace_id != context.trace_id:
                shard.add_link(context)
        with _within(span):
            yield


class _Exporter(OTLPSpanExporter):
    """Says once that the collector is away, and once that it is back: the library's own does for each try."""

    def __init__(self) -> None:
        super().__init__()
        self._away = False
        logging.getLogger(OTLPSpanExporter.__module__).addFilter(lambda record: not self._away)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Called by the SDK's thread."""
        result = super().export(spans)
        away = result is not SpanExportResult.SUCCESS
        if away != self._away:
            self._away = away
            said = "takes no spans: they are lost until it does" if away else "takes spans again"
            log.warning("the collector of traces %s", said)
        return result


def _context(traceparent: str | None) -> trace.SpanContext:
    """What the column says; no valid one where it says nothing."""
    found = _w3c.extract({} if traceparent is None else {"traceparent": traceparent}, Context())
    return trace.get_current_span(found).get_span_context()


@contextlib.contextmanager
def _within(span: Span) -> Iterator[None]:
    """The block is what the span is about: it ends with it, with the code of what it raises."""
    context = span.get_span_context()
    if context.is_valid:
        traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
        surroundings: contextlib.AbstractContextManager[Any] = about(traceparent)
    else:
        surroundings = contextlib.nullcontext()
    with surroundings, trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield
        except BaseException as error:
            span.set_attribute("error.type", error.code if isinstance(error, TextmillError) else type(error).__name__)
            span.set_status(StatusCode.ERROR)
            raise
