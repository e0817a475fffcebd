"""`/v1/completions` and `/v1/chat/completions`: text generation."""

from collections.abc import Mapping, Sequence
from typing import Any

from api.openai.asked import Asked, Outcome, document, model_of, rest_of, texts_of, usage
from textmill.errors import InvalidRequest, NotSupported

MOST = 256
"""Texts of one request."""

NEUTRAL: dict[str, Sequence[Any]] = {
    "stream": (False,), "stream_options": (), "n": (1,), "best_of": (1,), "stop": ([],), "suffix": (),
    "presence_penalty": (0,), "frequency_penalty": (0,), "logit_bias": ({},), "logprobs": (False, 0), "echo": (False,),
    "top_logprobs": (0,), "tools": ([],), "tool_choice": ("none",), "parallel_tool_calls": (True, False),
    "functions": ([],), "function_call": ("none",), "response_format": ({"type": "text"},), "modalities": (["text"],),
    "audio": (), "prediction": (), "reasoning_effort": (), "verbosity": (), "web_search_options": (),
}  # fmt: skip
"""What is not offered, with the values that ask for nothing."""

_LENGTHS = ("max_completion_tokens", "max_tokens")
_DRAWING = ("temperature", "top_p", "seed")

ROLES = {"developer": "system"}
"""Roles under the names that they have in Textmill, where these differ."""


def options_of(body: Mapping[str, Any], own: str) -> dict[str, Any]:
    """OpenAI's parameters as options of text generation, beside the task's own. own: what holds the text.

    Tokens are drawn where there is a `seed` and no temperature of 0, since answers are repeatable here. Raises
    NotSupported, InvalidRequest.
    """
    options = rest_of(body, frozenset({"model", own, *_LENGTHS, *_DRAWING}), NEUTRAL)
    if given := [body[name] for name in _LENGTHS if body.get(name) is not None]:
        options["max_new_tokens"] = given[0]
    temperature, top_p, seed = (body.get(name) for name in _DRAWING)
    if temperature == 0:
        return options
    if seed is not None:
        drawn = {"temperature": temperature, "top_p": top_p, "seed": seed}
        return options | {"do_sample": True} | {name: value for name, value in drawn.items() if value is not None}
    if temperature is not None or top_p not in (None, 1):
        name = "top_p" if temperature is None else "temperature"
        raise NotSupported(f"{name}: answers are repeatable here; give a seed too, or a temperature of 0", param=name)
    return options


class Completions:
    """A text, or several, and what each is gone on with."""

    def read(self, body: Mapping[str, Any]) -> Asked:
        """`prompt`, `model`, `max_tokens`, `temperature`, `top_p`, `seed`; also the task's own options."""
        options = options_of(body, "prompt")
        documents = [document(text=text) for text in texts_of(body.get("prompt"), "prompt", MOST)]
        return Asked("text-generation", model_of(body), options, documents)

    def answer(self, outcomes: Sequence[Outcome], form: Mapping[str, str], name: str) -> dict[str, Any]:
        """A choice for each text."""
        choices = [
            {"index": index, "text": _text(outcome), "finish_reason": _finish(outcome), "logprobs": None}
            for index, outcome in enumerate(outcomes)
        ]
        return _head(f"cmpl-{name}", "text_completion", outcomes) | {"choices": choices, "usage": usage(outcomes)}


class ChatCompletions:
    """A conversation, and what the assistant says next."""

    def read(self, body: Mapping[str, Any]) -> Asked:
        """`messages`, `model`, `max_completion_tokens`, ... as in `Completions`."""
        options = options_of(body, "messages")
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            raise InvalidRequest("messages: a list of at least one", param="messages")
        told = [_message(message, f"messages.{index}") for index, message in enumerate(messages)]
        return Asked("text-generation", model_of(body), options, [document(messages=told)])

    def answer(self, outcomes: Sequence[Outcome], form: Mapping[str, str], name: str) -> dict[str, Any]:
        """One choice."""
        (outcome,) = outcomes
        message = {"role": "assistant", "content": _text(outcome).lstrip(), "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": _finish(outcome), "logprobs": None}
        return _head(f"chatcmpl-{name}", "chat.completion", outcomes) | {"choices": [choice], "usage": usage(outcomes)}


def _message(message: Any, place: str) -> dict[str, str]:
    """One of the conversation; a content in parts becomes one text. Raises InvalidRequest, NotSupported."""
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise InvalidRequest(f"{place}: a message has a role and a content", param=place)
    if extra := sorted(name for name in message.keys() - {"role", "content", "name"} if message[name] is not None):
        raise NotSupported(f"{place}.{extra[0]}: this is not offered here", param=place)
    content = message.get("content")
    parts: list[Any] = content if isinstance(content, list) else [{"type": "text", "text": content}]
    for part in parts:
        if not isinstance(part, dict) or part.get("type") != "text":
            raise NotSupported(f"{place}.content: texts alone are taken", param=place)
        if not isinstance(part.get("text"), str):
            raise InvalidRequest(f"{place}.content: a text is missing", param=place)
    role = str(message["role"])
    return {"role": ROLES.get(role, role), "content": "\n".join(part["text"] for part in parts)}


def _head(answer_id: str, kind: str, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    created = max(outcome.finished for outcome in outcomes)
    return {"id": answer_id, "object": kind, "created": created, "model": outcomes[0].model}


def _text(outcome: Outcome) -> str:
    return str((outcome.output or {})["generated_text"])


def _finish(outcome: Outcome) -> str:
    return "length" if outcome.truncated else "stop"
