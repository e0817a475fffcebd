"""Where a text without a better place may be cut."""

import re
import unicodedata

# At most three closing marks: with any number, a text of brackets alone would take quadratic time.
_CLAUSE = re.compile(r"[,;:)\]…—–،؛][\"'”’»)\]]{0,3}\s+|[、，；：。]|\s[—–-]\s")
_SPACES = re.compile(r"\s+")


def best_cut(text: str, first: int, last: int) -> int:
    """The last end of a clause in (first, last], else the last space there, else `last` moved off a combined letter.

    Never 0, so that who cuts again and again gets on.
    """
    for pattern in (_CLAUSE, _SPACES):
        found = [m.end() for m in pattern.finditer(text, first, last)]
        if found:
            return found[-1]
    cut = last
    while cut > first + 1 and cut < len(text) and _is_combined(text, cut):
        cut -= 1
    return max(cut, 1)


def _is_combined(text: str, position: int) -> bool:
    """Whether the character there belongs to the one before (accents, joiners, variation selectors, skin tones)."""
    here = text[position]
    return (
        unicodedata.category(here) in ("Mn", "Me", "Mc")
        or here == "\u200d"
        or text[position - 1] == "\u200d"
        or "\U0001f3fb" <= here <= "\U0001f3ff"
    )
