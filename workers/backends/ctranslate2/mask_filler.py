"""The likeliest tokens for masked ones: the checkpoint's head over the hidden states of the masks alone."""

from collections.abc import Sequence

import numpy as np

from workers.backends.ctranslate2.encoder import CTranslate2Encoder
from workers.checkpoint.files import MaskFillerFiles
from workers.checkpoint.fillings import likeliest
from workers.kinds import Fillings, FillingSettings, Kind


class CTranslate2MaskFiller(CTranslate2Encoder, MaskFillerFiles):
    """One masked language model on one device."""

    kind = Kind.MASKS

    def fill(self, rows: Sequence[Sequence[int]], settings: FillingSettings) -> list[Fillings]:
        """One forward pass. The head, which is a whole vocabulary wide, sees nothing but masks."""
        masked = [np.array([token == self.mask for token in row]) for row in rows]
        states = self.states(rows)
        wanted = np.concatenate([states[i, : len(places)][places] for i, places in enumerate(masked)])
        return likeliest(self.head(wanted), [int(places.sum()) for places in masked], settings)
