"""Feature extraction: a text becomes a vector, near to those of texts that mean the like."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from textmill.base import Wire
from textmill.tasks.task import Task, TaskOptions

SHOWN = 6
"""Numbers of a vector that people see."""


class FeatureExtractionOptions(TaskOptions):
    """Options of a feature-extraction job."""

    pooling: Literal["mean", "cls", "max"] | None = None
    """How the vectors of a text's tokens become one; by default as the checkpoint wants it, else `mean`."""
    normalize: bool | None = None
    """Whether the vector has the length 1; by default as the checkpoint wants it, else not."""
    dimensions: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Only so many of the first numbers, for models that were trained for it; cut before it is normalized."""


class FeatureExtractionOutput(Wire):
    """The vector of a document."""

    embedding: list[float]


class FeatureExtractionTask(Task):
    """A task of its own kind."""

    def shown(self, output: Mapping[str, Any]) -> str:
        """The first numbers, and how many there are."""
        vector = output["embedding"]
        first = ", ".join(f"{number:.3f}" for number in vector[:SHOWN])
        return f"[{first}{', ...' if len(vector) > SHOWN else ''}] ({len(vector)} numbers)"


TASK = FeatureExtractionTask(
    name="feature-extraction",
    title="A text becomes a vector, near to those of texts that mean the like.",
    options=FeatureExtractionOptions,
    output=FeatureExtractionOutput,
    architectures=("Model", "ForMaskedLM"),
    aliases=("embeddings",),
)
