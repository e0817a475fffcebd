"""Chunks lose nothing but white space between them and fit the window; map-reduce ends."""

import random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.unit.text.documents import documents
from textmill.errors import ReduceDidNotConverge
from workers.text import reduce


def token_starts(text: str) -> list[int]:
    """A token for each run of up to four characters that are not white space."""
    starts, run = [], 0
    for i, c in enumerate(text):
        run = 0 if c.isspace() else run + 1
        if run % 4 == 1:
            starts.append(i)
    return starts


@given(st.lists(documents, max_size=5).map("\n\n".join), st.integers(3, 60))
def test_chunks_fit_and_lose_only_white_space(text: str, limit: int) -> None:
    chunks = reduce.chunks(text, token_starts(text), limit, "en")
    assert "".join("".join(chunks).split()) == "".join(text.split())
    position = 0
    for chunk in chunks:
        assert chunk == chunk.strip() != ""
        position = text.index(chunk, position) + len(chunk)
        # A chunk may begin in the middle of a word, where tokens count anew: one more at most.
        assert len(token_starts(chunk)) <= limit + 1


def test_chunks_end_at_paragraphs_else_sentences_else_spaces_and_are_of_equal_size() -> None:
    paragraph = "One two three four. Five six seven eight."
    text = "\n\n".join([paragraph] * 4)
    tokens = token_starts(text)
    per_paragraph = len(token_starts(paragraph))
    assert reduce.chunks(text, tokens, 2 * per_paragraph) == ["\n\n".join([paragraph] * 2)] * 2
    sentence = "One two three four five."
    text = " ".join([sentence] * 4)
    assert reduce.chunks(text, token_starts(text), 2 * len(token_starts(sentence))) == [" ".join([sentence] * 2)] * 2
    words = "word " * 100
    assert [len(c.split()) for c in reduce.chunks(words, token_starts(words), 60)] == [60, 40]


def test_one_enormous_word_and_no_sentence_end() -> None:
    word = "a" * 5_000_000
    chunks = reduce.chunks(word, range(0, len(word), 4), 1_000)
    assert "".join(chunks) == word
    assert len(chunks) == 1_250
    text = "word " * 20_000
    assert " ".join(reduce.chunks(text, range(0, len(text), 5), 512)) == text.strip()


@given(st.integers(1, 2_000_000), st.integers(16, 4_096), st.integers(1, 500), st.floats(0.0, 1.2), st.integers(1, 8))
def test_map_reduce_ends(tokens: int, window: int, max_length: int, ratio: float, cap: int) -> None:
    """Whatever a model makes of its chunks, there are at most `cap` rounds."""
    assume(tokens > window)
    number = 0
    while tokens > window:
        number += 1
        after = int(tokens * ratio)
        try:
            step = reduce.next_round(number, tokens, after, window, cap)
        except ReduceDidNotConverge:
            assert after > 0.8 * tokens
            return
        assert after <= 0.8 * tokens
        tokens = after
        if step != "map":
            assert step == ("summarize" if after <= window else "cut")
            break
    assert number <= cap


def test_a_round_that_does_not_shrink_is_an_error_that_says_so() -> None:
    with pytest.raises(ReduceDidNotConverge, match="90 tokens out of 100"):
        reduce.next_round(1, 100, 90, 50)


@given(st.integers(5, 4_096), st.integers(2, 2_000))
def test_summaries_of_chunks_shrink_the_text(chunk: int, max_length: int) -> None:
    window = random.Random(chunk).randint(chunk, 8_192)
    length = reduce.map_max_length(chunk, window, max_length)
    assert 2 <= length <= max(2, max_length)
    assert length <= max(2, chunk * 2 / 5)


def test_the_central_summary_is_about_most_parts() -> None:
    chunks = [
        "The river floods the valley every spring, and bridges fall.",
        "A bridge over the river is built of stone; the river is deep.",
        "The cook eats soup.",
        "The bridge, and the river again.",
    ]
    summaries = ["soup for the cook", "bridge over the river", "the the of"]
    assert reduce.central(summaries, chunks) == 1
    assert reduce.central(summaries[::-1], chunks[::-1]) == 1
    assert reduce.central(["", "the of", ""], chunks) == 0, "the earliest of equals"
    assert reduce.central(["soup", "stone"], chunks) == 0
    assert reduce.central(["valley", "the river"], chunks) == 1, "three of four, and one of the first"


@given(st.lists(st.tuples(documents, documents), min_size=1, max_size=6))
def test_one_of_the_summaries_is_central_however_often_the_parts_come(
    pairs: list[tuple[str, str]],
) -> None:
    summaries, chunks = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    best = reduce.central(summaries, chunks)
    assert 0 <= best < len(summaries)
    assert reduce.central(summaries, [*chunks, *chunks]) == best
