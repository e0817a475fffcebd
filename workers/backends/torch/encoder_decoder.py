"""Generation by any `AutoModelForSeq2SeqLM`."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import GenerationConfig

from workers import metrics
from workers.backends.torch import generation, search
from workers.backends.torch.weights import Weights, padded
from workers.checkpoint import checkpoint as checkpoints
from workers.checkpoint.codec import TokenizerCodec
from workers.kinds import Generated, GenerationSettings, Kind, ModelSpec


class TorchEncoderDecoder:
    """One encoder-decoder model on one device. Making it reads configuration, tokenizer and generation settings, and
    raises ModelUnavailable."""

    def __init__(self, spec: ModelSpec) -> None:
        self._name = spec.name
        checkpoint = checkpoints.Checkpoint(spec.source, spec.revision)
        self._weights = Weights(checkpoint, Kind.GENERATION, spec)
        self._config, tokenizer = checkpoint.config(), checkpoint.tokenizer()
        self.codec = TokenizerCodec(tokenizer, self._config)
        self.window = checkpoints.window(self._config, tokenizer, spec.window)
        self.limit = min((n for n in (spec.window, checkpoints.positions(self._config)) if n), default=None)
        self.revision = checkpoint.digest()
        self.dtype = str(self._weights.dtype).removeprefix("torch.")
        self._pad = tokenizer.pad_token_id if self._config.pad_token_id is None else self._config.pad_token_id
        self._base = generation.base_of(checkpoint.generation_config(self._config))

    def defaults(self, preset: str) -> Mapping[str, Any]:
        """The options that the checkpoint's files set, those that its configuration has for the preset (T5, BART) over
        those of its generation settings; and its `prefix`."""
        presets: Mapping[str, Any] = getattr(self._config, "task_specific_params", None) or {}
        return generation.defaults_of(self._base, presets.get(preset, {}))

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
