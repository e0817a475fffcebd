"""What the tasks of encoders share: a document's tokens in windows, and one answer of several windows' answers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from textmill.errors import DocumentTooLong, ProcessingFailed
from workers.kinds import Codec, Offsets
from workers.text import windows
from workers.text.windows import Window

CANARY = "The committee met in Berlin on Monday and decided to build a new bridge over the river before next summer."

USUAL_SENTENCES = 4
"""In a document, for calibration."""

Numbers = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Cut:
    """A document in windows; one of no tokens has one window."""

    ids: Sequence[int]
    offsets: Offsets
    windows: Sequence[Window]

    def inside(self, window: Window) -> Sequence[int]:
        """The window's tokens."""
        return self.ids if len(self.windows) == 1 else self.ids[window.start : window.stop]

    @property
    def weights(self) -> Sequence[int]:
        """Tokens of each window; an empty document counts as one."""
        return [max(1, window.stop - window.start) for window in self.windows]


def cut(codec: Codec, text: str, capacity: int, refuse_long: bool) -> Cut:
    """The text in windows of at most `capacity` tokens, side by side, whose borders are at word starts.

    Raises DocumentTooLong.
    """
    ids, offsets = codec.encode_with_offsets(text)
    refuse(len(ids), capacity, refuse_long)
    if len(ids) <= capacity:
        return Cut(ids, offsets, [Window(0, len(ids), 0, len(ids))])
    plan = windows.plan(len(ids), codec.word_starts(text, ids, offsets), capacity, 0)
    # Their cores alone: a token that two windows hold would count twice.
    return Cut(ids, offsets, [replace(w, start=w.core_start, stop=w.core_stop) for w in plan])


def refuse(count: int, capacity: int, refuse_long: bool) -> None:
    """Raises DocumentTooLong where a text of so many tokens does not fit, and long ones are refused."""
    if refuse_long and count > capacity:
        raise DocumentTooLong(f"The text has {count} tokens, and the model's window takes {capacity}.")


def average(parts: Sequence[Numbers], weights: Sequence[int]) -> Numbers:
    """One array of those of the windows, each weighed by its tokens. Raises ProcessingFailed."""
    joined = parts[0] if len(parts) == 1 else np.average(np.stack(parts), axis=0, weights=weights)
    return numbers(joined.astype(np.float32))


def numbers(values: Numbers) -> Numbers:
    """The values. Raises ProcessingFailed where they are not finite."""
    if not np.isfinite(values).all():
        raise ProcessingFailed("The model's scores are not numbers; float32 may help where float16 was chosen.")
    return values


def softmax(logits: Numbers) -> Numbers:
    """Over the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: Numbers = shifted / shifted.sum(axis=-1, keepdims=True)
    return shares


def sigmoid(logits: Numbers) -> Numbers:
    """Of each number."""
    # By tanh, which does not overflow where a logit is large.
    shares: Numbers = (0.5 * (1 + np.tanh(0.5 * logits))).astype(np.float32)
    return shares


def best_first(names: Sequence[str], scores: Numbers, top_k: int | None = None) -> list[dict[str, object]]:
    """`{"label", "score"}` of the best, or of all; the earlier of equals first."""
    order = np.argsort(-scores, kind="stable")[:top_k]
    return [{"label": names[i], "score": float(scores[i])} for i in order]
