"""What the endpoints work with: made once by `create_app`, given to them by a dependency."""

import re
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from pydantic import AfterValidator

from api.auth import Keys
from api.inference.asking import Asking
from api.listening import Listeners
from api.metrics import Metrics
from api.openai.clerk import Clerk
from api.settings import ApiSettings
from api.v1.limits import Bodies
from api.waiting import Waiters
from store import search
from store.catalogue import Catalogue
from store.dispatcher import Dispatcher
from store.session import Store
from textmill.errors import JobNotFound


@dataclass(frozen=True)
class Parts:
    """The parts of one api process."""

    settings: ApiSettings
    store: Store
    catalogue: Catalogue
    dispatcher: Dispatcher
    keys: Keys
    waiters: Waiters
    listeners: Listeners
    asking: Asking
    clerk: Clerk
    bodies: Bodies
    metrics: Metrics


def _parts(request: Request) -> Parts:
    parts = request.app.state.parts
    assert isinstance(parts, Parts)
    return parts


async def _key(request: Request) -> int:
    return await _parts(request).keys.key_of(request)


Services = Annotated[Parts, Depends(_parts)]

Key = Annotated[int, Depends(_key)]
"""The caller's key id. Raises Unauthorized."""


def _job_id(job_id: str) -> str:
    # What no job can be called does not reach the database: PostgreSQL refuses NUL with an error of its own.
    if not re.fullmatch(search.ID, job_id):
        raise JobNotFound
    return job_id


JobId = Annotated[str, AfterValidator(_job_id)]
"""The id in the path. Raises JobNotFound for what is none."""
