"""The worker that people write first: one Celery task a document, the model resident, transformers' own pipeline or
`generate()`, and the result stored as a row.

At its best settings on a CPU: as many processes as cores with one thread each (measured better than one process with
all threads), the same number format and the same beams as ours, fast tokenizers, inference mode. Texts that exceed the
window are cut, which is what `truncation=True` does and what makes it quicker than ours on long ones.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psycopg
from celery import Celery

QUEUE = "plain-transformers"

app = Celery("plain", broker=os.environ.get("PLAIN_REDIS", "redis://127.0.0.1:6379/0"))
app.conf.update(
    task_ignore_result=True,
    task_default_queue=QUEUE,
    worker_prefetch_multiplier=1,
    task_serializer="json",
    broker_transport_options={"socket_timeout": 30},
)

Answer = Callable[[str, int], Any]
"""(text, beams) -> what is stored."""

_resident: dict[str, Any] = {}


@app.task(name="plain.run")
def run(position: int, task: str, text: str, beams: int) -> None:
    """Process one document and store its result in a transaction of its own."""
    if "run" not in _resident:
        _resident["run"] = _load(task, os.environ["PLAIN_MODEL"])
        _resident["connection"] = psycopg.connect(os.environ["PLAIN_DATABASE"], autocommit=True)
    output = _resident["run"](text, beams)
    _resident["connection"].execute(
        "INSERT INTO plain (position, output) VALUES (%s, %s) ON CONFLICT DO NOTHING", (position, json.dumps(output))
    )


def _load(task: str, model: str) -> Answer:
    import torch

    torch.set_num_threads(int(os.environ["PLAIN_THREADS"]))
    return LOADERS[task](model, getattr(torch, os.environ["PLAIN_DTYPE"]))


def _entities(model: str, dtype: Any) -> Answer:
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    network = transformers.AutoModelForTokenClassification.from_pretrained(model, dtype=dtype)
    pipeline = transformers.pipeline(
        "token-classification", model=network, tokenizer=tokenizer, aggregation_strategy="simple"
    )

    def entities(text: str, _beams: int) -> Any:
        return [{**found, "score": float(found["score"])} for found in pipeline(text)]

    return entities


def _generated(model: str, dtype: Any) -> Answer:
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    network = transformers.AutoModelForSeq2SeqLM.from_pretrained(model, dtype=dtype)
    window = min(512, network.config.max_position_embeddings)

    def generated(text: str, beams: int) -> Any:
        with torch.inference_mode():
            inputs = tokenizer(text, return_tensors="pt", truncation=True, max_length=window)
            return tokenizer.decode(network.generate(**inputs, num_beams=beams)[0], skip_special_tokens=True)

    return generated


LOADERS: dict[str, Callable[[str, Any], Answer]] = {
    "summarization": _generated, "translation": _generated, "ner": _entities
}  # fmt: skip
"""By task: (the model's folder, the number format) -> what answers a text. Other tasks are not measured."""


def bench(
    redis_url: str,
    database: str,
    folder: Path,
    texts: Sequence[str],
    *,
    task: str,
    model: Path,
    beams: int,
    processes: int,
    threads: int,
    dtype: str,
) -> float:
    """Seconds from the first task sent to the last row stored; loading the models is not counted."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS plain")
        connection.execute("CREATE TABLE plain (position int PRIMARY KEY, output text NOT NULL)")
        facts = {
            "PLAIN_REDIS": redis_url,
            "PLAIN_DATABASE": database,
            "PLAIN_MODEL": str(model),
            "PLAIN_THREADS": str(threads),
            "PLAIN_DTYPE": dtype,
        }
        # An app of its own: the module's keeps the connections of the run before.
        sender = Celery("sender", broker=redis_url, set_as_current=False)
        command = [sys.executable, "-m", "celery", "-A", "benchmarks.peers.plain_transformers", "worker"]
        command += ["--concurrency", str(processes), "--loglevel", "WARNING", "--without-gossip", "--without-mingle"]
        with (folder / "plain.log").open("wb") as log:
            worker = subprocess.Popen(command, env={**os.environ, **facts}, stdout=log, stderr=log)
            try:
                # Enough to wake every process, so that each has its model loaded.
                for position in range(-4 * processes, 0):
                    sender.send_task(run.name, (position, task, texts[position % len(texts)], beams), queue=QUEUE)
                _wait(connection, 4 * processes)
                begin = time.perf_counter()
                for position, text in enumerate(texts):
                    sender.send_task(run.name, (position, task, text, beams), queue=QUEUE)
                _wait(connection, 4 * processes + len(texts))
                return time.perf_counter() - begin
            finally:
                worker.terminate()
                worker.wait(120)


def _wait(connection: psycopg.Connection, rows: int, seconds: float = 3_000) -> None:
    end = time.perf_counter() + seconds
    while connection.execute("SELECT count(*) FROM plain").fetchone() != (rows,):
        if time.perf_counter() > end:
            raise TimeoutError(f"the plain worker did not finish within {seconds:.0f} s")
        time.sleep(0.1)
