"""What this installation offers, and who is at work."""

from typing import Any

from fastapi import APIRouter

from api.services import Key, Services
from store import workers
from textmill import wire

router = APIRouter(prefix="/v1", tags=["catalogue"])


@router.get("/models")
def models(services: Services, _key: Key) -> dict[str, list[dict[str, Any]]]:
    """The models of the catalogue: task, languages, window, licence, limitations."""
    return {"models": [entry.public() for entry in services.catalogue.entries.values()]}


@router.get("/workers")
def live_workers(services: Services, _key: Key) -> dict[str, list[wire.WorkerInfo]]:
    """The live workers: device, models, which of them are resident, load, last heartbeat."""
    return {"workers": services.store.read(workers.live)}
