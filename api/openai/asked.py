"""What an endpoint makes of a request: texts for a task; and what it makes of their outcomes: an answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from pydantic import ValidationError

from store.results import ResultRow
from textmill import errors, wire
from textmill.errors import InvalidRequest, NotSupported, TextmillError


@dataclass(frozen=True)
class Asked:
    """A request, as a job's worth of it."""

    task: str
    model: str | None
    options: dict[str, Any]
    documents: list[wire.Document]
    """Without ids. One at least."""
    form: dict[str, str] = field(default_factory=dict)
    """How the answer is to look."""


@dataclass(frozen=True)
class Outcome:
    """What became of one text: an output, or an error."""

    model: str
    output: Mapping[str, Any] | None
    error: TextmillError | None
    input_tokens: int
    output_tokens: int
    truncated: bool
    finished: int
    """When, in seconds since 1970."""

    @classmethod
    def of_row(cls, row: ResultRow, output: Mapping[str, Any] | None) -> "Outcome":
        """From the ledger. output: parsed."""
        its = row.outcome
        error = None if its.error_code is None else error_of(its.error_code, its.error_message)
        tokens = its.input_tokens or 0, its.output_tokens or 0
        finished = None if row.finished_at is None else datetime.fromisoformat(row.finished_at)
        return cls(row.model, output, error, *tokens, bool(its.truncated), _seconds(finished))

    @classmethod
    def of_result(cls, result: wire.Result) -> "Outcome":
        """From an answer that was waited for."""
        error = None if result.error is None else error_of(result.error.code, result.error.message)
        tokens = result.input_tokens or 0, result.output_tokens or 0
        return cls(result.model, result.output, error, *tokens, result.truncated, _seconds(result.finished_at))


def _seconds(moment: datetime | None) -> int:
    return 0 if moment is None else int(moment.timestamp())


def error_of(code: str, message: str | None) -> TextmillError:
    """An error of a document as an exception again."""
    known = errors.by_code().get(code, errors.DocumentError)
    return known(message)


class Endpoint(Protocol):
    """One address that requests go to, alone or as lines of a batch."""

    def read(self, body: Mapping[str, Any]) -> Asked:
        """Raises InvalidRequest and its kin, with what is wrong as `param`."""

    def answer(self, outcomes: Sequence[Outcome], form: Mapping[str, str], name: str) -> dict[str, Any]:
        """outcomes: of the request's texts, in their order, all of which succeeded. name: the answer's own, for ids."""


def document(**fields: Any) -> wire.Document:
    """A text with what belongs to it. Raises InvalidRequest."""
    try:
        return wire.Document.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "input"
        raise InvalidRequest(f"{place}: {first['msg']}", param=place) from error


def model_of(body: Mapping[str, Any]) -> str:
    """The model's name. Raises InvalidRequest."""
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise InvalidRequest("model: name one of GET /openai/v1/models", param="model")
    return model


def texts_of(value: Any, param: str, most: int) -> list[str]:
    """A text or a list of them, as a list. Raises InvalidRequest, NotSupported (numbers of tokens)."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts:
        raise InvalidRequest(f"{param}: a text, or a list of at least one", param=param)
    if not all(isinstance(text, str) for text in texts):
        raise NotSupported(f"{param}: texts alone are taken, no numbers of tokens", param=param)
    if len(texts) > most:
        raise InvalidRequest(f"{param}: at most {most} texts in one request", param=param)
    return texts


IGNORED = frozenset({"user", "metadata", "store", "safety_identifier", "prompt_cache_key", "service_tier"})
"""What changes nothing of an answer."""


def rest_of(body: Mapping[str, Any], own: frozenset[str], neutral: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """The body without what the endpoint reads itself (`own`), what is ignored, and what asks for nothing (`neutral`:
    values by name, beside null). What is left are options of the task. Raises NotSupported."""
    left: dict[str, Any] = {}
    for name, value in body.items():
        if name in neutral:
            if value is not None and not any(value is usual or _same(value, usual) for usual in neutral[name]):
                raise NotSupported(f"{name}: this is not offered here; leave it out", param=name)
        elif name not in own and name not in IGNORED and value is not None:
            left[name] = value
    return left


def _same(value: Any, usual: Any) -> bool:
    """Equal, and no 1 for true."""
    return isinstance(value, bool) == isinstance(usual, bool) and bool(value == usual)


def usage(outcomes: Sequence[Outcome], generated: bool = True) -> dict[str, int]:
    """Tokens, as OpenAI counts them."""
    given = sum(outcome.input_tokens for outcome in outcomes)
    made = sum(outcome.output_tokens for outcome in outcomes) if generated else 0
    counts = {"prompt_tokens": given, "total_tokens": given + made}
    return counts | {"completion_tokens": made} if generated else counts
