"""What `/openai/v1` takes and gives: OpenAI's objects, as far as Textmill has something to say in them."""

import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from store.files import StoredFile
from store.orders import Order

FILE, BATCH = "file-", "batch_"
"""How their ids begin."""

_HEX = r"[0-9a-f]{32}"

HOUR, MONTH = 3600, 30 * 86_400
"""Bounds of what a client may ask for, in seconds."""


def number_of(kind: str, shown: str) -> str | None:
    """What the ledger calls it; None where nothing can be called so."""
    found = re.fullmatch(f"{kind}({_HEX})", shown)
    return found[1] if found else None


class FileObject(BaseModel):
    """A file."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: Literal["batch", "batch_output"]
    status: Literal["processed"] = "processed"


class FilesPage(BaseModel):
    """Files. `after` with the last one's id gives the next page."""

    object: Literal["list"] = "list"
    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Deleted(BaseModel):
    """What is gone."""

    id: str
    object: Literal["file"] = "file"
    deleted: bool = True


class RequestCounts(BaseModel):
    """Lines of a batch's file. What is in neither of the last two was not run (yet)."""

    total: int
    completed: int
    failed: int


class BatchErrors(BaseModel):
    """Why a batch failed as a whole."""

    object: Literal["list"] = "list"
    data: list[dict[str, Any]]


class BatchObject(BaseModel):
    """A batch."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    errors: BatchErrors | None
    input_file_id: str
    completion_window: str
    status: Literal[
        "validating", "in_progress", "finalizing", "completed", "failed", "cancelling", "cancelled", "expired"
    ]
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    metadata: dict[str, str]


class BatchesPage(BaseModel):
    """Batches, newest first."""

    object: Literal["list"] = "list"
    data: list[BatchObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Model(BaseModel):
    """A model of the catalogue; OpenAI's object, with what Textmill says of it."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "textmill"
    task: str | None
    licence: str
    limitations: str


class ModelsPage(BaseModel):
    """All of them."""

    object: Literal["list"] = "list"
    data: list[Model]


class ExpiresAfter(BaseModel):
    """How long something is kept."""

    model_config = ConfigDict(extra="forbid")

    anchor: Literal["created_at"]
    seconds: Annotated[int, Field(ge=HOUR, le=MONTH)]


class BatchRequest(BaseModel):
    """`POST /openai/v1/batches`."""

    model_config = ConfigDict(extra="forbid")

    input_file_id: str
    endpoint: str
    completion_window: Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,2}[hd]$")]
    """`24h`, as OpenAI's only one; also other numbers of hours or days."""
    metadata: (
        Annotated[
            dict[Annotated[str, Field(min_length=1, max_length=64)], Annotated[str, Field(max_length=512)]],
            Field(max_length=16),
        ]
        | None
    ) = None
    output_expires_after: ExpiresAfter | None = None


WINDOW_UNITS = {"h": HOUR, "d": 86_400}


def window_seconds(window: str) -> int:
    """The seconds of a completion window."""
    return int(window[:-1]) * WINDOW_UNITS[window[-1]]


def file_object(file: StoredFile) -> FileObject:
    """A file as OpenAI shows it."""
    return FileObject.model_validate(
        {
            "id": FILE + file.uuid,
            "bytes": file.bytes,
            "created_at": _seconds(file.created_at),
            "expires_at": _seconds(file.expires_at),
            "filename": file.name,
            "purpose": file.purpose,
        }
    )


def files_page(files: Sequence[StoredFile], more: bool) -> FilesPage:
    """A page of them."""
    return FilesPage(data=[file_object(file) for file in files], has_more=more, **_ends(FILE, files))


def batch_object(order: Order) -> BatchObject:
    """An order as OpenAI shows a batch."""
    ended = {state: _seconds(order.ended_at) if order.state == state else None for state in _ENDS}
    return BatchObject(
        id=BATCH + order.uuid,
        endpoint=order.endpoint,
        errors=None if order.errors is None else BatchErrors(data=json.loads(order.errors)),
        input_file_id=FILE + order.file_uuid,
        completion_window=order.completion_window,
        status=order.state,
        output_file_id=None if order.output_file is None else FILE + order.output_file,
        error_file_id=None if order.error_file is None else FILE + order.error_file,
        created_at=int(order.created_at.timestamp()),
        in_progress_at=_seconds(order.in_progress_at),
        expires_at=int(order.expires_at.timestamp()),
        finalizing_at=_seconds(order.finalizing_at),
        completed_at=ended["completed"],
        failed_at=ended["failed"],
        expired_at=ended["expired"],
        cancelling_at=_seconds(order.cancelling_at),
        cancelled_at=ended["cancelled"],
        request_counts=RequestCounts(total=order.total, completed=order.succeeded or 0, failed=order.failed or 0),
        metadata=json.loads(order.metadata),
    )


_ENDS = ("completed", "failed", "expired", "cancelled")


def batches_page(orders: Sequence[Order], more: bool) -> BatchesPage:
    """A page of them."""
    return BatchesPage(data=[batch_object(order) for order in orders], has_more=more, **_ends(BATCH, orders))


def _ends(kind: str, shown: Sequence[StoredFile] | Sequence[Order]) -> dict[str, Any]:
    ids = [kind + one.uuid for one in shown]
    return {"first_id": ids[0] if ids else None, "last_id": ids[-1] if ids else None}


def _seconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())
