"""Vectors of texts, by any `AutoModel`."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from workers.backends.torch.encoder import TorchEncoder
from workers.checkpoint.files import EmbedderFiles
from workers.kinds import Kind, Pooling


class TorchEmbedder(TorchEncoder, EmbedderFiles):
    """One encoder on one device."""

    kind = Kind.VECTORS

    @torch.inference_mode()
    def vectors(self, rows: Sequence[Sequence[int]], pooling: Pooling) -> list[NDArray[np.float32]]:
        """One forward pass."""
        output, _, mask = self.forward(rows)
        return list(_POOLED[pooling](output.last_hidden_state.float(), mask[:, :, None] > 0).cpu().numpy())


def _mean(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return (states * mask).sum(dim=1) / mask.sum(dim=1)


def _first(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return states[:, 0]


def _max(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return states.masked_fill(~mask, float("-inf")).amax(dim=1)


_POOLED = {"mean": _mean, "cls": _first, "max": _max}
