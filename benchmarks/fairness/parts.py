"""The four measurements. Each gives rows: dictionaries of numbers for the table, the plot and the line of JSON."""

import contextlib
import itertools
import random
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.fairness.report import Row, share_deviation, spread
from benchmarks.fairness.system import BULK_TASK, TASKS, Bulk, Installation, Mill, bundled, many
from textmill.client import Job
from textmill.wire import Priority

LOADED_TASK = "summarization"
"""Of the small job whose model must be loaded first."""

RESTARTED_TASK = "ner"
"""Of the small job right after a restart, which waits for the framework's import as well."""

SHARED_TASK = "ner"
"""Of the ten keys' jobs: the quickest, so that a minute is many turns."""

KEYS = 10
IDLE_PAUSE_SECONDS = 0.5


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    documents: int
    """Of the bulk job."""
    repeats: int
    """Small jobs of each kind."""
    pause_seconds: float
    """Between two small jobs, on average."""
    settle_seconds: float
    """From the bulk job's first result to the first measurement beside it."""
    share_documents: int
    """Of each key's job."""
    share_seconds: float
    rate_documents: int
    """Of the job whose rate is taken."""
    rounds: int
    """Of that job alone, and as many beside small jobs."""
    beside: str
    """The task of those."""


class Kind(NamedTuple):
    """A small job."""

    task: str
    priority: Priority
    key: str
    """`own`: that of the bulk job; `other`: somebody else's."""


KINDS = [
    kind
    for key in ("other", "own")
    for kind in [*(Kind(task, "normal", key) for task in TASKS), Kind(BULK_TASK, "high", key), Kind("ner", "high", key)]
]


def small(installation: Installation, sizes: Sizes) -> list[Row]:
    """Small jobs of each kind on an idle system, then beside the bulk job. The kinds take turns, so that a slow minute
    of the machine is everybody's. One that outlives the bulk job would have waited longer beside a longer one."""
    random_ = random.Random(8)
    with installation.running("small") as mill:
        clients = {"own": mill.bulk, "other": mill.other}
        idle: dict[str, list[float]] = {task: [] for task in TASKS}
        for _, task in itertools.product(range(sizes.repeats), TASKS):
            time.sleep(IDLE_PAUSE_SECONDS)
            idle[task].append(mill.small(task))
        waits: dict[Kind, list[float]] = {kind: [] for kind in KINDS}
        outlived = dict.fromkeys(KINDS, 0)
        bulk = Bulk(mill, sizes.documents, sizes.settle_seconds)
        for _, kind in itertools.product(range(sizes.repeats), KINDS):
            # Not in step with whatever the system does every second.
            time.sleep(sizes.pause_seconds * random_.uniform(0.5, 1.5))
            bulk.ensure()
            waits[kind].append(mill.small(kind.task, kind.priority, clients[kind.key]))
            outlived[kind] += not bulk.runs()
            print(f"{' '.join(kind)}: {waits[kind][-1]:.2f} s", flush=True)
        bulk.job.cancel()
    return [
        {
            "part": "small",
            **kind._asdict(),
            "same_model": kind.task == BULK_TASK,
            **spread(waits[kind]),
            "waits": waits[kind],
            "idle": idle[kind.task],
            "outlived": outlived[kind],
        }
        for kind in KINDS
    ]


def load(installation: Installation, sizes: Sizes) -> list[Row]:
    """Small jobs after a restart of the workers beside a bulk job that waits; no model is preloaded. One at once, when
    torch is not imported yet, and one of another model when it is."""
    with installation.running("calibration"):
        pass  # its results are kept: a load is a load, and no calibration
    tasks = {"restart": RESTARTED_TASK, "load": LOADED_TASK}
    waits: dict[str, list[float]] = {part: [] for part in tasks}
    loads: dict[str, list[float]] = {part: [] for part in tasks}
    with installation.running("load", preload=False) as mill:
        bulk = Bulk(mill, sizes.documents, sizes.settle_seconds)
        for _ in range(sizes.repeats):
            bulk.ensure()
            offset = mill.log.stat().st_size
            mill.restart_workers()
            for part, task in tasks.items():
                waits[part].append(mill.small(task))
                loads[part].append(mill.load_seconds(bundled()[task], offset))
                print(f"{part}, {task}: {waits[part][-1]:.2f} s, load {loads[part][-1]:.1f} s", flush=True)
                mill.imported(offset, installation.processes)
            bulk.progress()
        bulk.job.cancel()
    rows: list[Row] = []
    for part, task in tasks.items():
        beyond = [round(max(0.0, wait - load), 3) for wait, load in zip(waits[part], loads[part], strict=True)]
        rows.append({"part": part, "task": task, "waits": waits[part], "loads": loads[part], "beyond": beyond})
        rows[-1] |= spread(beyond)
    return rows


def shares(installation: Installation, sizes: Sizes) -> list[Row]:
    """What each of ten keys with a bulk job of one model gets of the work (characters), from when the second came: the
    first pays back what it received while the others were still being submitted, which a count from the last one's
    arrival would take for a share that is too small. `since_all` is that count."""
    with installation.running("shares") as mill, contextlib.ExitStack() as stack:
        jobs: list[Job] = []
        alone = 0
        for number in range(KEYS):
            client = stack.enter_context(mill.client(f"key {number}"))
            # Another document first for each key, so that no two have the same text in work at once.
            texts = many(sizes.share_documents, number * sizes.share_documents // KEYS)
            if number == 1:
                alone = mill.characters(jobs[0])
            jobs.append(client.submit(SHARED_TASK, texts))
        before = [mill.characters(job) for job in jobs]
        time.sleep(sizes.share_seconds)
        after = [mill.characters(job) for job in jobs]
        if any(job.refresh().ended for job in jobs):
            raise RuntimeError("a key's job ended within the window: give it more --share-documents")
        for job in jobs:
            job.cancel()
    got = [after[0] - alone, *after[1:]]
    since_all = [last - first for first, last in zip(before, after, strict=True)]
    row = {"part": "shares", "task": SHARED_TASK, "seconds": sizes.share_seconds, "characters": got}
    row["since_all"] = since_all
    return [row | share_deviation(got)]


def throughput(installation: Installation, sizes: Sizes) -> list[Row]:
    """A bulk job from its submission to its end, alone and beside a small job every second, in turns.

    The same documents each time, and all of them: what has ended within a window says little where shards are long.
    """
    seconds: dict[str, list[float]] = {"alone": [], "beside": []}
    small_jobs = 0
    with installation.running("throughput") as mill:
        for _, arm in itertools.product(range(sizes.rounds), seconds):
            with _EverySecond(mill, sizes.beside) if arm == "beside" else contextlib.nullcontext() as every:
                begin = time.perf_counter()
                mill.bulk.submit(BULK_TASK, many(sizes.rate_documents)).wait()
                seconds[arm].append(round(time.perf_counter() - begin, 3))
            small_jobs += every.submitted if every else 0
            print(f"bulk job {arm}: {sizes.rate_documents / seconds[arm][-1]:.2f} documents/s", flush=True)
            mill.rest()
    return [
        {
            "part": "throughput",
            "arm": arm,
            "documents_per_second": sizes.rate_documents / statistics.median(found),
            "seconds": found,
            "documents": sizes.rate_documents,
            "small_jobs": small_jobs if arm == "beside" else 0,
        }
        for arm, found in seconds.items()
    ]


class _EverySecond(threading.Thread):
    """Submits three short documents every second, whatever became of the last three."""

    def __init__(self, mill: Mill, task: str) -> None:
        super().__init__(name="small jobs", daemon=True)
        self.submitted = 0
        self._mill = mill
        self._task = task
        self._over = threading.Event()
        self._error: Exception | None = None

    def __enter__(self) -> "_EverySecond":
        self.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._over.set()
        self.join()
        if self._error is not None and kind is None:
            raise self._error

    def run(self) -> None:
        try:
            due = time.monotonic()
            while not self._over.wait(max(0.0, due - time.monotonic())):
                self._mill.other.submit(self._task, self._mill.short.three())
                self.submitted += 1
                due += 1
        except Exception as error:  # noqa: BLE001 - raised where the bulk job has ended
            self._error = error


PARTS: dict[str, Callable[[Installation, Sizes], list[Row]]] = {
    "small": small,
    "load": load,
    "shares": shares,
    "throughput": throughput,
}
