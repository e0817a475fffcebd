"""The likeliest tokens for masked ones, by any `AutoModelForMaskedLM`."""

from collections.abc import Sequence

import torch

from textmill.errors import ModelUnavailable
from workers.backends.torch.encoder import TorchEncoder
from workers.kinds import Fillings, FillingSettings, Kind, ModelSpec


class TorchMaskFiller(TorchEncoder):
    """One masked language model on one device."""

    kind = Kind.MASKS

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        mask = self.codec.mask
        if mask is None:
            raise ModelUnavailable(f"the tokenizer of {spec.source} has no mask token")
        self._mask = mask[1]

    @torch.inference_mode()
    def fill(self, rows: Sequence[Sequence[int]], settings: FillingSettings) -> list[Fillings]:
        """One forward pass. What is not masked never leaves the device: a row of scores is a whole vocabulary."""
        output, ids, _ = self.forward(rows)
        masked = ids == self._mask
        scores = output.logits[masked].float().softmax(dim=-1)
        targets = None
        if settings.targets is not None:
            targets = torch.tensor(settings.targets, device=scores.device)
            scores = scores[:, targets]
        best, places = scores.topk(min(settings.top_k, scores.shape[-1]))
        chosen = places if targets is None else targets[places]
        counts = masked.sum(dim=1).tolist()
        found = zip(chosen.cpu().split(counts), best.cpu().split(counts), strict=True)
        return [Fillings(tokens.numpy(), values.numpy()) for tokens, values in found]
