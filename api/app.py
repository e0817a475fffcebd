"""The application: routes, errors, and the threads that live as long as it does."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import anyio.to_thread
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from api import health
from api.auth import Keys
from api.metrics import CountRequests, Metrics
from api.services import Parts
from api.settings import ApiSettings
from api.v1 import catalogue, errors, jobs, results
from api.waiting import Waiters
from store.catalogue import Catalogue
from store.dispatcher import Dispatcher
from store.session import Store
from store.sweep import Sweeper
from textmill import wire

VERSION = "1"


def create_app(
    settings: ApiSettings,
    store: Store,
    catalogue_: Catalogue,
    dispatcher: Dispatcher,
    sweeper: Sweeper | None,
) -> FastAPI:
    """The application over the given parts; its lifespan starts and stops dispatcher, sweeper and poller."""
    metrics = Metrics()
    parts = Parts(
        settings=settings,
        store=store,
        catalogue=catalogue_,
        dispatcher=dispatcher,
        keys=Keys(store, settings.key_cache_seconds),
        waiters=Waiters(store, settings.wait_poll_seconds),
        metrics=metrics,
    )
    metrics.watch("textmill_http_waiting", "Requests that wait for a job's end", lambda: len(parts.waiters))
    metrics.watch("textmill_broker_up", "1 while Redis takes messages", lambda: float(dispatcher.healthy))
    metrics.watch("textmill_messages_published", "Shards published by this process", lambda: dispatcher.published)

    app = FastAPI(title="Textmill", version=VERSION, lifespan=_lifespan(parts, sweeper), redoc_url=None)
    app.state.parts = parts
    errors.install(app)
    app.add_middleware(CountRequests, metrics=metrics)
    # Results before jobs: FastAPI takes the first route that fits.
    for router in (results.router, jobs.router, catalogue.router, health.router):
        app.include_router(router)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _lifespan(parts: Parts, sweeper: Sweeper | None) -> Any:
    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = parts.settings.request_threads
        parts.dispatcher.start()
        if sweeper:
            sweeper.start()
        poller = asyncio.create_task(parts.waiters.run(), name="waiters")
        try:
            yield
        finally:
            poller.cancel()
            if sweeper:
                await asyncio.to_thread(sweeper.stop)
            await asyncio.to_thread(parts.dispatcher.stop)

    return lifespan


BODIES: dict[tuple[str, str], dict[str, type]] = {
    ("/v1/jobs", "post"): {"application/json": wire.JobRequest},
    ("/v1/jobs/{job_id}/documents", "post"): {
        "application/json": wire.DocumentsRequest,
        "application/x-ndjson": wire.Document,
    },
    ("/v1/jobs/{job_id}/retry", "post"): {"application/json": wire.RetryRequest},
}
"""Bodies that FastAPI does not know of, because `api/v1/door.py` parses them."""


def _openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's description, completed by the bodies, the one form of errors, and the key."""
    if app.openapi_schema:
        return app.openapi_schema
    schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    models = list(dict.fromkeys([wire.Problem, *(model for body in BODIES.values() for model in body.values())]))
    refs, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    components = schema.setdefault("components", {})
    components.setdefault("schemas", {}).update(definitions["$defs"])
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    problem = {"application/problem+json": {"schema": refs[wire.Problem, "validation"]}}
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = {"description": "An error (RFC 9457)", "content": problem}
            if path.startswith("/v1/"):
                operation["security"] = [{"key": []}]
            if body := BODIES.get((path, method)):
                content = {kind: {"schema": refs[model, "validation"]} for kind, model in body.items()}
                operation["requestBody"] = {"content": content, "required": not path.endswith("/retry")}
    app.openapi_schema = schema
    return schema
