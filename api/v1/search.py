"""Jobs by what they are: the list with its filters, and cancelling or retrying all that match them."""

import re
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request

from api.services import Caller, Key, Parts, Services
from api.v1 import cursors, door, limits
from api.v1.bodies import SmallBody
from api.v1.jobs import check_page
from store import jobs, search
from store.hints import Ended
from store.search import Wanted
from textmill import wire
from textmill.errors import Forbidden, InvalidRequest, JobNotEnded, JobNotFound, MatchChanged, NothingToRetry

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

METADATA = "metadata."
"""A filter by metadata is `metadata.KEY=VALUE`: which keys there are, only the producer knows."""

MOST_MATCHED = 10_000
"""Jobs that one call may act on, in as many calls as it takes."""

PAGE = 1_000
"""Ids that one transaction looks up."""

MOST_PAGES = 100
"""So many times `search.LOOKED_AT` jobs are gone through for what a filter matches."""

STEP_SECONDS = 5.0
"""How long one call goes on, job by job: shorter than any proxy waits."""


@router.get("")
def list_jobs(
    request: Request,
    services: Services,
    key: Key,
    caller: Caller,
    state: Annotated[list[str] | None, Query(description="Several: repeated, or with commas between them")] = None,
    task: wire.TaskName | None = None,
    model: str | None = None,
    id: Annotated[str, Query(description="The beginning of the id")] = "",
    created_after: Annotated[datetime | None, Query(description="Then or later; UTC where no zone is given")] = None,
    created_before: datetime | None = None,
    limit: Annotated[int, Query(ge=1)] = 100,
    cursor: str | None = None,
    keys: Annotated[Literal["own", "all"], Query(description="Operators: of which keys")] = "own",
) -> wire.JobsPage:
    """The key's jobs that fit, newest first. `metadata.KEY=VALUE` is a filter, too: a top-level value, as text.

    A page may be shorter than `limit`, even empty, and yet not be the last one: that has no `next_cursor`.
    """
    check_page(limit, services.settings.max_page)
    if keys == "all" and caller.role != "operator":
        raise Forbidden("only an operator's key sees other keys' jobs")
    before = None if cursor is None else cursors.decode("jobs", cursor)
    states = [name.strip() for given in state or () for name in given.split(",") if name.strip()]
    query = request.query_params.multi_items()
    metadata = {name.removeprefix(METADATA): value for name, value in query if name.startswith(METADATA)}
    wanted = _wanted(states, task, model, id, metadata, created_after, created_before)
    found, older = services.store.read(search.find, None if keys == "all" else key, wanted, limit, before)
    return wire.JobsPage(jobs=found, next_cursor=None if older is None else cursors.encode("jobs", older))


@router.post("/cancel")
def cancel_matching(request: Request, services: Services, key: Key, body: SmallBody) -> wire.Acted:
    """Cancel all jobs that match and have not ended, if there are as many as `expected`."""
    asked = door.parse_small(wire.CancelMatching, limits.decoded(request, body, limits.SMALL_BODY))
    states = [state for state in wire.JOB_STATES if state not in wire.ENDED_STATES]
    wanted = _asked(asked, states)

    def cancel(job: str) -> None:
        services.store.write_once(jobs.cancel, key, job)
        services.dispatcher.hint([Ended(job, key)])

    return _act(services, key, wanted, asked.expected, cancel)


@router.post("/retry")
def retry_matching(request: Request, services: Services, key: Key, body: SmallBody) -> wire.Acted:
    """Process the failed documents of all ended jobs that match again, if there are as many jobs as `expected`.

    With `codes` those that failed with one of them. Documents of cancelled jobs that have no outcome run, too.
    """
    asked = door.parse_small(wire.RetryMatching, limits.decoded(request, body, limits.SMALL_BODY))
    wanted = _asked(asked, ["completed_with_errors", "failed", "cancelled"], to_retry=True, codes=asked.codes)

    def retry(job: str) -> None:
        services.dispatcher.publish(services.store.write_once(jobs.retry, key, job, asked.codes).released)

    return _act(services, key, wanted, asked.expected, retry)


def _act(
    services: Parts, key: int, wanted: Wanted | None, expected: int | None, act: Callable[[str], object]
) -> wire.Acted:
    """Do it to each job that matches, in transactions of their own, for as long as one call may take.

    Raises MatchChanged where others match than whoever asked has seen, InvalidRequest where too many do.
    """
    matching = [] if wanted is None else _matching(services, key, wanted)
    if expected is None:
        return wire.Acted(matched=len(matching), done=[], left=len(matching))
    if expected != len(matching):
        message = f"{len(matching)} jobs match, not {expected}: nothing was done"
        raise MatchChanged(message, matched=len(matching), expected=expected)
    until = time.monotonic() + STEP_SECONDS
    done: list[str] = []
    for number, job in enumerate(matching):
        if number and time.monotonic() > until:
            return wire.Acted(matched=len(matching), done=done, left=len(matching) - number)
        try:
            act(job)
        except (JobNotFound, JobNotEnded, NothingToRetry):
            continue  # it has changed since it was found, and is no longer what was asked for
        done.append(job)
    return wire.Acted(matched=len(matching), done=done, left=0)


def _matching(services: Parts, key: int, wanted: Wanted) -> list[str]:
    found: list[str] = []
    before: int | None = None
    for _ in range(MOST_PAGES):
        page, before = services.store.read(search.ids, key, wanted, PAGE, before)
        found += page
        if len(found) > MOST_MATCHED:
            break
        if before is None:
            return found
    raise InvalidRequest(
        f"too much to go through at once, or more than {MOST_MATCHED} jobs match: narrow it down",
        maximum=MOST_MATCHED,
    )


def _asked(asked: wire.CancelMatching, possible: Sequence[str], **more: Any) -> Wanted | None:
    """The filter of a body, within the states that the action is for; None where none of them is asked for."""
    states = [state for state in possible if not asked.state or state in asked.state]
    if not states:
        return None
    times = (asked.created_after, asked.created_before)
    return _wanted(states, asked.task, asked.model, asked.id, asked.metadata, *times, **more)


def _wanted(
    states: Sequence[str],
    task: str | None,
    model: str | None,
    id_prefix: str,
    metadata: dict[str, str],
    created_after: datetime | None,
    created_before: datetime | None,
    **more: Any,
) -> Wanted:
    if unknown := sorted(set(states) - set(wire.JOB_STATES)):
        valid = list(wire.JOB_STATES)
        raise InvalidRequest(f"state: there is no {unknown[0][:64]!r}; states are: {', '.join(valid)}", valid=valid)
    prefix = id_prefix.lower()
    if not re.fullmatch(search.ID, prefix + search.SMALLEST[len(prefix) :]):
        raise InvalidRequest("id: no id of a job begins like that")
    if model is not None and wire.unstorable(model) is not None:
        raise InvalidRequest("model: no name has such characters")
    return Wanted(
        states=states,
        task=task,
        model=model,
        id_prefix=prefix,
        metadata=metadata,
        created_after=_utc(created_after),
        created_before=_utc(created_before),
        **more,
    )


def _utc(moment: datetime | None) -> datetime | None:
    """A moment without a zone is one of UTC, as all that are answered."""
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment
