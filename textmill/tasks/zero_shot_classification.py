"""Zero-shot classification: which of a job's own labels fit a text, by a model of natural language inference."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from textmill.errors import InvalidOptions
from textmill.tasks import labels
from textmill.tasks.task import Offered, Task, TaskOptions

DEFAULT_TEMPLATE = "This example is {}."
PLACE = "{}"


class ZeroShotClassificationOptions(TaskOptions):
    """Options of a zero-shot job."""

    candidate_labels: (
        Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(min_length=1, max_length=256)] | None
    ) = None
    """The labels to choose from; needed, by the job or by the catalogue."""
    hypothesis_template: Annotated[str, Field(min_length=2, max_length=1_000)] | None = None
    """The sentence that each label makes, which the model judges; `{}` is the label's place. By default
    `This example is {}.`."""
    multi_label: bool | None = None
    """Whether several labels may fit, so that each score stands alone; else all scores come to 1."""


class ZeroShotClassificationTask(Task):
    """Its labels are the job's, and there have to be some."""

    def check(self, model: Offered, options: Mapping[str, Any]) -> None:
        """Refuses a template without a place for the label, and a label that is named twice."""
        if PLACE not in (template := options.get("hypothesis_template", DEFAULT_TEMPLATE)):
            message = f"hypothesis_template {template!r} has no {PLACE} where the label stands"
            raise InvalidOptions(message, option="hypothesis_template")
        candidates = options.get("candidate_labels", [])
        if twice := sorted({label for label in candidates if candidates.count(label) > 1}):
            raise InvalidOptions(f"candidate_labels names {', '.join(twice)} twice", option="candidate_labels")

    def canonical(self, model: Offered, options: Mapping[str, Any]) -> dict[str, Any]:
        """Without labels there is nothing to choose from."""
        merged = super().canonical(model, options)
        if "candidate_labels" not in merged:
            message = 'candidate_labels: zero-shot-classification needs labels to choose from, as ["travel", "work"]'
            raise InvalidOptions(message, option="candidate_labels", missing=["candidate_labels"])
        return merged

    def shown(self, output: Mapping[str, Any]) -> str:
        """A label a line."""
        return labels.shown(output)


TASK = ZeroShotClassificationTask(
    name="zero-shot-classification",
    title="The labels that fit a text are found among the job's own.",
    options=ZeroShotClassificationOptions,
    output=labels.LabelsOutput,
    architectures=("ForSequenceClassification",),
)
