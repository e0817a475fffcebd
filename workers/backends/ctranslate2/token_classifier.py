"""Token scores by `ctranslate2.Encoder`, which gives hidden states; the checkpoint's classifier over them is here."""

from collections.abc import Sequence
from typing import Any

import ctranslate2
import numpy as np
from safetensors.numpy import load_file

from workers.backends.ctranslate2.conversion import HEAD
from workers.backends.ctranslate2.weights import Converted
from workers.checkpoint.files import TokenClassifierFiles
from workers.kinds import Kind, ModelSpec, Scores


class CTranslate2TokenClassifier(TokenClassifierFiles):
    """One token-classification model on one device. Making it converts the checkpoint where that was not done before.

    Raises NotOffered for a model that CTranslate2 cannot run, and ModelUnavailable.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self._converted = Converted(self._checkpoint, self._config, Kind.TOKEN_SCORES, spec)
        self.dtype = self._converted.dtype
        self._weight: Any = None
        self._bias: Any = None

    def load(self) -> None:
        """Raises ModelUnavailable."""
        self._converted.load(ctranslate2.Encoder)
        head = load_file(self._converted.conversion.folder / HEAD)
        self._weight, self._bias = np.ascontiguousarray(head["weight"].T), head["bias"]

    def unload(self) -> None:
        """Give the memory back."""
        self._converted.unload()

    def memory_bytes(self) -> int:
        """Of the weights."""
        return self._converted.memory_bytes()

    def token_scores(self, rows: Sequence[Sequence[int]], around: tuple[int, int]) -> list[Scores]:
        """One forward pass."""
        encoder = self._converted.model
        lengths = np.array([len(row) for row in rows], dtype=np.int32)
        ids = np.full((len(rows), lengths.max()), self._pad, dtype=np.int32)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = row
        if ids.max() >= self._config.vocab_size:
            raise ValueError("a token beyond the vocabulary")  # CTranslate2 would read whatever lies there
        view = ctranslate2.StorageView.from_array
        hidden = encoder.forward_batch(view(ids), view(lengths)).last_hidden_state
        states = np.asarray(hidden.to_device(ctranslate2.Device.cpu).to(ctranslate2.DataType.float32))
        scores = _softmax(states @ self._weight + self._bias)
        first, after = around
        return [scores[i, first : length - after] for i, length in enumerate(lengths.tolist())]


def _softmax(logits: Scores) -> Scores:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    scores: Scores = powers / powers.sum(axis=-1, keepdims=True)
    return scores
