"""Text generation: `[{generated_text}]`, the new text alone unless `return_full_text` is asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api.hf.shape import Asked, Shape
from textmill.errors import InvalidOptions

OF_NO_USE = ("decoder_input_details", "details", "stop", "watermark")
"""What the client may say in the negative. In the positive it is refused: nothing here would do it."""


@dataclass(frozen=True)
class Continuations(Shape):
    """Sampling needs a `seed`, as everywhere here: the same request has the same answer."""

    def options(self, asked: Asked) -> dict[str, Any]:
        """Without what shapes the answer alone. Raises InvalidOptions."""
        options = super().options(asked)
        if not isinstance(options.pop("return_full_text", False), bool):
            raise InvalidOptions("return_full_text: true or false", option="return_full_text")
        return {name: value for name, value in options.items() if value or name not in OF_NO_USE}

    def answer(self, asked: Asked, given: Any, output: Mapping[str, Any]) -> Any:
        """A list of one, as the library gives it for each text."""
        before = given if asked.parameters.get("return_full_text") else ""
        return [{"generated_text": before + output["generated_text"]}]


SHAPE = Continuations()
