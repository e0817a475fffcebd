"""Entities for those who train and annotate: CoNLL-2003, spaCy's JSON of documents, brat.

Tokens are words and marks, cut where an entity begins or ends, so that none is lost between two of them.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from textmill import tasks, wire

_TOKEN = re.compile(r"\w+|[^\w\s]|\s+")

Span = tuple[int, int, str]
"""Start, end, label."""


def are_given(task: str) -> bool:
    """Whether the task gives entities."""
    return task in tasks.NAMES and "entities" in tasks.get(task).output.model_fields


def spans(output: Mapping[str, Any] | None) -> list[Span]:
    """The entities in their order, without the marks that `aggregation_strategy: none` keeps."""
    found = output["entities"] if output else []
    return [(one["start"], one["end"], one["entity_group"].removeprefix("B-").removeprefix("I-")) for one in found]


def tokens(text: str, marked: list[Span]) -> Iterator[tuple[int, int]]:
    """(start, end) of each token, white space too; none goes over the border of an entity."""
    borders = sorted({border for start, end, _ in marked for border in (start, end)}, reverse=True)
    for match in _TOKEN.finditer(text):
        start = match.start()
        while borders and borders[-1] <= start:
            borders.pop()
        while borders and borders[-1] < match.end():
            yield start, borders[-1]
            start = borders.pop()
        yield start, match.end()


def conll(result: wire.Result) -> str:
    """A token a line with its tag (B-, I-, O) in the last column, an empty line after each line of the text.

    The id stands in the line that begins the document, percent-encoded. A document that failed has no more than that.
    """
    lines = [f"-DOCSTART- {quote(result.id, safe='/')} O O", ""]
    text, marked = result.text or "", spans(result.output)
    at, inside = 0, ""
    for start, end in tokens(text, marked) if result.output is not None else ():
        word = text[start:end]
        if word.isspace():
            if "\n" in word and lines[-1]:
                lines.append("")
            continue
        while at < len(marked) and marked[at][1] <= start:
            at, inside = at + 1, ""
        tag = "O"
        if at < len(marked) and marked[at][0] <= start:
            tag = f"{inside or 'B'}-{marked[at][2]}"
            inside = "I"
        lines.append(f"{word} -X- _ {tag}")
    return "\n".join(lines if not lines[-1] else [*lines, ""]) + "\n"


def spacy(result: wire.Result) -> str:
    """A line of what spaCy's `Doc.from_json` reads, for a DocBin, and the id beside.

    None for a document that failed: it would teach that its text has no entities.
    """
    if result.output is None:
        return ""
    text, marked = result.text or "", spans(result.output)
    words: list[tuple[int, int]] = []
    for start, end in tokens(text, marked):
        if text[start] == " " and words and words[-1][1] == start:
            start += 1  # the one space after a word belongs to it
        if start < end:
            words.append((start, end))
    told = {
        "id": result.id,
        "text": text,
        "ents": [{"start": start, "end": end, "label": label} for start, end, label in marked],
        "tokens": [{"id": number, "start": start, "end": end} for number, (start, end) in enumerate(words)],
    }
    return json.dumps(told, ensure_ascii=False) + "\n"


def brat(result: wire.Result) -> str:
    """The lines of the .ann beside the text: an entity each, over several lines of the text in several fragments."""
    text, lines = result.text or "", []
    for number, (start, end, label) in enumerate(spans(result.output), start=1):
        pieces = [(start + one.start(), start + one.end()) for one in re.finditer(r"[^\n\r]+", text[start:end])]
        where = ";".join(f"{first} {last}" for first, last in pieces)
        lines.append(f"T{number}\t{label} {where}\t{' '.join(text[first:last] for first, last in pieces)}\n")
    return "".join(lines)
