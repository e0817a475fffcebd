"""Sentence ends, found by sentencex; its answers are laid over the text as it is."""

from collections.abc import Iterator

import sentencex

from workers.text import languages

# sentencex 1.0 panics where white space of several bytes stands near a full stop. It is shown plain spaces, one for
# one, and the text is cut at the lengths of what it answers.
_PLAIN_SPACES = str.maketrans({chr(c): " " for c in range(0x3001) if chr(c).isspace()})


def split(text: str, language: str | None = None) -> Iterator[str]:
    """The sentences of a paragraph, each with the white space after it; their concatenation is the paragraph.

    language: the text's code in any spelling ("en", "por", "pt_XX"); None or an unknown one means English rules.

    A full stop that an ASCII letter or the like follows at once ends none: it is part of a name
    ("org.freedesktop.DBus").
    """
    start = position = 0
    code = languages.two_letters(language) if language else "en"
    for sentence in sentencex.segment(code, text.translate(_PLAIN_SPACES)):
        position += len(sentence)
        following = text[position : position + 1]
        goes_on = following.isascii() and (following.isalnum() or (following and following in "/\\_-"))
        if text[position - 1 : position] != "." or not goes_on:
            yield text[start:position]
            start = position
    if position != len(text):
        raise AssertionError(f"sentences cover {position} of {len(text)} characters")
