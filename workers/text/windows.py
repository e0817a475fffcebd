"""Overlapping windows over a document's tokens, for models that label each token.

The document is tokenized once. Windows overlap, and each token takes its scores from the one window whose core it is
in. Cores cover the document without gap or overlap, and their edges stand at word starts, so that a word's tokens are
all scored in one window. Scores are stitched, never entities: no entity is doubled or lost at a seam.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Window:
    """Tokens [start, stop) go through the model together; it decides about [core_start, core_stop)."""

    start: int
    stop: int
    core_start: int
    core_stop: int


def plan(tokens: int, word_starts: Sequence[int], size: int, overlap: int) -> list[Window]:
    """Windows over `tokens` tokens of at most `size` each, whose neighbours share about `overlap` tokens.

    word_starts: the indices of the tokens that begin a word, ascending. A word that is longer than a window is cut at
    a token, where there is no other way. Raises ValueError where the overlap is not below half a window.
    """
    if not 0 <= 2 * overlap < size:
        raise ValueError(f"an overlap of {overlap} is not below half of a window of {size} tokens")
    windows: list[Window] = []
    core_start = 0
    while True:
        # First with context on both sides; where no word ends in that, the word at the core's start gets a whole
        # window; where that is too short as well, the word is cut.
        centred = max(0, core_start - overlap // 2)
        for start in (centred, core_start):
            if start + size >= tokens:
                windows.append(Window(start, tokens, core_start, tokens))
                return windows
            edge = _edge(word_starts, core_start, start + size - overlap // 2, start + size)
            if edge is not None:
                break
        else:
            start, edge = centred, centred + size - overlap // 2
        windows.append(Window(start, start + size, core_start, edge))
        core_start = edge


def _edge(word_starts: Sequence[int], core_start: int, wanted: int, stop: int) -> int | None:
    """The word start in (core_start, stop] that is nearest to `wanted` (core_start < wanted <= stop), or None."""
    at = bisect_left(word_starts, wanted)
    before = word_starts[at - 1] if at > 0 and word_starts[at - 1] > core_start else None
    after = word_starts[at] if at < len(word_starts) and word_starts[at] <= stop else None
    if before is None or after is None:
        return before if after is None else after
    return before if wanted - before <= after - wanted else after


def stitch(windows: Sequence[Window], scores: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The document's scores, (tokens, labels), from those of its windows, each (stop - start, labels)."""
    if len(windows) == 1:
        return scores[0]
    return np.concatenate(
        [part[w.core_start - w.start : w.core_stop - w.start] for w, part in zip(windows, scores, strict=True)]
    )
