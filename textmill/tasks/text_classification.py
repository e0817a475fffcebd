"""Text classification: which of a model's labels fit a text (its sentiment, its topic)."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from textmill.tasks import labels
from textmill.tasks.task import Task, TaskOptions


class TextClassificationOptions(TaskOptions):
    """Options of a text-classification job."""

    top_k: Annotated[int, Field(ge=1, le=1_000)] | None = None
    """How many of the best are reported; more than there are: all. Where nothing is said, 1 (`text-classification`,
    `question-answering`) or 5 (`fill-mask`), as in transformers. In `text-generation`: from how many of the likeliest
    tokens is drawn."""
    function_to_apply: Literal["softmax", "sigmoid", "none"] | None = None
    """What makes scores of the model's logits; by default what the model's configuration says."""


class TextClassificationTask(Task):
    """A model's labels are those of its configuration."""

    def labels(self, config: Mapping[str, Any]) -> list[str]:
        """By index."""
        names = {int(index): str(name) for index, name in config.get("id2label", {}).items()}
        return [names[index] for index in sorted(names)]

    def shown(self, output: Mapping[str, Any]) -> str:
        """A label a line."""
        return labels.shown(output)


TASK = TextClassificationTask(
    name="text-classification",
    title="The labels that fit a text are found among the model's own: its sentiment, its topic.",
    options=TextClassificationOptions,
    output=labels.LabelsOutput,
    architectures=("ForSequenceClassification",),
    aliases=("sentiment-analysis",),
)
