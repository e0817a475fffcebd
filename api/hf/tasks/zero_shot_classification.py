"""Zero-shot classification: `[{label, score}]`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api.hf.shape import Asked, Shape


@dataclass(frozen=True)
class Candidates(Shape):
    """The labels are among the parameters, under the job's own names."""

    def answer(self, asked: Asked, given: Any, output: Mapping[str, Any]) -> Any:
        """Best first."""
        return output["labels"]


SHAPE = Candidates()
