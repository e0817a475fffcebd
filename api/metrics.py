"""Prometheus metrics of this process, and the middleware that counts requests."""

import time
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BUCKETS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60)


class Metrics:
    """A registry of its own, not the library's global one: two apps in one process (tests) must not share counters."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "textmill_http_requests", "Requests answered", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "textmill_http_request_seconds",
            "Time to the end of the answer",
            ["method", "route"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.jobs = Counter("textmill_jobs_submitted", "Jobs made", ["task", "model"], registry=self.registry)
        self.documents = Counter("textmill_documents_accepted", "Documents stored", registry=self.registry)
        self.webhook_attempts = Counter(
            "textmill_webhook_attempts", "Attempts to deliver a webhook", ["outcome"], registry=self.registry
        )
        self.webhooks_ended = Counter(
            "textmill_webhooks_ended",
            "Webhooks that were delivered, or given up",
            ["state"],
            registry=self.registry,
        )
        self.webhooks_overdue = Gauge(
            "textmill_webhooks_overdue_seconds",
            "For how long the oldest webhook that is due has been so",
            registry=self.registry,
        )
        self.database_up = Gauge("textmill_database_up", "1 while the database answers", registry=self.registry)
        self.queued = Gauge(
            "textmill_shards_queued", "Shards released and not yet claimed", ["model"], registry=self.registry
        )
        self.waiting = Gauge(
            "textmill_documents_waiting",
            "Documents without an outcome, of at most 10,000 jobs a model",
            ["model"],
            registry=self.registry,
        )
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def watch(self, name: str, help_text: str, value: Callable[[], float]) -> None:
        """A gauge that is read when somebody scrapes."""
        Gauge(name, help_text, registry=self.registry).set_function(value)

    def watch_total(self, name: str, help_text: str, value: Callable[[], float]) -> None:
        """A counter that is read when somebody scrapes."""
        self.registry.register(_Total(name, help_text, value))

    def queue(self, queued: Mapping[str, int] | None, waiting: Mapping[str, int]) -> None:
        """What the database says of the queue, by model: shards, and documents. None where it does not answer."""
        self.database_up.set(queued is not None)
        for gauge, counts in ((self.queued, queued or {}), (self.waiting, waiting)):
            gauge.clear()  # a model whose queue is empty must not keep its last number
            for model, count in counts.items():
                gauge.labels(model).set(count)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)


class _Total(Collector):
    """A counter that something else keeps: the library's own can only be counted up by itself."""

    def __init__(self, name: str, help_text: str, value: Callable[[], float]) -> None:
        self._name = name
        self._help = help_text
        self._value = value

    def collect(self) -> Iterable[Metric]:
        yield CounterMetricFamily(self._name, self._help, value=self._value())


class CountRequests:
    """ASGI middleware. Routes are labelled by their template, so that ids make no new time series."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = "aborted"

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        start = time.perf_counter()
        try:
            await self._app(scope, receive, watched)
        except Exception:
            status = "aborted"
            raise
        finally:
            route = getattr(scope.get("route"), "path", "unmatched")
            self._metrics.requests.labels(scope["method"], route, status).inc()
            self._metrics.seconds.labels(scope["method"], route).observe(time.perf_counter() - start)
