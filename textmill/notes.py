"""What a run must remember, in a small JSON file beside its output (OUT.job), replaced as a whole at each step."""

import os
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from textmill import wire
from textmill.digest import Digest
from textmill.errors import InvalidRequest
from textmill.files import sources
from textmill.files.columns import BY_NAME, Columns
from textmill.files.formats import Format
from textmill.files.inputs import check
from textmill.files.results import To


class Plan(BaseModel):
    """What is to be run: the same plan again means to go on."""

    model_config = ConfigDict(frozen=True)

    task: str
    model: str | None
    priority: wire.Priority
    metadata: dict[str, JsonValue] | None
    options: dict[str, JsonValue]
    files: list[str]
    format: Format
    columns: Columns = BY_NAME
    encoding: str | None = None
    to: To = "auto"
    join: bool = False
    """Whether the output has the rows of the input, with new columns."""
    split: str | None = None
    """The folder for one file a document."""
    webhook: str | None = None
    """Where the job's end is told."""
    inputs: list[tuple[str, int | None, int | None]]
    """(name, bytes, modification time in ns): changed files would shift the documents' positions."""


class Place(BaseModel):
    """OUT.job."""

    server: str
    plan: Plan
    idempotency_key: str
    job_id: str | None = None
    read: Digest | None = None
    """What the inputs gave so far."""
    uploaded: bool = False
    cursor: str | None = None
    written: int = 0
    outcomes: Counter[str] = Counter()
    """Results up to the cursor by their state."""
    failures: Counter[str] = Counter()
    """Those that failed by their code."""
    made: Counter[str] = Counter()
    """Those up to the cursor by what made them (`textmill.provenance.maker`)."""
    rewriting: bool = False
    """The cursor and the length are those of the new file beside the output."""
    state: str | None = None
    """Set when everything is written."""
    ready: bool = False
    """Whether what is made of collected results is there (`textmill/outputs.py`)."""
    finished_at: datetime | None = None
    """When the job had ended whose results these are: a retry changes it."""

    def rewind(self, job: wire.Job, rewriting: bool) -> None:
        """Results are written from the first one on: beside the output, or where that is gone in its place."""
        self.cursor, self.written = None, 0
        self.outcomes, self.failures, self.made = Counter(), Counter(), Counter()
        self.rewriting, self.state, self.ready, self.finished_at = rewriting, None, False, job.finished_at


def plan(
    task: str, files: list[str], format: Format, model: str | None, priority: wire.Priority,
    metadata: dict[str, Any] | None, options: dict[str, Any], columns: Columns = BY_NAME, encoding: str | None = None,
    to: To = "auto", join: bool = False, split: str | None = None, webhook: str | None = None,
) -> Plan:  # fmt: skip
    """The plan for files as they are now. Raises InvalidRequest where one is of a format that is not read."""
    check(files, format, columns, encoding)
    inputs = [sources.facts(name) for name in files]
    return Plan(
        task=task, model=model, priority=priority, metadata=metadata, options=options, files=files, format=format,
        columns=columns, encoding=encoding, to=to, join=join, split=split, webhook=webhook,
        inputs=inputs,
    )  # fmt: skip


def load(notes: Path) -> Place | None:
    """What the file says, None where there is none. Raises InvalidRequest where it is not readable as notes."""
    try:
        return Place.model_validate_json(notes.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise InvalidRequest(f"{notes} is not readable as a run's notes: --restart begins anew") from error


def save(notes: Path, place: Place) -> None:
    """Replace the file as a whole: an interruption leaves the earlier notes."""
    fresh = notes.with_name(notes.name + ".new")
    with fresh.open("wb") as file:
        file.write(place.model_dump_json(indent=1).encode())
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(notes)
