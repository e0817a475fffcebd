"""Where an answer begins and ends, by any `AutoModelForQuestionAnswering`."""

from collections.abc import Sequence

import torch

from workers.backends.torch.encoder import TorchEncoder
from workers.kinds import Kind, Logits, Row


class TorchSpanFinder(TorchEncoder):
    """One question-answering model on one device."""

    kind = Kind.SPANS

    @torch.inference_mode()
    def spans(self, rows: Sequence[Row]) -> list[Logits]:
        """One forward pass."""
        output = self.forward_pairs(rows)
        both = torch.stack((output.start_logits, output.end_logits), dim=1).float().cpu().numpy()
        return [both[i, :, : len(row.ids)] for i, row in enumerate(rows)]
