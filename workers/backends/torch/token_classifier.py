"""Token scores by any `AutoModelForTokenClassification`."""

from collections.abc import Sequence

import torch

from workers.backends.torch.weights import Weights, padded
from workers.checkpoint.files import TokenClassifierFiles
from workers.kinds import Kind, ModelSpec, Scores


class TorchTokenClassifier(TokenClassifierFiles):
    """One token-classification model on one device. Making it reads configuration and tokenizer, and raises
    ModelUnavailable."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self._weights = Weights(self._checkpoint, Kind.TOKEN_SCORES, spec)
        self.dtype = str(self._weights.dtype).removeprefix("torch.")

    def load(self) -> None:
        """Raises ModelUnavailable."""
        self._weights.load()

    def unload(self) -> None:
        """Give the memory back."""
        self._weights.unload()

    def memory_bytes(self) -> int:
        """Of the weights."""
        return self._weights.memory_bytes()

    @torch.inference_mode()
    def token_scores(self, rows: Sequence[Sequence[int]], around: tuple[int, int]) -> list[Scores]:
        """One forward pass."""
        ids, mask = padded(rows, self._pad, self._weights.device)
        logits = self._weights.model(input_ids=ids, attention_mask=mask).logits
        scores = logits.float().softmax(dim=-1).cpu().numpy()
        first, after = around
        return [scores[i, first : len(row) - after] for i, row in enumerate(rows)]
