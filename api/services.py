"""What the endpoints work with: made once by `create_app`, given to them by a dependency."""

import re
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Query, Request
from pydantic import AfterValidator
from starlette.concurrency import run_in_threadpool

from api.auth import Keys
from api.inference.asking import Asking
from api.listening import Listeners
from api.metrics import Metrics
from api.openai.clerk import Clerk
from api.rates import Rates
from api.settings import ApiSettings
from api.v1.limits import Bodies
from api.waiting import Waiters
from api.webhooks.sender import Sender
from store import keys, search
from store.catalogue import Catalogue
from store.dispatcher import Dispatcher
from store.keys import Grant, Limits
from store.session import Store
from store.traces import Traces
from textmill.errors import Forbidden, JobNotFound, TooManyRequests


@dataclass(frozen=True)
class Parts:
    """The parts of one api process."""

    settings: ApiSettings
    store: Store
    catalogue: Catalogue
    dispatcher: Dispatcher
    keys: Keys
    rates: Rates
    waiters: Waiters
    listeners: Listeners
    asking: Asking
    clerk: Clerk
    sender: Sender
    bodies: Bodies
    metrics: Metrics
    traces: Traces


def _parts(request: Request) -> Parts:
    parts = request.app.state.parts
    assert isinstance(parts, Parts)
    return parts


READING = frozenset({"GET", "HEAD"})


async def _caller(request: Request) -> Grant:
    parts = _parts(request)
    grant = await parts.keys.grant_of(request)
    if grant.limits.requests_per_minute is not None:
        window = request.state.window = await parts.rates.take(grant.id, grant.limits.requests_per_minute)
        if not window.taken:
            raise TooManyRequests(
                f"this key may make {window.limit} requests a minute: the next one in {window.reset_seconds} s",
                retry_after_seconds=window.reset_seconds,
            )
    if grant.role == "reader" and request.method not in READING:
        raise Forbidden("this key only reads")
    return grant


Services = Annotated[Parts, Depends(_parts)]

Caller = Annotated[Grant, Depends(_caller)]
"""Who asks. Raises Unauthorized, TooManyRequests, Forbidden (a reader that would change something)."""

AS_KEY = "Operators: do it as the key of this id"

AsKey = Annotated[int | None, Query(alias="key", ge=1, le=2**63 - 1, description=AS_KEY)]


async def _key(request: Request, caller: Caller, as_key: AsKey = None) -> int:
    """Whose jobs the call is about. An operator's is about the key that it names, or whose job it names: so nothing
    behind this has to know of operators."""
    if caller.role != "operator":
        if as_key not in (None, caller.id):
            raise Forbidden("only an operator's key sees other keys' jobs")
        return caller.id
    if as_key is not None:
        if as_key != caller.id:
            await run_in_threadpool(_parts(request).store.read, keys.get, as_key)
        return as_key
    job_id = request.path_params.get("job_id")
    if job_id is None or not re.fullmatch(search.ID, job_id):
        return caller.id
    owner = await run_in_threadpool(_parts(request).store.read, keys.owner_of, job_id)
    return caller.id if owner is None else owner


Key = Annotated[int, Depends(_key)]
"""The id of the key whose jobs the call is about: the caller's, but for operators. Raises as `Caller`, KeyNotFound."""


def _operator(caller: Caller) -> Grant:
    if caller.role != "operator":
        raise Forbidden("only an operator's key may do that")
    return caller


Operator = Annotated[Grant, Depends(_operator)]
"""The caller, who is an operator. Raises as `Caller`."""


def _limits(caller: Caller) -> Limits:
    return caller.limits


KeyLimits = Annotated[Limits, Depends(_limits)]
"""What the caller may submit, whoever's it becomes."""


def _job_id(job_id: str) -> str:
    # What no job can be called does not reach the database: PostgreSQL refuses NUL with an error of its own.
    if not re.fullmatch(search.ID, job_id):
        raise JobNotFound
    return job_id


JobId = Annotated[str, AfterValidator(_job_id)]
"""The id in the path. Raises JobNotFound for what is none."""
