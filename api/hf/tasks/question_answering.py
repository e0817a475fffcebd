"""Question answering: `{question, context}` in, `{answer, score, start, end}` out; a list of these where `top_k` is
more than 1."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api.hf.shape import Asked, Shape
from textmill import wire
from textmill.errors import InvalidRequest

NONE = {"answer": "", "score": 0.0, "start": 0, "end": 0}
"""Where a text has nothing that could be an answer."""


@dataclass(frozen=True)
class Questions(Shape):
    """A document brings its question."""

    def document(self, given: Any) -> wire.Document:
        """The context, and what is asked of it."""
        if not (isinstance(given, dict) and given.keys() == {"question", "context"}):
            raise InvalidRequest('inputs: {"question": ..., "context": ...}, or a list of these')
        if not isinstance(given["context"], str):
            raise InvalidRequest("inputs: context: a text")
        return wire.Document(text=given["context"], question=given["question"])

    def answer(self, asked: Asked, given: Any, output: Mapping[str, Any]) -> Any:
        """One answer is no list, as in the library."""
        found = output["answers"]
        if asked.parameters.get("top_k", asked.model.options.get("top_k", 1)) == 1:
            return found[0] if found else NONE
        return found


SHAPE = Questions(without_effect=("align_to_words", "doc_stride", "max_question_len", "max_seq_len"))
