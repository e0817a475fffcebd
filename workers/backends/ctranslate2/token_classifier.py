"""Token scores: the checkpoint's classifier over hidden states."""

from collections.abc import Sequence

from workers.backends.ctranslate2.encoder import CTranslate2Encoder
from workers.checkpoint.files import TokenClassifierFiles
from workers.kinds import Kind, Scores


class CTranslate2TokenClassifier(CTranslate2Encoder, TokenClassifierFiles):
    """One token-classification model on one device."""

    kind = Kind.TOKEN_SCORES

    def token_scores(self, rows: Sequence[Sequence[int]], around: tuple[int, int]) -> list[Scores]:
        """One forward pass."""
        scores = self.head(self.states(rows)).softmax(dim=-1).numpy()
        first, after = around
        return [scores[i, first : len(row) - after] for i, row in enumerate(rows)]
