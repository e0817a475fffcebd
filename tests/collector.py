"""What takes traces as a collector does: OTLP over HTTP, decoded by OpenTelemetry's own protocol."""

import contextlib
import gzip
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")


@dataclass(frozen=True)
class Told:
    """A span. Its ids in hexadecimal; a link is the trace and the span that it leads to."""

    service: str
    name: str
    kind: str
    trace: str
    id: str
    parent: str
    links: list[tuple[str, str]]
    attributes: dict[str, Any]
    failed: bool
    start: int
    end: int


@dataclass
class Collector:
    """A collector that keeps what it is told. It answers while `answers` is set."""

    url: str = ""
    spans: list[Told] = field(default_factory=list)
    bytes: bytearray = field(default_factory=bytearray)
    """Everything that came, decompressed, path and headers included."""
    asked: threading.Event = field(default_factory=threading.Event)
    answers: threading.Event = field(default_factory=threading.Event)

    def of(self, name: str, trace: str | None = None) -> list[Told]:
        """The spans of this name, of one trace or of all."""
        return [span for span in self.spans if span.name == name and trace in (None, span.trace)]


@contextlib.contextmanager
def collecting(port: int = 0, answers: bool = True) -> Iterator[Collector]:
    """A collector on loopback."""
    collector = Collector()
    if answers:
        collector.answers.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers["Content-Encoding"] == "gzip":
                body = gzip.decompress(body)
            collector.asked.set()
            collector.answers.wait()
            assert self.path == "/v1/traces"
            assert self.headers["Content-Type"] == "application/x-protobuf"
            collector.bytes += bytes(self.headers) + body
            collector.spans += _told(ExportTraceServiceRequest.FromString(body))
            answer = ExportTraceServiceResponse().SerializeToString()
            with contextlib.suppress(ConnectionError):  # whoever asked may have given up
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    collector.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, name="collector")
    thread.start()
    try:
        yield collector
    finally:
        collector.answers.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _told(request: ExportTraceServiceRequest) -> Iterator[Told]:
    for resource in request.resource_spans:
        service = _attributes(resource.resource.attributes)["service.name"]
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Told(
                    service, span.name, KINDS[span.kind], span.trace_id.hex(), span.span_id.hex(),
                    span.parent_span_id.hex(), [(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
                    _attributes(span.attributes), span.status.code == 2, span.start_time_unix_nano,
                    span.end_time_unix_nano,
                )  # fmt: skip


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
