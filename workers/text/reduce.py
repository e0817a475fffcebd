"""Summarization's text rules: where a long text is cut into chunks, and what becomes of the chunks' summaries.

What fits is summarized once. Longer text is mapped: each chunk gets a summary of its own. Either the summaries together
are the next text: every round must shrink the text by a fifth, so that it ends; the number of rounds is capped too. Or
one of them is the summary (`central`).
"""

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Literal

from textmill.errors import ReduceDidNotConverge
from workers.text import faithful, sentences
from workers.text.cuts import best_cut

MUST_SHRINK_TO = 0.8
"""What a round may leave of its text, in tokens."""

MAX_ROUNDS = 6
"""Map rounds. A window of 1,024 tokens with summaries of 142 reaches 100 million tokens in six."""

_PARAGRAPH_END = re.compile(r"(?:\r\n|\n|\r)[^\S\r\n]*(?:\r\n|\n|\r)\s*")
_LINE_END = re.compile(r"[\r\n]+")
FIRST_COUNTS = 2
"""How much the summary of a text's first part weighs beside the others."""

_LEAST_FILL = 0.6
"""A chunk ends at a paragraph where one ends between this part of its fair share and the window; else at a sentence."""

Next = Literal["summarize", "map", "cut"]


def chunks(text: str, tokens: Sequence[int], limit: int, language: str | None = None) -> list[str]:
    """Chunks of about equal size, of at most `limit` tokens, that end at paragraphs, sentences, lines, else spaces.

    tokens: where each token of the text begins, in code points, ascending. White space around chunks is dropped, and
    nothing else. The equal size is so that no chunk is a mere remainder, which would be summarized out of context.
    """
    ends = (
        [m.end() for m in _PARAGRAPH_END.finditer(text)],
        list(accumulate(map(len, sentences.split(text, language)))),
        [m.end() for m in _LINE_END.finditer(text)],
    )
    found: list[str] = []
    position = first = 0
    while len(tokens) - first > limit:
        left = len(tokens) - first
        share = math.ceil(left / math.ceil(left / limit))
        lowest, wanted, highest = (tokens[first + n] for n in (int(share * _LEAST_FILL), share, limit))
        cut = next((c for e in ends if (c := _nearest(e, max(lowest, position), wanted, highest))), None)
        if cut is None:
            cut = max(best_cut(text, max(lowest, position), highest), position + 1)
        found.append(text[position:cut].strip())
        position, first = cut, bisect_left(tokens, cut)
    found.append(text[position:].strip())
    return [chunk for chunk in found if chunk]


def _nearest(ends: Sequence[int], lowest: int, wanted: int, highest: int) -> int | None:
    """The end in (lowest, highest] that is nearest to `wanted`."""
    candidates = ends[bisect_right(ends, lowest) : bisect_right(ends, highest)]
    if not candidates:
        return None
    at = bisect_left(candidates, wanted)
    return min(candidates[max(0, at - 1) : at + 1], key=lambda end: abs(end - wanted))


def map_max_length(chunk: int, window: int, max_length: int) -> int:
    """How long the summary of a chunk may be, where the whole text's may be `max_length` (all in tokens).

    A full window may become as long as the final summary; smaller chunks get their share, never over two fifths of
    themselves, so that the round shrinks. In steps of eight, since items of one length limit share batches.
    """
    share = min(max(16, max_length * chunk / window), chunk * 2 / 5, max_length)
    return max(2, int(share) // 8 * 8 or int(share))


def next_round(number: int, before: int, after: int, window: int, max_rounds: int = MAX_ROUNDS) -> Next:
    """What follows map round `number` (from 1), which made `after` tokens out of `before`.

    "summarize": the rest fits the window. "map": another round. "cut": the cap is reached; the rest is cut to the
    window and the result marked as truncated. Raises ReduceDidNotConverge where the text shrank by less than a fifth.
    """
    if after > before * MUST_SHRINK_TO:
        raise ReduceDidNotConverge(
            f"Round {number} of summarizing made {after} tokens out of {before}; each must shrink the text by a fifth."
        )
    if after <= window:
        return "summarize"
    return "cut" if number >= max_rounds else "map"


def central(summaries: Sequence[str], chunks: Sequence[str]) -> int:
    """The number of the summary that has most in common with all chunks, the earliest of equals. What the first has
    counts twice: texts say at their start what they are about, and a detail of the middle may be in all words else.

    As sentences in TextRank (Mihalcea and Tarau 2004): words in common over the logarithms of how many either has, so
    that neither one word of everywhere nor the longest of all wins. Its graph has one step here, from chunks to
    summaries: more of them drew to the middle of what the summaries have in common among each other, which is how a
    model words things, and not what the text is about.
    """
    told = [_content(summary) for summary in summaries]
    parts = [_content(chunk) for chunk in chunks]
    scores = [math.fsum(_likeness(words, part) for part in parts) for words in told]
    scores[0] *= FIRST_COUNTS
    return scores.index(max(scores))


def _content(text: str) -> frozenset[str]:
    return frozenset(faithful.words(text.casefold())) - faithful.FUNCTION_WORDS


def _likeness(words: frozenset[str], others: frozenset[str]) -> float:
    common = len(words & others)
    return common / (math.log(1 + len(words)) + math.log(1 + len(others))) if common else 0.0
