"""The HTTP contract: requests, responses, states. What each task takes and gives stands in `textmill.tasks`.

Shared by the client, the api and the workers; a change here is a change of the contract. A request is checked against
what this version knows. An answer is read leniently, so that an older client reads a newer server: states, tasks and
outputs that it has not heard of come through as text and as mappings.
"""

import re
from datetime import datetime
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, AliasChoices, ConfigDict, Field, JsonValue, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from textmill import tasks
from textmill.base import Request, Wire
from textmill.errors import InvalidRequest
from textmill.output import Output
from textmill.tasks.fill_mask import Filling
from textmill.tasks.labels import Label
from textmill.tasks.ner import Entity
from textmill.tasks.question_answering import Answer

__all__ = [
    "CHUNK_BYTES", "CHUNK_DOCUMENTS", "ENDED_STATES", "JOB_STATES", "MAX_DOCUMENT_ID", "PRIORITIES", "RESULT_STATES",
    "Accepted", "Acted", "Answer", "CancelMatching", "Counts", "Document", "DocumentsPage", "DocumentsRequest",
    "Entity", "ErrorInfo", "Filling", "Job", "JobRequest", "JobState", "JobsPage", "Label", "Output", "Pace",
    "PaceBucket", "Priority", "Problem", "Queued", "Request", "Result", "ResultState", "ResultsPage", "RetryMatching",
    "RetryRequest", "Stats", "StatsBucket", "StoredDocument", "TaskInfo", "TaskName", "Unreadable", "Wire",
    "WorkerInfo", "unstorable",
]  # fmt: skip

Priority = Literal["high", "normal", "low"]
PRIORITIES: tuple[Priority, ...] = get_args(Priority)

JobState = Literal["queued", "running", "completed", "completed_with_errors", "failed", "cancelled"]
JOB_STATES: tuple[JobState, ...] = get_args(JobState)
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


def _task_name(given: str) -> str:
    try:
        return tasks.get(given).name
    except InvalidRequest as unknown:
        raise PydanticCustomError("unknown_task", "{reason}", {"reason": unknown.message}) from unknown


TaskName = Annotated[str, AfterValidator(_task_name), Field(examples=list(tasks.NAMES))]
"""A task that a producer names: an alias becomes the task's own name."""

# --- requests --------------------------------------------------------------------------------------------------------


INSTEAD_OF_TEXT = frozenset().union(*(task.fields.instead_of_text for task in tasks.TASKS))
"""What a document may have in the place of a text."""


class Unreadable(Request):
    """Why a producer has no text for a document: a file that is damaged or encrypted."""

    code: Annotated[str, Field(pattern=r"^file_[a-z_]{1,40}$")]
    message: Annotated[str, Field(min_length=1, max_length=1_000)]


class Document(Request):
    """One text with the producer's own id (its position in the job where none is given), and what its task has beside.

    Which fields these are, the task says (`Task.fields`): here they all pass, and some stand in for the text.
    """

    model_config = ConfigDict(
        extra="allow",
        frozen=True,
        json_schema_extra={"anyOf": [{"required": [name]} for name in ("text", *sorted(INSTEAD_OF_TEXT))]},
    )
    __pydantic_extra__: dict[str, JsonValue]

    id: Annotated[str, Field(min_length=1, max_length=MAX_DOCUMENT_ID)] | None = None
    text: str = ""
    """Empty where a field stands in for it."""
    unreadable: Unreadable | None = None
    """Its text could not be read: it fails with this reason, whatever its text."""

    @model_validator(mode="after")
    def _has_one_text(self) -> Self:
        # Nothing but an id and a text, as nearly all: looked at first, since a job has tens of thousands.
        if not (extra := self.__pydantic_extra__) and self.text:
            return self
        has_text = self.has_text
        instead = [name for name in INSTEAD_OF_TEXT if extra.get(name) is not None]
        if has_text and instead:
            raise PydanticCustomError("two_texts", "a document has text or {other}, not both", {"other": instead[0]})
        if not has_text and not instead:
            missing = InitErrorDetails(type="missing", loc=("text",), input=extra)
            raise ValidationError.from_exception_data("Document", [missing])
        return self

    @property
    def has_text(self) -> bool:
        """Whether it has a text of its own."""
        return "text" in self.__pydantic_fields_set__

    @property
    def fields(self) -> dict[str, JsonValue]:
        """What it has beside id and text; null is as good as not given."""
        given: dict[str, JsonValue] = {
            name: value for name, value in self.__pydantic_extra__.items() if value is not None
        }
        if self.unreadable:
            given["unreadable"] = self.unreadable.model_dump()
        return given


class JobRequest(Request):
    """`POST /v1/jobs`."""

    task: TaskName
    model: str | None = None
    options: dict[str, JsonValue] = Field(default_factory=dict)
    documents: list[Document] = Field(default_factory=list)
    priority: Priority = "normal"
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    webhook: Annotated[str | None, Field(validation_alias=AliasChoices("webhook", "callback_url"))] = None
    open: bool = False


class DocumentsRequest(Request):
    """`POST /v1/jobs/{id}/documents` as JSON."""

    documents: list[Document]


class RetryRequest(Request):
    """`POST /v1/jobs/{id}/retry`."""

    codes: list[str] | None = None


class CancelMatching(Request):
    """`POST /v1/jobs/cancel`: the filters of `GET /v1/jobs`, all of which hold together."""

    state: list[JobState] = Field(default_factory=list)
    task: TaskName | None = None
    model: str | None = None
    id: str = ""
    """The beginning of the id."""
    metadata: dict[str, str] = Field(default_factory=dict)
    created_after: datetime | None = None
    created_before: datetime | None = None
    expected: Annotated[int, Field(ge=0)] | None = None
    """How many jobs match: with another number nothing is done. Null: nothing is done, and the answer says how many."""


class RetryMatching(CancelMatching):
    """`POST /v1/jobs/retry`."""

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
    key: str | None = None
    """The name of the key that it belongs to. None from a server that does not say."""
    task: str
    model: str
    state: JobState | str
    open: bool
    options: dict[str, Any]
    priority: Priority | str
    metadata: dict[str, Any]
    counts: Counts
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    documents_per_second: float | None
    eta_seconds: float | None
    error: ErrorInfo | None
    notice: str | None = None
    """Why the job waits, where that is not its turn alone. Only where one job is asked for."""
    errors: dict[str, int] = Field(default_factory=dict)
    """Failed documents by the code of their error."""
    webhook: str | None = None
    """Where its end is told."""

    @property
    def ended(self) -> bool:
        """Whether every document has its outcome: also where the state is one that this version does not know."""
        return self.state in ENDED_STATES or self.finished_at is not None


class PaceBucket(Wire):
    """A stretch of a job's time."""

    start: datetime
    documents_per_second: float


class Pace(Wire):
    """`GET /v1/jobs/{id}/pace`: how fast a job went, from when it started last to its end or now; oldest bucket first,
    the last one may be shorter than the others. Empty before the job has started."""

    bucket_seconds: int
    exact: bool
    """Counted, and not reckoned from a sample of the documents."""
    buckets: list[PaceBucket]


class Accepted(Wire):
    """Answer to an append: how many documents were new, and the job's total after it."""

    accepted: int
    total: int


class Result(Wire):
    """The outcome of one document."""

    id: str
    position: int
    state: ResultState | str
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
    text: str | None = None
    """The document's text, where it was asked for with `include=text`."""
    fields: dict[str, Any] = Field(default_factory=dict)
    """What it has beside the text, where that was asked for."""


class StoredDocument(Wire):
    """A document as it was submitted."""

    id: str
    position: int
    text: str
    fields: dict[str, Any] = Field(default_factory=dict)
    """What it has beside its text: a question."""


class DocumentsPage(Wire):
    """`GET /v1/jobs/{id}/documents`: in document order. `next_cursor` is null at the end of what the job has now."""

    documents: list[StoredDocument]
    next_cursor: str | None


class ResultsPage(Wire):
    """`GET /v1/jobs/{id}/results`: in document order, up to the first document that has no outcome yet."""

    results: list[Result]
    next_cursor: str | None


class JobsPage(Wire):
    """`GET /v1/jobs`: newest first. A page may be shorter than was asked for, even empty: the next one goes on."""

    jobs: list[Job]
    next_cursor: str | None


class Acted(Wire):
    """Answer to `POST /v1/jobs/cancel` and `/v1/jobs/retry`."""

    matched: int
    done: list[str]
    """The ids of the jobs on which it was done. One that has changed meanwhile is left alone."""
    left: int
    """Those that this call had no time for, or that were only counted: ask again, expecting so many."""


class Queued(Wire):
    """What of a model and task is not decided yet."""

    model: str
    task: str
    documents: int
    shards: int
    oldest_seconds: float
    """Since the oldest of the jobs was accepted."""


class StatsBucket(Wire):
    """What was settled in a stretch of time."""

    start: datetime
    documents_succeeded: int
    documents_failed: int
    documents_per_second: float
    batch_fill: float | None
    """Share of the tokens in all workers' batches that was no padding."""
    errors: dict[str, int]
    """Documents that failed, by code."""


class Stats(Wire):
    """`GET /v1/stats`: this key's work, oldest bucket first; the last one has only begun."""

    now: datetime
    key: str
    """The name of the key whose work it is."""
    role: str | None = None
    """The role of the key that asks. None from a server that does not say."""
    bucket_seconds: int
    queued: list[Queued]
    buckets: list[StatsBucket]
    flower_url: str | None = None
    """Where people find Flower, if the server was told."""


class TaskInfo(Wire):
    """One task, described for whoever builds a form: JSON schemas of what goes in and what comes out."""

    name: str
    title: str
    aliases: list[str]
    document: dict[str, Any]
    options: dict[str, Any]
    output: dict[str, Any]


class WorkerInfo(Wire):
    """A live worker process."""

    id: str
    host: str
    pid: int
    device: str
    models: list[str]
    resident: list[str]
    failed: list[str] = Field(default_factory=list)
    slots: int
    load: float
    batch_fill: float | None = None
    """Share of the tokens in its batches that was no padding, over the last minutes; null while it did nothing."""
    documents_per_second: float | None = None
    """Of all keys, over the last minutes; null while it did nothing."""
    draining: bool = False
    """It takes no more shards, and ends when those that it has are done."""
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
