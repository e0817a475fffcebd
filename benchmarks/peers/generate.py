"""transformers' own `generate()` and token classification: one row at a time, in batches as they come, or sorted by
length. On a CPU in float32, in inference mode."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import AutoModelForSeq2SeqLM, AutoModelForTokenClassification, GenerationConfig

from benchmarks.work import Answers, Work


class Transformers:
    """`batch`: rows of one call. `sort`: longest first, so that a batch pads little."""

    def __init__(self, work: Work, batch: int = 1, sort: bool = False) -> None:
        torch.set_num_threads(1)
        self._generates = bool(work.generation)
        auto: Any = AutoModelForSeq2SeqLM if self._generates else AutoModelForTokenClassification
        self._model = auto.from_pretrained(work.folder, dtype=torch.float32).eval()
        self._pad = self._model.config.pad_token_id
        self._work = work
        self._batch = batch
        order = range(len(work.rows))
        self._order = sorted(order, key=lambda at: -len(work.rows[at])) if sort else list(order)
        if self._generates:
            self._config = self._model.generation_config
            for name, value in work.generation.items():
                if name not in ("forced_bos_token_id", "decoder_start_token_id") or value is not None:
                    setattr(self._config, name, value)
            self._end = _ends(self._config)
            self._start = self._config.decoder_start_token_id

    @torch.inference_mode()
    def run(self) -> Answers:
        """All rows."""
        answers: Answers = [[] for _ in self._work.rows]
        for places in self._batches():
            rows = [self._work.rows[at] for at in places]
            for at, answer in zip(places, self._answer(rows), strict=True):
                answers[at] = answer
        return answers

    def _batches(self) -> Iterator[Sequence[int]]:
        for start in range(0, len(self._order), self._batch):
            yield self._order[start : start + self._batch]

    def _answer(self, rows: Sequence[Sequence[int]]) -> list[list[int]]:
        longest = max(map(len, rows))
        ids = torch.tensor([[*row, *[self._pad] * (longest - len(row))] for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        if not self._generates:
            labels = self._model(input_ids=ids, attention_mask=mask).logits.argmax(-1).tolist()
            return [found[1 : len(row) - 1] for found, row in zip(labels, rows, strict=True)]
        generated = self._model.generate(input_ids=ids, attention_mask=mask, generation_config=self._config)
        drop = {*self._end, self._pad}
        return [[token for token in row[1:] if token not in drop] for row in generated.tolist()]


def _ends(config: GenerationConfig) -> set[int]:
    ends = config.eos_token_id
    return set(ends) if isinstance(ends, list) else {ends}


SIDE = Transformers
