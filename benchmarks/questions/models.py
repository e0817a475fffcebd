"""Sides that run a model alone: the same rows for all, one thread each, in processes that take turns."""

import contextlib
import functools
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import servers, work
from benchmarks.questions.question import Arm, Measured, Round, Size
from benchmarks.side import Process
from benchmarks.work import Answers, Work

EXACT = 0.98
"""Rows of a hundred in which the float32 sides must give the same answer before any of them is timed. In the rest two
candidates are as likely as each other to the last digit, and libraries that add in another order choose differently."""

OURS, DIRECT, GENERATE = "benchmarks.ours", "benchmarks.peers.ctranslate2_direct", "benchmarks.peers.generate"


Maker = Callable[[int, Path], Work]
"""(documents, a folder that is kept while the question is asked) -> the work of all of its sides."""


def bundled(task: str, **options: Any) -> Maker:
    """The bundled model of the task. options: of the job."""
    return lambda documents, folder: work.of(servers.ROOT / "models" / "catalogue.toml", task, documents, options)


def arm(
    name: str,
    why: str,
    module: str,
    settings: Mapping[str, Any],
    make: Maker,
    *,
    exact: bool = True,
    slow: bool = False,
    standard: bool = True,
) -> Arm:
    """A side in a process of its own. exact: its answers must be those of the sides before it. slow: it gets the plain
    number of documents."""
    start = functools.partial(_started, module, settings, make, exact, slow)
    return Arm(name, why, start, ours=module == OURS, standard=standard)


@contextlib.contextmanager
def _started(
    module: str, settings: Mapping[str, Any], make: Maker, exact: bool, slow: bool, size: Size, folder: Path
) -> Iterator[Round]:
    documents = size.plain_documents if slow else size.documents
    path = folder.parent / f"work-{documents}.json"
    if not path.exists():
        make(documents, folder.parent).save(path)
    given = Work.load(path)
    process = Process(module, settings, path, folder)
    try:
        process.run()
        agreement = _agreement(process.answers(), folder.parent / "answers.json")
        if exact and agreement < EXACT:
            raise RuntimeError(f"{module} with {settings} gives other answers: {agreement:.1%} of the rows agree")

        def run() -> Measured:
            seconds = process.run()
            facts = {
                "agreement": agreement,
                "peak_mib": process.peak_mib(),
                "tokens_per_second": given.tokens / seconds,
            }
            return Measured(given.documents / seconds, facts)

        yield run
    finally:
        process.close()


def _agreement(answers: Answers, reference: Path) -> float:
    """Rows that have the answer of the side that was started first, of one. Fewer documents have the first rows."""
    if not reference.exists():
        reference.write_text(json.dumps(answers))
    first: Answers = json.loads(reference.read_text())
    both = min(len(answers), len(first))
    if not both:
        return 0.0  # it answers something else than rows
    return sum(mine == theirs for mine, theirs in zip(answers[:both], first[:both], strict=True)) / both
