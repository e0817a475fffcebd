"""The best spans of a text, from logits of where each token would begin and end one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float32]

SPARE = 4
"""Times as many spans are looked at as are wanted: several may be one when they are widened to words."""


@dataclass(frozen=True, slots=True)
class Words:
    """A text, its tokens' places in code points, and the number of the word that each token belongs to."""

    text: str
    offsets: Sequence[tuple[int, int]]
    numbers: Sequence[int | None]

    def place(self, first: int, last: int) -> tuple[int, int]:
        """Where the tokens from first to last stand, widened to whole words, without white space at the ends."""
        while first > 0 and self._joined(first - 1, first):
            first -= 1
        while last + 1 < len(self.offsets) and self._joined(last, last + 1):
            last += 1
        start, end = self.offsets[first][0], self.offsets[last][1]
        inside = self.text[start:end]
        return start + len(inside) - len(inside.lstrip()), end - len(inside) + len(inside.rstrip())

    def _joined(self, one: int, other: int) -> bool:
        return self.numbers[one] is not None and self.numbers[one] == self.numbers[other]


class Found:
    """The spans of a document, collected over its windows. longest: tokens of a span."""

    def __init__(self, words: Words, longest: int) -> None:
        self._words = words
        self._longest = longest
        self._scores: dict[tuple[int, int], float] = {}
        self._none = 1.0
        """The least that a window gives to there being no answer."""

    def add(self, logits: Numbers, inside: slice, at: int, none: int | None, wanted: int) -> None:
        """A window's logits, (2, tokens of the row). inside: the text's place in the row; at: the number of its first
        token in the document; none: the token that stands for no answer."""
        before = logits[:, :0] if none is None else logits[:, none : none + 1]
        both = np.concatenate((before, logits[:, inside]), axis=1)
        shares = np.exp(both - both.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        if none is not None:
            self._none = min(self._none, float(shares[0, 0] * shares[1, 0]))
        begins, ends = shares[:, before.shape[1] :]
        for first, last, score in _best(begins, ends, self._longest, SPARE * wanted):
            place = self._words.place(at + first, at + last)
            self._scores[place] = max(score, self._scores.get(place, 0.0))

    def best(self, wanted: int, may_be_none: bool) -> list[dict[str, Any]]:
        """`{"answer", "score", "start", "end"}` of the best, in their order."""
        answers = [
            {"answer": self._words.text[start:end], "score": score, "start": start, "end": end}
            for (start, end), score in self._scores.items()
            if start < end
        ]
        if may_be_none:
            answers.append({"answer": "", "score": self._none, "start": 0, "end": 0})
        return sorted(answers, key=_rank)[:wanted]


def _rank(answer: dict[str, Any]) -> tuple[float, int, int]:
    return -answer["score"], answer["start"], answer["end"]


def _best(begins: Numbers, ends: Numbers, longest: int, wanted: int) -> list[tuple[int, int, float]]:
    """(first token, last token, score) of the best spans of at most `longest` tokens."""
    count, longest = len(begins), min(longest, len(begins))
    # (tokens, longest): the end of a span that begins at a token, by its length. Not tokens by tokens, whose greater
    # part no answer is long enough for.
    padded = np.concatenate((ends, np.zeros(longest - 1, dtype=ends.dtype)))
    scores = begins[:, None] * np.lib.stride_tricks.sliding_window_view(padded, longest)
    scores[np.add.outer(np.arange(count), np.arange(longest)) >= count] = -1
    flat: Numbers = scores.ravel()
    wanted = min(wanted, flat.size)
    chosen = np.argpartition(-flat, wanted - 1)[:wanted]
    firsts, lengths = np.divmod(chosen, longest)
    found = zip(firsts.tolist(), (firsts + lengths).tolist(), flat[chosen].tolist(), strict=True)
    return [(first, last, score) for first, last, score in found if score >= 0]
