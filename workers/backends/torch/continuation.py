"""The same searches for decoders: the text stands before what is generated, padded on the left.

What differs from `generate()` is that an item's answer does not depend on its batch: there, the padding of the shorter
texts counts as text for the settings that look at what was said before (repetition, n-grams).
"""

from typing import Any

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    NoBadWordsLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    SequenceBiasLogitsProcessor,
)

from workers.backends.torch import search
from workers.backends.torch.search import Beams, Greedy, Search

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
