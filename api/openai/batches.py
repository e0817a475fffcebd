"""Batches: begin, look, cancel."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import AfterValidator

from api.openai import endpoints, shapes
from api.openai.bodies import SmallBody
from api.openai.files import after_of
from api.services import Key, Services
from api.v1 import door, limits
from store import files, orders
from textmill.errors import BatchNotFound, FileNotFound, InvalidRequest

router = APIRouter(prefix="/openai/v1/batches", tags=["openai"])


def _number(batch_id: str) -> str:
    number = shapes.number_of(shapes.BATCH, batch_id)
    if number is None:
        raise BatchNotFound
    return number


BatchId = Annotated[str, AfterValidator(_number)]
"""The id in the path. Raises BatchNotFound for what is none."""


@router.post("")
def create(request: Request, services: Services, key: Key, body: SmallBody) -> shapes.BatchObject:
    """Begin a batch: the requests of a file, each of which is for the same endpoint."""
    asked = door.parse(shapes.BatchRequest, limits.decoded(request, body, limits.SMALL_BODY))
    door.refuse_unstorable(asked.model_dump(), "body")
    endpoints.get(asked.endpoint)
    number = shapes.number_of(shapes.FILE, asked.input_file_id)
    if number is None:
        raise FileNotFound
    file = services.store.read(files.get, key, number)
    if file.purpose != "batch":
        raise InvalidRequest("input_file_id: this is what a batch ended with", param="input_file_id")
    kept = asked.output_expires_after
    new = orders.NewOrder(
        key_id=key,
        file_id=file.id,
        file_uuid=file.uuid,
        endpoint=asked.endpoint,
        completion_window=asked.completion_window,
        seconds=shapes.window_seconds(asked.completion_window),
        metadata=asked.metadata or {},
        output_seconds=services.settings.file_seconds if kept is None else kept.seconds,
    )
    order = services.store.write_once(orders.create, new)
    services.clerk.wake()
    return shapes.batch_object(order)


@router.get("")
def page(
    services: Services, key: Key, limit: Annotated[int, Query(ge=1, le=100)] = 20, after: str | None = None
) -> shapes.BatchesPage:
    """The key's batches, newest first."""
    return shapes.batches_page(*services.store.read(orders.page, key, limit, after_of(shapes.BATCH, after)))


@router.get("/{batch_id}")
def get(services: Services, key: Key, batch_id: BatchId) -> shapes.BatchObject:
    """How far a batch is."""
    return shapes.batch_object(services.store.read(orders.get, key, batch_id))


@router.post("/{batch_id}/cancel")
def cancel(services: Services, key: Key, batch_id: BatchId) -> shapes.BatchObject:
    """Run nothing more of it. What is done by then is in its output file. Once more changes nothing."""
    order = services.store.write_once(orders.cancel, key, batch_id)
    services.clerk.wake()
    return shapes.batch_object(order)
