"""Translation's text rules: which parts of a document are sentences to translate, and which are copied as they are.

`split` cuts a document into segments whose concatenation is the document, exactly. White space, list marks, table
rules, fenced code and whatever has no letters are copied; everything else is one sentence a segment. What is put back
after translation therefore keeps every separator, list mark and indentation of the source.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from workers.text import sentences
from workers.text.cuts import best_cut


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a document."""

    text: str
    """The document's own characters: no white space at either end where `translate` is set."""

    translate: bool
    """Whether it is a sentence for the model; otherwise it is copied."""


# A mark needs white space after it (or the line's end). Single capitals with a dot are initials ("J. Smith" at the
# start of a wrapped line) and four digits with a dot are years, so neither starts a list.
_MARK = re.compile(
    r"(?:(?:[-*+•‣◦▪●–—·>]+|#{1,6}|\(?\d{1,3}[.)\]]|\(?[a-zA-Z]\)|[a-z]\.|\[[ xX]\])(?:[^\S\r\n]+|(?=[\r\n])|\Z))+"
)
_FENCE = re.compile(r"[^\S\r\n]{0,3}(`{3,}|~{3,})")
_CELL = re.compile(r"\t+|(?<=[^\s.!?…])[^\S\t]{3,}")
_TABLE_CELL = re.compile(r"\t+|\|+|(?<=[^\s.!?…])[^\S\t]{3,}")
_VERBATIM = re.compile(r"(?:[a-z][a-z0-9+.-]*://|www\.)\S+|\S+@\S+\.[A-Za-z]{2,}", re.IGNORECASE)
_LONGEST_ADDRESS = 2_000
_SPACES = re.compile(r"\s+")
_BREAKS = frozenset("\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029")


def split(text: str, language: str | None = None) -> list[Segment]:
    """Cut a document into segments; `"".join(s.text for s in split(text)) == text`, always.

    A paragraph ends at a blank line. A single line end inside prose is soft and stays inside the sentence, unless the
    next line is indented, starts a list, or one of the two is a row of a table or a rule without letters.
    language: the source's code ("en", "por", "pt_XX", "por_Latn"), for abbreviations and sentence ends.
    """
    segments: list[Segment] = []
    copied: list[str] = []
    for part, prose in _blocks(text):
        for piece, translate in _sentences(part, language) if prose else ((part, False),):
            if translate and _is_language(piece):
                if copied:
                    segments.append(Segment("".join(copied), False))
                    copied.clear()
                segments.append(Segment(piece, True))
            elif piece:
                copied.append(piece)
    if copied:
        segments.append(Segment("".join(copied), False))
    return segments


def one_line(text: str) -> str:
    """A sentence as the model should see it: soft line ends become a space, and nothing between Han or kana."""

    def replacement(match: re.Match[str]) -> str:
        run = match.group()
        if _BREAKS.isdisjoint(run):
            return run
        before, after = text[match.start() - 1 : match.start()], text[match.end() : match.end() + 1]
        return "" if _is_unspaced(before) and _is_unspaced(after) else " "

    return text if _BREAKS.isdisjoint(text) else _SPACES.sub(replacement, text)


def fit(text: str, limit: int, starts: Callable[[str], Sequence[int]]) -> list[Segment]:
    """Cut an over-long sentence into pieces of at most `limit` tokens: at a clause, else at a space, else at a token.

    starts: where each token of a text begins, in code points, ascending. The concatenation is the input, exactly. Time
    is linear in the length: tokens are asked for a stretch at a time, since one sentence can be millions of characters.
    """
    segments: list[Segment] = []
    stretch = max(64, 8 * limit)
    position = 0
    while position < len(text):
        window = text[position : position + stretch]
        tokens = starts(window)
        at_end = position + stretch >= len(text)
        if len(tokens) <= limit and at_end:
            cut = len(window)
        else:
            last = tokens[limit] if len(tokens) > limit else len(window)
            first = tokens[min(limit, len(tokens)) // 2] if tokens else 0
            cut = best_cut(window, first, last)
        segments += trimmed(window[:cut])
        position += cut
        stretch = max(64, cut * 3 // 2)  # what the next piece is likely to take, and some more
    return segments


# --- lines and paragraphs --------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Line:
    lead: str
    """Indentation and list mark."""
    body: str
    """From there on, line end included."""
    indented: bool
    marked: bool
    tabular: bool
    lettered: bool


def _blocks(text: str) -> Iterator[tuple[str, bool]]:
    """(part, whether it is prose), in order and complete. A prose part may hold soft line ends."""
    lines = text.splitlines(keepends=True)
    fenced = _fenced(lines)
    prose: list[str] = []
    previous: _Line | None = None
    for number, raw in enumerate(lines):
        line = None if number in fenced or not raw.strip() else _line(raw)
        if prose and not (line and previous and _continues(previous, line)):
            yield "".join(prose), True
            prose.clear()
        previous = line
        if line is None or not line.lettered:
            yield raw, False
        elif line.tabular:
            if line.lead:
                yield line.lead, False
            yield from _cells(line.body)
        else:
            if line.lead:
                yield line.lead, False
            prose.append(line.body)
    if prose:
        yield "".join(prose), True


def _line(raw: str) -> _Line:
    stripped = raw.lstrip()
    indent = len(raw) - len(stripped)
    mark = _MARK.match(raw, indent)
    at = mark.end() if mark else indent
    body = raw[at:]
    content = body.rstrip()
    tabular = "\t" in content or content.count("|") >= 2 or ("   " in content and bool(_CELL.search(content)))
    return _Line(raw[:at], body, indent > 0, mark is not None, tabular, any(map(str.isalnum, content)))


def _continues(previous: _Line, line: _Line) -> bool:
    """Whether the line end between them is soft."""
    if line.indented or line.marked or line.tabular or not line.lettered:
        return False
    if previous.lead.lstrip().startswith("#"):  # a heading ends with its line
        return False
    return previous.lettered and not previous.tabular and not previous.indented


def _fenced(lines: Sequence[str]) -> set[int]:
    """The numbers of the lines of fenced code, fences included. A fence that nothing closes is none."""
    inside: set[int] = set()
    opened: dict[str, int] = {}
    for number, line in enumerate(lines):
        match = _FENCE.match(line)
        if match is None:
            continue
        kind = match.group(1)[0]
        if kind in opened and line.strip().strip(kind) == "":
            inside.update(range(opened[kind], number + 1))
            opened.clear()
        elif not opened:
            opened[kind] = number
    return inside


def _cells(body: str) -> Iterator[tuple[str, bool]]:
    pattern = _TABLE_CELL if body.count("|") >= 2 else _CELL
    position = 0
    for match in pattern.finditer(body):
        if match.start() > position:
            yield body[position : match.start()], True
        yield match.group(), False
        position = match.end()
    if position < len(body):
        yield body[position:], True


# --- sentences -------------------------------------------------------------------------------------------------------


def _sentences(part: str, language: str | None) -> Iterator[tuple[str, bool]]:
    for sentence in sentences.split(part, language):
        yield from _split_trimmed(sentence)


def _split_trimmed(text: str) -> Iterator[tuple[str, bool]]:
    """The text with its white space at both ends apart."""
    core = text.strip()
    if not core:
        yield text, False
        return
    start = len(text) - len(text.lstrip())
    yield text[:start], False
    yield core, True
    yield text[start + len(core) :], False


def trimmed(text: str) -> list[Segment]:
    """A piece of a sentence, its white space at both ends apart; translated where it has letters."""
    return [Segment(piece, translate and _has_letters(piece)) for piece, translate in _split_trimmed(text) if piece]


def _is_language(sentence: str) -> bool:
    """Whether there is something to translate: letters, and more than one address."""
    if len(sentence) <= _LONGEST_ADDRESS and _VERBATIM.fullmatch(sentence):
        return False
    return _has_letters(sentence)


def _has_letters(text: str) -> bool:
    return any(map(str.isalpha, text))


def _is_unspaced(character: str) -> bool:
    """Whether the script of the character is written without spaces between words (Han, kana)."""
    return "\u2e80" <= character <= "\u9fff" or "\uf900" <= character <= "\ufaff" or "\uff00" <= character <= "\uffef"
