"""Sentences written and marked by hand, for the entity model: `[PER Ana Sá] left [LOC Faro].` to text and spans.

Marks stand in the line, so that who reads or mends a sentence sees its entities; spans beside the text would
have to be counted anew at each change. Square brackets are for marks alone.
"""

import bz2
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.training.ner_teacher import Span

DATA = Path(__file__).parent / "data"
LEARNT = "ner_sentences.txt.bz2"
KEPT_APART = {"ordinary": "ner_ordinary_test.txt.bz2", "sentences": "ner_sentences_test.txt.bz2"}
"""What is learnt from, and by part of the test what no training reads: sentences as newspapers and books have them, and
such as are learnt from, many of them written to be hard. Packed: text takes a third so."""

MARK = re.compile(r"\[(PER|ORG|LOC|MISC) ([^\[\]]+)\]")
LOOSE = re.compile(r"^\s|\s$|\s\s|[\[\]]")


class BadMark(ValueError):
    """A line's marks do not parse: a stray bracket, an unknown kind, an empty or unstripped entity, a doubled space."""


def parse(line: str) -> tuple[str, list[Span]]:
    """The line's text and its entities, (start, end, kind), in characters of the text and in its order.

    Raises BadMark.
    """
    text, end, spans = "", 0, []
    for mark in MARK.finditer(line):
        kind, name = mark.groups()
        if name != name.strip() or not any(c.isalnum() for c in name):
            raise BadMark(f"not a name: {mark[0]!r} in {line!r}")
        text += line[end : mark.start()]
        spans.append((len(text), len(text) + len(name), kind))
        text, end = text + name, mark.end()
    text += line[end:]
    if not text or (loose := LOOSE.search(text)):
        raise BadMark(f"{loose[0]!r} in {line!r}" if text and loose else "an empty line")
    return text, spans


def read(name: str = LEARNT, folder: Path = DATA) -> Iterator[dict[str, Any]]:
    """The sentences of the file, in its order.

    Raises BadMark, with the file and the line.
    """
    path = folder / name
    for number, line in enumerate(bz2.decompress(path.read_bytes()).decode().splitlines(), 1):
        try:
            text, spans = parse(line)
        except BadMark as error:
            raise BadMark(f"{path.name}:{number}: {error}") from error
        yield {"source": "sentences", "text": text, "spans": spans}
