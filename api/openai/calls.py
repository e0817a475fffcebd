"""Requests that are answered at once: embeddings, completions, chat; and the models to ask."""

import uuid
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from api.inference.asking import hung_up
from api.openai import endpoints
from api.openai.asked import Asked, Endpoint, Outcome
from api.openai.bodies import CallBody
from api.openai.shapes import Model, ModelsPage
from api.services import Key, KeyLimits, Parts, Services
from api.v1 import door, limits
from store.catalogue import Entry
from store.keys import Limits
from textmill import wire
from textmill.errors import InvalidRequest

router = APIRouter(prefix="/openai/v1", tags=["openai"])


@router.post("/embeddings", response_model=dict[str, Any])
async def embeddings(request: Request, services: Services, key: Key, key_limits: KeyLimits, body: CallBody) -> Response:
    """A vector for each text of `input`."""
    return await _answer(request, services, key, key_limits, body, "/v1/embeddings")


@router.post("/completions", response_model=dict[str, Any])
async def completions(
    request: Request, services: Services, key: Key, key_limits: KeyLimits, body: CallBody
) -> Response:
    """What each text of `prompt` is gone on with."""
    return await _answer(request, services, key, key_limits, body, "/v1/completions")


@router.post("/chat/completions", response_model=dict[str, Any])
async def chat(request: Request, services: Services, key: Key, key_limits: KeyLimits, body: CallBody) -> Response:
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


async def _answer(request: Request, services: Parts, key: int, key_limits: Limits, body: bytes, path: str) -> Response:
    """One error of one text is the request's: OpenAI's answers have no place for it."""
    endpoint = endpoints.get(path)
    # In a thread: of a body of megabytes this takes so long that all other requests would wait.
    asked = await run_in_threadpool(_read, request, body, services.settings.max_chunk_bytes, endpoint)
    if not asked.documents:
        raise InvalidRequest("there is no text in the request")
    results = await services.asking.ask(
        key, hung_up(request), asked.task, asked.documents, asked.model, asked.options, limits=key_limits
    )
    return await run_in_threadpool(_written, results, endpoint, asked.form)


def _read(request: Request, body: bytes, most: int, endpoint: Endpoint) -> Asked:
    called = door.parse(endpoints.Body, limits.decoded(request, body, most)).root
    door.refuse_unstorable(called, "body")
    return endpoint.read(called)


def _written(results: list[wire.Result], endpoint: Endpoint, form: dict[str, Any]) -> Response:
    outcomes = [Outcome.of_result(result) for result in results]
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error
    return JSONResponse(endpoint.answer(outcomes, form, uuid.uuid4().hex))


def _model(entry: Entry) -> Model:
    return Model(id=entry.name, task=entry.task, licence=entry.licence, limitations=entry.limitations)
