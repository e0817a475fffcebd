"""What does a document cost the database, with a thousand task slots at work on twenty jobs?

    python -m benchmarks.slots
    python -m benchmarks.slots --minutes 2 --speed 20000

A cluster without its models and its messages: the calls that a real one makes of the real ledger on PostgreSQL, as
fast as they go. 125 worker processes have 8 slots each, and in as many of them a shard as are released; a process
does `--speed` characters a second for its shards together, on a clock of the simulation's own. By that clock
outcomes are settled, leases renewed, and heartbeats and sweeps come. What a worker loses or waits for is not simulated.
Prints calls, their mean milliseconds, and the processor's time of the server by document and by second of that clock;
last one line of JSON.
"""

import argparse
import functools
import heapq
import itertools
import json
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from benchmarks import machine
from benchmarks.hot_row import MODEL, database, server_seconds
from benchmarks.release import sweep_steps
from store import dispatch, jobs, keys, leases, workers
from store.bulk import DocumentOutcome
from store.dispatch import Released
from store.jobs import NewJob
from store.leases import Lease
from store.session import Store
from store.settings import StoreSettings
from store.workers import WorkerRow

HEARTBEAT_SECONDS, RENEW_SECONDS = 10.0, 20.0
HOUR = 3600
"""Nothing runs out meanwhile by the database's own clock, which is not the simulation's."""
CHUNK = 1_000
"""Documents that one request appends."""


@dataclass(order=True)
class Held:
    """A shard with a slot: when it is settled next, the documents that are done by then, and those that are left."""

    at: float
    number: int
    slot: int = field(compare=False)
    lease: Lease = field(compare=False)
    done: list[int] = field(compare=False)
    left: list[int] = field(compare=False)


class Cluster:
    """The slots, the simulated clock, and the time that the calls take."""

    def __init__(self, store: Store, processes: int, slots: int, speed: float, characters: int, settle: float) -> None:
        self.store = store
        self.clock = 0.0
        self.documents = 0
        self.calls: dict[str, list[float]] = defaultdict(list)
        self._processes = processes
        self._slots = slots
        self._speed = speed
        self._seconds = characters / speed
        """Of one document, where the process does nothing else."""
        self._settle_seconds = settle
        self._shards: Counter[int] = Counter()
        """That each process holds: they share its engine."""
        self._numbers = itertools.count()
        self._held: list[Held] = []
        self._free = list(range(processes * slots))
        self._queued: list[Released] = []
        self._duties: list[tuple[float, int, Callable[[], None], float]] = []
        for process in range(processes):
            row = WorkerRow(f"w{process}", "host", process, "cpu", (MODEL,), slots, f"m{process}")
            store.write(workers.register, row)
            self._every(HEARTBEAT_SECONDS, functools.partial(self._heartbeat, process), process / processes)
            self._every(RENEW_SECONDS, functools.partial(self._renew, process), process / processes)
            self._heartbeat(process)
        self._every(store.settings.sweep_seconds, self._sweep, 0.5)

    def _every(self, seconds: float, duty: Callable[[], None], phase: float) -> None:
        heapq.heappush(self._duties, (phase * seconds, next(self._numbers), duty, seconds))

    def _timed(self, name: str, call: Callable[..., Any], *arguments: Any) -> Any:
        begin = time.perf_counter()
        try:
            return call(*arguments)
        finally:
            self.calls[name].append(time.perf_counter() - begin)

    def submit(self, key_id: int, documents: int, text: str) -> None:
        """A job, opened, appended to in chunks and closed."""
        write = self.store.write
        job = self._timed("submit", write, jobs.submit, NewJob(key_id, "ner", MODEL, open=True), []).job.id
        for first in range(0, documents, CHUNK):
            batch = [(None, f"{text}{first + number:07}") for number in range(min(CHUNK, documents - first))]
            self._queued += self._timed("append", write, jobs.append, key_id, job, batch, first).released
        self._timed("close", write, jobs.close, key_id, job)

    def _heartbeat(self, process: int) -> None:
        speeds = {MODEL: self._speed}
        self._timed("heartbeat", self.store.write, workers.heartbeat, f"w{process}", [MODEL], 1.0, speeds)

    def _renew(self, process: int) -> None:
        tokens = [held.lease.token for held in self._held if held.slot // self._slots == process]
        self._timed("renew", self.store.write, leases.renew, f"w{process}", tokens)

    def _sweep(self) -> None:
        self._queued += self._timed("sweep", self.store.write, sweep_steps)

    def _claim(self) -> None:
        while self._free and self._queued:
            slot = min(self._free, key=lambda free: self._shards[free // self._slots])
            self._free.remove(slot)
            shard = self._queued.pop(0)
            lease = self._timed("claim", self.store.write, leases.claim, shard.shard_id, f"w{slot // self._slots}")
            if lease is None:
                self._free.append(slot)
                continue
            texts = self._timed("texts", self.store.read, leases.undecided, lease, -1, 100_000)
            self._shards[slot // self._slots] += 1
            self._hold(slot, lease, [text.position for text in texts])

    def _hold(self, slot: int, lease: Lease, left: list[int]) -> None:
        """Until the next settle: of what is done by then, or of what is left."""
        of_one = self._shards[slot // self._slots] * self._seconds
        count = min(len(left), max(1, int(self._settle_seconds / of_one)))
        at = self.clock + count * of_one
        heapq.heappush(self._held, Held(at, next(self._numbers), slot, lease, left[:count], left[count:]))

    def _settle(self) -> None:
        held = heapq.heappop(self._held)
        outcomes = [DocumentOutcome(position, '{"entities": []}') for position in held.done]
        name = "settle" if held.left else "last settle"
        settled = self._timed(name, self.store.write, leases.settle, held.lease, outcomes, not held.left)
        self.documents += len(held.done)
        self._queued += settled.released
        if held.left:
            self._hold(held.slot, held.lease, held.left)
        else:
            self._shards[held.slot // self._slots] -= 1
            self._free.append(held.slot)

    def run(self, until: float, limit: float) -> None:
        """Until the simulated clock is there, nothing is left, or so many real seconds are over."""
        end = time.monotonic() + limit
        while self.clock < until and time.monotonic() < end:
            self._claim()
            if not self._held:
                return
            at, _, duty, seconds = self._duties[0]
            if at <= self._held[0].at:
                self.clock = max(self.clock, at)
                heapq.heapreplace(self._duties, (at + seconds, next(self._numbers), duty, seconds))
                duty()
            else:
                self.clock = max(self.clock, self._held[0].at)
                self._settle()

    @property
    def at_work(self) -> int:
        """Slots that hold a shard."""
        return len(self._held)


def measure(url: sa.URL, chosen: argparse.Namespace) -> dict[str, Any]:
    """Upload, then the steady state, each in processor time of the server."""
    text = url.render_as_string(hide_password=False)
    store = Store(text, StoreSettings(database_url=text, worker_timeout_seconds=HOUR, lease_seconds=HOUR))
    cluster = Cluster(store, chosen.processes, chosen.slots, chosen.speed, chosen.characters, chosen.settle_seconds)
    total = round(chosen.minutes * 60 * chosen.processes * chosen.speed / chosen.characters)
    used = server_seconds(url)
    for _ in range(chosen.jobs):
        key_id = store.write(keys.create, "bench").id
        cluster.submit(key_id, total // chosen.jobs, "x" * (chosen.characters - 7))
    upload = server_seconds(url) - used
    store.write(dispatch.release, MODEL)
    with sa.create_engine(url, isolation_level="AUTOCOMMIT").connect() as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")
    cluster.run(10, chosen.limit / 3)  # all slots have something, and statements are prepared
    busy, cluster.calls = cluster.at_work, defaultdict(list)
    done, clock, used = cluster.documents, cluster.clock, server_seconds(url)
    client = time.process_time()
    cluster.run(chosen.minutes * 60, chosen.limit)
    server, client = server_seconds(url) - used, time.process_time() - client
    done, clock = cluster.documents - done, cluster.clock - clock
    store.close()
    return {
        "speed": chosen.speed,
        "settle_seconds": chosen.settle_seconds,
        "slots": chosen.processes * chosen.slots,
        "slots_at_work": busy,
        "documents_uploaded": total,
        "upload_server_cpu_us": round(1e6 * upload / total),
        "documents": done,
        "simulated_seconds": round(clock, 1),
        "documents_per_simulated_second": round(done / clock),
        "server_cpu_us_per_document": round(1e6 * server / done, 1),
        "client_cpu_us_per_document": round(1e6 * client / done, 1),
        "server_cores": round(server / clock, 2),
        "calls": {
            name: {
                "per_simulated_second": round(len(taken) / clock, 1),
                "mean_ms": round(1000 * sum(taken) / len(taken), 2),
                "share": round(sum(taken) / sum(map(sum, cluster.calls.values())), 3),
            }
            for name, taken in sorted(cluster.calls.items())
        },
    }


def main() -> int:
    """One run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--processes", type=int, default=125)
    add("--slots", type=int, default=8, help="of each process")
    add("--jobs", type=int, default=20, help="each of a key of its own")
    add("--characters", type=int, default=1_000, help="of a document")
    add("--speed", type=float, default=5_000, help="characters a second of one process")
    add("--settle-seconds", type=float, default=1, help="as TEXTMILL_SETTLE_SECONDS")
    add("--minutes", type=float, default=1, help="of the simulated clock")
    add("--limit", type=float, default=180, help="real seconds after which it ends in any case")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # its servers are stopped then, too
    with database(clients=100, fsync=True, delay_ms=0) as url:
        row = measure(url, chosen)
    calls = row.pop("calls")
    print("| call | a simulated second | mean ms | share of the time |\n|---|---|---|---|")
    for name, call in calls.items():
        print(f"| {name} | {call['per_simulated_second']} | {call['mean_ms']} | {call['share']:.0%} |")
    print("\n" + "\n".join(f"{name}: {value}" for name, value in row.items()))
    result = {"device": machine.device(), "commit": machine.checkout(), **row, "calls": calls}
    print(json.dumps(result), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
