"""How the command line shows jobs and models to people. Programs take `--json`."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from textmill import tasks, webhooks, wire

ERROR_CHARACTERS = 50
"""Of an error in a list; `textmill status` shows all of it."""

SHORT_ID = 8
"""Characters of a job's id in a list."""

NAMED_LANGUAGES = 6
"""More than these are counted."""


def duration(seconds: float) -> str:
    """About how long: `45 s`, `12 min`, `3 h 20 min`, `4 d 2 h`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"


def job_line(job: wire.Job) -> str:
    """A job by itself."""
    parts = [f"{_done(job.counts)} documents"]
    parts += [f"{number} {what}" for what in ("failed", "cancelled") if (number := getattr(job.counts, what))]
    parts += [f"{job.documents_per_second:.1f}/s"] if job.documents_per_second else []
    parts += [f"{duration(job.eta_seconds)} left"] if job.eta_seconds else []
    parts += [f"{job.error.code}: {job.error.message}"] if job.error else []
    parts += [job.notice] if job.notice else []
    return f"{job.id}  {job.task}  {job.model}  {job.state}  {', '.join(parts)}"


def jobs_table(jobs: Sequence[wire.Job], now: datetime | None = None) -> list[str]:
    """Jobs below each other, and above them what the columns are; of ids the beginning, which commands take, too."""
    now = now or datetime.now(UTC)
    length = _told_apart([job.id for job in jobs])
    rows = [("JOB", "TASK", "MODEL", "STATE", "DOCUMENTS", "FAILED", "AGE", "ERROR")]
    for job in jobs:
        error = _cut(f"{job.error.code}: {job.error.message}") if job.error else ""
        age = duration(max(0.0, (now - job.created_at).total_seconds()))
        failed = str(job.counts.failed) if job.counts.failed else ""
        rows.append((job.id[:length], job.task, job.model, job.state, _done(job.counts), failed, age, error))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _told_apart(ids: Sequence[str]) -> int:
    """Characters by which all of the ids differ, at least SHORT_ID."""
    length = SHORT_ID
    while length < max(map(len, ids), default=0) and len({one[:length] for one in ids}) < len(set(ids)):
        length += 1
    return length


def delivery_line(delivery: webhooks.Delivery) -> str:
    """A delivery of a webhook by itself."""
    again = f", next attempt {_moment(delivery.next_attempt_at)}" if delivery.next_attempt_at else ""
    return f"{delivery.id}  {delivery.type}  {delivery.state}  {_moment(delivery.created_at)}  {delivery.url}{again}"


def attempt_line(attempt: webhooks.DeliveryAttempt) -> str:
    """One attempt at it."""
    status = f" ({attempt.status})" if attempt.status is not None else ""
    detail = f": {attempt.detail}" if attempt.detail else ""
    return f"{_moment(attempt.at)}  {attempt.outcome}{status} after {attempt.seconds:.1f} s{detail}"


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def output_text(task: str, output: Mapping[str, Any]) -> str:
    """What became of a document, in the words of its task; of a task that is newer than this version as JSON."""
    if task in tasks.NAMES:
        return tasks.get(task).shown(output)
    return json.dumps(dict(output), ensure_ascii=False, indent=1)


def model_text(model: Mapping[str, Any], workers: Sequence[wire.WorkerInfo] = ()) -> list[str]:
    """A model of the catalogue by itself: all that is known of it, its limitations first."""
    lines = [model_line(model, workers), f"limitations: {model['limitations']}", f"licence: {model['licence']}"]
    told = {
        name: model.get(name)
        for name in ("source", "revision", "architecture", "dtype", "cpu_dtype", "backend", "labels", "options")
    }
    for name, value in told.items():
        if value:
            lines.append(f"{name}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}")
    return lines


def model_line(model: Mapping[str, Any], workers: Sequence[wire.WorkerInfo] = ()) -> str:
    """A model of the catalogue, and what the live workers have of it: a model of the hub has to be fetched first."""
    sides = [model.get(side) or [] for side in ("source_langs", "target_langs")]
    pair = f"  {_languages(*sides)}" if any(sides) else ""
    default = "  (default)" if model.get("default") else ""
    hub = "" if model.get("source") is None else "  (from the hub)"
    name = model["name"]
    serving = [worker for worker in workers if name in worker.models]
    here = ""
    if any(name in worker.resident for worker in serving):
        here = "  (loaded)"
    elif serving and all(name in worker.failed for worker in serving):
        here = "  (no worker could load it)"
    elif workers and not serving:
        here = "  (no worker serves it)"
    return f"{name}  {model['task'] or 'any task'}{pair}  window {model['window']}{default}{hub}{here}"


def _languages(source: Sequence[str], target: Sequence[str]) -> str:
    if len(source) > NAMED_LANGUAGES and set(source) == set(target):
        return f"any of {len(source)} languages to any other"
    return " -> ".join(
        ", ".join(side) if len(side) <= NAMED_LANGUAGES else f"any of {len(side)} languages"
        for side in (source, target)
    )


def _done(counts: wire.Counts) -> str:
    return f"{counts.total - counts.pending}/{counts.total}"


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= ERROR_CHARACTERS else text[: ERROR_CHARACTERS - 3] + "..."
