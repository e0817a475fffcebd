"""Generation by any `AutoModelForSeq2SeqLM`."""

from collections.abc import Sequence

import torch
from transformers import GenerationConfig

from workers import metrics
from workers.backends.torch import search
from workers.backends.torch.weights import Weights, padded
from workers.checkpoint import generation
from workers.checkpoint.files import EncoderDecoderFiles
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
        """It generates by all that transformers knows."""

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
        own = search.search if search.supports(config) else None
        if own is None:
            metrics.FOREIGN_SEARCHES.labels(self._name).inc(len(rows))
        generated = self._weights.model.generate(
            input_ids=ids, attention_mask=mask, generation_config=config, custom_generate=own
        )
        return [generation.finished(row, config) for row in generated.tolist()]
