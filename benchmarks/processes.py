"""One process with two workers inside its translator, or two processes with one each: which is faster on two cores?

    python -m benchmarks.processes                        translation, greedy, 200 documents
    python -m benchmarks.processes --task ner --rounds 5

CTranslate2 called directly, without anything of ours around it: what a worker process could be made of. Each of two
processes gets every other row. They take turns with the one, round by round.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from benchmarks import servers, work
from benchmarks.questions.models import DIRECT
from benchmarks.side import Process
from benchmarks.work import Work

CORES = 2


def started(given: Work, processes: int, folder: Path) -> list[Process]:
    """So many processes that share the rows, with all cores between them."""
    made = []
    for number in range(processes):
        own = folder / f"{processes}-{number}"
        own.mkdir()
        share = own / "work.json"
        replace(given, rows=given.rows[number::processes]).save(share)
        made.append(Process(DIRECT, {"workers": CORES // processes}, share, own))
    return made


def run(processes: Sequence[Process], pool: ThreadPoolExecutor) -> float:
    """Seconds until the last of them is done."""
    began = time.perf_counter()
    list(pool.map(Process.run, processes))
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=["translation", "summarization", "ner"], default="translation")
    parser.add_argument("--documents", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    options = {} if chosen.task == "ner" else {"num_beams": 1}
    given = work.of(servers.ROOT / "models" / "catalogue.toml", chosen.task, chosen.documents, options)
    names = {1: f"one process, {CORES} workers in it", CORES: f"{CORES} processes, a worker each"}
    seconds: dict[int, list[float]] = {count: [] for count in names}
    with tempfile.TemporaryDirectory(prefix="textmill-bench-") as name, ThreadPoolExecutor(CORES) as pool:
        sides = {count: started(given, count, Path(name)) for count in names}
        try:
            for side in sides.values():
                run(side, pool)  # what is lazy is done
            for _ in range(chosen.rounds):
                for count, side in sides.items():
                    seconds[count].append(run(side, pool))
            memory = {count: sum(process.peak_mib() for process in side) for count, side in sides.items()}
        finally:
            for side in sides.values():
                for process in side:
                    process.close()
    print(f"| {chosen.task}, {chosen.documents} documents | documents/s (each round) | peak MiB |\n|---|---|---|")
    for count, label in names.items():
        rates = [chosen.documents / taken for taken in seconds[count]]
        each = ", ".join(f"{rate:.1f}" for rate in rates)
        print(f"| {label} | {statistics.median(rates):.1f} ({each}) | {memory[count]:.0f} |")


if __name__ == "__main__":
    main()
