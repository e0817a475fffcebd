"""How fast is the queue itself? Echo documents through HTTP, Redis, Celery, the engine and SQL, Flower watching.

    make bench-queue                                    both databases and the plain queue, interleaved
    python -m benchmarks.queue --documents 1000000 --arms postgresql --repeats 1     memory at a million

Prints documents per second, processor microseconds a document by process, peak memory, Redis messages and the latency
of polls while it runs; then the medians and the ratio to one plain Celery task a document, as a table for RESULTS.md.
"""

import argparse
import platform
import statistics
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from benchmarks import servers
from benchmarks.peers import plain_celery
from textmill import Client

ARMS = ("sqlite", "postgresql", "plain")


@dataclass
class Run:
    """One run of one arm."""

    arm: str
    documents: int
    seconds: float
    cpu: dict[str, float] = field(default_factory=dict)
    peak_mib: dict[str, float] = field(default_factory=dict)
    messages: int = 0
    polls: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Documents per second."""
        return self.documents / self.seconds


def texts(count: int, characters: int = 200) -> list[str]:
    """Distinct texts of the given size."""
    return [f"document {n} ".ljust(characters, "x") for n in range(count)]


def run_textmill(arm: str, documents: list[str], folder: Path) -> Run:
    """A whole system, started for this run."""
    if arm == "sqlite":
        with servers.textmill(folder / "sqlite") as mill:
            return _measure(arm, mill, documents)
    with (
        servers.postgres(folder / "pg", "textmill") as server,
        servers.textmill(folder / "postgresql", server.set(database="textmill")) as mill,
    ):
        return _measure(arm, mill, documents)


def _measure(arm: str, mill: servers.Textmill, documents: list[str]) -> Run:
    with Client(mill.url, api_key=mill.key) as client, mill.redis() as redis:
        client.submit("summarization", texts(500), model="echo").wait()  # everything is connected
        servers.wait_until(mill.rests, "an idle worker")  # and what is imported ahead: the start is no document's cost
        before = mill.usage()
        messages = _pushed(redis)
        own = time.process_time()
        begin = time.perf_counter()
        with _Poller(mill) as poller:
            job = client.submit("summarization", documents, model="echo")
            poller.job = job.id
            job.wait()
            seconds = time.perf_counter() - begin
        after = mill.usage()
        if job.counts.succeeded != len(documents):
            raise RuntimeError(f"not every document succeeded: {job.counts}")
        cpu = {part: after.seconds[part] - before.seconds.get(part, 0) for part in after.seconds}
        cpu["client"] = time.process_time() - own
        per_document = {part: 1e6 * used / len(documents) for part, used in cpu.items()}
        return Run(
            arm, len(documents), seconds, per_document, after.peak_mib, _pushed(redis) - messages, poller.seconds
        )


def _pushed(redis: Any) -> int:
    return int(redis.info("commandstats").get("cmdstat_lpush", {}).get("calls", 0))


class _Poller(threading.Thread):
    """Asks for the job ten times a second, as a producer's dashboard would."""

    def __init__(self, mill: servers.Textmill) -> None:
        super().__init__(daemon=True)
        self.job: str | None = None
        self.seconds: list[float] = []
        self._http = httpx.Client(base_url=mill.url, headers={"Authorization": f"Bearer {mill.key}"}, timeout=30)
        self._over = threading.Event()

    def __enter__(self) -> "_Poller":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()
        self._http.close()

    def run(self) -> None:
        while not self._over.wait(0.1):
            path = "/v1/jobs?limit=1" if self.job is None else f"/v1/jobs/{self.job}"
            begin = time.perf_counter()
            self._http.get(path).raise_for_status()
            self.seconds.append(time.perf_counter() - begin)


def run_plain(documents: list[str], folder: Path) -> Run:
    """One Celery task a document."""
    with servers.postgres(folder / "pg", "plain") as server, servers.valkey(folder) as redis_url:
        url = server.set(drivername="postgresql", database="plain").render_as_string(hide_password=False)
        seconds = plain_celery.bench(redis_url, url, documents, folder)
    return Run("plain", len(documents), seconds, messages=len(documents))


def show(run: Run) -> None:
    """One run, in full."""
    print(f"{run.arm}: {run.documents} documents in {run.seconds:.1f} s = {run.rate:,.0f} documents/s", flush=True)
    if not run.cpu:
        return
    print("  CPU us/document: " + ", ".join(f"{part} {used:.0f}" for part, used in run.cpu.items()))
    print("  peak MiB:        " + ", ".join(f"{part} {mib:.0f}" for part, mib in run.peak_mib.items()))
    polls = sorted(run.polls) or [0.0]
    print(
        f"  {run.messages} Redis messages; polls: median {1e3 * polls[len(polls) // 2]:.0f} ms, "
        f"99th percentile {1e3 * polls[int(0.99 * (len(polls) - 1))]:.0f} ms, of {len(polls)}",
        flush=True,
    )


def main() -> None:
    """Run the arms in turn, several times, and compare medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--plain-documents", type=int, default=10_000, help="for the plain queue, which is slow")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    arguments = parser.parse_args()
    print(
        f"{platform.machine()}, Python {platform.python_version()}, {arguments.documents} documents of 200 characters"
    )
    runs: dict[str, list[Run]] = {arm: [] for arm in arguments.arms}
    for _ in range(arguments.repeats):
        for arm in arguments.arms:
            with tempfile.TemporaryDirectory(prefix="textmill-bench-") as name:
                folder = Path(name)
                if arm == "plain":
                    run = run_plain(texts(arguments.plain_documents), folder)
                else:
                    run = run_textmill(arm, texts(arguments.documents), folder)
                show(run)
                runs[arm].append(run)
    medians = {arm: statistics.median(run.rate for run in done) for arm, done in runs.items()}
    print("\n| arm | documents/s (median) | ratio to plain Celery |\n|---|---|---|")
    for arm, rate in medians.items():
        ratio = f"{rate / medians['plain']:.1f}" if "plain" in medians else "-"
        print(f"| {arm} | {rate:,.0f} | {ratio} |")


if __name__ == "__main__":
    main()
