"""From a document's token scores to its entities, as transformers' token-classification pipeline aggregates them.

All five strategies (none, simple, first, average, max) run once over the whole document. What differs from the
pipeline, on purpose: `word` is the document's own text, spans are trimmed of white space, never empty and never
overlap (byte-level tokenizers give two tokens the same character), and a label takes part in grouping by its own name.
Where names alone are asked for, `as_name` says what of a span is one.
"""

import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Strategy = Literal["none", "simple", "first", "average", "max"]
Offsets = Sequence[tuple[int, int]]
Scores = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Labels:
    """A model's labels, taken apart once."""

    names: tuple[str, ...]
    """By index, as in the configuration: "O", "B-PER", "I-PER"."""
    tags: tuple[str, ...]
    """What neighbours must share to be one entity: without B- and I-."""
    groups: tuple[str, ...]
    """What is reported: without any prefix ("E-PER" is "PER", as the pipeline has it)."""
    begins: tuple[bool, ...]
    """Whether the label begins an entity ("B-")."""
    is_inside: NDArray[np.bool_]
    """False for "O", which means no entity."""

    @classmethod
    def of(cls, names: Sequence[str]) -> "Labels":
        """names: by index."""
        tags = tuple(name[2:] if name.startswith(("B-", "I-")) else name for name in names)
        begins = tuple(name.startswith("B-") for name in names)
        groups = tuple(name.split("-", 1)[-1] for name in names)
        return cls(tuple(names), tags, groups, begins, np.array([name != "O" for name in names]))


def extract(
    text: str,
    offsets: Offsets,
    word_starts: Sequence[int],
    scores: Scores,
    labels: Labels,
    strategy: Strategy = "simple",
    only: Collection[str] | None = None,
    min_score: float = 0.0,
    names_only: bool = False,
) -> list[dict[str, Any]]:
    """The document's entities, in order: `{"entity_group", "score", "word", "start", "end"}`.

    offsets: (start, end) of each token in code points. word_starts: the indices of the tokens that begin a word,
    ascending. scores: (tokens, labels), each row a probability distribution. only: the groups to report (without B- and
    I-); None reports all. min_score: entities below it are left out. names_only: of each, what is a name (`as_name`);
    not with the strategy "none", whose tokens are parts of words.
    """
    if not len(scores):
        return []
    if strategy in ("none", "simple"):
        chosen = scores.argmax(axis=1)
        # The common case is a text without entities: nothing but one pass in numpy.
        best = scores[np.arange(len(chosen)), chosen]
        spans: Offsets = offsets
    else:
        chosen, best, spans = _words(scores, offsets, word_starts, strategy)
    hits = np.flatnonzero(labels.is_inside[chosen]).tolist()
    if not hits:
        return []
    if strategy == "none":
        found: Iterator[tuple[str, str, float, int, int]] = (
            (labels.names[chosen[i]], labels.groups[chosen[i]], float(best[i]), spans[i][0], spans[i][1]) for i in hits
        )
    else:
        found = _groups(hits, chosen.tolist(), best, spans, labels)
    return list(_clean(text, found, only, min_score, names_only and strategy != "none"))


def as_name(text: str, start: int, end: int) -> tuple[int, int]:
    """The part of text[start:end] that may be a name; an empty one at `end` where none may.

    A name has a letter ("8" and "." are none), and begins and ends with a letter or a digit, accents included. Before
    its first capital letter may stand a dot (".NET"). At its end may stand, besides: the dot of an abbreviation
    ("U.N.", "John F.", "Acme Inc."), the marks of "C++" and "C#", and a bracket that is opened inside
    ("Congo (Kinshasa)").
    """
    while start < end and not text[start].isalnum() and not _DOTTED.match(text, start, end):
        start += 1
    while start < end and not _may_end(text, start, end):
        end -= 1
    return (start, end) if any(map(str.isalpha, text[start:end])) else (end, end)


# Without its dot such a word reads as cut off; after any other word a dot ends the sentence.
_ABBREVIATED = re.compile(
    r"(?:^|[\s(])(?:[^\W\d_]|(?:[^\W\d_]{1,2}\.)+[^\W\d_]{1,2}|inc|ltd|corp|co|bros|jr|sr|st|mt|ft|dr|prof|esq)\.$",
    re.IGNORECASE,
)
_DOTTED = re.compile(r"(?<![\w.])\.(?=[A-Z])")
_CLOSES = {")": "(", "]": "[", "}": "{"}


def _may_end(text: str, start: int, end: int) -> bool:
    """Whether a name that begins at `start` may have its end there."""
    last = text[end - 1]
    if last.isalnum() or unicodedata.category(last).startswith("M"):
        return True
    if last == ".":
        return _ABBREVIATED.search(text[max(start, end - 40) : end]) is not None
    if last in "+#":
        core = text[start:end].rstrip("+#")
        return core[-1:].isalpha() and len(text[start:end]) - len(core) <= 2
    opening = _CLOSES.get(last)
    return opening is not None and text.count(opening, start, end) >= text.count(last, start, end)


def _words(
    scores: Scores, offsets: Offsets, word_starts: Sequence[int], strategy: Strategy
) -> tuple[NDArray[np.intp], Scores, Offsets]:
    """One label, score and span for each word."""
    # The pipeline begins a word at the first token, whatever the token looks like.
    starts = np.asarray(word_starts, dtype=np.intp)
    if not len(starts) or starts[0] != 0:
        starts = np.concatenate(([0], starts)).astype(np.intp)
    ends = np.append(starts[1:], len(scores))
    if strategy == "first":
        rows = scores[starts]
    elif strategy == "average":
        counts = (ends - starts).astype(np.float32)[:, None]
        rows = (np.add.reduceat(scores, starts, axis=0) / counts).astype(np.float32)
    else:
        peaks = scores.max(axis=1)
        words = np.repeat(np.arange(len(starts)), ends - starts)
        is_peak = np.flatnonzero(peaks == np.maximum.reduceat(peaks, starts)[words])
        rows = scores[is_peak[np.unique(words[is_peak], return_index=True)[1]]]  # the first of equals
    chosen = rows.argmax(axis=1)
    spans = [(offsets[s][0], offsets[e - 1][1]) for s, e in zip(starts.tolist(), ends.tolist(), strict=True)]
    return chosen, rows[np.arange(len(chosen)), chosen], spans


def _groups(
    hits: Sequence[int], chosen: Sequence[int], best: Scores, spans: Offsets, labels: Labels
) -> Iterator[tuple[str, str, float, int, int]]:
    """Neighbours of one tag become one entity; "B-" always begins a new one."""
    first = previous = hits[0]
    for hit in (*hits[1:], len(chosen) + 1):
        joined = (
            hit == previous + 1
            and not labels.begins[chosen[hit]]
            and labels.tags[chosen[hit]] == labels.tags[chosen[previous]]
        )
        if not joined:
            group = labels.groups[chosen[first]]
            score = float(best[first]) if first == previous else float(best[first : previous + 1].mean())
            yield group, group, score, spans[first][0], spans[previous][1]
            first = hit
        previous = hit


def _clean(
    text: str,
    found: Iterator[tuple[str, str, float, int, int]],
    only: Collection[str] | None,
    min_score: float,
    names_only: bool,
) -> Iterator[dict[str, Any]]:
    """Trimmed, not empty, not overlapping; then the producer's filters."""
    reached = 0
    for name, group, score, start, end in found:
        start = max(start, reached)
        word = text[start:end].strip()
        if not word:
            continue
        start += len(text[start:end]) - len(text[start:end].lstrip())
        end = start + len(word)
        reached = end
        if names_only:
            start, end = as_name(text, start, end)
            if start == end:
                continue
            word = text[start:end]
        if score >= min_score and (only is None or group in only):
            yield {"entity_group": name, "score": score, "word": word, "start": start, "end": end}
