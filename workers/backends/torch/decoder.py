"""Continuation by any `AutoModelForCausalLM`."""

import functools
from collections.abc import Sequence
from typing import Any

import torch
from transformers import GenerationConfig

from textmill.errors import ProcessingFailed
from workers import metrics
from workers.backends.torch import continuation
from workers.backends.torch.encoder import TorchEncoder
from workers.backends.torch.weights import padded
from workers.checkpoint import generation
from workers.checkpoint.files import DecoderFiles
from workers.kinds import Generated, GenerationSettings, Kind


class TorchDecoder(TorchEncoder, DecoderFiles):
    """One decoder on one device. Making it reads configuration, tokenizer and generation settings, and raises
    ModelUnavailable."""

    kind = Kind.CONTINUATION

    def check(self, settings: GenerationSettings) -> None:
        """It takes all."""

    def needs_equal_lengths(self, settings: GenerationSettings) -> bool:
        """They are padded."""
        return False

    def load(self) -> None:
        """Raises ModelUnavailable."""
        # As with encoder-decoders: what the model keeps would fill in whatever a batch leaves unset.
        self._weights.load().generation_config = GenerationConfig()  # type: ignore[no-untyped-call]

    @torch.inference_mode()
    def generate(self, rows: Sequence[Sequence[int]], settings: GenerationSettings) -> list[Generated]:
        """One generation for all rows, by our own search where it knows the settings."""
        longest = max(map(len, rows))
        # The lengths of the settings count one token before what is generated: here that is the whole text.
        before = longest - 1
        shortest = settings.min_length + before if settings.min_length else 0
        config = generation.applied(self._base, settings.with_lengths(shortest, settings.max_length + before))
        config.pad_token_id = self._pad
        ids, mask = padded(rows, self._pad, self._weights.device, left=True)
        own: Any = continuation.continuation if continuation.supports(config) else None
        if settings.sampling is not None:
            if own is None:
                raise ProcessingFailed("The checkpoint's settings want a search of their own, which draws nothing.")
            own = functools.partial(continuation.sampled, sampling=settings.sampling)
        elif own is None:
            metrics.FOREIGN_SEARCHES.labels(self._name).inc(len(rows))
        generated = self._weights.model.generate(
            input_ids=ids, attention_mask=mask, generation_config=config, custom_generate=own
        )
        return [generation.finished(row, config, longest) for row in generated.tolist()]
