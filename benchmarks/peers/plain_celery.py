"""The queue that people write first: one Celery task a document, whose result is one row of PostgreSQL.

At its best settings: results ignored, acknowledged early, a large prefetch, a database connection kept in each process,
one producer connection kept open. `bench()` is called by benchmarks/queue.py.
"""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psycopg
from celery import Celery

PROCESSES = 2
QUEUE = "plain"

app = Celery("plain", broker=os.environ.get("PLAIN_REDIS", "redis://127.0.0.1:6379/0"))
app.conf.update(
    task_ignore_result=True,
    task_default_queue=QUEUE,
    worker_prefetch_multiplier=64,
    task_serializer="json",
    broker_transport_options={"socket_timeout": 30},
    worker_send_task_events=False,
)

_connection: psycopg.Connection | None = None


@app.task(name="plain.process")
def process(position: int, text: str) -> None:
    """Echo a text into a row, in a transaction of its own."""
    global _connection
    if _connection is None:
        _connection = psycopg.connect(os.environ["PLAIN_DATABASE"], autocommit=True)
    _connection.execute("INSERT INTO plain (position, output) VALUES (%s, %s)", (position, text))


def bench(redis_url: str, database: str, texts: Sequence[str], folder: Path) -> float:
    """Seconds from the first task sent to the last row stored."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS plain")
        connection.execute("CREATE TABLE plain (position int PRIMARY KEY, output text NOT NULL)")
        environment = {**os.environ, "PLAIN_REDIS": redis_url, "PLAIN_DATABASE": database}
        # An app of its own: the module's keeps the connections of the run before.
        sender = Celery("sender", broker=redis_url, set_as_current=False)
        command = [sys.executable, "-m", "celery", "-A", "benchmarks.peers.plain_celery", "worker"]
        command += ["--concurrency", str(PROCESSES), "--loglevel", "WARNING", "--without-gossip", "--without-mingle"]
        with (folder / "plain.log").open("wb") as log:
            worker = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
            try:
                sender.send_task(process.name, (-1, "warm-up"), queue=QUEUE)
                _count(connection, time.perf_counter(), 1)
                begin = time.perf_counter()
                with sender.producer_pool.acquire() as producer:
                    for position, text in enumerate(texts):
                        sender.send_task(process.name, (position, text), queue=QUEUE, producer=producer)
                _count(connection, begin, len(texts) + 1)
                return time.perf_counter() - begin
            finally:
                worker.terminate()
                worker.wait(60)


def _count(connection: psycopg.Connection, begin: float, wanted: int) -> None:
    while connection.execute("SELECT count(*) FROM plain").fetchone() != (wanted,):
        if time.perf_counter() - begin > 900:
            raise TimeoutError("the plain queue did not finish within 15 minutes")
        time.sleep(0.1)
