"""Fill-mask: `[{sequence, score, token, token_str}]`, and a list of such lists for a text with several masks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api.hf.shape import Asked, Shape


@dataclass(frozen=True)
class Masks(Shape):
    """The words for each mask."""

    def answer(self, asked: Asked, given: Any, output: Mapping[str, Any]) -> Any:
        """One mask is no list of masks, as in the library."""
        masks = output["masks"]
        return masks[0] if len(masks) == 1 else masks


SHAPE = Masks()
