"""What of a sentence is no language and has to come out of a translation as it went in.

Identifiers are told by their shape alone: addresses, code between backticks, names in braces, paths, file names,
versions, options, variables, calls, qualified and compound names (`snake_case`, `camelCase`, `x86-64`, `PDP-10`), all
of ASCII: in other scripts the same shapes are clauses, ordinals and abbreviations. Decimals ("3.5") and times are none,
as languages write them differently. A word that looks like any other ("grep") is none, but in a list of such
(`is_listing`).
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from workers.text.faithful import FUNCTION_WORDS, UNSPACED

Span = tuple[int, int]

# Not `quoted' as of old, whose marks begin and end next to a space.
_CODE = r"`[^`\s](?:[^`\n]*[^`\s])?`"
# Cut where a script stands that has no spaces, or whose particles stick to names; and at its punctuation.
_WORD = re.compile(rf"{_CODE}|[^\s`{UNSPACED}\u3000-\u303f\uac00-\ud7af\uff00-\uffef]+|`")
LONGEST = 300
"""Characters of a word that is looked at: a longer one is data, and some shapes take the square of them."""

_AROUND = re.compile(r"^[(\[\"'“‘«,;]+|[.,;:!?\"'”’»…]+$")
_PAIRS = (("(", ")"), ("[", "]"))
_WHOLE = re.compile(
    r"""
    (?: [a-z][a-z0-9+.-]*:// | www\. ) \S+          # addresses
    | \S+ @ \w[\w-]* (?: \.[\w-]+ )+
    | [$%]? \{ [^{}\s]+ \} \S*                    # names in braces, variables, tags, formats
    | \$ \(? \w+ \)? | % (?: \(\w+\) )? [sdif] | < /? \w [^<>\s]* >
    | (?: ~ | \.{1,2} )? / [\w.~@%+-] \S* | ~/      # paths
    | [a-z]:\\ \S* | \w\S* (?: / [^\s/]+ ){2,} | [^\s/]+ / [^\s/]*? \w \. \w \S*
    | --? [a-z] \S*                                # options, settings
    | \w [\w.-]* = \S+
    | [a-z_] [\w.:]* \( \d? \w? \) \S*             # calls, pages of the manual
    | \w+ (?: :: \w+ )+ | \S+ \[\]                  # qualified names
    | \w+ : \d [\w.]*
    | \.? \w [\w+-]* (?: \. [\w+-]+ )+ /? | \. \w [\w+-]* /?
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_COMPOUND = re.compile(r"\w*_\w*|\w*[a-z][A-Z]\w*|\w*[^\W\d]\w*\d\w*|\d+[^\W\d]\w*", re.ASCII)
_PREFIXES = frozenset({"non", "pre", "post", "anti", "multi", "sub", "un", "re", "co", "ex"})
_COUNTED = re.compile(
    r"\d+(?:st|nd|rd|th|s|k|m|x|h|am|pm|ers?|ern|e[ns]?|[rn]?de|re|eme|s?te[nrs]?|[ao]s?)?", re.IGNORECASE
)
"""Numbers, ordinals and decades, in several languages."""
_PROSE = re.compile(
    r"""
    (?:[a-z]\.)+[a-z]? | --? | (?i:vs|etc|no|ca)\.?    # abbreviations, dashes
    | [A-Za-z]?[a-z]+\.[A-Z][a-z]+                     # a sentence that begins right after a dot
    | \d{1,5}[.,]\d+ | \d+(?::\d+)+                   # decimals, times
    | \d{1,3}(?:[.,]\d{3})+(?:[.,]\d+)? | \d{1,2}([./])\d{1,2}\1\d{2,4}
    | [A-Z]?[a-z]+(?:/[A-Z]?[a-z]+)+                   # one or another
    """,
    re.VERBOSE,
)
_SPOKEN = re.compile(r"-[A-Z][a-z]*")
_LISTED = re.compile(r"[a-z0-9][a-z0-9_.+-]*")
_NO_WORD = re.compile(r"[^aeiouy\d_]{2,}|.*(?:[a-z_].*\d|\d.*[a-z_]|_).*")
_SHORTEST_LIST, _SHORTEST_SPACED = 3, 5


def find(sentence: str) -> list[Span]:
    """Where identifiers stand, in order, side by side at most."""
    if is_listing(sentence):
        return [(match.start(), match.end()) for match in re.finditer(r"[^\s,;]*[^\s,;.]", sentence)]
    return list(_found(sentence))


def _found(sentence: str) -> Iterator[Span]:
    """Word by word."""
    for match in _WORD.finditer(sentence):
        start, end = match.span()
        if end - start > LONGEST:
            continue
        if match.group().startswith("`") and end - start > 1:
            yield start, end
            continue
        start, end = _trimmed(sentence, start, end)
        word = sentence[start:end]
        if _PROSE.fullmatch(word.lower()) or _PROSE.fullmatch(word):
            continue
        if not sentence[:start].strip() and _SPOKEN.fullmatch(word):
            continue  # "-Hello", as dialogues have it
        is_known = word.isascii() or "://" in word
        if is_known and _WHOLE.fullmatch(word) and any(map(str.isalnum, word)):
            yield start, end
        else:
            yield from _compound(word, start)


def _trimmed(sentence: str, start: int, end: int) -> Span:
    """The word without punctuation around it, brackets kept that it opens itself."""
    while start < end:
        word = sentence[start:end]
        if (match := _AROUND.search(word)) is not None:
            at_start = match.start() == 0
            start, end = (start + match.end(), end) if at_start else (start, start + match.start())
        elif any(word[-1] == closing and word.count(opening) < word.count(closing) for opening, closing in _PAIRS):
            end -= 1
        else:
            break
    return start, end


def _compound(word: str, start: int) -> Iterator[Span]:
    """Of a word with hyphens what reaches to its last part that is none of a language: "UTF-8" of "UTF-8-encoded"."""
    parts = word.split("-")
    if parts[0].lower() in _PREFIXES and len(parts) > 1:
        start, word, parts = start + len(parts[0]) + 1, word[len(parts[0]) + 1 :], parts[1:]
    end = at = 0
    for part in parts:
        at += len(part)
        number = part.isdecimal() and at > len(part) and not word[:1].isdecimal()
        if word[:at].isascii() and (number or (_COMPOUND.fullmatch(part) and not _COUNTED.fullmatch(part))):
            end = at
        at += 1
    if end:
        yield start, start + end


def is_listing(sentence: str) -> bool:
    """Whether a sentence is a mere list of names: words in small letters, none of them a function word, and enough of
    them such as no language has ("pcntl", "sqlite3"): a quarter where commas stand between all of them, else half, of
    five at least. Letters alone do not tell: "fast http client library" is to be translated."""
    text = sentence.strip().rstrip(".")
    words = [word for word in re.split(r"[\s,;]+", text) if word]
    is_separated = len(re.findall(r"[,;]+", text)) >= len(words) - 1
    if len(words) < (_SHORTEST_LIST if is_separated else _SHORTEST_SPACED) or not all(map(_LISTED.fullmatch, words)):
        return False
    strange = sum(_NO_WORD.fullmatch(word) is not None and not _COUNTED.fullmatch(word) for word in words)
    return FUNCTION_WORDS.isdisjoint(words) and (4 if is_separated else 2) * strange >= len(words)


def is_all(sentence: str, spans: Sequence[Span]) -> bool:
    """Whether nothing of the sentence that has letters is outside of the spans."""
    return not any(map(str.isalpha, "".join(between(sentence, spans))))


def between(sentence: str, spans: Sequence[Span]) -> list[str]:
    """What stands before, between and after the spans: one more than there are."""
    edges = [0, *(edge for span in spans for edge in span), len(sentence)]
    return [sentence[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True)]


def lost(sentence: str, spans: Sequence[Span], translation: str) -> bool:
    """Whether the translation lacks an identifier, or has it less often."""
    wanted = Counter(sentence[start:end] for start, end in spans)
    return any(_count(identifier, translation) < times for identifier, times in wanted.items())


def _count(identifier: str, text: str) -> int:
    """How often it stands there by itself, and not as a part of a word."""
    return len(re.findall(_alone(identifier), text))


def _alone(name: str) -> str:
    """A pattern. Letters of other scripts may be at its sides: Chinese has no spaces, Korean particles behind names."""
    before = r"(?<![A-Za-z0-9_])" if name[:1].isalnum() else ""
    after = r"(?![A-Za-z0-9_])" if name[-1:].isalnum() else ""
    return before + re.escape(name) + after


def stand_ins(sentence: str, spans: Sequence[Span], form: str) -> tuple[str, list[str]]:
    """The sentence with a stand-in for each identifier, and these. form: "X{}", filled with numbers that make names
    that the sentence does not have."""
    names: list[str] = []
    number = 0
    while len(names) < len(spans):
        number += 1
        if (name := form.format(number)) not in sentence:
            names.append(name)
    gaps = between(sentence, spans)
    pieces = [gaps[0], *(part for pair in zip(names, gaps[1:], strict=True) for part in pair)]
    return "".join(pieces), names


def put_back(translation: str, names: Sequence[str], identifiers: Sequence[str]) -> str | None:
    """The translation with the identifiers for their stand-ins; None where one of these is not there exactly once."""
    if any(_count(name, translation) != 1 for name in names):
        return None
    by_name = dict(zip(names, identifiers, strict=True))
    return re.sub("|".join(map(_alone, names)), lambda match: by_name[match.group()], translation)
