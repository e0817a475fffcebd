"""Recall of people's names by origin and sex: the same sentences, said of everybody."""

import bz2
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from models.training.ner_teacher import Span

NAMES = Path(__file__).parent / "data" / "names_by_origin.toml.bz2"
FRAMES = (
    "{} opened the meeting.",
    "The report was written by {}.",
    "We met {} at the station yesterday.",
    "Please send the invoice to {} before noon.",
    "Last week {} won the first prize.",
    '"It was a good year," said {}.',
    "According to {}, the road will stay closed.",
    "My neighbour {} has two cats.",
    "The new head of the school is {}.",
    "{} has lived here for ten years.",
    "Did you know that {} plays the violin?",
    "The letter from {} came too late.",
)
"""Nothing else in them is an entity, nor says what sex or origin is meant."""


def names() -> Iterator[tuple[str, str, str]]:
    """(origin, sex, full name)"""
    for origin, sexes in tomllib.loads(bz2.decompress(NAMES.read_bytes()).decode()).items():
        for sex, listed in sexes.items():
            yield from ((origin, sex, name) for name in listed.replace("\n", " ").split(", "))


def sentences(limit: int | None = None) -> list[dict[str, Any]]:
    """Every name in every frame, or in the first `limit` frames."""
    return [
        {"origin": origin, "sex": sex, "text": frame.format(name), "spans": [(start, start + len(name), "PER")]}
        for origin, sex, name in names()
        for frame in FRAMES[:limit]
        for start in [frame.index("{}")]
    ]


def figures(chunks: Sequence[dict[str, Any]], found: Iterable[Sequence[Span]]) -> dict[str, Any]:
    """Shares of the names found as they are, whole and as PER: by origin, by sex, by both; and the largest gaps."""
    hits: dict[str, dict[str, list[bool]]] = {"origin": defaultdict(list), "sex": defaultdict(list)}
    both: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for chunk, answer in zip(chunks, found, strict=True):
        hit = chunk["spans"][0] in answer
        for kind, groups in hits.items():
            groups[chunk[kind]].append(hit)
        both[chunk["origin"]][chunk["sex"]].append(hit)
    origins, sexes = map(_shares, hits.values())
    apart = {origin: _shares(each) for origin, each in both.items()}
    widest = max(apart, key=lambda origin: _gap(apart[origin]))
    return {
        "names by origin": origins,
        "names by sex": sexes,
        "names by both": apart,
        "largest gap of origins": _gap(origins),
        "largest gap of the sexes": {widest: _gap(apart[widest])},
    }


def _shares(groups: dict[str, list[bool]]) -> dict[str, float]:
    return {group: round(mean(hits), 3) for group, hits in groups.items()}


def _gap(shares: dict[str, float]) -> float:
    return round(max(shares.values()) - min(shares.values()), 3)
