"""Where results come from, in a small JSON file beside them (OUT.provenance.json).

Beside them and not in a first line of theirs: every line of JSON lines is a result and every row of csv a document, for
whatever reads them, and a run that goes on appends. It is written when the last result is, so that a file without it is
not whole; how many results each model, backend and number format made is counted in the run's notes until then.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from textmill import wire
from textmill.client import Client
from textmill.errors import JobNotFound

MADE_BY = ("model", "model_revision", "backend", "dtype")
"""Fields of a result that say what made it: several, where workers or the catalogue changed meanwhile."""

OF_MODEL = ("source", "revision", "architecture", "licence", "limitations")
"""What the catalogue says of a model, as it stands when the results are written."""


def path_of(out: Path) -> Path:
    """The file beside the output."""
    return out.with_name(out.name + ".provenance.json")


def _job_of(path: Path) -> str | None:
    """Whose results an earlier file tells of."""
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return found.get("job") if isinstance(found, dict) else None


def maker(result: wire.Result) -> str:
    """What made the result, as a key of a counter. Failures have been made by nothing: empty."""
    if result.output is None:
        return ""
    return json.dumps([getattr(result, name) for name in MADE_BY])


def write(client: Client, job_id: str, out: Path, made: Mapping[str, int], options: Mapping[str, Any]) -> None:
    """Replace the file beside the output. made: results by `maker`; options: those asked for, where the job is gone.

    Raises what asking the server raises.
    """
    path = path_of(out)
    job: wire.Job | None = None
    try:
        job = client.job(job_id).info
    except JobNotFound:
        if _job_of(path) == job_id:
            return  # it was told while the job was there
    makers = [
        {**dict(zip(MADE_BY, json.loads(key), strict=True)), "results": count} for key, count in made.items() if key
    ]
    names = {str(one["model"]) for one in makers} | ({job.model} if job is not None else set())
    models = [
        {"name": model["name"], **{name: model.get(name) for name in OF_MODEL}}
        for model in client.models()
        if model["name"] in names
    ]
    found = {
        "results": out.name,
        "server": client.url,
        "job": job_id,
        "task": None if job is None else job.task,
        "options": dict(options) if job is None else job.options,
        "finished_at": None if job is None or job.finished_at is None else job.finished_at.isoformat(),
        "counts": None if job is None else job.counts.model_dump(),
        "made_by": makers,
        "models": models,
    }
    fresh = path.with_name(path.name + ".new")
    with fresh.open("w", encoding="utf-8") as file:
        file.write(json.dumps(found, ensure_ascii=False, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
