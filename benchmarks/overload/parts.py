"""The parts of the measurement, each on a system of its own: PostgreSQL, one api, the workers of this machine."""

import asyncio
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchmarks import servers
from benchmarks.overload import watch
from benchmarks.overload.load import Crowd, lost
from benchmarks.overload.watch import Watch
from benchmarks.release import MODEL, crowd
from store import jobs, keys, results, workers
from store.session import Store
from store.workers import WorkerRow
from textmill import Client

Row = dict[str, Any]

POLLS = 100
"""Polls of one job of which the median is taken."""

SMALL = 3
"""Documents of a small job."""

HOUR = {"TEXTMILL_WORKER_TIMEOUT_SECONDS": "3600"}


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    pollers: int
    producers: int
    seconds: float
    documents: int
    active: int
    submits: int


@contextmanager
def installation(**settings: str) -> Iterator[tuple[servers.Textmill, Store]]:
    """A system, and its ledger past the api."""
    with (
        tempfile.TemporaryDirectory(prefix="textmill-bench-") as name,
        servers.postgres(Path(name) / "pg", "textmill") as server,
    ):
        database = server.set(database="textmill")
        with servers.textmill(Path(name) / "mill", database, **settings) as mill:
            store = Store(database.render_as_string(hide_password=False))
            try:
                yield mill, store
            finally:
                store.close()


def everybody(sizes: Sizes) -> Iterator[Row]:
    """Pollers and producers, first at a pace, then without a pause."""
    for pause in (1.0, 0.0):
        with installation() as (mill, store), Sessions(store) as sessions:
            before = mill.usage()
            until = time.monotonic() + sizes.seconds
            clients = Crowd(mill.url, mill.key, lambda end=until: time.monotonic() > end)  # type: ignore[misc]
            asyncio.run(clients.run(sizes.pollers, sizes.producers, pause, documents=20, text="x" * 200))
            taken = time.monotonic() - until + sizes.seconds
            used = mill.usage().seconds["api"] - before.seconds["api"]
            missing = lost(mill.url, mill.key, clients.tally.accepted)
            for call in sorted(clients.tally.seconds):
                row = clients.tally.row(call)
                row["per_second"] = round(sum(row["answers"].values()) / taken, 1)
                yield {"part": "everybody", "pause_seconds": pause, **row}
            yield {
                "part": "everybody",
                "pause_seconds": pause,
                "call": "all",
                "jobs": len(clients.tally.accepted),
                "documents": sum(clients.tally.accepted.values()),
                "bad": clients.tally.bad[:5],
                "bad_count": len(clients.tally.bad),
                "lost": len(missing),
                "api_cpu_share": round(used / taken, 2),
                "memory_mib": watch.memory(mill),
                "sessions_most": sessions.most,
            }


class Sessions(threading.Thread):
    """Counts the server's sessions, ten times a second."""

    def __init__(self, store: Store) -> None:
        super().__init__(daemon=True)
        self._engine = sa.create_engine(store.engine.url, isolation_level="AUTOCOMMIT")
        self._over = threading.Event()
        self.most = 0
        """Of Textmill's processes at one moment: an api, and two workers on a machine of two cores."""

    def __enter__(self) -> "Sessions":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()
        self._engine.dispose()

    def run(self) -> None:
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'textmill'"
        with self._engine.connect() as connection:
            while not self._over.wait(0.1):
                self.most = max(self.most, connection.exec_driver_sql(query).scalar_one())


def huge(sizes: Sizes) -> Iterator[Row]:
    """One job of very many documents; polls and memory while it runs, and small jobs beside it."""
    with installation() as (mill, store), Client(mill.url, api_key=mill.key) as producer:
        few = producer.submit("ner", _texts(10_000), model=MODEL)
        few.wait()
        yield {"part": "huge", "what": "polls", "documents": 10_000, **_poll_cost(mill, store, few.id)}
        other = store.write_once(keys.create, "small").secret
        begin = time.monotonic()
        with Watch(mill, few.id) as watching, Beside(mill.url, other) as beside:
            many = producer.submit("ner", _texts(sizes.documents), model=MODEL)
            many.wait()
            seconds = time.monotonic() - begin
        if many.counts.succeeded != sizes.documents:
            raise RuntimeError(f"not every document succeeded: {many.counts}")
        yield {"part": "huge", "what": "polls", "documents": sizes.documents, **_poll_cost(mill, store, many.id)}
        polls = [sample["poll_ms"] for sample in watching.samples if "poll_ms" in sample]
        yield {
            "part": "huge",
            "what": "run",
            "documents": sizes.documents,
            "seconds": round(seconds, 1),
            "documents_per_second": round(sizes.documents / seconds),
            "memory_mib": watch.of_job(watching.samples, sizes.documents),
            "poll_p50_ms": round(statistics.median(polls), 1),
            "poll_worst_ms": max(polls),
            "small_jobs": len(beside.seconds),
            "small_p50_seconds": round(statistics.median(beside.seconds), 2),
            "small_worst_seconds": round(max(beside.seconds), 2),
            "samples": _thinned(watching.samples, 200),
        }


def _texts(count: int) -> Iterator[str]:
    """Made as they are sent: the producer's memory is not what is measured."""
    return (f"document {number} ".ljust(200, "x") for number in range(count))


def _thinned(samples: list[dict[str, float]], most: int) -> list[dict[str, float]]:
    step = -(-len(samples) // most)
    return samples[::step]


def _poll_cost(mill: servers.Textmill, store: Store, job: str) -> Row:
    """What one poll and one page of results at the end of the job cost: statements, and milliseconds over HTTP."""
    key_id, total = store.read(_job, job)
    statements = _count(store, lambda: store.read(jobs.get, key_id, job))
    page = _count(store, lambda: store.read(results.page, key_id, job, total - 10, 10, None, 2**20))
    with watch.client(mill) as http:
        taken = []
        for _ in range(POLLS):
            begin = time.perf_counter()
            http.get(f"/v1/jobs/{job}").raise_for_status()
            taken.append(1000 * (time.perf_counter() - begin))
    return {"statements": statements, "page_statements": page, "poll_ms": round(statistics.median(taken), 2)}


def _job(tx: sa.Connection, job: str) -> tuple[int, int]:
    row = tx.execute(sa.text("SELECT key_id, total FROM jobs WHERE uuid = :job"), {"job": job}).one()
    return row.key_id, row.total


def _count(store: Store, call: Callable[[], object]) -> int:
    """Statements of the call, without those that begin and end its transaction."""
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if not statement.startswith("BEGIN"):
            seen.append(statement)

    sa.event.listen(store.engine, "before_cursor_execute", note)
    try:
        call()
    finally:
        sa.event.remove(store.engine, "before_cursor_execute", note)
    return len(seen)


class Beside(threading.Thread):
    """Another producer: a small job, waited for, and a pause of two seconds, again and again."""

    def __init__(self, url: str, key: str) -> None:
        super().__init__(daemon=True)
        self._client = Client(url, api_key=key)
        self._over = threading.Event()
        self.seconds: list[float] = []
        """From submission to the end, of each."""

    def __enter__(self) -> "Beside":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()
        self._client.close()

    def run(self) -> None:
        while not self._over.wait(2):
            begin = time.monotonic()
            self._client.submit("ner", ["a small text"] * SMALL, model=MODEL).wait()
            self.seconds.append(time.monotonic() - begin)


def active(sizes: Sizes) -> Iterator[Row]:
    """Submits while very many jobs of one document wait. The workers are rows: nothing may end meanwhile."""
    # The workers that run serve another model.
    with installation(TEXTMILL_MODELS="ner-en-small", **HOUR) as (mill, store):
        key_id = store.write(keys.create, "crowd").id
        for number in range(125):
            store.write(workers.register, WorkerRow(f"w{number}", "host", number, "cpu", (MODEL,), 8, "machine"))
            store.write(workers.heartbeat, f"w{number}", [MODEL], 1.0, {MODEL: 200.0})
        there = 0
        for count in (10, sizes.active):
            store.write_long(crowd, key_id, count - there)
            there = count
            with sa.create_engine(store.engine.url, isolation_level="AUTOCOMMIT").connect() as connection:
                connection.exec_driver_sql("VACUUM ANALYZE")
            for clients in (1, 4):
                yield {"part": "active", "jobs": count, **_submits(mill, sizes.submits, clients)}


def _submits(mill: servers.Textmill, count: int, clients: int) -> Row:
    taken: list[float] = []

    def submit() -> None:
        with watch.client(mill) as http:
            body = {"task": "ner", "model": MODEL, "documents": [{"text": "x" * 200}]}
            for number in range(20 + count // clients):
                begin = time.perf_counter()
                http.post("/v1/jobs", json=body).raise_for_status()
                if number >= 20:  # what is prepared and imported first is not what is asked
                    taken.append(1000 * (time.perf_counter() - begin))

    threads = [threading.Thread(target=submit) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ordered = sorted(taken)
    p99 = ordered[int(0.99 * (len(ordered) - 1))]
    return {
        "clients": clients,
        "submit_p50_ms": round(statistics.median(ordered), 1),
        "submit_p99_ms": round(p99, 1),
        "submits": len(ordered),
    }


PARTS: dict[str, Callable[[Sizes], Iterator[Row]]] = {"everybody": everybody, "active": active, "huge": huge}
