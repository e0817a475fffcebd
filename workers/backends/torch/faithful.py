"""Wordings (`workers/checkpoint/wording.py`) over the scores of a batch."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from transformers import LogitsProcessor

from workers.checkpoint.wording import Wording


class Masks:
    """What may be said next of each text of a batch. start: tokens of a row before those that are generated."""

    def __init__(self, wordings: Sequence[Wording], start: int = 1) -> None:
        self._wordings = wordings
        self._start = start

    def open(self, items: Iterable[int], rows: Tensor, scores: Tensor) -> Tensor:
        """The scores, (rows, vocabulary), of what may follow; the others' are minus infinity. items: the text that each
        row is about. rows: tokens so far."""
        found = []
        for item, ids in zip(items, rows[:, self._start :].tolist(), strict=True):
            wording = self._wordings[item]
            found.append(torch.from_numpy(wording.following(wording.state(ids))))
        lengths = torch.tensor([len(tokens) for tokens in found], device=scores.device)
        places = torch.arange(len(found), device=scores.device).repeat_interleave(lengths)
        tokens = torch.cat(found).to(scores.device)
        masked = torch.full_like(scores, float("-inf"))
        masked[places, tokens] = scores[places, tokens]
        return masked


STUCK = 100.0
"""What a step costs, in logarithms of probabilities, where other settings left nothing that may be said: a beam that it
befalls is no better for it."""


class MaskProcessor(LogitsProcessor):
    """The same in transformers' own searches, whose rows stay in their places."""

    def __init__(self, masks: Masks, beams: int) -> None:
        self._masks = masks
        self._beams = beams

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """The scores of what may follow."""
        items = [row // self._beams for row in range(len(scores))]
        opened = self._masks.open(items, input_ids, torch.zeros_like(scores))
        return settled(opened - STUCK, scores + opened)


def settled(opened: Tensor, processed: Tensor) -> Tensor:
    """What the other settings made of the opened scores; where they left nothing, the opened scores: a word that has
    begun is said to its end, whatever repeated n-gram that makes."""
    stuck = ~processed.isfinite().any(-1, keepdim=True)
    return torch.where(stuck, opened, processed)
