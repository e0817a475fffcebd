"""Logits of texts and of pairs by any `AutoModelForSequenceClassification`."""

from collections.abc import Sequence
from typing import Literal

import torch

from workers.backends.torch.encoder import TorchEncoder
from workers.kinds import Kind, Logits, ModelSpec, Row


class TorchSequenceClassifier(TorchEncoder):
    """One sequence-classification model on one device."""

    kind = Kind.SEQUENCE_SCORES

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.labels = self.names
        self.function = _function(getattr(self._config, "problem_type", None), len(self.labels))

    def load(self) -> None:
        """Raises ModelUnavailable."""
        # Encoder-decoders (BART) would keep caches that nothing reads.
        self._weights.load().config.use_cache = False

    @torch.inference_mode()
    def logits(self, rows: Sequence[Row]) -> list[Logits]:
        """One forward pass."""
        return list(self.forward_pairs(rows).logits.float().cpu().numpy())


def _function(problem: str | None, labels: int) -> Literal["softmax", "sigmoid", "none"]:
    """As transformers' pipeline chooses."""
    if problem == "regression":
        return "none"
    return "sigmoid" if problem == "multi_label_classification" or labels == 1 else "softmax"
