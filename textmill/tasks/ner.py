"""Named entity recognition: the names in a text, with their kinds and places."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from textmill.base import Wire
from textmill.errors import InvalidOptions
from textmill.tasks.task import Offered, Task, TaskOptions


class NerOptions(TaskOptions):
    """Options of a named-entity job."""

    aggregation_strategy: Literal["none", "simple", "first", "average", "max"] | None = None
    """How tokens become entities, as in transformers; `none`: each token by itself, with B- or I- before its label."""
    labels: Annotated[list[str], Field(min_length=1, max_length=256)] | None = None
    """Only entities with these labels (without B- or I-) are reported."""
    min_score: Annotated[float, Field(ge=0, le=1, strict=False)] | None = None
    """Only entities with at least this score are reported."""
    names_only: bool | None = None
    """An entity has a letter, and no punctuation at its ends ("8" and "." are none: names that are numbers are lost).
    The dot of an abbreviation, the one before .NET, the marks of C++ and C#, and a bracket that is opened inside stay.
    Not with the strategy `none`."""


class Entity(Wire):
    """A named entity: `text[start:end] == word`, in code points."""

    entity_group: str
    score: float
    word: str
    start: int
    end: int


class NerOutput(Wire):
    """What was found in a document, in its order."""

    entities: list[Entity]


class NerTask(Task):
    """A model's labels are those of its tokens, without the marks of where an entity begins."""

    def labels(self, config: Mapping[str, Any]) -> list[str]:
        """Entity labels without B- and I-, without O, sorted."""
        names = (str(name) for name in config.get("id2label", {}).values())
        return sorted({name.removeprefix("B-").removeprefix("I-") for name in names} - {"O"})

    def shown(self, output: Mapping[str, Any]) -> str:
        """An entity a line, with its kind."""
        return "\n".join(f"{one['word']}  {one['entity_group']}" for one in output["entities"]) or "(no entity)"

    def check(self, model: Offered, options: Mapping[str, Any]) -> None:
        """Refuses labels that the model does not have, where these are known."""
        if model.labels is None:
            return
        if unknown := sorted(set(options.get("labels", ())) - set(model.labels)):
            valid = list(model.labels)
            message = f"the model {model.name} has no label {', '.join(unknown)}; it has: {', '.join(valid)}"
            raise InvalidOptions(message, option="labels", valid=valid)


TASK = NerTask(
    name="ner",
    title="The names in a text are found, with their kinds and places.",
    options=NerOptions,
    output=NerOutput,
    architectures=("ForTokenClassification",),
    aliases=("token-classification",),
)
