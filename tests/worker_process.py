"""A real worker for tests: `python -m workers` in a process of its own, and jobs submitted straight to the ledger."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil

from store import jobs, results
from store.bulk import DocumentOutcome, NewDocument
from store.dispatcher import Dispatcher
from store.jobs import NewJob
from store.queue import celery_app
from store.session import Store
from textmill.wire import ENDED_STATES, Job

ROOT = Path(__file__).resolve().parent.parent

LAUNCHER = (sys.executable, "-m", "workers", "--gpus", "none")
PLAIN = (sys.executable, "-m", "celery", "-A", "workers.app", "worker", "--loglevel", "INFO")
"""Celery's own command, as anybody would type it."""

BROKEN = """
[absent]
task = "ner"
source = "hub:nobody/nothing"
window = 512
licence = "none"
limitations = "it does not exist, so that it cannot be loaded"
"""
HEALTHY = f'{BROKEN}backend = "echo"\n'
"""By which the model that cannot be loaded can. No worker that has it imports torch."""


PATIENCE = 240
"""Seconds for what takes a few on an idle machine, and may take a hundred times as long on another."""


def wait_until(condition: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Poll until it holds; fails with `what` after a time that only a hung system needs."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.02)


class Worker:
    """A launcher and its child. Its log is in `log`."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def children(self) -> list[int]:
        """Pids of the worker processes that the launcher has now."""
        return [child.pid for child in psutil.Process(self.process.pid).children()]

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=PATIENCE)


@contextlib.contextmanager
def running(
    store: Store, folder: Path, command: Sequence[str] = LAUNCHER, entries: str = HEALTHY, **settings: object
) -> Iterator[Worker]:
    """A worker on the store's database and Redis, with settings as TEXTMILL_ variables; `entries`: its catalogue."""
    folder.mkdir(exist_ok=True)
    catalogue = folder / "catalogue.toml"
    catalogue.write_text(entries)
    environment = {
        **os.environ,
        "DATABASE_URL": store.url,
        "REDIS_URL": store.settings.redis_url,
        "TEXTMILL_CATALOGUE": str(catalogue),
        "TEXTMILL_ECHO": "true",
        "TEXTMILL_CACHE_DIR": str(folder / "cache"),
        "TEXTMILL_LEASE_SECONDS": str(store.settings.lease_seconds),
        "HF_HUB_OFFLINE": "1",
        **{f"TEXTMILL_{name.upper()}": str(value) for name, value in settings.items()},
    }
    log = folder / "worker.log"
    with log.open("ab") as output:
        process = subprocess.Popen([*command], cwd=ROOT, env=environment, stdout=output, stderr=output)
    worker = Worker(process, log)
    try:
        yield worker
    except BaseException:
        print(worker.log[-8000:])
        raise
    finally:
        process.poll()
        if process.returncode is None:
            children = worker.children
            process.kill()
            process.wait()
            for pid in children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


class Producer:
    """Submits echo jobs for one key and follows them."""

    def __init__(self, store: Store, key_id: int) -> None:
        self._store = store
        self.key_id = key_id
        self._dispatcher = Dispatcher(celery_app(store.settings.redis_url))
        self._dispatcher.start()

    def close(self) -> None:
        """End the thread that publishes."""
        self._dispatcher.stop()

    @property
    def published(self) -> int:
        """Messages that Redis has taken."""
        return self._dispatcher.published

    def submit(
        self, texts: Sequence[str | tuple[str, str]], task: str = "ner", model: str = "echo", **options: object
    ) -> Job:
        """texts: as they are, or with the document's fields as JSON. Nothing is checked: that is the door's."""
        new = NewJob(self.key_id, task, model, options=options)
        parts = [(text,) if isinstance(text, str) else text for text in texts]
        return self.submit_documents(new, [(None, *part) for part in parts])

    def submit_documents(self, new: NewJob, documents: Sequence[NewDocument]) -> Job:
        submitted = self._store.write(jobs.submit, new, documents)
        self._dispatcher.publish(submitted.released)
        return submitted.job

    def get(self, job: Job) -> Job:
        return self._store.read(jobs.get, self.key_id, job.id)

    def wait(self, job: Job, seconds: float = PATIENCE) -> Job:
        wait_until(lambda: self.get(job).state in ENDED_STATES, "the job ends", seconds)
        return self.get(job)

    def cancel(self, job: Job) -> None:
        self._store.write(jobs.cancel, self.key_id, job.id)

    def results(self, job: Job) -> list[DocumentOutcome]:
        return [row.outcome for row in self._store.read(results.page, self.key_id, job.id, 0, 100_000).rows]
