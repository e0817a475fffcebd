"""The HTTP contract: requests, responses, states, tasks and their options.

Shared by the client, the api and the workers. docs/http.md is made of these types; a change here is a change of the
contract.
"""

import re
from datetime import datetime
from typing import Annotated, Any, Literal, get_args

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, JsonValue

Task = Literal["summarization", "translation", "ner"]
TASKS: tuple[Task, ...] = get_args(Task)

Priority = Literal["high", "normal", "low"]
PRIORITIES: tuple[Priority, ...] = get_args(Priority)

JobState = Literal["queued", "running", "completed", "completed_with_errors", "failed", "cancelled"]
ENDED_STATES: tuple[JobState, ...] = ("completed", "completed_with_errors", "failed", "cancelled")

ResultState = Literal["succeeded", "failed", "cancelled"]
RESULT_STATES: tuple[ResultState, ...] = get_args(ResultState)

MAX_DOCUMENT_ID = 512
"""Characters of a document's id."""


CHUNK_DOCUMENTS = 1_000
"""Documents in one request, unless the server is set otherwise."""

CHUNK_BYTES = 4 * 1024 * 1024
"""Bytes of one request's body, decompressed, unless the server is set otherwise."""

_NOT_STORABLE = re.compile("[\x00\ud800-\udfff]")


def unstorable(text: str) -> int | None:
    """The position of the first character that cannot be stored (NUL, half of a surrogate pair), or None."""
    # Two scans in C decide the common case; the pattern only looks for the place.
    if "\0" not in text and (text.isascii() or _encodes(text)):
        return None
    found = _NOT_STORABLE.search(text)
    return found.start() if found else None


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Wire(BaseModel):
    """What the server sends: unknown fields are kept out of the way, so that an older client reads a newer server."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Request(BaseModel):
    """What a producer sends: an unknown field is an error and not a surprise."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# --- options ---------------------------------------------------------------------------------------------------------


class TaskOptions(Request):
    """Options that every task has."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, strict=True)

    long_documents: Literal["auto", "error"] | None = None
    """What happens to a text that is longer than the model's window: handled by the task's rule, or an error."""


class GenerationOptions(TaskOptions):
    """Options of transformers' generation, with its names. Sampling is not offered: results must be repeatable."""

    min_length: Annotated[int, Field(ge=0, le=100_000)] | None = None
    max_length: Annotated[int, Field(ge=1, le=100_000)] | None = None
    max_new_tokens: Annotated[int, Field(ge=1, le=100_000)] | None = None
    num_beams: Annotated[int, Field(ge=1, le=32)] | None = None
    length_penalty: Annotated[float, Field(ge=-10, le=10, strict=False)] | None = None
    no_repeat_ngram_size: Annotated[int, Field(ge=0, le=100)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=10, strict=False)] | None = None
    early_stopping: bool | Literal["never"] | None = None


class SummarizationOptions(GenerationOptions):
    """Options of a summarization job."""


class TranslationOptions(GenerationOptions):
    """Options of a translation job."""

    source_lang: Annotated[str, Field(min_length=1, max_length=32)] | None = Field(
        default=None, validation_alias=AliasChoices("source_lang", "src_lang")
    )
    target_lang: Annotated[str, Field(min_length=1, max_length=32)] | None = Field(
        default=None, validation_alias=AliasChoices("target_lang", "tgt_lang")
    )


class NerOptions(TaskOptions):
    """Options of a named-entity job."""

    aggregation_strategy: Literal["none", "simple", "first", "average", "max"] | None = None
    labels: Annotated[list[str], Field(min_length=1, max_length=256)] | None = None
    """Only entities with these labels (without B- or I-) are reported."""
    min_score: Annotated[float, Field(ge=0, le=1, strict=False)] | None = None


OPTIONS: dict[Task, type[TaskOptions]] = {
    "summarization": SummarizationOptions,
    "translation": TranslationOptions,
    "ner": NerOptions,
}

# --- requests --------------------------------------------------------------------------------------------------------


class Document(Request):
    """One text with the producer's own id (its position in the job where none is given)."""

    id: Annotated[str, Field(min_length=1, max_length=MAX_DOCUMENT_ID)] | None = None
    text: str


class JobRequest(Request):
    """`POST /v1/jobs`."""

    task: Task
    model: str | None = None
    options: dict[str, JsonValue] = Field(default_factory=dict)
    documents: list[Document] = Field(default_factory=list)
    priority: Priority = "normal"
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    callback_url: str | None = None
    open: bool = False


class DocumentsRequest(Request):
    """`POST /v1/jobs/{id}/documents` as JSON."""

    documents: list[Document]


class RetryRequest(Request):
    """`POST /v1/jobs/{id}/retry`."""

    codes: list[str] | None = None


# --- responses -------------------------------------------------------------------------------------------------------


class Counts(Wire):
    """Documents of a job, by outcome: total = pending + succeeded + failed + cancelled."""

    total: int
    pending: int
    succeeded: int
    failed: int
    cancelled: int


class ErrorInfo(Wire):
    """Why a document or a job failed: a stable code and a sentence."""

    code: str
    message: str


class Job(Wire):
    """A job as producers see it."""

    id: str
    task: Task
    model: str
    state: JobState
    open: bool
    options: dict[str, Any]
    priority: Priority
    metadata: dict[str, Any]
    counts: Counts
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    documents_per_second: float | None
    eta_seconds: float | None
    error: ErrorInfo | None


class Accepted(Wire):
    """Answer to an append: how many documents were new, and the job's total after it."""

    accepted: int
    total: int


class Entity(Wire):
    """A named entity: `text[start:end] == word`, in code points."""

    entity_group: str
    score: float
    word: str
    start: int
    end: int


class Output(Wire):
    """What a document became; the field that is set depends on the task."""

    summary_text: str | None = None
    translation_text: str | None = None
    entities: list[Entity] | None = None


class Result(Wire):
    """The outcome of one document."""

    id: str
    position: int
    state: ResultState
    output: Output | None
    error: ErrorInfo | None
    model: str
    model_revision: str | None
    backend: str | None = None
    """What ran the model. None from a server that does not say, as with `dtype`."""
    dtype: str | None = None
    """The number format that the model ran in."""
    input_tokens: int | None
    output_tokens: int | None
    pieces: int | None
    truncated: bool
    attempts: int
    finished_at: datetime | None


class ResultsPage(Wire):
    """`GET /v1/jobs/{id}/results`: in document order, up to the first document that has no outcome yet."""

    results: list[Result]
    next_cursor: str | None


class JobsPage(Wire):
    """`GET /v1/jobs`: newest first."""

    jobs: list[Job]
    next_cursor: str | None


class WorkerInfo(Wire):
    """A live worker process."""

    id: str
    host: str
    pid: int
    device: str
    models: list[str]
    resident: list[str]
    slots: int
    load: float
    started_at: datetime
    heartbeat_at: datetime


class Problem(Wire):
    """problem+json (RFC 9457) with a stable `code`."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    details: dict[str, Any] = Field(default_factory=dict)
