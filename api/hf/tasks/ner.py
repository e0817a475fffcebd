"""Token classification: `[{entity_group, score, word, start, end}]`, and `entity` where nothing is aggregated."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api.hf.shape import Asked, Shape
from textmill.errors import InvalidOptions


@dataclass(frozen=True)
class Entities(Shape):
    """`ignore_labels` leaves out what was found; by itself, what is no entity (O) is never reported."""

    def options(self, asked: Asked) -> dict[str, Any]:
        """Without `ignore_labels`. Raises InvalidOptions."""
        options = super().options(asked)
        ignored = options.pop("ignore_labels", [])
        if not (isinstance(ignored, list) and all(isinstance(label, str) for label in ignored)):
            raise InvalidOptions("ignore_labels: a list of labels", option="ignore_labels")
        return options

    def answer(self, asked: Asked, given: Any, output: Mapping[str, Any]) -> Any:
        """The entities, or the tokens."""
        strategy = asked.parameters.get("aggregation_strategy", asked.model.options.get("aggregation_strategy"))
        ignored = asked.parameters.get("ignore_labels", ())
        label = "entity" if strategy == "none" else "entity_group"
        return [
            {label: entity["entity_group"], **{name: entity[name] for name in ("score", "word", "start", "end")}}
            for entity in output["entities"]
            if entity["entity_group"] not in ignored
        ]


SHAPE = Entities(without_effect=("stride",))
