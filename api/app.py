"""The application, put together: faces, errors, and the threads that live as long as it does."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import anyio.to_thread
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api import errors, health, pages
from api.auth import Keys
from api.faces import Face, Faces
from api.hearing import Hearing
from api.hf.face import FACE as HF
from api.inference.asking import Asking
from api.listening import Listeners
from api.metrics import CountRequests, Metrics
from api.openai.clerk import Clerk
from api.openai.face import FACE as OPENAI
from api.rates import RateHeaders, Rates
from api.services import Parts
from api.settings import ApiSettings
from api.tracing import TraceRequests
from api.v1.face import FACE as V1
from api.v1.limits import Bodies
from api.waiting import Waiters
from api.webhooks.sender import Sender
from store.catalogue import Catalogue
from store.dispatcher import Dispatcher
from store.session import Store
from store.sweep import Sweeper
from store.traces import Traces

VERSION = "1"

FACES = (V1, HF, OPENAI)
"""The contracts that are served."""


def create_app(
    settings: ApiSettings,
    store: Store,
    catalogue_: Catalogue,
    dispatcher: Dispatcher,
    sweeper: Sweeper | None,
    faces: Sequence[Face] = FACES,
    traces: Traces | None = None,
) -> FastAPI:
    """The application over the given parts; its lifespan starts and stops dispatcher, sweeper and pollers."""
    metrics = Metrics()
    traces = traces or Traces()
    waiters = Waiters(store, settings.wait_poll_seconds)
    parts = Parts(
        settings=settings,
        store=store,
        catalogue=catalogue_,
        dispatcher=dispatcher,
        keys=Keys(store, settings.key_cache_seconds),
        rates=Rates(store.settings.redis_url),
        waiters=waiters,
        listeners=Listeners(store, settings.events_poll_seconds, settings.max_listeners, settings.max_listeners_of_key),
        asking=Asking(settings, store, catalogue_, dispatcher, waiters, metrics),
        sender=Sender(settings, store, metrics),
        clerk=Clerk(settings, store, catalogue_, dispatcher, traces),
        bodies=Bodies(settings.max_bodies_bytes, settings.body_seconds),
        metrics=metrics,
        traces=traces,
    )
    metrics.watch("textmill_http_waiting", "Requests that wait for a job's end", lambda: len(parts.waiters))
    metrics.watch("textmill_http_listening", "Event streams that are open", lambda: len(parts.listeners))
    metrics.watch("textmill_http_asking", "Requests that wait for their results", lambda: len(parts.asking))
    metrics.watch("textmill_body_bytes", "Bytes of bodies of requests in memory", lambda: parts.bodies.held)
    metrics.watch("textmill_database_connections", "Connections to the database", lambda: store.connections)
    hearing = Hearing(store.settings.redis_url, (parts.waiters.hear, parts.listeners.hear, parts.sender.hear))
    metrics.watch("textmill_hints_up", "1 while hints of ended jobs arrive", lambda: float(hearing.connected))
    metrics.watch("textmill_broker_up", "1 while Redis takes messages", lambda: float(dispatcher.healthy))
    metrics.watch_total("textmill_messages_published", "Shards published by this process", lambda: dispatcher.published)

    app = FastAPI(
        title="Textmill", version=VERSION, lifespan=_lifespan(parts, sweeper, hearing), docs_url=None, redoc_url=None
    )
    app.state.parts = parts
    speaking = Faces(faces)
    errors.install(app, speaking)
    app.add_middleware(RateHeaders)
    app.add_middleware(CountRequests, metrics=metrics)
    if traces.on:
        app.add_middleware(TraceRequests, traces=traces)
    for face in faces:
        for router in face.routers:
            app.include_router(router)
    app.include_router(health.router)
    pages.install(app, settings.web)
    app.openapi = lambda: openapi(app, speaking)  # type: ignore[method-assign]
    return app


def _lifespan(parts: Parts, sweeper: Sweeper | None, hearing: Hearing) -> Any:
    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = parts.settings.request_threads
        parts.traces.start()
        parts.dispatcher.start()
        parts.clerk.start()
        parts.sender.start()
        if sweeper:
            sweeper.start()
        removing = asyncio.create_task(parts.asking.run(), name="asking")
        pollers = [
            removing,
            asyncio.create_task(parts.waiters.run(), name="waiters"),
            asyncio.create_task(parts.listeners.run(), name="listeners"),
            asyncio.create_task(hearing.run(), name="hearing"),
            asyncio.create_task(parts.keys.run(parts.settings.key_use_seconds), name="key uses"),
        ]
        try:
            yield
        finally:
            for poller in pollers:
                poller.cancel()
            await asyncio.to_thread(parts.clerk.stop)
            await asyncio.to_thread(parts.sender.stop)
            await asyncio.wait([removing])  # what it is at is not done twice at once
            await parts.asking.remove()
            await parts.keys.store_uses()
            if sweeper:
                await asyncio.to_thread(sweeper.stop)
            await asyncio.to_thread(parts.dispatcher.stop)
            await asyncio.to_thread(parts.traces.stop)

    return lifespan


def openapi(app: FastAPI, faces: Faces) -> dict[str, Any]:
    """FastAPI's description, completed by each face."""
    if app.openapi_schema:
        return app.openapi_schema
    schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    for face in faces:
        face.describe(schema, [path for path in schema["paths"] if faces.at(path) is face])
    app.openapi_schema = schema
    return schema
