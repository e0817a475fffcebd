"""Fill-mask: the words that a model expects where a text has a mask."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from textmill.base import Wire
from textmill.tasks.task import Task, TaskOptions


class FillMaskOptions(TaskOptions):
    """Options of a fill-mask job."""

    top_k: Annotated[int, Field(ge=1, le=1_000)] | None = None
    """How many words are reported for each mask; 5 where nothing is said."""
    targets: (
        Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(min_length=1, max_length=1_000)]
        | None
    ) = None
    """Only these words count; each has to be one token of the model's."""


class Filling(Wire):
    """A word for a mask."""

    token_str: str
    token: int | None = None
    """Its number in the model's vocabulary. None from a server that does not say."""
    score: float
    sequence: str
    """The text with it, as the model reads it; of a long one the window around the mask."""


class FillMaskOutput(Wire):
    """The words for each mask of a document, best first."""

    masks: list[list[Filling]]


class FillMaskTask(Task):
    """A task of its own kind."""

    def shown(self, output: Mapping[str, Any]) -> str:
        """The words for a mask in a line."""
        return "\n".join(
            ", ".join(f"{one['token_str'].strip()} {one['score']:.3f}" for one in mask) for mask in output["masks"]
        )


TASK = FillMaskTask(
    name="fill-mask",
    title="The words are found that fit where a text has the model's mask, `[MASK]` or `<mask>`.",
    options=FillMaskOptions,
    output=FillMaskOutput,
    architectures=("ForMaskedLM",),
)
