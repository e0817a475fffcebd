"""How many settles a second does one job's row take? Every settle of a job changes it.

    python -m benchmarks.hot_row                        32 and 128 clients; one job, and as many jobs as clients
    python -m benchmarks.hot_row --clients 32 --no-fsync --delay 5

Real settles of shards of one document, each closing its shard, by threads of several processes on a PostgreSQL of the
measurement's own. Prints settles a second, the processor's time for one of server and clients, and what the server's
sessions waited for; last one line of JSON. `--delay`: milliseconds that each commit takes longer, as a slow disk does.
"""

import argparse
import json
import multiprocessing
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sa

from benchmarks import machine, servers
from store import jobs, keys, leases
from store.bulk import DocumentOutcome
from store.jobs import NewJob
from store.leases import Lease
from store.session import Store, migrate
from store.settings import StoreSettings

MODEL = "echo"
PROCESSES = 4
WARM = 10
"""Settles of each client before the clock starts: connections are made, statements prepared."""

_LEASED = sa.text(
    """
    UPDATE shards SET state = 'leased', token = md5(id::text), worker_id = 'w' || id % 16,
           lease_expires_at = clock_timestamp() + interval '1 hour'
    WHERE state IN ('pending', 'queued') RETURNING id, token, worker_id, job_id, first, last
    """
)


def leased(store: Store, key_id: int, job_count: int, shards: int) -> list[Lease]:
    """So many leases of shards of one document, of so many jobs in turn: rows as `claim` leaves them, all at once."""
    per_job = -(-shards // job_count)
    for _ in range(job_count):
        new = NewJob(key_id, "ner", MODEL)
        store.write(jobs.submit, new, [(None, f"text {number}") for number in range(per_job)])
    rows = store.write(lambda tx: tx.execute(_LEASED).all())
    store.write(lambda tx: tx.execute(sa.text("DELETE FROM waiting")))
    rows = sorted(rows, key=lambda row: (row.first, row.job_id))[:shards]
    return [
        Lease(
            shard_id=row.id, token=row.token, worker_id=row.worker_id, job_id=row.job_id, job="", task="ner",
            model=MODEL, options={}, first=row.first, last=row.last, losses=0, suspect=None, suspect_attempts=0,
            key_id=key_id, priority=3,
        )
        for row in rows
    ]  # fmt: skip


def settle_all(url: str, work: list[list[Lease]], ready: Barrier, ends: "multiprocessing.Queue[Any]") -> None:
    """One process of clients: a thread for each list of leases."""
    store = Store(url, StoreSettings(database_url=url, database_pool=len(work), database_patience_seconds=600))
    # One after another: so many that are made at once take longer than a connection may, and are tried again together.
    for connection in [store.engine.connect() for _ in work]:
        connection.close()

    def client(mine: list[Lease]) -> None:
        for number, lease in enumerate(mine):
            if number == WARM:
                gate.wait()
            store.write(leases.settle, lease, [DocumentOutcome(lease.first, "{}")], True)

    used = time.process_time()

    def begin() -> None:
        nonlocal used
        ready.wait()
        used = time.process_time()

    gate = threading.Barrier(len(work), action=begin)
    with ThreadPoolExecutor(len(work)) as threads:
        list(threads.map(client, work))
    ends.put((time.monotonic(), time.process_time() - used))
    store.close()


class Waits(threading.Thread):
    """What the server's sessions are waiting for, looked at 20 times a second."""

    def __init__(self, server: sa.URL) -> None:
        super().__init__(daemon=True)
        self._engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
        self._over = threading.Event()
        self.seen: Counter[str] = Counter()

    def stop(self) -> None:
        self._over.set()
        self.join()
        self._engine.dispose()

    def run(self) -> None:
        query = (
            "SELECT state, wait_event_type, wait_event FROM pg_stat_activity"
            " WHERE application_name = 'textmill' AND state <> 'idle'"
        )
        with self._engine.connect() as connection:
            while not self._over.wait(0.05):
                for state, kind, event in connection.exec_driver_sql(query):
                    name = "runs" if kind is None else f"{kind}: {event}"
                    self.seen["its client, in a transaction" if state != "active" else name] += 1

    def shares(self) -> dict[str, float]:
        """The five most frequent, as shares of all."""
        total = max(1, self.seen.total())
        return {name: round(count / total, 2) for name, count in self.seen.most_common(5)}


@contextmanager
def database(clients: int, fsync: bool, delay_ms: float) -> Iterator[sa.URL]:
    """A PostgreSQL server with room for so many clients, and a migrated database."""
    settings = {
        "max_connections": str(clients + 20),
        "fsync": "on" if fsync else "off",
        "commit_delay": str(round(1000 * delay_ms)),
        "commit_siblings": "0",
    }
    with (
        tempfile.TemporaryDirectory(prefix="textmill-bench-") as name,
        servers.postgres(Path(name) / "pg", "textmill", **settings) as server,
    ):
        url = server.set(database="textmill")
        migrate(url.render_as_string(hide_password=False))
        yield url


def server_seconds(url: sa.URL) -> float:
    """Processor seconds of the server, its ended sessions among them."""
    root = psutil.Process(servers.postmaster(url))
    times = [process.cpu_times() for process in (root, *root.children(True))]
    ended: float = times[0].children_user + times[0].children_system
    now: float = sum(t.user + t.system for t in times)
    return ended + now


def measure(url: sa.URL, clients: int, job_count: int, settles: int) -> dict[str, Any]:
    """Settles a second of so many clients."""
    text = url.render_as_string(hide_password=False)
    store = Store(text, StoreSettings(database_url=text, shard_documents=1))
    key_id = store.write(keys.create, "bench").id
    mine = leased(store, key_id, job_count, clients * (settles + WARM))
    work = [mine[client::clients] for client in range(clients)]
    processes = min(PROCESSES, clients)
    context = multiprocessing.get_context("spawn")
    ready, ends = context.Barrier(processes + 1), context.Queue()
    children = [
        context.Process(target=settle_all, args=(text, work[number::processes], ready, ends))
        for number in range(processes)
    ]
    for child in children:
        child.start()
    ready.wait()
    waits = Waits(url)
    waits.start()
    used, begin = server_seconds(url), time.monotonic()
    done = [ends.get(timeout=600) for _ in children]
    server = server_seconds(url) - used
    waits.stop()
    for child in children:
        child.join()
    store.close()
    count = clients * settles
    return {
        "clients": clients,
        "jobs": job_count,
        "settles_per_second": round(count / (max(end for end, _ in done) - begin)),
        "server_cpu_us": round(1e6 * server / count),
        "client_cpu_us": round(1e6 * sum(cpu for _, cpu in done) / count),
        "waits": waits.shares(),
    }


def main() -> int:
    """Measure each number of clients on one job, and on as many jobs as clients."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--settles", type=int, default=6_000, help="in each measurement")
    parser.add_argument("--fsync", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--delay", type=float, default=0, help="milliseconds that each commit takes longer")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # its servers are stopped then, too
    rows = []
    print(
        "| clients | jobs | settles/s | CPU us: server | clients | sessions are busy with |\n|---|---|---|---|---|---|"
    )
    for clients in chosen.clients:
        for job_count in (1, clients):
            with database(clients, chosen.fsync, chosen.delay) as url:
                row = measure(url, clients, job_count, chosen.settles // clients)
            rows.append(row)
            waits = ", ".join(f"{name} {share:.0%}" for name, share in row["waits"].items())
            figures = [row[name] for name in ("settles_per_second", "server_cpu_us", "client_cpu_us")]
            print(f"| {clients} | {job_count} | {' | '.join(map(str, figures))} | {waits} |", flush=True)
    result = {"device": machine.device(), "commit": machine.checkout(), "fsync": chosen.fsync, "delay_ms": chosen.delay}
    print(json.dumps(result | {"rows": rows}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
