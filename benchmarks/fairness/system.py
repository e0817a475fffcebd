"""The system that is measured, the documents for it, and the bulk job that small ones run beside."""

import contextlib
import itertools
import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from benchmarks import corpus, servers
from store import keys, tables
from store.catalogue import load
from store.session import Store
from textmill import Client
from textmill.client import Job
from textmill.wire import Priority, WorkerInfo

TASKS = ("ner", "summarization", "translation")
BULK_TASK = "translation"
QUIET_CPU_SECONDS = 0.1
"""Processor seconds of all workers in a second in which they count as idle."""

RESTART_SECONDS = 21
"""The supervisor starts a process that lived so long at once when it ends, and a younger one after a pause."""

SHORT = (
    "Release {n} of {package} was announced in Lisbon by Ana Martins. It reads compressed files {n} times as fast.",
    "The University of Toronto maintains {package}, which found {n} errors in the archive last year.",
    "In Berlin, {n} users of {package} met for a week. They wrote a manual that Erika Holm will translate.",
)
"""One or two sentences. The number makes each document new: none has the answer of an earlier one."""


def bundled() -> dict[str, str]:
    """The model of each task: the one in this repository."""
    entries = load(servers.ROOT / "models" / "catalogue.toml").bundled()
    return {task: entries[task].name for task in TASKS}


def many(count: int, start: int = 0) -> Iterator[tuple[str, str]]:
    """So many package descriptions, from the given one on; from the corpus's end it goes on at its beginning, with
    other ids."""
    documents = corpus.load()
    for n in range(start, start + count):
        name, text = documents[n % len(documents)]
        yield f"{name}/{n // len(documents)}", text


class Short:
    """Sets of three short documents, no two of them alike."""

    def __init__(self) -> None:
        self._names = itertools.cycle([name for name, _ in corpus.load()])
        self._numbers = itertools.count(2)

    def three(self) -> list[str]:
        """The next set."""
        number = next(self._numbers)
        return [text.format(n=number, package=next(self._names)) for text in SHORT]


@dataclass
class Mill:
    """A running system, its clients and its ledger."""

    system: servers.Textmill
    store: Store
    log: Path
    """The workers'."""
    bulk: Client
    """With the key of the bulk jobs."""
    other: Client
    """With the key of somebody else."""
    short: Short = field(default_factory=Short)

    def client(self, name: str) -> Client:
        """A client with a new key. Whoever asks closes it."""
        return Client(self.system.url, api_key=self.store.write(keys.create, name).secret)

    def small(self, task: str, priority: Priority = "normal", client: Client | None = None) -> float:
        """Seconds from the submission of three short documents to the answer that they are done."""
        texts = self.short.three()
        begin = time.perf_counter()
        job = (client or self.other).submit(task, texts, priority=priority).wait()
        seconds = time.perf_counter() - begin
        if job.counts.succeeded != len(texts):
            raise RuntimeError(f"not every document succeeded: {job.counts}")
        return round(seconds, 3)

    def characters(self, job: Job) -> int:
        """Of the job's documents that have their result. Asked of the ledger: HTTP gives results up to the first that
        is missing."""
        return self.store.read(_characters, job.id)

    def warm_up(self) -> None:
        """Return when every worker has loaded and calibrated the models, has worked with each, and is idle again."""
        wanted = set(bundled().values())
        servers.wait_until(lambda: all(wanted <= set(w.resident) for w in self._workers()), "the models")
        texts = [text for _, text in many(40)]
        for job in [self.bulk.submit(task, texts) for task in TASKS]:
            job.wait()
        self.rest()

    def rest(self) -> None:
        """Return when the workers are idle: calibration is work that no job shows."""
        servers.wait_until(self._is_quiet, "idleness")

    def restart_workers(self) -> None:
        """End the worker processes, with SIGTERM; return when their successors are there to take shards."""
        old = {worker.pid for worker in self._workers()}
        launcher = psutil.Process(next(iter(old))).parent()
        if launcher is None:
            raise RuntimeError("the workers' launcher is gone")
        time.sleep(max(0.0, RESTART_SECONDS - (time.time() - launcher.create_time())))
        os.kill(launcher.pid, signal.SIGTERM)
        servers.wait_until(
            lambda: len({worker.pid for worker in self._workers()} - old) == len(old), "the restarted workers"
        )

    def load_seconds(self, model: str, since: int) -> float:
        """How long the model took to load, by the workers' log from this offset on (bytes)."""
        with self.log.open("rb") as log:
            log.seek(since)
            found = re.findall(rf"{re.escape(model)}: loaded in ([\d.]+) s", log.read().decode(errors="replace"))
        if not found:
            raise RuntimeError(f"{model} was not loaded after the restart")
        return max(map(float, found))

    def imported(self, since: int, processes: int) -> None:
        """Return when so many worker processes have imported what their models need, by their log from this offset on
        (bytes)."""

        def all_have() -> bool:
            with self.log.open("rb") as log:
                log.seek(since)
                return log.read().count(b"imported ahead") >= processes

        servers.wait_until(all_have, "the workers' imports")

    def _workers(self) -> list[WorkerInfo]:
        return self.bulk.workers()

    def _is_quiet(self) -> bool:
        before = self.system.usage().seconds["worker"]
        time.sleep(1)
        return self.system.usage().seconds["worker"] - before < QUIET_CPU_SECONDS


def _characters(tx: Connection, job_id: str) -> int:
    finished, texts = tables.results, tables.documents
    query = (
        sa.select(sa.func.coalesce(sa.func.sum(sa.func.length(texts.c.text)), 0))
        .select_from(tables.jobs)
        .join(finished, finished.c.job_id == tables.jobs.c.id)
        .join(texts, sa.and_(texts.c.job_id == finished.c.job_id, texts.c.position == finished.c.position))
        .where(tables.jobs.c.uuid == job_id)
    )
    return int(tx.execute(query).scalar_one())


@dataclass(frozen=True)
class Installation:
    """What is started for each part. `folder`: where; calibrations are kept there from part to part."""

    folder: Path
    database: str
    processes: int

    @contextlib.contextmanager
    def running(self, part: str, preload: bool = True) -> Iterator[Mill]:
        """A system with an empty ledger; with its models loaded where `preload` says so."""
        data = self.folder / part
        settings = {
            "TEXTMILL_CPU_PROCESSES": str(self.processes),
            "TEXTMILL_THREADS": "1",
            "TEXTMILL_PRELOAD": ",".join(bundled().values()) if preload else "",
            "TEXTMILL_CACHE_DIR": str(self.folder / "cache"),
            # The corpus comes again and again: answers that are kept would make bulk jobs of it nothing to do.
            "TEXTMILL_ANSWERS_MB": "0",
            "TEXTMILL_DRAIN_SECONDS": "1",  # a restart, and the end, need not wait for the bulk job
        }
        with contextlib.ExitStack() as stack:
            database = None
            if self.database == "postgresql":
                server = stack.enter_context(servers.postgres(self.folder / f"{part}-pg", "textmill"))
                database = server.set(database="textmill")
            system = stack.enter_context(servers.textmill(data, database, **settings))
            store = Store(system.state["database_url"])
            stack.callback(store.close)
            bulk = stack.enter_context(Client(system.url, api_key=system.key))
            other = Client(system.url, api_key=store.write(keys.create, "other").secret)
            stack.enter_context(other)
            mill = Mill(system, store, data / "logs" / "worker.log", bulk, other)
            if preload:
                mill.warm_up()
            yield mill


class Bulk:
    """A huge job that is never at its end: one that nears it is replaced by the next."""

    def __init__(self, mill: Mill, documents: int, settle_seconds: float) -> None:
        self._mill = mill
        self._documents = documents
        self._settle_seconds = settle_seconds
        self.job = self._submit()

    def ensure(self) -> None:
        """Return when at least a fifth of it is still to be done."""
        if self.job.refresh().counts.pending * 5 < self._documents:
            self.job.cancel()
            self.job = self._submit()

    def runs(self) -> bool:
        """Whether it has anything left."""
        return not self.job.refresh().ended

    def progress(self) -> None:
        """Return when documents have been done from now on, too, or there are none left."""
        before = self.job.refresh().counts.succeeded
        servers.wait_until(lambda: not self.runs() or self.job.counts.succeeded > before, "the bulk job", 600)

    def _submit(self) -> Job:
        job = self._mill.bulk.submit(BULK_TASK, many(self._documents))
        servers.wait_until(lambda: job.refresh().counts.succeeded > 0, "the bulk job", 600)
        time.sleep(self._settle_seconds)
        return job
