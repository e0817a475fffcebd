"""What this installation offers, who is at work, and how the key's own work goes."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from api.services import Caller, Key, Services
from store import stats, workers
from textmill import tasks, wire

router = APIRouter(prefix="/v1", tags=["catalogue"])


@router.get("/models")
def models(services: Services, _key: Key) -> dict[str, list[dict[str, Any]]]:
    """The models of the catalogue: task, languages, window, licence, limitations."""
    return {"models": [entry.public() for entry in services.catalogue.entries.values()]}


@router.get("/workers")
def live_workers(services: Services, _key: Key) -> dict[str, list[wire.WorkerInfo]]:
    """The live workers: device, models, which of them are resident, load, last heartbeat."""
    return {"workers": services.store.read(workers.shown)}


@router.get("/tasks")
def described_tasks(_services: Services, _key: Key) -> dict[str, list[wire.TaskInfo]]:
    """The tasks: what each takes and gives, as JSON schemas with the meaning and the limits of every option."""
    return {
        "tasks": [
            wire.TaskInfo(
                name=task.name,
                title=task.title,
                aliases=list(task.aliases),
                document=_document_schema(task),
                options=task.options.model_json_schema(by_alias=False),
                output=task.output.model_json_schema(),
            )
            for task in tasks.TASKS
        ]
    }


def _document_schema(task: tasks.Task) -> dict[str, Any]:
    """Of the documents that this task takes: what all have, and what it has beside."""
    schema = wire.Document.model_json_schema()
    # What cannot be read has no form that could be filled in.
    del schema["properties"]["unreadable"], schema["$defs"]
    beside = task.fields.model_json_schema()
    schema["properties"] |= beside.get("properties", {})
    schema["anyOf"] = [{"required": [name]} for name in ("text", *sorted(task.fields.instead_of_text))]
    return schema | {"additionalProperties": False} | ({"$defs": beside["$defs"]} if "$defs" in beside else {})


@router.get("/stats")
def look_at_stats(
    services: Services,
    key: Key,
    caller: Caller,
    hours: Annotated[float, Query(gt=0, le=168, description="Hours back; cut to what the server keeps")] = 1,
) -> wire.Stats:
    """What waits of this key's work, and what was settled in each stretch of the last hours."""
    flower = services.settings.flower_url
    found = services.store.read(stats.look, key, hours)
    return found.model_copy(update={"role": caller.role, "flower_url": None if flower is None else str(flower)})
