"""What the summarizer is measured by."""

import pytest
import sentencepiece as spm

from models.training import debian, shipped, textrank
from models.training.summarization import MODEL
from models.training.summarization_figures import KINDS, OTHERS, TEST, invented, is_loop

SENTENCES = [
    "Nobody had asked the old man about it before.",
    "The bridge over the river was closed because ice had damaged its pillars.",
    "Ice had damaged the pillars, and the river was high.",
    "The bridge was closed for a year.",
]


def test_textrank_takes_the_sentence_that_the_others_share_most_with() -> None:
    assert textrank.best(SENTENCES) == 1
    assert textrank.best(SENTENCES[:1]) == 0
    assert textrank.best(["One two three.", "Four five six."]) == 0


@pytest.mark.parametrize(
    ("summary", "loops"),
    [
        ("library for the library", False),
        ("the the the library of all tags", True),
        ("The the THE library of all tags", True),
        ("library tags library tags", True),
        ("hahahaha laughs", True),
        ("tags", False),
        ("", False),
    ],
)
def test_loops(summary: str, loops: bool) -> None:
    tokenizer = spm.SentencePieceProcessor(str(MODEL / "source.spm"))
    assert is_loop(summary, tokenizer) == loops


def test_invented_words_are_counted_over_all_outputs() -> None:
    assert invented(["It edits tags.", "Nothing."], ["editing of tags", "nothing whatever"]) == 0.25


def test_the_test_parts_are_held_out_and_distinct() -> None:
    rows = shipped.read_rows(OTHERS)
    assert {kind: sum(row["kind"] == kind for row in rows) for kind in KINDS} == dict.fromkeys(KINDS, 50)
    assert all(row["source"] == "" or debian.is_test(row["source"]) for row in rows)
    texts = [row["text"] for row in rows] + [text for text, _ in shipped.read_test(TEST, None)]
    assert len(set(texts)) == len(texts)
