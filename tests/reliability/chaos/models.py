"""Documents for the bundled models, and what these make of them while nothing fails: the answers to compare with.

In fp32, where an answer does not depend on what else is in its batch.
"""

import random
from collections.abc import Mapping
from typing import Any

from tests.reliability.chaos.line import Line, read
from tests.reliability.chaos.load import TASKS
from textmill.wire import ENDED_STATES

TEXTS = 24
"""Of each task."""

PEOPLE = ("Ana Martins", "Erika Holm", "David Okafor", "Maria Rossi")
PLACES = ("Lisbon", "Berlin", "the University of Toronto", "Nairobi", "Oslo")
SENTENCES = (
    "{person} opened a new mill near {place} in spring.",
    "The old bridge in {place} was closed after the flood, and nobody knows for how long.",
    "{person} and {other} wrote a short report about the harvest of last year.",
    "Trains from {place} were late again because of the heavy snow.",
    "A library in {place} has bought the letters of {other}.",
)
"""Longer and shorter documents are made of them, so that batches are mixed."""


def texts(chance: random.Random) -> list[str]:
    """Documents of one to eight sentences, no two alike."""
    made: dict[str, None] = {}
    while len(made) < TEXTS:
        chosen = chance.choices(SENTENCES, k=chance.randint(1, 8))
        filled = [
            one.format(person=chance.choice(PEOPLE), other=chance.choice(PEOPLE), place=chance.choice(PLACES))
            for one in chosen
        ]
        made[" ".join(filled)] = None
    return list(made)


def answers(line: Line, chance: random.Random) -> dict[tuple[str, str], Mapping[str, Any]]:
    """What the bundled models make of some texts of each task. Raises RuntimeError where they fail on one."""
    found: dict[tuple[str, str], Mapping[str, Any]] = {}
    for task in TASKS:
        asked = texts(chance)
        body = {"task": task, "documents": [{"text": text} for text in asked]}
        job = line.surely("POST", "/v1/jobs", json=body).raise_for_status().json()
        while job["state"] not in ENDED_STATES:
            job = line.surely("GET", f"/v1/jobs/{job['id']}", params={"wait": "10"}).raise_for_status().json()
        for text, row in zip(asked, read(line, job).rows, strict=True):
            if row.output is None:
                raise RuntimeError(f"{task} failed without any fault: {row}")
            found[task, text] = row.output
    return found
