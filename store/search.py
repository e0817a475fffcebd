"""Looking for jobs, newest first: by state, task, model, the beginning of the id, metadata and time.

One index leads to the jobs, the other conditions are looked at on the way, and no call goes further than a bounded
number of jobs: where these end before the page is full, the page is short, and the next one goes on there.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from store.tables import LASTING, error_counts, jobs
from store.views import SHOWN, all_to_wire
from textmill.wire import Job

LOOKED_AT = 5_000
"""Jobs that one call goes through at most, in each of the states that are asked for."""

SELECTIVE_PREFIX = 4
"""Beginnings of ids from this length on are looked up by themselves: of all keys, one job in 65,536 has a given one."""

ACTIVE_STATES = frozenset({"queued", "running"})

ID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
SMALLEST, LARGEST = "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"

AROUND = 100
"""Jobs around a moment that are looked at to translate it into a number of a job. Numbers follow time but for those of
one moment, which transactions may take in another order."""


@dataclass(frozen=True)
class Wanted:
    """Which jobs: all conditions hold together, and those that are empty do not count."""

    states: Sequence[str] = ()
    task: str | None = None
    model: str | None = None
    id_prefix: str = ""
    """In small letters, with its hyphens."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Top-level values as text: a string as it is, others as JSON."""
    created_after: datetime | None = None
    """Then or later."""
    created_before: datetime | None = None
    to_retry: bool = False
    """With documents that a retry would run again: failed (with one of `codes`, if given), or cancelled."""
    codes: Sequence[str] | None = None


def find(
    tx: Connection, key_id: int | None, wanted: Wanted, limit: int, before: int | None
) -> tuple[list[Job], int | None]:
    """The key's jobs that fit (None: those of all keys), newest first, and what to pass as `before` for the next page
    (None: there is none).

    The page may be shorter than `limit`, even empty, and yet not be the last one.
    """
    rows, after = _look(tx, key_id, wanted, limit, before, SHOWN)
    return all_to_wire(tx, rows), after


def ids(tx: Connection, key_id: int, wanted: Wanted, limit: int, before: int | None) -> tuple[list[str], int | None]:
    """As `find`, the ids alone."""
    rows, after = _look(tx, key_id, wanted, limit, before, [jobs.c.id, jobs.c.uuid, jobs.c.metadata])
    return [row["uuid"] for row in rows], after


def _look(
    tx: Connection,
    key_id: int | None,
    wanted: Wanted,
    limit: int,
    before: int | None,
    columns: Sequence[sa.ColumnElement[Any]],
) -> tuple[list[RowMapping], int | None]:
    if key_id is None:
        # Along no index but the jobs' own numbers: operators look at what is new, and indexes of all keys' jobs by
        # state, task and model would cost every submit and every settle.
        walks, rest = [sa.select(jobs.c.id).order_by(jobs.c.id.desc())], _conditions(wanted, led_by=0)
    else:
        walks, rest = _walks(key_id, wanted), _conditions(wanted)
    walks = [walk.where(*_between(tx, key_id, wanted, before)) for walk in walks]
    floor = max((_end(tx, walk) for walk in walks), default=0) if rest else 0
    reached = [sa.select(walk.limit(LOOKED_AT if rest else limit + 1).subquery()) for walk in walks]
    on_the_way = sa.union_all(*reached).subquery("on_the_way")
    query = (
        sa.select(*columns)
        .join_from(on_the_way, jobs, jobs.c.id == on_the_way.c.id)
        .where(*rest, jobs.c.deleted_at.is_(None), LASTING, on_the_way.c.id >= floor)
        .order_by(on_the_way.c.id.desc())
        .limit(limit + 1)
    )
    rows = tx.execute(query).mappings().all()
    page = rows[:limit]
    after = page[-1]["id"] if len(rows) > limit else floor or None
    return [row for row in page if _has(row["metadata"], wanted.metadata)], after


def _walks(key_id: int, wanted: Wanted) -> list[sa.Select[Any]]:
    """Ways to the jobs, each along one index, newest first."""
    mine = sa.select(jobs.c.id).where(jobs.c.key_id == key_id)
    newest = jobs.c.id.desc()
    if len(wanted.id_prefix) >= SELECTIVE_PREFIX:
        # Plus nothing: to have them in order, SQLite would rather go through all of the key's jobs.
        return [mine.where(_named(wanted.id_prefix)).order_by((jobs.c.id + 0).desc())]
    few = bool(wanted.states) and ACTIVE_STATES.issuperset(wanted.states)
    if wanted.model is not None and not few:
        return [mine.where(jobs.c.model == wanted.model).order_by(newest)]
    if wanted.task is not None and not few:
        return [mine.where(jobs.c.task == wanted.task).order_by(newest)]
    if wanted.states:
        # One each: no index has the jobs of two states in one order.
        return [mine.where(jobs.c.state == state).order_by(newest) for state in dict.fromkeys(wanted.states)]
    return [mine.order_by(newest)]


def _between(tx: Connection, key_id: int | None, wanted: Wanted, before: int | None) -> list[sa.ColumnElement[bool]]:
    """The jobs' numbers between which to look. A moment is translated into a number, since walks are by these."""
    found = [] if before is None else [jobs.c.id < before]
    if key_id is None:
        return found  # moments are looked at on the way: no index has all keys' jobs by time
    for moment, newest in ((wanted.created_after, False), (wanted.created_before, True)):
        if moment is None:
            continue
        on_this_side = jobs.c.created_at < moment if newest else jobs.c.created_at >= moment
        order = jobs.c.created_at.desc() if newest else jobs.c.created_at
        near = sa.select(jobs.c.id).where(jobs.c.key_id == key_id, on_this_side).order_by(order).limit(AROUND)
        ids_near = tx.execute(near).scalars().all()
        if newest:
            found.append(jobs.c.id <= max(ids_near, default=0))
        elif ids_near:
            found.append(jobs.c.id >= min(ids_near))
        else:
            found.append(jobs.c.id < 0)
    return found


def _end(tx: Connection, walk: sa.Select[Any]) -> int:
    """The last job on the way, or 0 where the way ends by itself."""
    way = walk.limit(LOOKED_AT).subquery()
    count, last = tx.execute(sa.select(sa.func.count(), sa.func.min(way.c.id))).one()
    return last if count == LOOKED_AT else 0


def _conditions(wanted: Wanted, led_by: int = 1) -> list[sa.ColumnElement[bool]]:
    """What is looked at on the way. The one that leads there (`led_by` 0: none does) is in it once more where there are
    several, which costs nothing."""
    found: list[sa.ColumnElement[bool]] = []
    single = sum(bool(each) for each in (wanted.states, wanted.task, wanted.model, wanted.id_prefix)) == led_by
    if not single or 0 < len(wanted.id_prefix) < SELECTIVE_PREFIX:
        if wanted.states:
            found.append(jobs.c.state.in_(wanted.states))
        if wanted.task is not None:
            found.append(jobs.c.task == wanted.task)
        if wanted.model is not None:
            found.append(jobs.c.model == wanted.model)
        if wanted.id_prefix:
            found.append(_named(wanted.id_prefix))
    if wanted.created_after is not None:
        found.append(jobs.c.created_at >= wanted.created_after)
    if wanted.created_before is not None:
        found.append(jobs.c.created_at < wanted.created_before)
    found += [_may_have(key, value) for key, value in wanted.metadata.items()]
    if wanted.to_retry:
        failed = jobs.c.failed > 0
        if wanted.codes is not None:
            failed = sa.exists().where(error_counts.c.job_id == jobs.c.id, error_counts.c.code.in_(wanted.codes))
        found.append(sa.or_(jobs.c.cancelled > 0, failed))
    return found


def _named(prefix: str) -> sa.ColumnElement[bool]:
    # Between two whole ids, not LIKE: that finds no index of PostgreSQL's unless the database sorts by bytes.
    return jobs.c.uuid.between(prefix + SMALLEST[len(prefix) :], prefix + LARGEST[len(prefix) :])


def _may_have(key: str, value: str) -> sa.ColumnElement[bool]:
    """Whether the text of the metadata has this value under the key somewhere: `_has` looks whether it is the one."""
    start = f"{json.dumps(key)}: "
    return sa.or_(
        jobs.c.metadata.contains(start + json.dumps(value), autoescape=True),
        jobs.c.metadata.contains(start + value, autoescape=True),
    )


def _has(stored: str, wanted: Mapping[str, str]) -> bool:
    if not wanted:
        return True
    found = json.loads(stored)
    return all(key in found and value in (found[key], json.dumps(found[key])) for key, value in wanted.items())
