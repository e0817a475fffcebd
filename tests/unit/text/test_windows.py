"""Windows cover every token once, keep words whole, and stitching is invisible."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.text import entities, windows

NAMES = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
LABELS = entities.Labels.of(NAMES)


@st.composite
def tokenized(draw: st.DrawFn) -> tuple[int, list[int], int, int]:
    """(tokens, word starts, window size, overlap)."""
    lengths = draw(st.lists(st.integers(1, 30), min_size=1, max_size=40))
    starts = [int(n) for n in np.cumsum([0, *lengths[:-1]])]
    size = draw(st.integers(3, 40))
    return sum(lengths), starts, size, draw(st.integers(0, (size - 1) // 2))


@given(tokenized())
def test_cores_cover_every_token_once_and_lie_in_their_windows(case: tuple[int, list[int], int, int]) -> None:
    tokens, starts, size, overlap = case
    plan = windows.plan(tokens, starts, size, overlap)
    assert [w.core_start for w in plan] == [0, *(w.core_stop for w in plan[:-1])]
    assert plan[-1].core_stop == plan[-1].stop == tokens
    for w in plan:
        assert 0 <= w.start <= w.core_start < w.core_stop <= w.stop
        assert w.stop - w.start <= size


@given(tokenized())
def test_only_a_word_longer_than_a_window_is_cut(case: tuple[int, list[int], int, int]) -> None:
    tokens, starts, size, overlap = case
    edges = {w.core_stop for w in windows.plan(tokens, starts, size, overlap)} - {tokens}
    for start, end in zip(starts, [*starts[1:], tokens], strict=True):
        if end - start <= size:
            assert not any(start < edge < end for edge in edges)


@pytest.mark.parametrize(
    ("tokens", "starts", "size", "overlap", "cores"),
    [
        (5, [0, 1, 2, 3, 4], 8, 2, [(0, 5)]),
        (0, [], 8, 2, [(0, 0)]),
        (10, list(range(10)), 6, 2, [(0, 5), (5, 10)]),
        (10, [0, 4, 6], 6, 2, [(0, 4), (4, 6), (6, 10)]),  # edges move to word starts
        (
            20,
            [0],
            6,
            2,
            [(0, 5), (5, 9), (9, 13), (13, 17), (17, 20)],
        ),  # one long word: cut at tokens
    ],
)
def test_plan(tokens: int, starts: list[int], size: int, overlap: int, cores: list[tuple[int, int]]) -> None:
    assert [(w.core_start, w.core_stop) for w in windows.plan(tokens, starts, size, overlap)] == cores


def test_overlap_of_half_a_window_is_refused() -> None:
    with pytest.raises(ValueError, match="overlap"):
        windows.plan(10, [0], 4, 2)


@given(tokenized(), st.sampled_from(["none", "simple", "first", "average", "max"]))
def test_entities_of_a_long_document_are_those_of_the_same_scores_without_windows(
    case: tuple[int, list[int], int, int], strategy: entities.Strategy
) -> None:
    tokens, starts, size, overlap = case
    rng = np.random.default_rng(tokens * 31 + size)
    scores = rng.dirichlet([0.3] * len(NAMES), tokens).astype(np.float32)
    text, offsets = spelled(tokens, starts)
    plan = windows.plan(tokens, starts, size, overlap)
    parts = []
    for w in plan:
        part = scores[w.start : w.stop].copy()
        # Outside of its core a window's scores must not matter at all.
        part[: w.core_start - w.start] = part[w.core_stop - w.start :] = [0, 0, 0, 0, 1]
        parts.append(part)
    stitched = windows.stitch(plan, parts)
    whole = entities.extract(text, offsets, starts, scores, LABELS, strategy)
    assert entities.extract(text, offsets, starts, stitched, LABELS, strategy) == whole
    assert [text[e["start"] : e["end"]] for e in whole] == [e["word"] for e in whole]


def spelled(tokens: int, starts: list[int]) -> tuple[str, list[tuple[int, int]]]:
    """A text of two-letter tokens, with a space before each word but the first."""
    text, offsets, words = "", [], set(starts[1:])
    for token in range(tokens):
        text += " " if token in words else ""
        offsets.append((len(text), len(text) + 2))
        text += "ab"
    return text, offsets


def test_a_million_tokens_without_a_word_start_take_no_time() -> None:
    plan = windows.plan(1_000_000, [0], 512, 128)
    assert len(plan) < 3_000
