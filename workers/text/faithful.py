"""What a faithful summary may be made of: words of its text, in other inflections too, and English function words.

A word is a run of letters, digits and the accents on them, written as in the text, in small letters, or with a capital
at its start. In scripts without spaces between words (Chinese, Japanese, Thai) each character is one by itself. Signs
between words are free where they are ordinary punctuation, others only where the text has them ("C" does not become
"C++").
"""

import functools
import re
import unicodedata
from collections.abc import Iterator

_LISTED = """
a an the this that these those it its they them their he him his she her we us our you your i my me one ones
who whom whose which what when where why how there here
and or but nor so yet if unless while because since until although though than as whether both either neither
of in on at to from by for with without within into onto over under above below between among through during
before after about against along across around behind beside besides beyond near off out up down via per upon
toward towards like unlike
is are was were be been being am do does did done doing have has had having can could may might must shall should
will would not no t s don doesn isn aren wasn
all any each every some many much more most few less least other others another such same own only also just even
then too very
"""
FUNCTION_WORDS = frozenset(_LISTED.split())
"""Articles, pronouns, prepositions, conjunctions, auxiliaries and what is like them; "t" and "s" as in "isn't", "it's".
None says anything of its own. Not here, though they are everywhere in summaries: using, based, simple, new, two."""

PUNCTUATION = frozenset(" .,;:!?'\"()-/&’‘“”–—…")
"""Signs that may stand anywhere."""

ENDINGS = ("s", "es", "ed", "d", "ing")
"""Of English inflection: a word with one of them may stand for the word without, and the other way round."""


UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3005-\u3007\u3031-\u30ff\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
"""The characters of scripts without spaces between words, as a regular expression's class has them."""
_UNSPACED = re.compile(f"[{UNSPACED}]")


class _Spaces(dict[int, int | str]):
    """What is part of no word becomes a space (`str.translate`), what is one by itself stands between spaces."""

    def __missing__(self, code: int) -> int | str:
        sign = chr(code)
        self[code] = code if in_word(sign) else f" {sign} " if is_word(sign) else " "
        return self[code]


def in_word(sign: str) -> bool:
    """Whether the character is part of a word that others may be part of, too."""
    return _is_letter(sign) and _UNSPACED.match(sign) is None


def is_word(sign: str) -> bool:
    """Whether the character is a word by itself, since its script has no spaces between words."""
    return _UNSPACED.match(sign) is not None and _is_letter(sign)


def _is_letter(sign: str) -> bool:
    return sign.isalnum() or unicodedata.category(sign).startswith("M")


_SPACES = _Spaces()


def words(text: str) -> list[str]:
    """The words of a text, in its order."""
    return text.translate(_SPACES).split()


def signs(text: str) -> frozenset[str]:
    """The characters of a text that are part of no word, or one by themselves."""
    return frozenset(sign for sign in set(text) if not in_word(sign))


def allowed(text: str) -> frozenset[str]:
    """All words that a faithful summary of the text may have."""
    return _FUNCTION_WORDS.union(*map(written, set(words(text))))


@functools.lru_cache(maxsize=20_000)
def written(word: str) -> frozenset[str]:
    """How a summary may have a word of its text: as it is there, and its inflections in small letters and with a
    capital ("APIs" of "API" too)."""
    found = forms(word.lower())
    plural = {f"{word}s"} if len(word) > 1 and word.isascii() and word.isupper() and word.isalpha() else set()
    return found.union({word}, plural, map(str.capitalize, found))


_FUNCTION_WORDS = FUNCTION_WORDS.union(map(str.capitalize, FUNCTION_WORDS))


@functools.lru_cache(maxsize=20_000)
def forms(word: str) -> frozenset[str]:
    """A word in small letters, and its inflections: number ("library", "libraries") and verb forms ("parse", "parses",
    "parsed", "parsing"). By their letters alone, so that some are no words: a model that knows English does not write
    those.

    Only of words of at least four ASCII letters. Not "-er" and the like: a printer is not what prints.
    """
    found = {word}
    if len(word) >= 4 and word.isascii() and word.isalpha():
        for stem in set(_stems(word)):
            found |= _inflected(stem)
    return frozenset(found)


def _stems(word: str) -> Iterator[str]:
    """What is left without an ending; at least three letters."""
    yield word
    for ending in ENDINGS:
        stem = word.removesuffix(ending)
        if stem != word and len(stem) >= 3 and not (ending == "s" and stem.endswith(("s", "u", "i"))):
            yield stem
            if ending in ("ed", "ing"):
                yield f"{stem}e"  # "parsing", "parse"
                if stem[-1] == stem[-2]:
                    yield stem[:-1]  # "mapping", "map"
    if word.endswith(("ies", "ied")) and len(word) > 4:
        yield f"{word[:-3]}y"


def _inflected(stem: str) -> set[str]:
    if stem.endswith("y") and stem[-2] not in "aeiou":
        return {stem, f"{stem[:-1]}ies", f"{stem[:-1]}ied", f"{stem}ing"}
    if stem.endswith("e"):
        return {stem, f"{stem}s", f"{stem}d", f"{stem[:-1]}ing"}
    plural = f"{stem}es" if stem.endswith(("s", "x", "z", "ch", "sh")) else f"{stem}s"
    doubled = {f"{stem}{stem[-1]}ed", f"{stem}{stem[-1]}ing"} if stem[-1] in "bdglmnprt" else set()
    return {stem, plural, f"{stem}ed", f"{stem}ing"} | doubled
