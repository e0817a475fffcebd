"""Feature extraction: a list of floats for each text, in a list. Its parameters stand beside `inputs`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api.hf.shape import Asked, Shape


@dataclass(frozen=True)
class Vectors(Shape):
    """A vector a text: the texts' own, not their tokens'."""

    def options(self, asked: Asked) -> dict[str, Any]:
        """Floats are what there is."""
        options = super().options(asked)
        if options.get("encoding_format") == "float":
            del options["encoding_format"]
        return options

    def answer(self, asked: Asked, given: Any, output: Mapping[str, Any]) -> Any:
        """The numbers."""
        return output["embedding"]


SHAPE = Vectors(listed=True, without_effect=("truncate", "truncation_direction"))
