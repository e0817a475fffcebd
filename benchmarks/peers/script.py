"""The script that a careful user writes around CTranslate2: read all texts, cut them, run them in one call, put the
answers together. No queue, no server, nothing kept if it dies.

It is given our rules for cutting and joining, for nothing, so that both do the same work; equal pieces are run once.
All cores: one worker of CTranslate2 a core.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.ctranslate2_direct import Network
from benchmarks.work import Answers, Work
from store.catalogue import load
from workers import models
from workers.kinds import Generated, GenerationSettings
from workers.runner import Item, Outcome


class Script:
    """`dtype`: "float32", "int8"."""

    def __init__(self, work: Work, dtype: str = "float32", batch_tokens: int = 2_048) -> None:
        entry = load(Path(work.catalogue)).get(work.model)
        runner = models.make(models.spec_of(entry, device="cpu", threads=1))
        runner.open()
        self._plan = runner.bind(work.task, {})
        self._texts = work.texts
        self._batch_tokens = batch_tokens
        self._network = Network(work, dtype, batch_tokens, workers=len(os.sched_getaffinity(0)))

    def run(self) -> Answers:
        """Every text, as many rounds as it needs."""
        waiting = [(at, self._plan.prepare(text)) for at, text in enumerate(self._texts)]
        outcomes: list[Outcome | None] = [None] * len(self._texts)
        while waiting:
            items = list({tuple(item.payload): item for _, prepared in waiting for item in prepared.items}.values())
            outputs = dict(zip([tuple(item.payload) for item in items], self._outputs(items), strict=True))
            again = []
            for at, prepared in waiting:
                found = self._plan.assemble(prepared, [outputs[tuple(item.payload)] for item in prepared.items])
                if isinstance(found, Outcome):
                    outcomes[at] = found
                else:
                    again.append((at, found))
            waiting = again
        return []

    def _outputs(self, items: Sequence[Item]) -> Sequence[Any]:
        if not isinstance(items[0].group, GenerationSettings):
            return [softmax(found)[1:-1] for found in self._network.logits([item.payload for item in items])]
        outputs: dict[int, Generated] = {}
        # One call for each set of settings: later rounds of a summary have other lengths.
        for settings in {item.group: None for item in items}:
            places = [at for at, item in enumerate(items) if item.group == settings]
            assert isinstance(settings, GenerationSettings)
            found = self._network.generate([items[at].payload for at in places], settings)
            outputs |= {at: Generated(ids, hit_limit=False) for at, ids in zip(places, found, strict=True)}
        return [outputs[at] for at in range(len(items))]


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Along the last axis."""
    scores: NDArray[np.float32] = np.exp(logits - logits.max(-1, keepdims=True))
    scores /= scores.sum(-1, keepdims=True)
    return scores


SIDE = Script
