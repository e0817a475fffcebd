"""Which words a faithful summary may have."""

import pytest
from hypothesis import given

from tests.unit.text.documents import documents
from workers.text import faithful


@pytest.mark.parametrize(
    ("word", "may", "may_not"),
    [
        ("libraries", {"library", "libraries"}, {"librar", "librarian"}),
        ("library", {"libraries"}, {"librarys"}),
        ("parsing", {"parse", "parses", "parsed", "parsing"}, {"parser"}),
        ("parse", {"parsing", "parsed"}, {"pars"}),
        ("reads", {"read", "reading"}, {"reader"}),
        ("mapping", {"map", "mapped"}, set()),
        ("boxes", {"box"}, set()),
        ("class", {"classes"}, {"clas"}),
        ("status", set(), {"statu"}),
        ("gtk", {"gtk"}, {"gtks"}),
        ("x86", {"x86"}, {"x86s"}),
        ("relatório", {"relatório"}, {"relatórios"}),
    ],
)
def test_inflections(word: str, may: set[str], may_not: set[str]) -> None:
    assert word in faithful.forms(word)
    assert may <= faithful.forms(word)
    assert not may_not & faithful.forms(word)


@given(documents)
def test_words_are_of_the_text_and_have_no_signs(text: str) -> None:
    for word in faithful.words(text):
        assert word in text
        assert all(map(faithful.in_word, word)) or (len(word) == 1 and faithful.is_word(word))
    kept = filter(lambda sign: faithful.in_word(sign) or faithful.is_word(sign), text)
    assert "".join(faithful.words(text)) == "".join(kept)
    assert set(faithful.words(text)) <= faithful.allowed(text)


def test_signs_part_words() -> None:
    assert faithful.words("GTK+ isn't a_b, U.N. 3.14 Bele\u0301m") == [
        "GTK", "isn", "t", "a", "b", "U", "N", "3", "14", "Bele\u0301m",
    ]  # fmt: skip


def test_letter_case_is_the_texts_or_the_usual() -> None:
    assert {"APT", "apt", "Apt", "APTs", "libraries", "Library", "The", "the"} <= faithful.allowed("APT library")
    assert not {"aPT", "LIBRARY", "libraRy", "THE"} & faithful.allowed("APT library")


def test_function_words_say_nothing_of_their_own() -> None:
    assert {"the", "of", "for", "is", "not"} <= faithful.allowed("")
    assert not {"using", "simple", "library", "module", "python", "perl", "two"} & faithful.allowed("")
