"""Text classification: `[[{label, score}]]`, a list for each text, all labels where `top_k` says nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api.hf.shape import Asked, Shape

ALL = 1_000
"""More labels than there are."""


@dataclass(frozen=True)
class Labels(Shape):
    """A list of labels a text."""

    def options(self, asked: Asked) -> dict[str, Any]:
        """The Inference API gives all labels by default, the library only the best."""
        return {"top_k": ALL} | dict(asked.model.options) | super().options(asked)

    def answer(self, asked: Asked, given: Any, output: Mapping[str, Any]) -> Any:
        """Best first."""
        return output["labels"]


SHAPE = Labels(listed=True)
