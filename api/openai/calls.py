"""Requests that are answered at once: embeddings, completions, chat; and the models to ask."""

import uuid
from typing import Any

from fastapi import APIRouter, Request

from api.inference.asking import hung_up
from api.openai import endpoints
from api.openai.asked import Outcome
from api.openai.bodies import CallBody
from api.openai.shapes import Model, ModelsPage
from api.services import Key, KeyLimits, Parts, Services
from api.v1 import door, limits
from store.catalogue import Entry
from store.keys import Limits
from textmill.errors import InvalidRequest

router = APIRouter(prefix="/openai/v1", tags=["openai"])


@router.post("/embeddings")
async def embeddings(
    request: Request, services: Services, key: Key, key_limits: KeyLimits, body: CallBody
) -> dict[str, Any]:
    """A vector for each text of `input`."""
    return await _answer(request, services, key, key_limits, body, "/v1/embeddings")


@router.post("/completions")
async def completions(
    request: Request, services: Services, key: Key, key_limits: KeyLimits, body: CallBody
) -> dict[str, Any]:
    """What each text of `prompt` is gone on with."""
    return await _answer(request, services, key, key_limits, body, "/v1/completions")


@router.post("/chat/completions")
async def chat(request: Request, services: Services, key: Key, key_limits: KeyLimits, body: CallBody) -> dict[str, Any]:
    """What the assistant says after `messages`."""
    return await _answer(request, services, key, key_limits, body, "/v1/chat/completions")


@router.get("/models")
def models(services: Services, _key: Key) -> ModelsPage:
    """The models of the catalogue."""
    return ModelsPage(data=[_model(entry) for entry in services.catalogue.entries.values()])


@router.get("/models/{model}")
def model(services: Services, _key: Key, model: str) -> Model:
    """One of them."""
    return _model(services.catalogue.get(model))


async def _answer(
    request: Request, services: Parts, key: int, key_limits: Limits, body: bytes, path: str
) -> dict[str, Any]:
    """One error of one text is the request's: OpenAI's answers have no place for it."""
    raw = limits.decoded(request, body, services.settings.max_chunk_bytes)
    called = door.parse(endpoints.Body, raw).root
    door.refuse_unstorable(called, "body")
    endpoint = endpoints.get(path)
    asked = endpoint.read(called)
    if not asked.documents:
        raise InvalidRequest("there is no text in the request")
    results = await services.asking.ask(
        key, hung_up(request), asked.task, asked.documents, asked.model, asked.options, limits=key_limits
    )
    outcomes = [Outcome.of_result(result) for result in results]
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error
    return endpoint.answer(outcomes, asked.form, uuid.uuid4().hex)


def _model(entry: Entry) -> Model:
    return Model(id=entry.name, task=entry.task, licence=entry.licence, limitations=entry.limitations)
