"""How the Inference API speaks of a task: what of a request becomes documents and options, and what of outputs an
answer. What holds for most tasks stands here; a task's own file in `api/hf/tasks/` says what differs."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from store.catalogue import Entry
from textmill import wire
from textmill.base import Request
from textmill.errors import InvalidRequest


class InferenceRequest(Request):
    """`POST /hf/{model}`. Parameters may also stand beside `inputs`, as some clients write them."""

    model_config = Request.model_config | {"extra": "allow"}
    __pydantic_extra__: dict[str, JsonValue]

    inputs: JsonValue
    """A text, what the task has instead of one (a question and its context), or a list of these."""
    parameters: dict[str, JsonValue] | None = None
    options: dict[str, JsonValue] | None = None
    """`wait_for_model`, `use_cache`: without effect, since every request waits for its model."""
    stream: bool | None = None
    """Refused where it is true."""


@dataclass(frozen=True)
class Asked:
    """A request, taken apart."""

    inputs: Sequence[Any]
    single: bool
    """Whether the one input did not stand in a list."""
    parameters: Mapping[str, Any]
    """Those that are not null."""
    model: Entry


@dataclass(frozen=True)
class Shape:
    """The words of the Inference API for one task."""

    listed: bool = False
    """Whether the answer to a single input stands in a list of its own, as if it had been a list of one."""
    without_effect: Collection[str] = ()
    """Parameters that are taken and change nothing, since they say how a text that does not fit is to be cut."""

    def document(self, given: Any) -> wire.Document:
        """One input as a document. Raises InvalidRequest."""
        if not isinstance(given, str):
            raise InvalidRequest("inputs: a text, or a list of texts")
        return wire.Document(text=given)

    def options(self, asked: Asked) -> dict[str, Any]:
        """The job's options. Those that the task does not know are refused when the job is made."""
        return {name: value for name, value in asked.parameters.items() if name not in self.without_effect}

    def answer(self, asked: Asked, given: Any, output: Mapping[str, Any]) -> Any:
        """What becomes of one input."""
        return dict(output)

    def answers(self, asked: Asked, outputs: Sequence[Mapping[str, Any]]) -> Any:
        """The body of the answer."""
        each = [self.answer(asked, given, output) for given, output in zip(asked.inputs, outputs, strict=True)]
        return each[0] if asked.single and not self.listed else each
