"""Which token may follow, where what is generated has to be made of given words (`workers.text.faithful`), and none of
them may be said three times in a row.

A word can be spelled by any of the vocabulary's pieces that come to its letters, not only as its tokenizer would cut
it: the rule is about what is read. No prefix is entered that cannot be ended, so that there is always something to say.
Rejected: a trie of the words' own pieces. It has to tokenize each word in each inflection, and forbids "lib|rary" for
"library" where the model happens to write that.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from workers.kinds import Generated
from workers.text import faithful

Ids = NDArray[np.int64]

SPELLINGS = 100_000
"""Words whose spellings a vocabulary remembers: those of the texts of several batches, in all of their forms. One
takes 2 kB; texts that are at work have their own."""


OTHER = " "
"""Stands for a word that is none of those that letters make."""


class State(NamedTuple):
    """How far a text has come."""

    word: str = ""
    """The letters of the word that has begun; empty between words."""
    last: str = ""
    before: str = ""
    """The two words that ended last, in one letter case."""
    token: int = -1
    repeated: bool = False
    """The last token, and whether the one before it was the same."""


class Move(NamedTuple):
    """What a token does: it goes on with a word, or (`ends`) ends the one that has begun, and may begin another."""

    ends: bool
    signs: str
    """What it has that is part of no word, or a word by itself; spaces left out."""
    letters: str
    alone: bool = False
    """Whether some of the signs are words by themselves."""


class Spelling(NamedTuple):
    """How the tokens of a vocabulary may write a word."""

    good: Sequence[bool]
    """By the number of letters that are written: whether tokens can write the rest."""
    opening: frozenset[int]
    """Tokens that begin the word after a space."""
    signed: Sequence[tuple[int, str]]
    """Those that begin it after other signs, and these."""
    joined: Sequence[int]
    """Tokens that begin it where there is one, or at the text's start."""
    inside: frozenset[int]
    """Tokens that may be somewhere in it, `opening` apart."""


class Pieces:
    """The tokens of a vocabulary by what they do to a word. Shared by all texts; made once, which reads all tokens.

    surfaces: what each token adds to a text, by id; empty for special ones. ends: the tokens that end a text.
    """

    def __init__(self, surfaces: Sequence[str], ends: Collection[int]) -> None:
        self.ends = frozenset(ends)
        self.moves = [_move(surface) for surface in surfaces]
        """By id; None: the token is never said (`_move`), and read over where it was."""
        self.inner: dict[str, list[int]] = defaultdict(list)
        self.opening: dict[str, list[tuple[int, str]]] = defaultdict(list)
        self.signs: list[tuple[int, str]] = []
        for token, move in enumerate(self.moves):
            if move is None or token in ends:
                continue
            if not move.letters:
                self.signs.append((token, move.signs))
            elif move.ends:
                self.opening[move.letters].append((token, move.signs))
            else:
                self.inner[move.letters].append(token)
        self.special = frozenset(i for i, surface in enumerate(surfaces) if not surface) - self.ends
        """They are not said, unless a search is made to, and not seen."""
        self.longest = max(map(len, self.inner), default=0)
        self.spelling = lru_cache(maxsize=SPELLINGS)(self._spelling)

    def _spelling(self, word: str) -> Spelling:
        size, inner = len(word), self.inner
        good = [False] * size + [True]
        inside: set[int] = set()
        joined: list[int] = []
        for at in range(size - 1, -1, -1):
            # What `onward` gives, without its generator: a text has hundreds of words that are new.
            pieces = [
                tokens
                for n in range(at + 1, min(size, at + self.longest) + 1)
                if good[n] and (tokens := inner.get(word[at:n]))
            ]
            good[at] = bool(pieces)
            joined = [token for tokens in pieces for token in tokens]
            inside.update(joined)
        begun = [n for n in range(1, len(good)) if good[n]]
        found = [each for n in begun for each in self.opening.get(word[:n], ())]
        opening = frozenset(token for token, signs in found if not signs)
        signed = [(token, signs) for token, signs in found if signs]
        return Spelling(good, opening, signed, joined, frozenset(inside))

    def onward(self, word: str, at: int, good: Sequence[bool]) -> Iterator[int]:
        """The tokens that go on with a word of which `at` letters are written."""
        for n in range(at + 1, min(len(word), at + self.longest) + 1):
            if good[n]:
                yield from self.inner.get(word[at:n], ())


class Wording:
    """What may be said of one text. Not for several threads at once."""

    def __init__(self, pieces: Pieces, text: str) -> None:
        self._pieces = pieces
        self._signs = faithful.PUNCTUATION | faithful.signs(text)
        self._allowed = faithful.allowed(text)
        self._words = sorted(self._allowed)
        self._outside: dict[str, frozenset[int]] = {}
        self._states: dict[tuple[int, ...], State] = {(): State()}
        self._next: dict[tuple[str, str, str, int, bool], Ids] = {}

    @cached_property
    def _spellings(self) -> dict[str, Spelling]:
        """Of the words that tokens can write, in their order. Not made before it is asked for: most of them are new to
        the vocabulary, and a text of whose answers one is faithful needs those alone that begin as its words do."""
        spellings = ((word, self._pieces.spelling(word)) for word in self._words)
        return {word: one for word, one in spellings if one.opening or one.signed or one.joined}

    @cached_property
    def _spelled(self) -> list[str]:
        return list(self._spellings)

    def state(self, ids: Sequence[int]) -> State:
        """How far these tokens have come, whether they may be said or not."""
        key = tuple(ids)
        known = len(key)
        while (state := self._states.get(key[:known])) is None:
            known -= 1
        for n in range(known, len(key)):
            state = self._states[key[: n + 1]] = self._after(state, key[n])
        return state

    def _after(self, state: State, token: int) -> State:
        move = self._pieces.moves[token] if token < len(self._pieces.moves) else None
        if move is None:
            return state
        word, last, before = state.word, state.last, state.before
        if move.ends and word:
            word, last, before = "", word.casefold(), last
        if move.alone:
            last, before = OTHER, ""
        return State(word + move.letters, last, before, token, token == state.token)

    def following(self, state: State) -> Ids:
        """The tokens that may follow, ends included: at least one, wherever only such have been said before."""
        third = _third(state.last, state.before)
        afterwards = _third(state.word.casefold(), state.last) if state.word else third
        stuck = state.token if state.repeated else -1
        key = (state.word, third, afterwards, stuck, self._may_stop(state))
        found = self._next.get(key)
        if found is None:
            tokens = set(self._inside(state.word, third))
            if self._may_end(state.word, third):
                tokens |= self._between(afterwards) - {stuck}
            if self._may_stop(state) or not tokens:
                tokens |= self._pieces.ends
            found = self._next[key] = np.array(sorted(tokens), dtype=np.int64)
        return found

    def may_follow(self, state: State, token: int) -> bool:
        """Whether `following` has the token: for those who ask for a few, and not for all that it has."""
        if token in self._pieces.ends:
            return self._may_stop(state) or token in self.following(state)
        move = self._pieces.moves[token] if token < len(self._pieces.moves) else None
        if move is None:
            return False
        third = _third(state.last, state.before)
        if not move.ends:
            return self._leads_to_a_word(state.word + move.letters, third)
        if not self._may_end(state.word, third) or not self._signs.issuperset(move.signs):
            return False
        afterwards = _third(state.word.casefold(), state.last) if state.word else third
        is_stuck = state.repeated and token == state.token
        return not is_stuck and (not move.letters or self._leads_to_a_word(move.letters, afterwards))

    def _leads_to_a_word(self, letters: str, third: str) -> bool:
        """Whether tokens can write the rest of a word that begins with these letters and is not `third`."""
        for at in range(bisect_left(self._words, letters), len(self._words)):
            whole = self._words[at]
            if not whole.startswith(letters):
                break
            if (not third or whole.casefold() != third) and self._pieces.spelling(whole).good[len(letters)]:
                return True
        return False

    def _may_end(self, word: str, third: str) -> bool:
        return not word or (word in self._allowed and word.casefold() != third)

    def _may_stop(self, state: State) -> bool:
        """A text may end where a word may, and not before the first."""
        third = _third(state.last, state.before)
        return bool(state.word or state.last) and self._may_end(state.word, third)

    def _inside(self, word: str, third: str) -> Iterator[int]:
        """Tokens that go on with a word, or begin one where nothing has to end."""
        for at in range(bisect_left(self._spelled, word), len(self._spelled)):
            whole = self._spelled[at]
            if not whole.startswith(word):
                break
            if not third or whole.casefold() != third:
                spelling = self._spellings[whole]
                yield from self._pieces.onward(whole, len(word), spelling.good) if word else spelling.joined

    def _between(self, third: str) -> frozenset[int]:
        """Tokens that end a word: signs, and what begins any word but `third`."""
        if (found := self._outside.get(third)) is not None:
            return found
        spellings = [spelling for word, spelling in self._spellings.items() if word.casefold() != third]
        among = [token for token, signs in self._pieces.signs if self._signs.issuperset(signs)]
        signed = [token for one in spellings for token, signs in one.signed if self._signs.issuperset(signs)]
        tokens = frozenset(among).union(signed, *(one.opening for one in spellings))
        return self._outside.setdefault(third, tokens)

    @cached_property
    def sayable(self) -> frozenset[int]:
        """All tokens that may follow something, ends included."""
        inside = (spelling.inside for spelling in self._spellings.values())
        return self._pieces.ends.union(self._between(""), *inside)

    def wrong_at(self, ids: Sequence[int]) -> int | None:
        """The place of the first of these tokens, the text's end included, that may not stand there; None: all may."""
        for place, token in enumerate(ids):
            if token not in self._pieces.special and not self.may_follow(self.state(ids[:place]), token):
                return place
        return None

    def against(self, ids: Sequence[int]) -> list[list[int]]:
        """What must not be said, where these tokens, the text's end included, have something that may not: sequences,
        each forbidden wherever it stands. Besides, nothing may be said that is not `sayable`. Empty: all is well.

        For searches that can be told of sequences alone, and are to be told of few.
        """
        begins = [0, 0, 0]
        """Where the last three words begin."""
        state = State()
        for place, token in enumerate(ids):
            if token in self._pieces.special:
                continue
            if not self.may_follow(state, token):
                return self._against(state, ids[:place], begins, token)
            move = self._pieces.moves[token]
            if move is not None and move.letters and (move.ends or not state.word):
                begins = [*begins[1:], place]
            state = self.state(ids[: place + 1])
        return []

    def _against(self, state: State, ids: Sequence[int], begins: Sequence[int], token: int) -> list[list[int]]:
        """Sequences that end where this token would: the same goes for all that it has in common with others."""
        if token in self.following(state._replace(repeated=False)):
            return [[token] * 3]
        free = state._replace(last=state.last and OTHER, before="", repeated=False)
        freely = frozenset(self.following(free).tolist())
        if token in freely:
            first = begins[0] if _third(state.last, state.before) else begins[1]
            tokens = freely.difference(self.following(state).tolist())
        elif state.word:
            first, tokens = begins[2], self.sayable - freely
        else:
            first, tokens = max(len(ids) - 1, 0), frozenset({token})
        return [[*ids[first:], each] for each in sorted(tokens | {token})]

    def beginning(self, ids: Sequence[int]) -> Sequence[int]:
        """The tokens up to the first that may not follow, and not in the middle of a word."""
        return self.trimmed(ids[: self.wrong_at(ids)])

    def trimmed(self, ids: Sequence[int]) -> Sequence[int]:
        """The tokens without a last word that is not complete, or would be the same for the third time."""
        kept = len(ids)
        while kept and not self._may_stop(self.state(ids[:kept])):
            kept -= 1
        return ids[:kept]


def _third(last: str, before: str) -> str:
    """The word that may not follow: it would be the same for the third time."""
    return last if last == before else ""


def _move(surface: str) -> Move | None:
    """What a token with this surface does; None for special tokens, parts of characters, and several words."""
    start = len(surface)
    while start and faithful.in_word(surface[start - 1]):
        start -= 1
    signs, letters = surface[:start], surface[start:]
    if not surface or "\ufffd" in surface or any(map(faithful.in_word, signs)):
        return None
    return Move(bool(signs), "".join(signs.split()), letters, any(map(faithful.is_word, signs)))


def trimmed(found: Sequence[Generated], wordings: Sequence[Wording]) -> list[Generated]:
    """The answers of a batch, those that ended at their limit without a word that this cut."""
    pairs = zip(found, wordings, strict=True)
    return [replace(one, ids=wording.trimmed(one.ids)) if one.hit_limit else one for one, wording in pairs]
