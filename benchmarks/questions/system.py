"""The whole system: HTTP in, PostgreSQL out, Flower watching, against a script and against the queue that people write.

Each round starts a system of its own, its models loaded, opened and calibrated before the clock starts, with texts that
share no sentence with those that are measured: answers that are kept for equal work are none of theirs.
"""

import contextlib
import functools
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from benchmarks import corpus, servers
from benchmarks.peers import plain_transformers
from benchmarks.questions.models import bundled
from benchmarks.questions.question import Aim, Arm, Measured, Question, Round, Size
from benchmarks.side import Process
from benchmarks.work import OURS_ALONE
from store.catalogue import load
from textmill import Client

RESIDENT = "textmill_model_resident_bytes"
PROCESSES = 2
"""Of ours and of the plain worker: one a core, with a thread each (measured better than one with all)."""

WARM_DOCUMENTS = 200
SCRIPT = "benchmarks.peers.script"
TEXTMILL, TEXTMILL_INT8 = "Textmill, float32", "Textmill, int8"
BY_SCRIPT, BY_SCRIPT_INT8 = "a script around CTranslate2, float32", "a script around CTranslate2, int8"
PLAIN = "one Celery task a document"


CATALOGUE = servers.ROOT / "models" / "catalogue.toml"


def _in_format(dtype: str, folder: Path) -> Path:
    """The catalogue, its models of this folder in another number format."""
    text = CATALOGUE.read_text()
    for entry in load(CATALOGUE).bundled().values():
        for old, new in (
            (f'source = "{entry.source}"\n', f'source = "{entry.path}"\n'),
            (f'cpu_dtype = "{entry.cpu_dtype}"', f'cpu_dtype = "{dtype}"'),
        ):
            assert old in text or new in text
            text = text.replace(old, new)
    path = folder / "catalogue.toml"
    path.write_text(text)
    return path


@contextlib.contextmanager
def _textmill(task: str, dtype: str, size: Size, folder: Path) -> Iterator[Round]:
    """A whole system on PostgreSQL."""
    texts = [text for _, text in corpus.load(size.documents)]
    model = load(CATALOGUE).bundled()[task].name
    port = servers.free_port()
    ports = range(port, port + PROCESSES)
    settings = {
        "TEXTMILL_CATALOGUE": str(_in_format(dtype, folder)),
        "TEXTMILL_WORKER_METRICS_PORT": str(port),
        "TEXTMILL_CACHE_DIR": str(folder.parent / "cache"),
        "TEXTMILL_CPU_PROCESSES": str(PROCESSES),
        "TEXTMILL_PRELOAD": model,
    }
    with (
        servers.postgres(folder / "pg", "textmill") as server,
        servers.textmill(folder / "mill", server.set(database="textmill"), **settings) as mill,
        Client(mill.url, api_key=mill.key) as client,
    ):
        servers.wait_until(lambda: all(map(_is_loaded, ports)), "the models")
        client.submit(task, map(_shuffled, texts[:WARM_DOCUMENTS]), model=model, **OURS_ALONE.get(task, {})).wait()

        def run() -> Measured:
            before, cpu = _metrics(ports), mill.usage()
            seconds = _seconds(client, task, model, texts)
            used = {name: value - before.get(name, 0.0) for name, value in _metrics(ports).items()}
            now = mill.usage()
            return Measured(
                len(texts) / seconds,
                {
                    "padding": 1 - used["textmill_tokens_total"] / used["textmill_padded_tokens_total"],
                    "busy": used["textmill_engine_busy_seconds_total"] / seconds / PROCESSES,
                    "cpu_us": 1e6 * sum(now.seconds[part] - cpu.seconds[part] for part in cpu.seconds) / len(texts),
                    "peak_mib": sum(now.peak_mib.values()),
                },
            )

        yield run


def _seconds(client: Client, task: str, model: str, texts: Sequence[str]) -> float:
    begin = time.perf_counter()
    job = client.submit(task, texts, model=model, **OURS_ALONE.get(task, {}))
    job.wait()
    seconds = time.perf_counter() - begin
    if job.counts.succeeded != len(texts):
        raise RuntimeError(f"not every document succeeded: {job.counts}")
    return seconds


def _shuffled(text: str) -> str:
    """The same words in another order, line by line: as long, and no sentence of it is equal."""
    return "\n".join(" ".join(reversed(line.split(" "))) for line in text.splitlines())


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


@contextlib.contextmanager
def _script(task: str, dtype: str, size: Size, folder: Path) -> Iterator[Round]:
    """A process that has everything loaded."""
    path = folder / "work.json"
    bundled(task)(size.documents, folder).save(path)
    process = Process(SCRIPT, {"dtype": dtype}, path, folder)
    try:
        process.run()
        yield lambda: Measured(size.documents / process.run(), {"peak_mib": process.peak_mib()})
    finally:
        process.close()


@contextlib.contextmanager
def _plain(task: str, size: Size, folder: Path) -> Iterator[Round]:
    """The worker that people write first, with the model's own number of beams."""
    texts = [text for _, text in corpus.load(size.plain_documents)]
    entry = load(CATALOGUE).bundled()[task]
    with servers.postgres(folder / "pg", "plain") as server, servers.valkey(folder) as redis_url:

        def run() -> Measured:
            seconds = plain_transformers.bench(
                redis_url,
                server.set(drivername="postgresql", database="plain").render_as_string(hide_password=False),
                folder,
                texts,
                task=task,
                model=servers.ROOT / "models" / entry.name,
                beams=int(bundled(task)(1, folder).generation.get("num_beams", 1)),
                processes=PROCESSES,
                threads=1,
                dtype="float32",
            )
            return Measured(len(texts) / seconds)

        yield run


def question(task: str, plain_documents: int, script: float, plain: float, plain_int8: float) -> Question:
    """The same for a task. script, plain, plain_int8: what is aimed at, against each."""

    def arms(size: Size) -> Sequence[Arm]:
        def started(name: str, why: str, start: Any, *given: Any, **kind: Any) -> Arm:
            return Arm(name, why, functools.partial(start, task, *given), side_by_side=start is _script, **kind)

        return [
            started(TEXTMILL, "two worker processes, as `make up` starts it", _textmill, "float32", ours=True),
            started(TEXTMILL_INT8, 'the same with cpu_dtype = "int8" in the catalogue', _textmill, "int8", ours=True),
            started(BY_SCRIPT, "our cutting and joining, all pieces in one call, two workers", _script, "float32"),
            started(BY_SCRIPT_INT8, "the same", _script, "int8", standard=False),
            started(PLAIN, "two processes, the model resident, a row a document", _plain),
        ]

    aims = (
        Aim(f"{task}, whole system: against a script around CTranslate2", TEXTMILL, (BY_SCRIPT,), script),
        Aim(f"{task}, whole system: against one Celery task a document", TEXTMILL, (PLAIN,), plain),
        Aim(f"{task}, whole system in int8: against one Celery task a document", TEXTMILL_INT8, (PLAIN,), plain_int8),
        Aim(f"{task}, whole system: engine's busy share", TEXTMILL, target=0.95, fact="busy"),
    )
    heading = f"{task}, the whole system, two cores, the model's own settings"
    return Question(f"system-{task}", heading, Size(2_000, plain_documents), arms, aims)


QUESTIONS = (
    question("translation", 60, 1.0, 6, 9),
    question("summarization", 120, 0.9, 5, 8),
    question("ner", 300, 0.9, 2, 3),
)
