"""What the engine did: how busy it was, and how much of its work was padding. For Prometheus, and a line in the log."""

import itertools
import logging
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, start_http_server
from prometheus_client.metrics_core import HistogramMetricFamily
from prometheus_client.registry import Collector

log = logging.getLogger(__name__)

LOG_SECONDS = 60
"""Seconds between two lines in the log, while there is work."""

BATCHES = Counter("textmill_batches", "Batches run", ["model"])
ITEMS = Counter("textmill_items", "Items run", ["model"])
SHARED = Counter("textmill_shared_items", "Items answered by an equal one's answer, and not run", ["model"])
TOKENS = Counter("textmill_tokens", "Input tokens run, without padding", ["model"])
PADDED = Counter("textmill_padded_tokens", "Input tokens run, with padding", ["model"])
BUSY = Counter("textmill_engine_busy_seconds", "Seconds in which the engine ran a model", ["model"])
FAULTS = Counter("textmill_engine_faults", "Failed passes", ["model", "kind"])
FOREIGN_SEARCHES = Counter(
    "textmill_generate_items", "Items whose settings only transformers' own search knows", ["model"]
)
RUN_BY = Counter("textmill_run_by", "Items run, by what and in which number format", ["model", "backend", "dtype"])
BUDGET = Gauge("textmill_batch_tokens", "Padded tokens that a batch may have now", ["model"])
RESIDENT = Gauge("textmill_model_resident_bytes", "Device memory of a loaded model's weights", ["model"])
LOADS = Counter("textmill_model_loads", "Models loaded", ["model"])
FAILED = Gauge("textmill_model_failed", "1 while the model could not be opened or loaded by this process", ["model"])
EVICTIONS = Counter("textmill_model_evictions", "Models unloaded for want of memory", ["model"])
WAITING = Gauge("textmill_inbox_items", "Items that wait for the engine")
CONNECTIONS = Gauge("textmill_database_connections", "Connections to the database")
BATCH_ITEMS = Histogram("textmill_batch_items", "Items of a batch", ["model"], buckets=[2**n for n in range(12)])
BATCH_SECONDS = Histogram(
    "textmill_batch_seconds",
    "Time that a batch ran",
    ["model"],
    buckets=(0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60),
)
SHARD_SECONDS = Histogram(
    "textmill_shard_seconds",
    "Time from a shard's claim to its end",
    ["task", "model"],
    buckets=(0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000),
)
ENDED = Counter(
    "textmill_documents_ended", "Documents that this process gave an outcome: `succeeded`, or the code of the failure",
    ["task", "model", "outcome"],
)  # fmt: skip


class Documents(Collector):
    """A histogram of documents that is told of many at once: the library's own would take a call for each of them.

    bounds: upper ones of its buckets, ascending; the last, infinity, is added.
    """

    def __init__(self, name: str, documentation: str, labelnames: Sequence[str], bounds: Sequence[float]) -> None:
        self._name = name
        self._documentation = documentation
        self._labelnames = tuple(labelnames)
        self._bounds = tuple(bounds)
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, ...], list[int]] = {}
        self._sums: dict[tuple[str, ...], float] = {}
        REGISTRY.register(self)

    def observe(self, labels: tuple[str, ...], seconds: float, documents: int) -> None:
        """So many documents had this."""
        with self._lock:
            counts = self._counts.setdefault(labels, [0] * (len(self._bounds) + 1))
            counts[bisect_left(self._bounds, seconds)] += documents
            self._sums[labels] = self._sums.get(labels, 0.0) + seconds * documents

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """What is scraped."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labelnames)
        names = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        with self._lock:
            for labels, counts in self._counts.items():
                buckets = list(zip(names, itertools.accumulate(counts), strict=True))
                family.add_metric(labels, buckets, self._sums[labels])
        yield family


HOUR = 3600.0
TIMES = (
    0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60, 180, 600, 1800,
    HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, 24 * HOUR, 72 * HOUR, 168 * HOUR,
)  # fmt: skip
"""From an answer that somebody waits for to a job of a week."""

WAIT = Documents(
    "textmill_document_wait_seconds",
    "Time from a document's release to the workers to the start of the first batch of its shard",
    ["task", "model"],
    TIMES,
)
AGE = Documents(
    "textmill_document_age_seconds",
    "Time from a document's acceptance, or its retry, to its stored outcome",
    ["task", "model"],
    TIMES,
)


class Throughput:
    """Busy share and padding share of the engine. `batch` is called by the engine, `load` and `filled` by the
    keeper."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._busy = 0.0
        self._tokens = self._padded = self._items = self._batches = 0
        self._filled = self._told = (0, 0)
        self._logged_at = self._asked_at = clock()
        self._logged_busy = self._asked_busy = 0.0

    def batch(self, model: str, items: int, tokens: int, padded: int, seconds: float) -> None:
        """A batch was run (tokens: without padding; padded: with it)."""
        BATCHES.labels(model).inc()
        BATCH_ITEMS.labels(model).observe(items)
        BATCH_SECONDS.labels(model).observe(seconds)
        ITEMS.labels(model).inc(items)
        TOKENS.labels(model).inc(tokens)
        PADDED.labels(model).inc(padded)
        BUSY.labels(model).inc(seconds)
        self._busy += seconds
        self._batches += 1
        self._items += items
        self._tokens += tokens
        self._padded += padded
        self._filled = (self._filled[0] + tokens, self._filled[1] + padded)  # both in one, for the other thread
        if self._clock() - self._logged_at >= LOG_SECONDS:
            self.report()

    def load(self) -> float:
        """Share of the time since the last call in which the engine ran a model, 0 to 1."""
        now, busy = self._clock(), self._busy
        share = (busy - self._asked_busy) / max(now - self._asked_at, 1e-9)
        self._asked_at, self._asked_busy = now, busy
        return min(share, 1.0)

    def filled(self) -> tuple[int, int]:
        """Tokens that were run since the last call, without padding and with it: how full the batches were."""
        before, self._told = self._told, self._filled
        return self._told[0] - before[0], self._told[1] - before[1]

    def report(self) -> None:
        """One line in the log about what was done since the last one."""
        now = self._clock()
        if self._batches:
            log.info(
                "engine: %d items in %d batches, %d tokens, padding %.1f %%, busy %.1f %%",
                self._items, self._batches, self._tokens,
                100 * (1 - self._tokens / max(self._padded, 1)),
                100 * (self._busy - self._logged_busy) / max(now - self._logged_at, 1e-9),
            )  # fmt: skip
        self._tokens = self._padded = self._items = self._batches = 0
        self._logged_at, self._logged_busy = now, self._busy


def serve(host: str, port: int) -> None:
    """Serve the metrics at this address."""
    start_http_server(port, addr=host)
