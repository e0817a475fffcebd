"""Token scores by any `AutoModelForTokenClassification`."""

from collections.abc import Sequence

import torch

from workers.backends.torch.encoder import TorchEncoder
from workers.checkpoint.files import TokenClassifierFiles
from workers.kinds import Kind, Scores


class TorchTokenClassifier(TorchEncoder, TokenClassifierFiles):
    """One token-classification model on one device."""

    kind = Kind.TOKEN_SCORES

    @torch.inference_mode()
    def token_scores(self, rows: Sequence[Sequence[int]], around: tuple[int, int]) -> list[Scores]:
        """One forward pass."""
        output, _, _ = self.forward(rows)
        scores = output.logits.float().softmax(dim=-1).cpu().numpy()
        first, after = around
        return [scores[i, first : len(row) - after] for i, row in enumerate(rows)]
