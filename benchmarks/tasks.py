"""How fast are the tasks, end to end, against the worker that people write first?

    make bench-tasks
    python -m benchmarks.tasks --tasks ner --documents 500 --repeats 1

Real documents (`corpus.py`) through HTTP, Redis, Celery, the engine and PostgreSQL with the bundled models; in the same
run, one Celery task a document with the model resident and the same beams and number format. Prints documents per
second, their ratio, the share of padding and the share of time in which the engine was busy.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from benchmarks import corpus, servers
from benchmarks.peers import plain_transformers
from store.catalogue import load
from textmill import Client, tasks

RESIDENT = "textmill_model_resident_bytes"
BEAMS = "num_beams"


def bundled() -> dict[str, str]:
    """The model of each task that is measured: the one in this repository."""
    entries = load(servers.ROOT / "models" / "catalogue.toml").bundled()
    return {task: entry.name for task, entry in entries.items()}


@dataclass
class Measured:
    """One run of one side."""

    rate: float
    padding: float = 0.0
    busy: float = 0.0


def run_textmill(task: str, model: str, texts: list[str], beams: int, folder: Path, processes: int) -> Measured:
    """A whole system on PostgreSQL, started for this run, its models loaded before the clock starts."""
    port = servers.free_port()
    ports = range(port, port + processes)
    settings = {
        "TEXTMILL_WORKER_METRICS_PORT": str(port),
        "TEXTMILL_CACHE_DIR": str(folder.parent / "cache"),
        "TEXTMILL_CPU_PROCESSES": str(processes),
        "TEXTMILL_PRELOAD": model,
    }
    # The languages need not be named: a bundled model has one pair.
    options: dict[str, Any] = {BEAMS: beams} if BEAMS in tasks.get(task).options.model_fields else {}
    with (
        servers.postgres(folder / "pg", "textmill") as server,
        servers.textmill(folder / "mill", server.set(database="textmill"), **settings) as mill,
        Client(mill.url, api_key=mill.key) as client,
    ):
        servers.wait_until(lambda: all(map(_is_loaded, ports)), "the models")
        # Calibration is made between the batches of the first documents; what it finds is kept for the next rounds.
        client.submit(task, texts[: len(texts) // 5], model=model, **options).wait()
        before = _metrics(ports)
        begin = time.perf_counter()
        job = client.submit(task, texts, model=model, **options)
        job.wait()
        seconds = time.perf_counter() - begin
        if job.counts.succeeded != len(texts):
            raise RuntimeError(f"not every document succeeded: {job.counts}")
        used = {name: value - before.get(name, 0.0) for name, value in _metrics(ports).items()}
        padding = 1 - used["textmill_tokens_total"] / used["textmill_padded_tokens_total"]
        return Measured(len(texts) / seconds, padding, used["textmill_engine_busy_seconds_total"] / seconds / processes)


def _is_loaded(port: int) -> bool:
    try:
        return _metrics([port]).get(RESIDENT, 0) > 0
    except URLError:  # the process starts
        return False


def _metrics(ports: Iterable[int]) -> dict[str, float]:
    """Each metric, summed over labels and worker processes."""
    sums: dict[str, float] = {}
    for port in ports:
        with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            families = text_string_to_metric_families(answer.read().decode())
        for sample in (sample for family in families for sample in family.samples):
            sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
    return sums


def run_plain(
    task: str, model: str, texts: list[str], beams: int, folder: Path, arguments: argparse.Namespace
) -> Measured:
    """One Celery task a document."""
    with servers.postgres(folder / "pg", "plain") as server, servers.valkey(folder) as redis_url:
        seconds = plain_transformers.bench(
            redis_url,
            server.set(drivername="postgresql", database="plain").render_as_string(hide_password=False),
            folder,
            texts,
            task=task,
            model=servers.ROOT / "models" / model,
            beams=beams,
            processes=arguments.plain_processes,
            threads=arguments.plain_threads,
            dtype=arguments.plain_dtype,
        )
    return Measured(len(texts) / seconds)


def main() -> None:
    """Run both sides in turn, several times, and compare medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    models = bundled()
    measurable = [task for task in models if task in plain_transformers.LOADERS]
    parser.add_argument("--tasks", nargs="+", choices=measurable, default=measurable)
    parser.add_argument("--documents", type=int, default=2_000)
    parser.add_argument("--plain-documents", type=int, default=200, help="for the plain worker, which is slow")
    parser.add_argument("--beams", type=int, default=4, help="of summarization and translation, on both sides")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2, help="of ours on the CPU, which share the cores")
    parser.add_argument("--plain-processes", type=int, default=2)
    parser.add_argument("--plain-threads", type=int, default=1)
    parser.add_argument("--plain-dtype", default="float32")
    arguments = parser.parse_args()
    texts = [text for _, text in corpus.load(arguments.documents)]
    rows = []
    with tempfile.TemporaryDirectory(prefix="textmill-bench-") as name:
        for task in arguments.tasks:
            ours, plain = [], []
            for repeat in range(arguments.repeats):
                folder = Path(name) / f"{task}-{repeat}"
                (folder / "plain").mkdir(parents=True)
                ours.append(run_textmill(task, models[task], texts, arguments.beams, folder, arguments.processes))
                few = texts[: arguments.plain_documents]
                plain.append(run_plain(task, models[task], few, arguments.beams, folder / "plain", arguments))
                print(f"{task}: ours {ours[-1].rate:.1f}/s, plain {plain[-1].rate:.1f}/s", flush=True)
            middle = statistics.median(run.rate for run in ours)
            rate = statistics.median(run.rate for run in plain)
            padding, busy = (statistics.median(getattr(run, what) for run in ours) for what in ("padding", "busy"))
            rows.append(f"| {task} | {middle:.1f} | {rate:.1f} | {middle / rate:.1f} | {padding:.1%} | {busy:.0%} |")
    print(
        "\n| task | ours, documents/s | plain, documents/s | ratio | padding | engine busy |\n|---|---|---|---|---|---|"
    )
    print("\n".join(rows))


if __name__ == "__main__":
    main()
