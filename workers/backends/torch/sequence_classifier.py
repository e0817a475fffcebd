"""Logits of texts and of pairs by any `AutoModelForSequenceClassification`."""

from collections.abc import Sequence

import torch

from workers.backends.torch.encoder import TorchEncoder
from workers.checkpoint.files import SequenceClassifierFiles
from workers.kinds import Kind, Logits, Row


class TorchSequenceClassifier(TorchEncoder, SequenceClassifierFiles):
    """One sequence-classification model on one device."""

    kind = Kind.SEQUENCE_SCORES

    def load(self) -> None:
        """Raises ModelUnavailable."""
        # Encoder-decoders (BART) would keep caches that nothing reads.
        self._weights.load().config.use_cache = False

    @torch.inference_mode()
    def logits(self, rows: Sequence[Row]) -> list[Logits]:
        """One forward pass."""
        return list(self.forward_pairs(rows).logits.float().cpu().numpy())
