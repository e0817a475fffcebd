"""What does everything around a model cost, in CPU microseconds a document, by thread and stage?

    python -m benchmarks.around                             the echo model, 20,000 documents
    python -m benchmarks.around --model ner-en-small --documents 300

One shard after the other in a worker's own parts, in one process: a ledger in an SQLite file, shards, inbox, engine;
without Celery, Redis and HTTP. CPU time is each thread's own, so that what else the machine does matters little. The
model itself is the row "run"; all else is what a faster model would wait for.
"""

import argparse
import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import corpus
from store import jobs, keys, leases
from store.catalogue import load
from store.dispatcher import Dispatcher
from store.jobs import NewJob
from store.queue import celery_app
from store.session import Store, migrate
from store.settings import StoreSettings
from workers import models
from workers.engine.answers import Answers
from workers.engine.budget import Budgets
from workers.engine.engine import Engine
from workers.engine.inbox import Inbox
from workers.engine.residency import Residency
from workers.engine.watchdog import Watch
from workers.settings import WorkerSettings
from workers.shards.ledger import Ledger
from workers.shards.run import ShardRun
from workers.shards.serving import Serving

BATCH_TOKENS = 2_048


class Stages:
    """CPU seconds by stage; a stage within another one counts as itself alone."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._inner = threading.local()

    def timed(self, stage: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The call, with its thread's CPU time added to the stage."""

        def run(*args: Any, **kwargs: Any) -> Any:
            outer = getattr(self._inner, "seconds", 0.0)
            self._inner.seconds, started = 0.0, time.thread_time()
            try:
                return call(*args, **kwargs)
            finally:
                spent = time.thread_time() - started
                self.seconds[stage] += spent - self._inner.seconds
                self._inner.seconds = outer + spent

        return run

    def watch(self, thing: Any, **stages: str) -> None:
        """Time these methods of the thing: name -> stage."""
        for name, stage in stages.items():
            setattr(thing, name, self.timed(stage, getattr(thing, name)))


def measure(model: str, documents: int) -> tuple[Counter[str], float]:
    """CPU seconds of each stage, and of the whole process."""
    catalogue = load(Path("models/catalogue.toml")).with_echo()
    entry = catalogue.get(model)
    stages, settings = Stages(), WorkerSettings(device="cpu", threads=1)
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/ledger.sqlite3"
        migrate(url)
        store = Store(url, StoreSettings(unserved_shards=1_000_000))
        key_id = store.write(keys.create, "benchmark")[0]
        texts = corpus.load()
        chosen = [(None, texts[n % len(texts)][1]) for n in range(documents)]
        released = store.write(jobs.submit, NewJob(key_id, entry.task or "ner", model), chosen).released
        budgets = Budgets(BATCH_TOKENS, 600)
        answers = Answers(settings.answers_mb << 20, lambda name, output: residency.open(name).kept(output))
        inbox = Inbox(budgets, answers=answers)
        spec = models.spec_of(entry, "cpu", 1)
        residency = Residency(lambda name: models.make(spec), unloaded=inbox.forget_answers)
        runner = residency.open(model)
        surroundings = runner.backend.surroundings(runner.spec)
        engine = Engine(inbox, residency, budgets, Watch(), 600, os._exit, lambda: surroundings)
        serving = Serving(lambda name: False, lambda: None, lambda name, on: None, 60, 0)
        stages.watch(runner, run="engine: run", load="engine: load")
        stages.watch(inbox, next_batch="engine: next batch", answer="engine: answer", add="shard: submit")
        stages.watch(engine, execute="engine: execute", calibrate="engine: execute")
        dispatcher = Dispatcher(celery_app("redis://localhost:1"))
        dispatcher.publish = lambda released: None  # type: ignore[method-assign]
        engine.start()
        started = time.process_time()
        for shard in released:
            shard_run(stages, store, dispatcher, shard.shard_id, inbox, residency, settings, serving)
        total = time.process_time() - started
        engine.stop(10)
        store.close()
    return stages.seconds, total


def shard_run(
    stages: Stages,
    store: Store,
    dispatcher: Dispatcher,
    shard_id: int,
    inbox: Inbox,
    residency: Residency,
    settings: WorkerSettings,
    serving: Serving,
) -> None:
    """One shard, as a task slot runs it."""
    lease = stages.timed("shard: claim", store.write)(leases.claim, shard_id, "benchmark")
    ledger = Ledger(store, dispatcher, lease)
    run = ShardRun(ledger, inbox, residency, settings, serving)
    stages.watch(ledger, undecided="shard: read", settle="shard: settle")
    stages.watch(run, _prepare="shard: prepare", _assemble="shard: assemble", _decide="shard: decide")
    stages.watch(run.ticket, collect="shard: collect")
    stages.timed("shard: the rest", run.run)()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="echo")
    parser.add_argument("--documents", type=int, default=20_000)
    chosen = parser.parse_args()
    seconds, total = measure(chosen.model, chosen.documents)
    print(f"| {chosen.model}, {chosen.documents:,} documents | CPU µs a document |\n|---|---|")
    for stage, spent in sorted(seconds.items()):
        print(f"| {stage} | {spent / chosen.documents * 1e6:.1f} |")
    print(f"| the whole process | {total / chosen.documents * 1e6:.1f} |")


if __name__ == "__main__":
    main()
