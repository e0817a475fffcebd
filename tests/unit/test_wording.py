"""Whatever way is taken through the tokens that may follow, it can be ended, and what was said keeps the rule."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.checkpoint.wording import Pieces, Wording
from workers.text import faithful

ALPHABET = "abcdA"
END, SPECIAL = 0, 1
surface = st.tuples(
    st.sampled_from(["", " ", "-", " (", "+", "\u00ad"]),
    st.text(ALPHABET, max_size=3),
    st.sampled_from(["", "", "", "."]),
).map("".join)
vocabularies = st.lists(surface.filter(bool), min_size=3, max_size=60, unique=True).map(
    lambda found: ["", "", *dict.fromkeys([*found, *(f" {c}" for c in ALPHABET[:3]), *ALPHABET[:2], "."])]
)
texts = st.lists(st.text(ALPHABET, min_size=1, max_size=7), max_size=8).map(" ".join)


def surfaces_of(vocabulary: list[str], ids: list[int]) -> str:
    return "".join(vocabulary[i] for i in ids)


def keeps_the_rule(text: str, said: str) -> bool:
    words = faithful.words(said)
    folded = [word.casefold() for word in words]
    repeated = any(a == b == c for a, b, c in zip(folded, folded[1:], folded[2:], strict=False))
    return set(words) <= faithful.allowed(text) and not repeated


@given(vocabularies, texts, st.randoms(use_true_random=False))
def test_every_way_ends_and_keeps_the_rule(vocabulary: list[str], text: str, chance: random.Random) -> None:
    pieces = Pieces(vocabulary, [END])
    wording = Wording(pieces, text)
    ids: list[int] = []
    for _ in range(30):
        following = wording.following(wording.state(ids)).tolist()
        assert following, "there is always something to say"
        assert set(following) <= wording.sayable
        one_by_one = Wording(pieces, text)
        assert following == [t for t in range(len(vocabulary)) if one_by_one.may_follow(wording.state(ids), t)]
        ids.append(chance.choice(following))
        if ids[-1] == END:
            break
        cut = wording.trimmed(ids)
        assert list(ids[: len(cut)]) == list(cut)
        assert keeps_the_rule(text, surfaces_of(vocabulary, list(cut)))
    if ids[-1] == END:
        assert keeps_the_rule(text, surfaces_of(vocabulary, ids))
        assert wording.against(ids) == []
    for one, other, third in zip(ids, ids[1:], ids[2:], strict=False):
        move = pieces.moves[one]
        assert not one == other == third or (move is not None and not move.ends), "only inside of a word"


@given(vocabularies, texts, st.randoms(use_true_random=False))
def test_what_is_forbidden_was_said_and_is_never_more_than_the_rule_forbids(
    vocabulary: list[str], text: str, chance: random.Random
) -> None:
    pieces = Pieces(vocabulary, [END])
    wording = Wording(pieces, text)
    opening = [token for found in pieces.opening.values() for token, _ in found]
    said = [chance.choice(opening), *(chance.randrange(2, len(vocabulary)) for _ in range(6)), END]
    forbidden = wording.against(said)
    breaks = any(t not in wording.following(wording.state(said[:n])) for n, t in enumerate(said))
    assert bool(forbidden) == breaks
    where = wording.wrong_at(said)
    assert (where is not None) == breaks
    assert where is None or said[where] not in wording.following(wording.state(said[:where]))
    runs = {tuple(said[a:b]) for a in range(len(said)) for b in range(a + 1, len(said) + 1)}
    assert not forbidden or any(tuple(each) in runs for each in forbidden), "the same is not said again"


def test_a_word_may_be_spelled_in_any_way_but_not_begun_without_an_end() -> None:
    vocabulary = ["", "", " lib", "rary", " library", "r", " wre", "ck", "it", " zz", "."]
    wording = Wording(Pieces(vocabulary, [END]), "Library of wrecks")
    at = {vocabulary[i]: i for i in range(2, len(vocabulary))}

    def following(*said: str) -> set[str]:
        ids = wording.following(wording.state([at[piece] for piece in said])).tolist()
        return {vocabulary[i] for i in ids}

    assert following() == {" lib", " library", " wre", "it", "."}, "it is a function word"
    assert following(" lib") == {"rary"}, "no function word begins so"
    assert following(" wre") == {"ck"}
    assert following(" wre", "ck") == {"", " lib", " library", " wre", "."}, "wreck, from wrecks"
    assert following(" wre", "ck", " wre", "ck") == {"", " lib", " library", "."}, "not a third time"


def test_in_scripts_without_spaces_each_character_is_a_word() -> None:
    vocabulary = ["", "", "我们", "的", "a", " a", "他", "。"]
    wording = Wording(Pieces(vocabulary, [END]), "我的们a。")
    assert wording.following(wording.state([])).tolist() == [2, 3, 4, 5, 7], "nor may a text of nothing end"
    for said in ([2], [3], [2, 3], [3, 4], [2, 7]):
        assert END in wording.following(wording.state(said)), said
        assert wording.trimmed(said) == said
    assert wording.against([2, 3, 5, 2, END]) == []
    assert wording.against([2, 6, END])
    assert faithful.words("我用C++ 们") == ["我", "用", "C", "们"]


def test_signs_that_the_text_does_not_have() -> None:
    vocabulary = ["", "", " c", "++", "-", "."]
    with_sign = Wording(Pieces(vocabulary, [END]), "C++ code")
    without = Wording(Pieces(vocabulary, [END]), "C code")
    assert 3 in with_sign.following(with_sign.state([2]))
    assert 3 not in without.following(without.state([2]))
    assert 4 in without.following(without.state([2]))


@pytest.mark.parametrize("piece", ["\ufffd", "2.0", " a b"])
def test_tokens_of_parts_of_characters_or_several_words_are_not_said(piece: str) -> None:
    wording = Wording(Pieces(["", "", " a", piece], [END]), f"a b 2.0 {piece}")
    assert 3 not in wording.sayable
