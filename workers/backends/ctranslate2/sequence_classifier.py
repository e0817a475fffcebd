"""Logits of texts and of pairs: the checkpoint's pooler and classifier over the first token's hidden state."""

from collections.abc import Sequence

import numpy as np

from workers.backends.ctranslate2.encoder import CTranslate2Encoder
from workers.checkpoint.files import SequenceClassifierFiles
from workers.kinds import Kind, Logits, Row


class CTranslate2SequenceClassifier(CTranslate2Encoder, SequenceClassifierFiles):
    """One sequence-classification model on one device."""

    kind = Kind.SEQUENCE_SCORES

    def logits(self, rows: Sequence[Row]) -> list[Logits]:
        """One forward pass."""
        first = np.ascontiguousarray(self.states_of_pairs(rows)[:, 0])
        return list(self.head(first).numpy())
