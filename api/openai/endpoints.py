"""The addresses that requests go to: OpenAI's, and one for each of Textmill's tasks."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import JsonValue, RootModel

from api.openai.asked import Asked, Endpoint, Outcome, document, rest_of, usage
from api.openai.completions import ChatCompletions, Completions
from api.openai.embeddings import Embeddings
from textmill import tasks
from textmill.errors import InvalidRequest
from textmill.tasks import Task


class Body(RootModel[dict[str, JsonValue]]):
    """The body of a request: any JSON object."""


class OfTask:
    """A task by its own name: a text in, its output out."""

    def __init__(self, task: Task) -> None:
        self._task = task

    def read(self, body: Mapping[str, Any]) -> Asked:
        """`input` is the text; `model` may be left out; what its documents have beside the text (a question) and its
        options stand beside it."""
        model = body.get("model")
        if model is not None and not isinstance(model, str):
            raise InvalidRequest("model: a name", param="model")
        own = self._task.fields.model_fields.keys()
        fields = {name: body[name] for name in body if name in own}
        if "input" in body:
            fields["text"] = body["input"]
        options = rest_of(body, frozenset({"model", "input", *own}), {})
        return Asked(self._task.name, model, options, [document(**fields)])

    def answer(self, outcomes: Sequence[Outcome], form: Mapping[str, str], name: str) -> dict[str, Any]:
        """The task's output as it is."""
        (outcome,) = outcomes
        return {
            "object": self._task.name,
            "model": outcome.model,
            "output": dict(outcome.output or {}),
            "truncated": outcome.truncated,
            "usage": usage(outcomes),
        }


ENDPOINTS: Mapping[str, Endpoint] = {
    **{f"/v1/{name}": OfTask(task) for task in tasks.TASKS for name in (task.name, *task.aliases)},
    # After the tasks: `embeddings` is an alias of one, and here it is OpenAI's.
    "/v1/embeddings": Embeddings(),
    "/v1/completions": Completions(),
    "/v1/chat/completions": ChatCompletions(),
}


def get(path: str) -> Endpoint:
    """The endpoint at the path. Raises InvalidRequest, naming those that there are."""
    if path not in ENDPOINTS:
        raise InvalidRequest(
            f"there is no endpoint {path[:64]!r}; there are: {', '.join(ENDPOINTS)}",
            param="endpoint", valid=list(ENDPOINTS),
        )  # fmt: skip
    return ENDPOINTS[path]
