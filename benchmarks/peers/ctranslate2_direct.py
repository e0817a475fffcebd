"""CTranslate2 called directly, with all rows at once, which it sorts and packs itself: its best case.

The checkpoint is converted by CTranslate2's own converter before the clock starts. A classifier's head, which
CTranslate2 has not, is one product with the checkpoint's weights.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
from ctranslate2.converters import TransformersConverter
from numpy.typing import NDArray
from safetensors.numpy import load_file
from transformers import AutoTokenizer

from benchmarks.work import Answers, Work
from workers.kinds import GenerationSettings

Rows = Sequence[Sequence[int]]


class Network:
    """A model in CTranslate2. dtype: "float32", "int8"; workers: how many batches run side by side, a thread each."""

    def __init__(self, work: Work, dtype: str, batch_tokens: int, workers: int) -> None:
        self._batch_tokens = batch_tokens
        folder = tempfile.mkdtemp()
        TransformersConverter(work.folder).convert(folder, force=True)
        made: Any = ctranslate2.Translator if work.generation else ctranslate2.Encoder
        self._model = made(folder, "cpu", compute_type=dtype, inter_threads=workers, intra_threads=1)
        tokenizer: Any = AutoTokenizer.from_pretrained(work.folder)
        self._tokens, self._ids = tokenizer.convert_ids_to_tokens, tokenizer.convert_tokens_to_ids
        if not work.generation:
            weights = load_file(Path(work.folder) / "model.safetensors")
            self._head = weights["classifier.weight"].T.copy(), weights["classifier.bias"]

    def generate(self, rows: Rows, settings: GenerationSettings) -> Answers:
        """All rows in one call."""
        found = self._model.translate_batch(
            [self._tokens(row) for row in rows],
            max_batch_size=self._batch_tokens,
            batch_type="tokens",
            beam_size=settings.num_beams,
            length_penalty=settings.length_penalty,
            no_repeat_ngram_size=settings.no_repeat_ngram_size,
            repetition_penalty=settings.repetition_penalty,
            max_decoding_length=settings.max_length - 1,
            min_decoding_length=max(0, settings.min_length - 1),
            max_input_length=0,
        )
        return [self._ids(result.hypotheses[0]) for result in found]

    def logits(self, rows: Rows) -> list[NDArray[np.float32]]:
        """Of each row, (tokens, labels). `forward_batch` takes one batch: sorted and cut here as `generate` does it."""
        batches: list[list[int]] = []
        for at in sorted(range(len(rows)), key=lambda at: -len(rows[at])):
            if not batches or (len(batches[-1]) + 1) * len(rows[batches[-1][0]]) > self._batch_tokens:
                batches.append([])
            batches[-1].append(at)
        answers: list[Any] = [None] * len(rows)
        # All calls at once: what one worker has done is taken while the others go on.
        calls = [(batch, self._model.forward_batch([list(rows[at]) for at in batch])) for batch in batches]
        for batch, found in calls:
            logits = np.array(found.last_hidden_state) @ self._head[0] + self._head[1]
            for at, row in zip(batch, logits, strict=True):
                answers[at] = row[: len(rows[at])]
        return answers


class Direct:
    """Rows in, answers out. Settings as `Network` has them; batch_tokens: what its own packing may put together."""

    def __init__(self, work: Work, dtype: str = "float32", batch_tokens: int = 2_048, workers: int = 1) -> None:
        self._work = work
        self._network = Network(work, dtype, batch_tokens, workers)

    def run(self) -> Answers:
        """All rows."""
        if self._work.generation:
            return self._network.generate(self._work.rows, self._work.settings)
        return [found.argmax(-1)[1:-1].tolist() for found in self._network.logits(self._work.rows)]


SIDE = Direct
