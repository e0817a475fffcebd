"""From the logits of masked tokens to what a mask may be."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from workers.kinds import Fillings, FillingSettings


def likeliest(logits: Tensor, counts: Sequence[int], settings: FillingSettings) -> list[Fillings]:
    """One for each row of a batch. logits: (masks of all rows, vocabulary); counts: how many masks each row has."""
    scores = logits.float().softmax(dim=-1)
    targets = None
    if settings.targets is not None:
        targets = torch.tensor(settings.targets, device=scores.device)
        scores = scores[:, targets]
    best, places = scores.topk(min(settings.top_k, scores.shape[-1]))
    chosen = places if targets is None else targets[places]
    ends = np.cumsum(counts)[:-1]
    found = zip(np.split(chosen.cpu().numpy(), ends), np.split(best.cpu().numpy(), ends), strict=True)
    return [Fillings(tokens, values) for tokens, values in found]
