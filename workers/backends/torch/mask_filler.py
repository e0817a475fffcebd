"""The likeliest tokens for masked ones, by any `AutoModelForMaskedLM`."""

from collections.abc import Sequence

import torch

from workers.backends.torch.encoder import TorchEncoder
from workers.checkpoint.files import MaskFillerFiles
from workers.checkpoint.fillings import likeliest
from workers.kinds import Fillings, FillingSettings, Kind


class TorchMaskFiller(TorchEncoder, MaskFillerFiles):
    """One masked language model on one device."""

    kind = Kind.MASKS

    @torch.inference_mode()
    def fill(self, rows: Sequence[Sequence[int]], settings: FillingSettings) -> list[Fillings]:
        """One forward pass. What is not masked never leaves the device: a row of scores is a whole vocabulary."""
        output, ids, _ = self.forward(rows)
        masked = ids == self.mask
        return likeliest(output.logits[masked], masked.sum(dim=1).tolist(), settings)
