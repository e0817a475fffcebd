"""Where an answer begins and ends: the checkpoint's last layer over hidden states."""

from collections.abc import Sequence

from workers.backends.ctranslate2.encoder import CTranslate2Encoder
from workers.kinds import Kind, Logits, Row


class CTranslate2SpanFinder(CTranslate2Encoder):
    """One question-answering model on one device."""

    kind = Kind.SPANS

    def spans(self, rows: Sequence[Row]) -> list[Logits]:
        """One forward pass."""
        both = self.head(self.states_of_pairs(rows)).transpose(1, 2).numpy()
        return [both[i, :, : len(row.ids)] for i, row in enumerate(rows)]
