"""Memory of a system's processes over time, and how long a poll takes meanwhile."""

import contextlib
import threading
import time
from collections import defaultdict
from typing import Any

import httpx
import psutil

from benchmarks import servers

PARTS = ("api", "worker")


class Watch(threading.Thread):
    """Looks every second, from `with` to its end."""

    def __init__(self, mill: servers.Textmill, earlier: str, every: float = 1.0) -> None:
        """`earlier`: the newest job of before; the next one is polled."""
        super().__init__(daemon=True)
        self._mill = mill
        self._every = every
        self._over = threading.Event()
        self._earlier = earlier
        self._job: str | None = None
        self.samples: list[dict[str, float]] = []
        """`seconds` since the start, MiB of each part, `done` documents of the job, `poll_ms`."""

    def __enter__(self) -> "Watch":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        begin = time.monotonic()
        with client(self._mill) as http:
            while not self._over.wait(self._every):
                sample = {"seconds": round(time.monotonic() - begin, 1), **memory(self._mill)}
                if self._job is None:
                    (newest,) = http.get("/v1/jobs?limit=1").raise_for_status().json()["jobs"]
                    self._job = newest["id"] if newest["id"] != self._earlier else None
                else:
                    asked = time.perf_counter()
                    counts = http.get(f"/v1/jobs/{self._job}").raise_for_status().json()["counts"]
                    sample["poll_ms"] = round(1000 * (time.perf_counter() - asked), 1)
                    sample["done"] = counts["succeeded"]
                self.samples.append(sample)


def client(mill: servers.Textmill) -> httpx.Client:
    """A bare HTTP client with the system's key."""
    return httpx.Client(base_url=mill.url, headers={"Authorization": f"Bearer {mill.key}"}, timeout=120)


def memory(mill: servers.Textmill) -> dict[str, float]:
    """MiB that each part has in memory now."""
    found: dict[str, float] = defaultdict(float)
    for part, processes in mill.processes().items():
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                found[part] += process.memory_info().rss / 2**20
    return {part: round(found[part], 1) for part in PARTS}


def of_job(samples: list[dict[str, float]], total: int) -> dict[str, Any]:
    """The samples in figures: each part's memory when a tenth of the job was done, at its end and at most."""
    first = next((sample for sample in samples if sample.get("done", 0) >= total / 10), samples[-1])
    return {
        part: {"tenth": first[part], "end": samples[-1][part], "most": max(sample[part] for sample in samples)}
        for part in PARTS
    }
