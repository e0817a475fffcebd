"""The door: bytes -> requests that are known to be good, or an error that says what is wrong and where.

Pure functions on whole bodies: nothing is stored before everything in the request has been looked at. Measured on two
cores: about 2 microseconds a document of 200 characters as JSON, 3 as NDJSON, about a tenth of what storing it costs.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from store.catalogue import Catalogue, Entry
from textmill import tasks
from textmill.errors import (
    DuplicateDocument,
    InvalidDocument,
    InvalidOptions,
    InvalidRequest,
    InvalidText,
    TooManyDocuments,
)
from textmill.tasks import Task
from textmill.wire import Document, DocumentsRequest, JobRequest, RetryRequest, unstorable

M = TypeVar("M", bound=BaseModel)

Texts = list[tuple[str | None, str] | tuple[str | None, str, str]]
"""Documents as the store takes them: (the producer's id or None, text), and their other fields as JSON."""

SAMPLING = frozenset(
    {"do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff"}
    | {"penalty_alpha", "num_return_sequences", "seed"}
)
SHOWN = 10
"""Errors that one answer lists."""

_SURROGATE = re.compile("[\ud800-\udfff]")


class Limits(Protocol):
    """What `parse_job` needs of the settings."""

    @property
    def max_job_documents(self) -> int: ...
    @property
    def max_metadata_bytes(self) -> int: ...


def parse_job(body: bytes, limits: Limits) -> tuple[JobRequest, Texts]:
    """`POST /v1/jobs`. Raises InvalidRequest and its kin; the options' values are `options_of`'s to check."""
    request = parse(JobRequest, body)
    if len(request.documents) > limits.max_job_documents:
        raise _too_many(limits.max_job_documents)
    refuse_unstorable(request.metadata, "metadata")
    refuse_unstorable(request.options, "options")
    _check_metadata(request.metadata, limits.max_metadata_bytes)
    return request, texts_of(request.documents)


def parse_retry(body: bytes) -> list[str] | None:
    """The codes to retry; None for all failed documents. Raises InvalidRequest, InvalidText."""
    codes = parse(RetryRequest, body).codes if body else None
    if codes is not None and not codes:
        raise InvalidRequest("codes: name one at least, or leave it out for all")
    refuse_unstorable(codes, "codes")
    return codes


def parse_small(model: type[M], body: bytes) -> M:
    """A body without documents: filters of a call that acts on all jobs that match, a key. Raises InvalidRequest,
    InvalidText."""
    asked = parse(model, body)
    refuse_unstorable(asked.model_dump(mode="json"), "body")
    return asked


def parse_documents(body: bytes, limit: int) -> Texts:
    """`{"documents": [...]}`, at most `limit` of them. Raises InvalidRequest and its kin."""
    documents = parse(DocumentsRequest, body).documents
    if len(documents) > limit:
        raise _too_many(limit)
    return texts_of(documents)


def parse_ndjson(body: bytes, limit: int) -> Texts:
    """A JSON document a line, at most `limit` of them; blank lines are skipped. Errors as in `parse_documents`."""
    documents: list[Document] = []
    # Not splitlines(): that also cuts at a lone carriage return, which JSON counts as white space.
    for number, line in enumerate(body.split(b"\n"), start=1):
        if not line or line.isspace():
            continue
        if len(documents) == limit:
            raise _too_many(limit)
        documents.append(parse(Document, line, line=number, index=len(documents)))
    return texts_of(documents)


def parse(model: type[M], body: bytes, line: int | None = None, index: int | None = None) -> M:
    """The body as an instance of the model. `line` and `index`: where an NDJSON line stands, for the error's sake."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        where = {key: value for key, value in (("line", line), ("index", index)) if value is not None}
        if error.errors(include_url=False)[0]["type"] == "json_invalid":
            raise _not_json(body, str(error.errors()[0]["ctx"]["error"]), where) from error
        raise _ill_formed(error, where) from error


def _check_metadata(metadata: dict[str, Any], limit: int) -> None:
    try:
        size = len(json.dumps(metadata, ensure_ascii=False, allow_nan=False).encode())
    except ValueError as error:
        raise InvalidRequest(f"metadata: {error}") from error  # NaN, Infinity: the parser takes them, JSON has none
    if size > limit:
        raise InvalidRequest(f"metadata is {size} bytes of JSON; at most {limit} are kept", maximum=limit)


def options_of(task: Task, options: dict[str, Any]) -> dict[str, Any]:
    """The options under their own names, without those that are null. Raises InvalidOptions."""
    if sampling := sorted((SAMPLING - task.options.model_fields.keys()) & options.keys()):
        valid = list(task.options.model_fields)
        message = f"sampling is not offered, since results must be repeatable: leave out {', '.join(sampling)}"
        raise InvalidOptions(message, valid=valid, errors=[{"option": name, "message": message} for name in sampling])
    return task.checked(options)


def fitted(
    catalogue: Catalogue, task: Task, model: str | None, options: dict[str, Any], documents: Texts
) -> tuple[str, dict[str, Any]]:
    """The name of the model that serves such a job, and its canonical options, with which the documents go together.

    Raises InvalidOptions, ModelNotFound, InvalidDocument.
    """
    given = options_of(task, options)
    entry = catalogue.resolve(task.name, model, given)
    canonical = task.canonical(entry, given)
    check_fields(task.name, canonical, entry, documents)
    return entry.name, canonical


def check_fields(task: str, options: dict[str, Any], model: Entry | None, documents: Texts) -> None:
    """Whether the documents have the fields that their task wants. options: the job's canonical ones; model: the job's,
    None where it is no more in the catalogue.

    Raises InvalidDocument with the number of the first that has not.
    """
    contract = tasks.get(task)
    passed: set[str] = set()  # most documents have the same fields, or none
    for index, (_, _, *fields) in enumerate(documents):
        given = fields[0] if fields else "{}"
        if given in passed:
            continue
        beside = json.loads(given)
        if "unreadable" in beside:
            continue  # nothing is asked of it: it fails with what it says
        try:
            contract.check_fields(beside, options, model)
        except InvalidDocument as error:
            message = f"document {index} of this request: {error.message}"
            raise InvalidDocument(message, **({"index": index} | error.details)) from error
        passed.add(given)


def _too_many(limit: int) -> TooManyDocuments:
    return TooManyDocuments(f"more than {limit} documents in one request: append them in chunks", maximum=limit)


def texts_of(documents: Sequence[Document]) -> Texts:
    """The documents as the store takes them. Raises InvalidText, DuplicateDocument."""
    seen: dict[str, int] = {}
    texts: Texts = []
    for index, document in enumerate(documents):
        name, text = document.id, document.text
        # Half surrogates cannot get here, the parser refuses them; NUL can, and `in` is a scan in C.
        if "\0" in text:
            raise _bad_text(index, "text", text)
        if name is not None:
            if "\0" in name:
                raise _bad_text(index, "id", name)
            if seen.setdefault(name, index) != index:
                raise DuplicateDocument(
                    f"documents {seen[name]} and {index} of this request both have the id {name!r}",
                    id=name, index=index, first_index=seen[name],
                )  # fmt: skip
        if fields := document.fields:
            refuse_unstorable(fields, f"document {index} of this request")
            texts.append((name, text, json.dumps(fields, ensure_ascii=False)))
        else:
            texts.append((name, text))
    return texts


def _bad_text(index: int, field: str, value: str, where: dict[str, int] | None = None) -> InvalidText:
    position = unstorable(value)
    assert position is not None
    kind = "a NUL character" if value[position] == "\0" else "half of a surrogate pair"
    return InvalidText(
        f"document {index} of this request: {field} has {kind} at character {position}",
        **({"index": index, "field": field, "character": position} | (where or {})),
    )


def refuse_unstorable(value: Any, path: str) -> None:
    """NUL and half surrogates anywhere in a JSON value, its keys included. Raises InvalidText."""
    for place, text in _strings(value, path):
        if (position := unstorable(text)) is not None:
            message = f"{place} has a character that cannot be stored at character {position}"
            raise InvalidText(message, field=place, character=position)


_HOLDS_TEXT = (str, dict, list)
"""Of JSON's values; the others, of which a vector or a list of tokens has many thousands, need no path."""


def _strings(value: Any, path: str) -> Iterator[tuple[str, str]]:
    waiting = [(path, value)]  # a list and not recursion: the depth is the producer's choice
    while waiting:
        place, here = waiting.pop()
        if isinstance(here, str):
            yield place, here
        elif isinstance(here, dict):
            for key, inner in here.items():
                yield f"a key of {place}", key
                if isinstance(inner, _HOLDS_TEXT):
                    waiting.append((f"{place}.{key}", inner))
        elif isinstance(here, list):
            found = ((number, inner) for number, inner in enumerate(here) if isinstance(inner, _HOLDS_TEXT))
            waiting += [(f"{place}.{number}", inner) for number, inner in found]


def _not_json(body: bytes, reason: str, where: dict[str, int]) -> InvalidRequest:
    """Why the fast parser refused the body: half a surrogate (which is JSON to others), or a place in broken JSON."""
    try:
        value = json.loads(body.decode("utf-8", "surrogatepass"))
    except UnicodeDecodeError as error:
        return InvalidRequest(f"the body is not UTF-8 at byte {error.start}", byte=error.start, **where)
    except json.JSONDecodeError as error:
        place = {"line": error.lineno, "column": error.colno} | where
        at = f"line {place['line']} column {place['column']}"
        return InvalidRequest(f"the body is not JSON: {error.msg} at {at}", **place)
    except (ValueError, RecursionError):  # a number of thousands of digits, a nesting of thousands of levels
        return InvalidRequest(f"the body is not JSON: {reason}", **where)
    return _surrogate(value, where) or InvalidRequest(f"the body is not JSON: {reason}", **where)


def _surrogate(value: Any, where: dict[str, int]) -> InvalidText | None:
    documents = [value] if "index" in where else value.get("documents", []) if isinstance(value, dict) else []
    for index, document in enumerate(documents if isinstance(documents, list) else []):
        for field, text in document.items() if isinstance(document, dict) else ():
            if isinstance(text, str) and _SURROGATE.search(text):
                return _bad_text(where.get("index", index), field, text, where)
    try:
        refuse_unstorable(value, "body")
    except InvalidText as error:
        return error
    return None


def _ill_formed(error: ValidationError, where: dict[str, int]) -> InvalidRequest:
    """What does not fit the model, without the producer's texts in it."""
    found = [
        {"location": ".".join(map(str, one["loc"])) or "body", "message": one["msg"]}
        for one in error.errors(include_url=False, include_input=False)[:SHOWN]
    ]
    line = f"line {where['line']}: " if "line" in where else ""
    return InvalidRequest(f"{line}{found[0]['location']}: {found[0]['message']}", errors=found, **where)
