"""What a comparison of models asks each side to do: the same rows of token ids, under the same settings."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import corpus
from store.catalogue import load
from workers import models
from workers.kinds import GenerationSettings

Answers = list[list[int]]
"""Of each row: the generated ids without start and end, or the index of the best label of each token."""


@dataclass(frozen=True)
class Work:
    """Rows of one model. Documents are counted, rows are run: a translation's row is a sentence."""

    task: str
    model: str
    """Its name in the catalogue."""
    catalogue: str
    """The catalogue's file."""
    folder: str
    """The model's files, as transformers writes them."""
    documents: int
    rows: list[list[int]]
    """Token ids, special ones included, in the order in which the documents come."""
    texts: list[str]
    """The documents themselves, for sides that take nothing else."""
    generation: dict[str, Any] = field(default_factory=dict)
    """The fields of GenerationSettings; empty where nothing is generated."""

    @property
    def settings(self) -> GenerationSettings:
        """Of the generation."""
        return GenerationSettings(**self.generation)

    @property
    def tokens(self) -> int:
        """Of all rows, without padding."""
        return sum(map(len, self.rows))

    def save(self, path: Path) -> None:
        """Write it where a process of another side reads it."""
        path.write_text(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def load(cls, path: Path) -> "Work":
        """Read it."""
        return cls(**json.loads(path.read_text()))


OURS_ALONE: Mapping[str, Mapping[str, Any]] = {
    "summarization": {"faithful": False},
    "translation": {"copy_identifiers": False},
}
"""What the catalogue has on and no other side does: off, so that all sides do the same."""


def of(catalogue: Path, task: str, documents: int, options: dict[str, Any]) -> Work:
    """Rows of so many package descriptions, as our rule for the task cuts them for the catalogue's own model.

    Equal rows are left out: a side that answers equal work once would win by what the comparison is not about.
    """
    entry = load(catalogue).bundled()[task]
    runner = models.make(models.spec_of(entry))
    runner.open()
    plan = runner.bind(task, {**OURS_ALONE.get(task, {}), **options})
    texts = [text for _, text in corpus.load(documents)]
    items = [item for text in texts for item in plan.prepare(text).items]
    rows = list({tuple(item.payload): None for item in items})
    generation = dataclasses.asdict(items[0].group) if isinstance(items[0].group, GenerationSettings) else {}
    return Work(
        task, entry.name, str(catalogue), str(entry.path), documents, [list(row) for row in rows], texts, generation
    )
