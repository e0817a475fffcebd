"""A text is searched again only where no answer of its beams is faithful, and then without all that was wrong."""

from collections.abc import Sequence

from workers.backends.ctranslate2.faithful import mended
from workers.checkpoint.wording import Pieces, Wording
from workers.kinds import Generated

VOCABULARY = ["", "", " lib", "rary", "el", " wreck", " zz", "."]
END, LIB, RARY, EL, WRECK, ZZ, DOT = 0, 2, 3, 4, 5, 6, 7
NEVER = float("inf")


def wording() -> Wording:
    return Wording(Pieces(VOCABULARY, [END]), "Library of wrecks")


def said(*ids: int) -> Generated:
    return Generated(list(ids), hit_limit=False)


def test_the_best_faithful_beam_is_taken_without_a_search() -> None:
    def search(single: Sequence[int], several: Sequence[Sequence[int]]) -> list[Generated]:
        raise AssertionError("not searched")

    beams = [said(ZZ), said(WRECK, DOT), said(LIB, RARY)]
    assert mended(beams, wording(), END, len(VOCABULARY), search, NEVER) == beams[1]


def test_searched_without_what_was_wrong_in_any_beam_of_any_search() -> None:
    forbidden: list[tuple[list[int], set[tuple[int, ...]]]] = []
    found = [[said(DOT, LIB, DOT)], [said(LIB, RARY)]]

    def search(single: Sequence[int], several: Sequence[Sequence[int]]) -> list[Generated]:
        forbidden.append((list(single), set(map(tuple, several))))
        return found[len(forbidden) - 1]

    beams = [said(WRECK, EL), said(ZZ, ZZ)]
    assert mended(beams, wording(), END, len(VOCABULARY), search, NEVER) == found[1][0]
    (single, first), (also, second) = forbidden
    assert single == also == [1, EL, ZZ], "no word has them, nor is padding one"
    assert {(ZZ,), (WRECK, EL)} <= first, "of all beams"
    assert first < second, "and of all searches"
    assert (LIB, DOT) in second - first, "nothing begins so, but goes on otherwise"


def test_without_time_the_longest_faithful_beginning_is_told_to_be_cut() -> None:
    def search(single: Sequence[int], several: Sequence[Sequence[int]]) -> list[Generated]:
        raise AssertionError("not searched")

    beams = [said(LIB, EL), said(WRECK, LIB, EL), said(ZZ)]
    assert mended(beams, wording(), END, len(VOCABULARY), search, 0) == Generated([WRECK], hit_limit=True)
