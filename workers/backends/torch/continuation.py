"""The same searches for decoders: the text stands before what is generated, padded on the left.

What differs from `generate()` is that an item's answer does not depend on its batch: there, the padding of the shorter
texts counts as text for the settings that look at what was said before (repetition, n-grams).
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import (
    GenerationConfig,
    NoBadWordsLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    SequenceBiasLogitsProcessor,
)

from workers.backends.torch import search
from workers.backends.torch.search import Beams, Greedy, Search
from workers.kinds import Sampling

NOTHING = -1
"""A token that is none: nothing repeats it, and it repeats nothing."""


def supports(config: GenerationConfig) -> bool:
    """Whether `continuation` knows all that the configuration asks for."""
    return search.supports(config)


def continuation(
    model: Any,
    input_ids: Tensor,
    logits_processor: Any,
    stopping_criteria: Any,
    generation_config: Any,
    **model_kwargs: Any,
) -> Tensor:
    """For `generate(custom_generate=continuation)`: input_ids (items x beams, longest text) -> ids (items, max_length).

    A row is padding, the text, the new tokens, the end, and padding.
    """
    kind = _Beams if generation_config.num_beams > 1 else _Greedy
    return kind(model, input_ids, logits_processor, generation_config, model_kwargs).run()


def sampled(
    model: Any,
    input_ids: Tensor,
    logits_processor: Any,
    stopping_criteria: Any,
    generation_config: Any,
    *,
    sampling: Sampling,
    **model_kwargs: Any,
) -> Tensor:
    """The same with drawn tokens."""
    return _Sampled(model, input_ids, logits_processor, generation_config, model_kwargs, sampling).run()


class _Decoder(Search):
    """What is different without an encoder: positions and mask grow with each token."""

    def __init__(self, model: Any, input_ids: Tensor, processors: Any, config: Any, inputs: dict[str, Any]) -> None:
        super().__init__(model, input_ids, processors, config, inputs)
        # transformers leaves a mask out that hides nothing.
        mask = inputs.get("attention_mask")
        padding = input_ids.new_zeros(len(input_ids)) if mask is None else self.start - mask.sum(1)
        self.padding = padding[:: self.beams]
        """Of each item, in tokens."""
        for processor in processors:
            if hasattr(processor, "prompt_ignore_length"):
                # transformers' own way to leave the padding out counts on rows that stay: `_process` does it here.
                processor.prompt_ignore_length = None

    def _forward(self, ids: Tensor, next_sequence_length: int | None) -> Tensor:
        is_first = next_sequence_length is None
        if not is_first:
            self.inputs = self.model._update_model_kwargs_for_generation({}, self.inputs)
        prepared = self.model.prepare_inputs_for_generation(
            ids,
            next_sequence_length=next_sequence_length,
            is_first_iteration=next_sequence_length is None,
            **self.inputs,
        )
        output = self.model(**prepared, return_dict=True)
        self.inputs["past_key_values"] = output.past_key_values
        return output.logits[:, -1].to(copy=True, dtype=torch.float32)  # type: ignore[no-any-return]

    def _keep_inputs(self, rows: Any) -> None:
        for name in ("attention_mask", "position_ids"):
            if self.inputs.get(name) is not None:
                self.inputs[name] = self.inputs[name][rows]

    def _reorder(self, rows: Tensor) -> None:
        self.inputs["past_key_values"].reorder_cache(rows)

    def _process(self, rows: Tensor, scores: Tensor) -> Tensor:
        padding = self.padding.repeat_interleave(len(rows) // len(self.padding))[:, None]
        is_padding = torch.arange(rows.shape[1], device=rows.device)[None, :] < padding
        # What has been said is said again by the padding, or nothing is: no token counts that is not in the text.
        first = rows.gather(1, padding)
        said, silent = torch.where(is_padding, first, rows), rows.masked_fill(is_padding, NOTHING)
        for processor in self.processors:
            seen = silent if type(processor) in _LOOKS_AT_SEQUENCES else said
            scores = processor(seen, scores)
        return scores

    def _leave(self, ended: Tensor) -> None:
        self.padding = self.padding[~ended]
        super()._leave(ended)


_LOOKS_AT_SEQUENCES = {NoRepeatNGramLogitsProcessor, NoBadWordsLogitsProcessor, SequenceBiasLogitsProcessor}
"""Processors that would take the repeated token for a sequence; the others look up each token, and want one that is."""


class _Greedy(_Decoder, Greedy):
    pass


class _Beams(_Decoder, Beams):
    pass


class _Sampled(_Greedy):
    """Drawn tokens, by numbers between 0 and 1 that are the row's own: so its batch changes nothing."""

    def __init__(
        self, model: Any, input_ids: Tensor, processors: Any, config: Any, inputs: dict[str, Any], sampling: Sampling
    ) -> None:
        super().__init__(model, input_ids, processors, config, inputs)
        self.sampling = sampling
        texts = [row[gap:] for row, gap in zip(input_ids.tolist(), self.padding.tolist(), strict=True)]
        numbers = np.stack([_numbers(text, sampling.seed, self.capacity - self.start) for text in texts])
        self.numbers = torch.from_numpy(numbers).to(input_ids.device)

    def _choose(self, scores: Tensor) -> Tensor:
        return drawn(scores, self.sampling, self.numbers[:, self.length - self.start])

    def _select(self, items: Tensor) -> None:
        super()._select(items)
        self.numbers = self.numbers[items]


def _numbers(ids: Sequence[int], seed: int, count: int) -> NDArray[np.float64]:
    """So many numbers from 0 to below 1, which hang on seed and tokens alone."""
    digest = hashlib.blake2b(np.array(ids, dtype="<i8").tobytes(), digest_size=8).digest()
    key = np.array([seed, int.from_bytes(digest, "little")], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).random(count)


def drawn(scores: Tensor, sampling: Sampling, numbers: Tensor) -> Tensor:
    """One token for each row of scores, (rows, vocabulary), by its number, (rows,).

    Temperature, `top_k` and `top_p` as in transformers, in this order. The share of the numbers for which a token is
    drawn is its probability; shares stand in the order of the vocabulary, so that tokens that are nearly alike do not
    change places with the last digits of their scores.
    """
    shares = (scores / sampling.temperature).softmax(-1)
    best, places = shares.sort(dim=-1, descending=True, stable=True)
    if sampling.top_k is not None:
        best[:, sampling.top_k :] = 0
    best /= best.sum(-1, keepdim=True)
    best[best.cumsum(-1) - best >= sampling.top_p] = 0
    kept = torch.zeros_like(best).scatter(-1, places, best)
    ends = kept.double().cumsum(-1)
    found = torch.searchsorted(ends, (numbers * ends[:, -1])[:, None], right=True)[:, 0]
    # The last numbers may fall behind the last end, by rounding: then it is the last token that counts.
    last = (kept > 0).long().cumsum(-1).argmax(-1)
    return torch.minimum(found, last)
