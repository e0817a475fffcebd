"""Vectors of texts: hidden states, pooled."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from workers.backends.ctranslate2.encoder import CTranslate2Encoder, States
from workers.checkpoint.files import EmbedderFiles
from workers.kinds import Kind, Pooling


class CTranslate2Embedder(CTranslate2Encoder, EmbedderFiles):
    """One encoder on one device."""

    kind = Kind.VECTORS

    def vectors(self, rows: Sequence[Sequence[int]], pooling: Pooling) -> list[NDArray[np.float32]]:
        """One forward pass."""
        states = self.states(rows)
        return [_POOLED[pooling](states[i, : len(row)]) for i, row in enumerate(rows)]


def _mean(states: States) -> States:
    mean: States = states.mean(axis=0)
    return mean


def _first(states: States) -> States:
    first: States = states[0]
    return first


def _max(states: States) -> States:
    most: States = states.max(axis=0)
    return most


_POOLED = {"mean": _mean, "cls": _first, "max": _max}
