"""How full and how padded are a bulk job's batches, by how much of it is out and how large they may be?

    python -m benchmarks.batches                            sentences of 800 package descriptions, for translation
    python -m benchmarks.batches --task summarization --step 15 --generated 18

A simulation, so that it gives the same figures on any machine: the engine's own planner, the lengths that the bundled
model's tokenizer gives, shards that are released as a ledger does it. A batch takes a fixed time for each step of the
decoder (`--step`, in rows: what a step takes beside its rows, against what one row of it takes), one unit for each row
and step that it is not finished, and `--padded` units for each padded token of its input. On one thread of a busy CPU,
by CPU time, the torch backend's decoder needed 13 rows a step for itself in translation (7.5 ms, and 0.58 ms a row).
"""

import argparse
import itertools
from collections import Counter, deque
from dataclasses import dataclass
from pathlib import Path

from benchmarks import corpus
from store.catalogue import load
from workers import models
from workers.engine.pile import Waiting
from workers.engine.planner import Planner
from workers.runner import Item

OUT_SECONDS = (3, 4.5, 6, 9, 1e9)
BUDGETS = (1_024, 2_048, 4_096, 8_192)
UNITS = 2_000.0
"""Units of work that are a second: with it 2,048 tokens take about one, as on the CPU that was measured."""
LATE = 0.15
"""Seconds from a shard's end until the next one's items wait: settle, publish, claim, prepare."""


@dataclass
class Job:
    """A bulk job: the items' lengths of each document, and what the items take."""

    documents: list[list[int]]
    rows: int
    step: float
    padded: float
    generated: int

    def steps(self, length: int) -> int:
        """Of the decoder: a translation is about as long as its text."""
        return self.generated or length

    def own(self, length: int) -> float:
        """Units that an item takes wherever it runs."""
        return self.rows * (self.steps(length) + self.padded * length)

    def batch(self, lengths: list[int]) -> float:
        """Units that a batch takes."""
        rows = self.rows * sum(self.steps(length) for length in lengths)
        padded = self.padded * self.rows * len(lengths) * max(lengths)
        return self.step * max(map(self.steps, lengths)) + rows + padded


@dataclass(eq=False)
class Owner:
    """Whose the items are."""

    key: str = "key"
    job: str = "job"
    priority: int = 3


def simulate(job: Job, out_seconds: float, budget: int) -> tuple[float, float, float]:
    """Units of the items' own work a second (1 were no step and no padding), padding, and the mean batch's seconds."""
    shards = deque(cut(job))
    planner, owner, now = Planner(), Owner(), 0.0
    coming: deque[tuple[float, int, list[int]]] = deque()
    left: Counter[int] = Counter()
    sizes: dict[int, float] = {}
    numbers = itertools.count()
    padded = tokens = batches = 0
    busy = 0.0
    while True:
        while shards and (not sizes or sum(sizes.values()) < out_seconds * UNITS):
            number = next(numbers)
            sizes[number] = sum(map(job.own, shards[0]))
            coming.append((now + LATE if now else 0.0, number, shards.popleft()))
        while coming and coming[0][0] <= now:
            _, number, lengths = coming.popleft()
            left[number] = len(lengths)
            planner.add("m", [Waiting(Item(None, length, job.rows), owner, number) for length in lengths])
        if (taken := planner.take(lambda model, shared: budget)) is None:
            if not coming:
                break
            now = coming[0][0]
            continue
        lengths = [waiting.item.length for waiting in taken[1]]
        seconds = job.batch(lengths) / UNITS
        planner.took(seconds)
        now, busy, batches = now + seconds, busy + seconds, batches + 1
        padded, tokens = padded + len(lengths) * max(lengths), tokens + sum(lengths)
        for waiting in taken[1]:
            left[waiting.place] -= 1
            if not left[waiting.place]:
                del sizes[waiting.place]
    own = sum(job.own(length) for lengths in job.documents for length in lengths)
    return own / UNITS / now, 1 - tokens / padded, busy / batches


def cut(job: Job) -> list[list[int]]:
    """The lengths in each shard, which takes about a second."""
    shards: list[list[int]] = [[]]
    for lengths in job.documents:
        shards[-1] += lengths
        if sum(map(job.own, shards[-1])) >= UNITS:
            shards.append([])
    return [lengths for lengths in shards if lengths]


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=["translation", "summarization"], default="translation")
    parser.add_argument("--documents", type=int, default=800)
    parser.add_argument("--step", type=float, default=13, help="rows that a step takes for itself")
    parser.add_argument("--padded", type=float, default=0.2, help="units that a padded token of the input takes")
    parser.add_argument("--generated", type=int, default=0, help="tokens of each output (0: as many as of the input)")
    chosen = parser.parse_args()
    entry = load(Path("models/catalogue.toml")).bundled()[chosen.task]
    runner = models.make(models.spec_of(entry))
    runner.open()
    plan = runner.bind(chosen.task, {})
    documents = [list(plan.prepare(text).items) for _, text in corpus.load(chosen.documents)]
    rows = next(item.rows for items in documents for item in items)
    lengths = [[item.length for item in items] for items in documents]
    job = Job(lengths, rows, chosen.step, chosen.padded, chosen.generated)
    print("| seconds out | batch tokens | efficiency | padding | a batch takes |\n|---|---|---|---|---|")
    for out_seconds in OUT_SECONDS:
        for budget in BUDGETS:
            useful, padding, seconds = simulate(job, out_seconds, budget * rows)
            out = "all" if out_seconds > 1e6 else f"{out_seconds:g}"
            print(f"| {out} | {budget * rows:,} | {useful:.0%} | {padding:.0%} | {seconds:.2f} s |")


if __name__ == "__main__":
    main()
