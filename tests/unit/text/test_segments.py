"""Translation's rules: the segments are the document, and only sentences are translated."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.text.documents import documents, real_like
from workers.text import languages
from workers.text.segments import Segment, fit, one_line, split


def sentences(text: str, language: str | None = "en") -> list[str]:
    return [s.text for s in split(text, language) if s.translate]


def character_starts(text: str) -> list[int]:
    return list(range(len(text)))


def word_starts(text: str) -> list[int]:
    """A token for each word and each white-space-separated piece of five characters."""
    return [i for i, c in enumerate(text) if not c.isspace() and (i == 0 or text[i - 1].isspace() or i % 5 == 0)]


@given(documents, st.sampled_from(["en", "pt", "ja", "ar", "hi", "eng_Latn", "xx", None]))
def test_segments_are_the_document(text: str, language: str | None) -> None:
    segments = split(text, language)
    assert "".join(s.text for s in segments) == text
    for segment in segments:
        assert segment.text
        if segment.translate:
            assert segment.text == segment.text.strip()
            assert any(c.isalpha() for c in segment.text)


@given(real_like)
def test_every_separator_list_mark_and_indentation_is_copied(text: str) -> None:
    copied: list[bool] = []
    for segment in split(text, "en"):
        copied += [not segment.translate] * len(segment.text)
    at = 0
    for line in text.splitlines(keepends=True):
        content = line.rstrip()
        indent = len(line) - len(line.lstrip())
        mark = re.match(r"(- \[x\] |[-*•>#—] |\d{1,3}[.)] |\(a\) )", line[indent:])
        starts_a_list = mark is not None and line[indent + mark.end() :].strip() != ""
        if content and (indent or starts_a_list):
            lead = indent + (mark.end() if mark else 0)
            assert all(copied[at : at + lead]), (line, "its indentation and mark")
        if not content:
            assert all(copied[at : at + len(line)]), (line, "a blank line")
        at += len(line)
    hard = [i for i, c in enumerate(text) if c == "\n" and text[i + 1 : i + 2] in (" ", "\t", "\n")]
    assert all(copied[i] for i in hard), "a line end before a blank or indented line is a separator"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two.", ["One.", "Two."]),
        (
            "Ask org.freedesktop.DBus. Run ./configure in .ssh.",
            ["Ask org.freedesktop.DBus.", "Run ./configure in .ssh."],
        ),
        ("Pronto.Ótimo dia.", ["Pronto.", "Ótimo dia."]),
        ("A line that\ngoes on here.", ["A line that\ngoes on here."]),
        ("A line that\r\ngoes on here.", ["A line that\r\ngoes on here."]),
        ("A paragraph\n\nAnother", ["A paragraph", "Another"]),
        ("A paragraph\n \t\nAnother", ["A paragraph", "Another"]),
        ("Intro:\n- first item\n- second item", ["Intro:", "first item", "second item"]),
        ("1. first\n2) second\n(c) third", ["first", "second", "third"]),
        ("# Title\nBody text", ["Title", "Body text"]),
        ("> quoted text\n> goes on", ["quoted text", "goes on"]),
        ("Prose line\n    indented line\nmore prose", ["Prose line", "indented line", "more prose"]),
        ("for x in y:\n    print(x)\n    done(x)", ["for x in y:", "print(x)", "done(x)"]),
        ("Look:\n```\nint main() {}\n```\nDone.", ["Look:", "Done."]),
        ("Look:\n```\nnot closed", ["Look:", "not closed"]),
        ("| Name | Size |\n|---|---|\n| Big tree | 12 |", ["Name", "Size", "Big tree"]),
        ("apples\tred\npears\tgreen", ["apples", "red", "pears", "green"]),
        ("Name      Colour\nApple     red", ["Name", "Colour", "Apple", "red"]),
        ("Title\n=====\nText", ["Title", "Text"]),
        ("Mr. Smith met J. Doe.", ["Mr. Smith met J. Doe."]),
        ("In the year\n1999. It rained.", ["In the year\n1999.", "It rained."]),
        ("https://example.org/x\n\nme@example.org\n\n12 + 7 = 19", []),
        ("- [x] done thing\n- [ ] open thing", ["done thing", "open thing"]),
        ("", []),
        (" \n\t\n", []),
    ],
)
def test_what_is_translated(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


def test_white_space_of_several_bytes_near_a_full_stop_does_not_end_the_process() -> None:
    assert sentences("a.\u00a0B\u2028. c", "en")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one\ntwo", "one two"),
        ("one \r\n two", "one two"),
        ("今日は\n晴れです", "今日は晴れです"),
        ("two  spaces stay", "two  spaces stay"),
        ("two  spaces\nstay", "two  spaces stay"),
    ],
)
def test_one_line(text: str, expected: str) -> None:
    assert one_line(text) == expected


@given(documents.filter(str.strip).map(str.strip), st.integers(4, 40))
def test_fit_keeps_every_character_and_the_limit(text: str, limit: int) -> None:
    for starts in (character_starts, word_starts):
        pieces = fit(text, limit, starts)
        assert "".join(p.text for p in pieces) == text
        assert all(len(starts(p.text)) <= limit for p in pieces if starts is character_starts)


def test_fit_cuts_at_a_clause_else_at_a_space_else_at_a_token() -> None:
    def cut(text: str) -> list[str]:
        return [p.text for p in fit(text, 20, character_starts)]

    assert cut("a long first, clause of it") == ["a long first,", " ", "clause of it"]
    assert cut("no clause in here at all") == ["no clause in here", " ", "at all"]
    assert cut("x" * 50) == ["x" * 20, "x" * 20, "x" * 10]
    assert cut("x" * 19 + "e\u0301" + "y" * 9) == ["x" * 19, "e\u0301" + "y" * 9]
    assert fit("short", 20, character_starts) == [Segment("short", True)]


@pytest.mark.parametrize(
    "text",
    [
        "a" * 5_000_000,
        "word " * 20_000,
        "@" * 1_000_000 + "a",
        ")" * 1_000_000 + "a",
        " " * 1_000_000 + "a",
        "- " * 500_000 + "a",
        "|" * 500_000 + "a",
        "a\n" * 300_000,
        "```\n" * 100_000 + "a",
        "a" + "\u0301" * 200_000,
    ],
    ids=["word", "no-end", "at-signs", "brackets", "spaces", "marks", "bars", "lines", "fences", "accents"],
)
def test_time_is_linear(text: str) -> None:
    """Quadratic rules take hours on these; the whole test takes seconds, which the suite's time limit watches."""
    segments = split(text, "en")
    assert "".join(s.text for s in segments) == text
    for segment in segments[:10]:
        if segment.translate:
            pieces = fit(segment.text, 512, lambda t: range(0, len(t), 4))
            assert "".join(p.text for p in pieces) == segment.text


def test_language_codes() -> None:
    assert [languages.two_letters(c) for c in ("pt", "pt-BR", "por_Latn", "pt_XX", "PT", "zz")] == [
        "pt", "pt", "pt", "pt", "pt", "zz",
    ]  # fmt: skip
    known = frozenset({"eng_Latn", "por_Latn", "zho_Hans", "zho_Hant"})
    assert languages.resolve("pt", known) == "por_Latn"
    assert languages.resolve("eng_Latn", known) == "eng_Latn"
    assert languages.resolve("zh", known) is None, "two scripts: the producer must say which"
    assert languages.resolve("fr", known) is None
