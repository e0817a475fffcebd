"""The queue itself, without a model: what a document costs, and whether the millionth costs more."""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import queue
from benchmarks.questions.question import Aim, Arm, Measured, Question, Round, Size

POSTGRESQL, PLAIN = "Textmill, PostgreSQL", "one Celery task a document"


@contextlib.contextmanager
def _textmill(database: str, documents: int, size: Size, folder: Path) -> Iterator[Round]:
    def run() -> Measured:
        done = queue.run_textmill(database, queue.texts(documents), folder)
        facts = {"cpu_us": sum(done.cpu.values()), "peak_mib": sum(done.peak_mib.values())}
        return Measured(done.rate, facts)

    yield run


@contextlib.contextmanager
def _plain(size: Size, folder: Path) -> Iterator[Round]:
    yield lambda: Measured(queue.run_plain(queue.texts(size.plain_documents), folder).rate)


def _arms(size: Size) -> Sequence[Arm]:
    def ours(name: str, database: str, documents: int, why: str = "", standard: bool = True) -> Arm:
        start = functools.partial(_textmill, database, documents)
        return Arm(name, why, start, ours=True, standard=standard, side_by_side=False)

    return [
        ours(POSTGRESQL, "postgresql", size.documents, "echo, 200 characters a document, HTTP, Flower on"),
        ours("Textmill, SQLite", "sqlite", size.documents, standard=False),
        ours(FEW, "postgresql", 10_000),
        ours(MANY, "postgresql", 1_000_000, standard=False),
        Arm(PLAIN, "results ignored, large prefetch, kept connections", _plain, side_by_side=False),
    ]


FEW, MANY = "Textmill, PostgreSQL, 10,000 documents", "Textmill, PostgreSQL, 1,000,000 documents"

QUESTIONS = (
    Question(
        "queue",
        "the queue, no model, everything on this machine",
        Size(100_000, 5_000),
        _arms,
        (
            Aim("queue: documents/s against one Celery task a document", POSTGRESQL, (PLAIN,), 10),
            Aim("queue: CPU microseconds a document", POSTGRESQL, target=150, fact="cpu_us", at_most=True),
            Aim("queue: a document's cost at 1,000,000 against 10,000", MANY, (FEW,), 1.1, "cpu_us", at_most=True),
        ),
    ),
)
