"""Probes and metrics. No key is asked for: keep them inside your network."""

import logging

from fastapi import APIRouter, Response
from sqlalchemy.exc import SQLAlchemyError

from api.services import Services
from store import deliveries, jobs, stats, sweep
from store.faults import brief
from store.schema import MIGRATE
from textmill.errors import Unavailable

log = logging.getLogger(__name__)

router = APIRouter(tags=["health"])


@router.get("/health/live")
async def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/health/ready")
def ready(services: Services) -> dict[str, bool]:
    """The process can do its work: 200 while SQL answers, else 503.

    `broker` is false while Redis takes no messages. Jobs are accepted and kept meanwhile, so that is no reason to send
    producers elsewhere.
    """
    try:
        services.store.read(jobs.ended, [])
    except Unavailable as error:
        raise Unavailable("the database does not answer") from error
    except SQLAlchemyError as error:
        raise Unavailable(f"the database lacks tables: {MIGRATE}") from error
    return {"database": True, "broker": services.dispatcher.healthy}


@router.get("/metrics", response_class=Response)
def metrics(services: Services) -> Response:
    """Prometheus metrics of this process."""
    try:
        queued = services.store.read(sweep.queued_shards)
        waiting = services.store.read(stats.waiting)
        services.metrics.webhooks_overdue.set(services.store.read(deliveries.overdue_seconds))
    except (Unavailable, SQLAlchemyError) as error:
        log.warning("metrics without the queue: %s", brief(error))
        queued, waiting = None, {}
    services.metrics.queue(queued, waiting)
    return Response(services.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
