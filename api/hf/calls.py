"""`POST /hf/{model}`: inputs in, answers out, by the model's task."""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from starlette.concurrency import run_in_threadpool

from api.hf.shape import Asked, InferenceRequest
from api.hf.tasks import shape_of
from api.inference.asking import hung_up
from api.services import Key, KeyLimits, Services
from api.v1 import door, limits
from store.catalogue import Entry
from textmill import errors, tasks
from textmill.wire import Document, Result

router = APIRouter(prefix="/hf", tags=["inference"])


async def _body(request: Request, services: Services, _key: Key) -> AsyncIterator[bytes]:
    limits.media_type(request, limits.JSON)
    async with services.bodies.read(request, services.settings.max_job_bytes) as body:
        yield body


Body = Annotated[bytes, Depends(_body)]


@dataclass(frozen=True)
class Call:
    """Who asks, and what was sent."""

    request: Request
    services: Services
    key: Key
    key_limits: KeyLimits
    body: Body


@router.post("/{model}")
async def infer(call: Annotated[Call, Depends()], model: str) -> Response:
    """Ask a model of the catalogue, and wait for the answer. What goes in and comes out its task says."""
    entry = call.services.catalogue.get(model)
    if entry.task is None:
        raise errors.InvalidRequest(f"{model} serves every task: say which, as /hf/{model}/pipeline/TASK")
    return await _answer(call, entry, entry.task)


@router.post("/{model}/pipeline/{task}")
async def infer_task(call: Annotated[Call, Depends()], model: str, task: str) -> Response:
    """The same with the task named, for a model that serves several."""
    named = tasks.get(task).name
    return await _answer(call, call.services.catalogue.resolve(named, model, {}), named)


async def _answer(call: Call, model: Entry, task: str) -> Response:
    shape = shape_of(task)

    def read() -> tuple[Asked, list[Document], dict[str, Any]]:
        asked = _asked(limits.decoded(call.request, call.body, call.services.settings.max_job_bytes), model)
        return asked, [shape.document(given) for given in asked.inputs], shape.options(asked)

    asked, documents, options = await run_in_threadpool(read)
    results = await call.services.asking.ask(
        call.key, hung_up(call.request), task, documents, model.name, options, limits=call.key_limits
    )
    answer = shape.answers(asked, [_output(index, result) for index, result in enumerate(results)])
    return Response(await run_in_threadpool(json.dumps, answer, ensure_ascii=False), media_type="application/json")


def _asked(body: bytes, model: Entry) -> Asked:
    """The request taken apart. Raises InvalidRequest."""
    parsed = door.parse(InferenceRequest, body)
    if parsed.stream:
        raise errors.NotSupported("stream: answers come whole here")
    beside, inside = parsed.__pydantic_extra__, parsed.parameters or {}
    if twice := sorted(beside.keys() & inside.keys()):
        raise errors.InvalidOptions(f"{twice[0]}: given twice, beside parameters and in them", option=twice[0])
    parameters = {name: value for name, value in (beside | inside).items() if value is not None}
    many = parsed.inputs if isinstance(parsed.inputs, list) else None
    return Asked([parsed.inputs] if many is None else many, many is None, parameters, model)


def _output(index: int, result: Result) -> Mapping[str, Any]:
    """What became of a document. Raises its error: one that failed is the whole answer."""
    if result.output is not None:
        return result.output
    assert result.error is not None
    failed = errors.by_code().get(result.error.code, errors.ProcessingFailed)
    raise failed(result.error.message, index=index)
