"""How long does a short text take, alone and beside a bulk job of the same model?

    python -m benchmarks.latency                                      300 requests of each kind
    python -m benchmarks.latency --database postgresql --requests 100 --bulk 20000

The whole system as `make up` has it, the bundled entity model loaded. One text a request, one request after the other
over one connection, no two texts alike: by the Inference API (`POST /hf/ner-en-small`), and as a job that is submitted
and waited for. Prints p50 and p99 in milliseconds, and of the jobs where the time goes, by the ledger's clock: until
a worker has the shard, until it is settled, and what is left, which is the api and the way there and back.
"""

import argparse
import contextlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import httpx

from benchmarks import machine, servers
from benchmarks.fairness.system import SHORT, bundled, many
from textmill import Client

AIM = {"idle": 40, "beside a bulk job": 150}
"""Milliseconds of the median."""


@dataclass
class Row:
    """What was measured of one kind of request, in milliseconds."""

    name: str
    total: list[float] = field(default_factory=list)
    parts: dict[str, list[float]] = field(default_factory=dict)


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which such a share of them is."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


class Asking:
    """One producer of short texts."""

    def __init__(self, mill: servers.Textmill, model: str) -> None:
        headers = {"Authorization": f"Bearer {mill.key}"}
        self._http = httpx.Client(base_url=mill.url, headers=headers, timeout=120)
        self._model = model
        self._number = 0

    def close(self) -> None:
        """Give the connection back."""
        self._http.close()

    def _text(self) -> str:
        self._number += 1
        return SHORT[0].format(n=self._number, package=f"package-{self._number}")

    def infer(self, row: Row) -> None:
        """By the Inference API."""
        body = {"inputs": self._text()}
        begin = time.perf_counter()
        self._http.post(f"/hf/{self._model}", json=body).raise_for_status()
        row.total.append(1e3 * (time.perf_counter() - begin))

    def submit(self, row: Row) -> None:
        """As a job at high priority, which is waited for."""
        body = {"task": "ner", "model": self._model, "documents": [{"text": self._text()}], "priority": "high"}
        begin = time.perf_counter()
        job = self._http.post("/v1/jobs", json=body).raise_for_status().json()
        while job["finished_at"] is None:
            job = self._http.get(f"/v1/jobs/{job['id']}?wait=60").raise_for_status().json()
        total = 1e3 * (time.perf_counter() - begin)
        made, started, finished = (_seconds(job[name]) for name in ("created_at", "started_at", "finished_at"))
        row.total.append(total)
        for name, part in (("picked up", started - made), ("settled", finished - started)):
            row.parts.setdefault(name, []).append(1e3 * part)
        row.parts.setdefault("around", []).append(total - 1e3 * (finished - made))


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def measure(asking: Asking, beside: str, requests: int) -> list[Row]:
    """Both kinds, in turns."""
    kinds: list[tuple[Row, Callable[[Row], None]]] = [
        (Row(f"/hf, {beside}"), asking.infer),
        (Row(f"submit and wait, {beside}"), asking.submit),
    ]
    for _ in range(requests):
        for row, ask in kinds:
            ask(row)
    return [row for row, _ in kinds]


def show(rows: Sequence[Row]) -> None:
    """A line of the table for each."""
    for row in rows:
        p50, p99 = (percentile(row.total, share) for share in (0.5, 0.99))
        parts = ", ".join(f"{name} {percentile(values, 0.5):.0f}" for name, values in row.parts.items())
        print(f"| {row.name} | {len(row.total)} | {p50:.0f} | {p99:.0f} | {parts} |", flush=True)


@contextlib.contextmanager
def system(database: str, folder: Path) -> Iterator[servers.Textmill]:
    """A whole system on this database."""
    if database == "sqlite":
        with servers.textmill(folder / "sqlite", TEXTMILL_PRELOAD=bundled()["ner"]) as mill:
            yield mill
        return
    with (
        servers.postgres(folder / "pg", "textmill") as server,
        servers.textmill(
            folder / "postgresql", server.set(database="textmill"), TEXTMILL_PRELOAD=bundled()["ner"]
        ) as mill,
    ):
        yield mill


def main() -> None:
    """Measure idle, then beside a bulk job."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--requests", type=int, default=300, help="of each kind, idle and beside the bulk job")
    parser.add_argument("--bulk", type=int, default=40_000, help="documents of the bulk job")
    parser.add_argument("--settle", type=float, default=5, help="seconds for which it runs before anything is measured")
    chosen = parser.parse_args()
    print(f"{machine.checkout()} on {machine.device()}, {chosen.database}; aims of the medians: {AIM}")
    with tempfile.TemporaryDirectory() as folder, system(chosen.database, Path(folder)) as mill:
        with Client(mill.url, api_key=mill.key) as client, contextlib.closing(Asking(mill, bundled()["ner"])) as asking:
            client.submit("ner", many(200)).wait()  # everything is loaded, imported and connected
            measure(asking, "first", 20)
            print("| requests | number | p50 ms | p99 ms | of it |\n|---|---|---|---|---|")
            rows = measure(asking, "idle", chosen.requests)
            show(rows)
            bulk = client.submit("ner", many(chosen.bulk))
            time.sleep(chosen.settle)  # so that batches are as they are in the middle of a job
            beside = measure(asking, "beside a bulk job", chosen.requests)
            show(beside)
            if bulk.refresh().ended:
                raise RuntimeError("the bulk job ended before the last request: give it more documents")
            bulk.cancel()
    print(json.dumps({row.name: [round(each, 1) for each in row.total] for row in (*rows, *beside)}))


if __name__ == "__main__":
    main()
