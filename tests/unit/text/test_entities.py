"""Aggregation rules that transformers' pipeline does not have; equality with it is tested with the runner."""

import unicodedata
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.text.documents import documents
from workers.text.entities import Labels, Strategy, as_name, extract

NAMES = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
LABELS = Labels.of(NAMES)
STRATEGIES: list[Strategy] = ["none", "simple", "first", "average", "max"]


def scores(*labels: str, certainty: float = 0.9) -> np.ndarray[Any, np.dtype[np.float32]]:
    rows = np.full((len(labels), len(NAMES)), (1 - certainty) / (len(NAMES) - 1), dtype=np.float32)
    for row, label in zip(rows, labels, strict=True):
        row[NAMES.index(label)] = certainty
    return rows


@st.composite
def byte_level(draw: st.DrawFn) -> tuple[str, list[tuple[int, int]], list[int], np.ndarray[Any, np.dtype[np.float32]]]:
    """A document, tokens as byte-level tokenizers give them (leading spaces, shared characters, empty), scores."""
    text = draw(documents)
    offsets: list[tuple[int, int]] = []
    at = 0
    while at < len(text):
        end = min(len(text), at + draw(st.integers(0, 4)))
        offsets += [(at, end)] * draw(st.sampled_from([1, 1, 1, 2, 3]))
        at = max(end, at + 1)
    starts = sorted(draw(st.sets(st.integers(0, max(0, len(offsets) - 1))))) if offsets else []
    seed = draw(st.integers(0, 2**32 - 1))
    rows = np.random.default_rng(seed).dirichlet([0.2] * len(NAMES), len(offsets)).astype(np.float32)
    return text, offsets, starts, rows.reshape(len(offsets), len(NAMES))


@given(byte_level(), st.sampled_from(STRATEGIES))
def test_words_are_the_text_trimmed_and_never_overlap(case: Any, strategy: Strategy) -> None:
    text, offsets, starts, rows = case
    reached = 0
    for entity in extract(text, offsets, starts, rows, LABELS, strategy):
        assert text[entity["start"] : entity["end"]] == entity["word"] == entity["word"].strip() != ""
        assert entity["start"] >= reached
        assert 0 < entity["score"] <= 1.000001
        assert entity["entity_group"] in (NAMES[1:] if strategy == "none" else ("PER", "LOC"))
        reached = entity["end"]


@given(byte_level(), st.sampled_from(STRATEGIES[1:]))
def test_names_have_a_letter_and_no_punctuation_around_them(case: Any, strategy: Strategy) -> None:
    """What is reported is the found entities, in order, each without its ends, and those without letters left out."""
    text, offsets, starts, rows = case
    whole = extract(text, offsets, starts, rows, LABELS, strategy)
    names = extract(text, offsets, starts, rows, LABELS, strategy, names_only=True)
    for name in names:
        word = name["word"]
        assert text[name["start"] : name["end"]] == word
        assert any(map(str.isalpha, word))
        assert word[0].isalnum()
        assert word[-1].isalnum() or unicodedata.category(word[-1])[0] == "M" or word[-1] in ".+#)]}"
        assert as_name(text, name["start"], name["end"]) == (name["start"], name["end"]), "nothing is left to trim"
    lettered = [entity for entity in whole if any(map(str.isalpha, entity["word"]))]
    assert [(n["entity_group"], n["score"]) for n in names] == [(e["entity_group"], e["score"]) for e in lettered]
    for name, entity in zip(names, lettered, strict=True):
        assert entity["start"] <= name["start"] < name["end"] <= entity["end"]


@pytest.mark.parametrize(
    ("found", "name"),
    [
        ("(Lisbon),", "Lisbon"), ("8", ""), (".", ""), ("1984", ""), ("...", ""), ("``Acme Corp.''", "Acme Corp."),
        ("the U.N.", "the U.N."), ("John F. Kennedy.", "John F. Kennedy"), ("Lisbon.", "Lisbon"), ("C++,", "C++"),
        ("C#.", "C#"), ("Congo (Kinshasa)", "Congo (Kinshasa)"), ("Kinshasa)", "Kinshasa"),
        ("–Bele\u0301\u201d", "Bele\u0301"), ("example.org.", "example.org"), ("x86-64", "x86-64"),
        ("O'Neill's", "O'Neill's"), ("3M", "3M"), ("+++", ""), (".NET", ".NET"), ("(.NET).", ".NET"),
        ("...NET", "NET"), (". Rui", "Rui"),
    ],
)  # fmt: skip
def test_what_of_a_span_is_a_name(found: str, name: str) -> None:
    text = f"in {found} there"
    start, end = as_name(text, 3, 3 + len(found))
    assert text[start:end] == name


def test_tokens_by_themselves_are_no_names() -> None:
    rows = scores("B-PER", "I-PER")
    found = extract("Rui.", [(0, 3), (3, 4)], [0, 1], rows, LABELS, "none", names_only=True)
    assert [e["word"] for e in found] == ["Rui", "."]


TEXT = "Ana Luísa met Rui in Porto"
OFFSETS = [(0, 3), (3, 9), (9, 13), (13, 17), (17, 20), (20, 26)]  # with leading spaces
WORDS = list(range(6))
ROWS = scores("B-PER", "I-PER", "O", "B-PER", "O", "B-LOC")


def test_spans_are_trimmed() -> None:
    found = extract(TEXT, OFFSETS, WORDS, ROWS, LABELS)
    assert [(e["entity_group"], e["word"]) for e in found] == [("PER", "Ana Luísa"), ("PER", "Rui"), ("LOC", "Porto")]


def test_none_keeps_the_prefix() -> None:
    found = extract(TEXT, OFFSETS, WORDS, ROWS, LABELS, "none")
    assert [e["entity_group"] for e in found] == ["B-PER", "I-PER", "B-PER", "B-LOC"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_filters_come_last(strategy: Strategy) -> None:
    found = extract(TEXT, OFFSETS, WORDS, ROWS, LABELS, strategy, only=["LOC"])
    assert [e["word"] for e in found] == ["Porto"]
    assert extract(TEXT, OFFSETS, WORDS, ROWS, LABELS, strategy, min_score=0.95) == []


def test_a_b_label_begins_a_new_entity_and_an_i_label_goes_on() -> None:
    rows = scores("B-PER", "B-PER", "I-PER", "I-LOC", "I-LOC", "O")
    found = extract(TEXT, OFFSETS, WORDS, rows, LABELS)
    assert [(e["entity_group"], e["start"], e["end"]) for e in found] == [
        ("PER", 0, 3),
        ("PER", 4, 13),
        ("LOC", 14, 20),
    ]


def test_no_tokens_no_entities() -> None:
    assert extract("", [], [], np.zeros((0, 5), np.float32), LABELS) == []
