"""What of a sentence comes out of a translation as it went in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.text.documents import documents
from workers.text import identifiers


def found(sentence: str) -> list[str]:
    return [sentence[start:end] for start, end in identifiers.find(sentence)]


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("Run it with --help or -v, see /usr/share/doc (or https://a.org/b_c?d=e).",
         ["--help", "-v", "/usr/share/doc", "https://a.org/b_c?d=e"]),
        ("`ls -l` and {PDP-10}, $HOME; foo(3): Foo::Bar.", ["`ls -l`", "{PDP-10}", "$HOME", "foo(3)", "Foo::Bar"]),
        ("Use `diff' and the `patch' of non-amd64.", ["amd64"]),
        ("UTF-8-encoded, x86-based, 32-bit, 2nd, 1990s", ["UTF-8", "x86"]),
        ("A read-only, multi-threaded and/or TCP/IP server, i.e. one of Debian's U.S. mirrors -- free.", []),
        ("openssl pcntl pcre random", []),
        ("tk pcntl sqlite3 html random", ["tk", "pcntl", "sqlite3", "html", "random"]),
        ("openssl, pcntl, pcre.", ["openssl", "pcntl", "pcre"]),
        ("this is plain prose", []),
        ("red green blue", []),
        ("the end.Next one", []),
        ("使用foo_bar库，v1.2的 foo_bar를 https://a.org/b。", ["foo_bar", "v1.2", "foo_bar", "https://a.org/b"]),
        ("Set -Wall for 10.0.0.1, 3.11.2 and src/a.py", ["-Wall", "10.0.0.1", "3.11.2", "src/a.py"]),
        ("", []),
    ],
)  # fmt: skip
def test_told_by_their_shape(sentence: str, expected: list[str]) -> None:
    assert found(sentence) == expected


@pytest.mark.parametrize(
    "sentence",
    [
        "fast http client library", "simple string splitting library", "lightweight xml parser",
        "string manipulation functions", "three strong men", "przed domem stoi drzewo", "von 10 bis 20 uhr 30",
        "我们使用了版本1.2的软件", "第3季度销售额增长", "今天/明天/后天", "2024년", "2024م", "т.е", "ГОСТ-2012",
        "1980er Jahre", "le 2e jour", "3.5 at 10:30, 1,234.56 on 27.11.2026", "Read/write/execute", "in Berlin.The",
        "-Hello",
    ],
)  # fmt: skip
def test_language_is_translated(sentence: str) -> None:
    assert found(sentence) == []


@given(documents)
def test_spans_are_in_order_side_by_side_and_of_the_text(text: str) -> None:
    spans = identifiers.find(text)
    edges = [0, *(edge for span in spans for edge in span), len(text)]
    assert edges == sorted(edges)
    assert all(start < end for start, end in spans)
    gaps = identifiers.between(text, spans)
    parts = [part for gap, span in zip(gaps, [*spans, (0, 0)], strict=True) for part in (gap, text[slice(*span)])]
    assert "".join(parts) == text
    assert not identifiers.lost(text, spans, text), "the text itself has lost nothing"


@given(documents)
def test_stand_ins_come_back_as_what_they_stood_for(text: str) -> None:
    spans = identifiers.find(text)
    asked, names = identifiers.stand_ins(text, spans, " X{} ")
    assert len(set(names)) == len(names) == len(spans)
    assert all(asked.count(name) == 1 for name in names)


def test_a_stand_in_has_to_be_there_once() -> None:
    text = "See X1 and a_b and c_d."
    asked, names = identifiers.stand_ins(text, identifiers.find(text), "X{}")
    assert (asked, names) == ("See X2 and X3 and X4.", ["X2", "X3", "X4"]), "X1 is an identifier, and in the text"
    values = ["X1", "a_b", "c_d"]
    assert identifiers.put_back("X4, X2 e X3", names, values) == "c_d, X1 e a_b"
    assert identifiers.put_back("X2 e X3", names, values) is None
    assert identifiers.put_back("X2, X2, X3 e X4", names, values) is None
    assert identifiers.put_back("用X4和X2를X3", names, values) == "用c_d和X1를a_b"
    assert identifiers.put_back("X2, X34, X3 e X4", names, values) == "X1, X34, a_b e c_d"


@pytest.mark.parametrize(
    ("said", "is_lost"),
    [
        ("a_b e a_b", False),
        ("a_b", True),
        ("xa_b a_b", True),
        ("a_b, (a_b), a_b", False),
        ("用a_b和a_b를", False),
        ("", True),
    ],
)
def test_what_is_lost(said: str, is_lost: bool) -> None:
    text = "a_b or a_b"
    assert identifiers.lost(text, identifiers.find(text), said) == is_lost


@given(st.integers(1, 2_000))
def test_endless_words_are_no_identifiers(count: int) -> None:
    assert identifiers.find("a_b." * (count + identifiers.LONGEST)) == []
