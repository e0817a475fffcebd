"""What summarization and translation have in common: a text is generated from a text."""

from dataclasses import dataclass
from typing import Any

from api.hf.shape import Asked, Shape
from textmill.errors import InvalidOptions


@dataclass(frozen=True)
class Generated(Shape):
    """Settings of the generation stand in `generate_parameters`, or, as older clients have it, beside it."""

    def options(self, asked: Asked) -> dict[str, Any]:
        """Both together. Raises InvalidOptions."""
        options = super().options(asked)
        inner = options.pop("generate_parameters", {})
        if not isinstance(inner, dict):
            raise InvalidOptions("generate_parameters: an object of settings of the generation")
        return options | {name: value for name, value in inner.items() if value is not None}


SHAPE = Generated(listed=True, without_effect=("clean_up_tokenization_spaces", "truncation"))
