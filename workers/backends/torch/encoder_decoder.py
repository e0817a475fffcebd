"""Generation by any `AutoModelForSeq2SeqLM`."""

import functools
from collections.abc import Sequence

import torch
from transformers import GenerationConfig, LogitsProcessorList

from workers import metrics
from workers.backends.torch import search
from workers.backends.torch.faithful import MaskProcessor, Masks
from workers.backends.torch.weights import Weights, padded
from workers.checkpoint import generation
from workers.checkpoint.files import EncoderDecoderFiles
from workers.checkpoint.wording import trimmed
from workers.kinds import Generated, GenerationSettings, Kind, ModelSpec


class TorchEncoderDecoder(EncoderDecoderFiles):
    """One encoder-decoder model on one device. Making it reads configuration, tokenizer and generation settings, and
    raises ModelUnavailable."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self._weights = Weights(self._checkpoint, Kind.GENERATION, spec)
        self.dtype = str(self._weights.dtype).removeprefix("torch.")
        pad = self._config.pad_token_id
        self._pad = self._tokenizer.pad_token_id if pad is None else pad

    def check(self, settings: GenerationSettings) -> None:
        """It generates by all that transformers knows, and faithfully."""
        self.prepare(settings)

    def load(self) -> None:
        """Raises ModelUnavailable."""
        # Settings travel with each batch. What the model keeps would fill in whatever these leave unset.
        self._weights.load().generation_config = GenerationConfig()  # type: ignore[no-untyped-call]

    def unload(self) -> None:
        """Give the memory back."""
        self._weights.unload()

    def memory_bytes(self) -> int:
        """Of the weights."""
        return self._weights.memory_bytes()

    @torch.inference_mode()
    def generate(self, rows: Sequence[Sequence[int]], settings: GenerationSettings) -> list[Generated]:
        """One generation for all rows, by our own search where it knows the settings."""
        config = generation.applied(self._base, settings)
        ids, mask = padded(rows, self._pad, self._weights.device)
        wordings = self.wordings(rows, settings)
        masks = Masks(wordings) if wordings else None
        own = functools.partial(search.search, masks=masks) if search.supports(config) else None
        processors = LogitsProcessorList()
        if own is None:
            metrics.FOREIGN_SEARCHES.labels(self._name).inc(len(rows))
            if masks is not None:
                processors.append(MaskProcessor(masks, config.num_beams))
        generated = self._weights.model.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=config,
            logits_processor=processors,
            custom_generate=own,
        )
        found = [generation.finished(row, config) for row in generated.tolist()]
        return trimmed(found, wordings) if wordings else found
