"""What the tasks share that say which labels fit a text."""

from collections.abc import Mapping
from typing import Any

from textmill.base import Wire


class Label(Wire):
    """A label, and how well it fits: a probability, unless the job asked for none."""

    label: str
    score: float


class LabelsOutput(Wire):
    """The labels of a document, best first."""

    labels: list[Label]


def shown(output: Mapping[str, Any]) -> str:
    """A label a line, with its score."""
    return "\n".join(f"{label['label']}  {label['score']:.3f}" for label in output["labels"])
