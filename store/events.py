"""What has changed of jobs that somebody listens to, read for all listeners at once."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from store.session import db_time
from store.tables import LASTING, jobs
from store.views import SHOWN, all_to_wire
from textmill.wire import Job

NEWEST_ACTIVE = 200
"""Active jobs of a key, in each state, that are looked at: those accepted last."""

RECENT = 400
"""Numbers below the newest one that count as new once more: who took a number first need not have committed first."""

AT_ONCE = 1_000
"""New jobs of a key that one look reports; the next one goes on."""

MOST_ENDED = 1_000
"""Jobs that ended while a listener was away that it hears of: those that ended last."""


class Heard(NamedTuple):
    """A job as it is now, with its number and its key."""

    number: int
    key_id: int
    job: Job


@dataclass(frozen=True)
class Ask:
    """What a key's listeners have to hear of."""

    after: int | None
    """New are the jobs with higher numbers. None: whoever listens begins now."""
    tracked: Collection[int] = ()
    """Jobs that were active at the last look: of their end they have to hear as well."""
    ended_since: datetime | None = None


@dataclass(frozen=True)
class Look:
    """One look for all listeners."""

    now: datetime
    newest: Mapping[int, int]
    """The number of each key's newest job."""
    reached: Mapping[int, int]
    """The number up to which new jobs were looked at."""
    of_keys: list[Heard]
    of_jobs: list[Heard]


def look(tx: Connection, asks: Mapping[int, Ask], job_ids: Collection[str]) -> Look:
    """The jobs of the keys that may have changed, oldest first, and the jobs of these ids; without deleted and fleeting
    ones."""
    now = tx.execute(sa.select(db_time())).scalar_one()
    numbers: set[int] = set()
    newest, reached = {}, {}
    for key_id, ask in asks.items():
        last = sa.select(sa.func.max(jobs.c.id)).where(jobs.c.key_id == key_id)
        newest[key_id] = reached[key_id] = tx.execute(last).scalar() or 0
        if ask.after is not None:
            fresh = _new(tx, key_id, ask.after)
            numbers.update(fresh)
            reached[key_id] = fresh[-1] if len(fresh) == AT_ONCE else newest[key_id]
        numbers.update(ask.tracked, _active(tx, key_id))
        if ask.ended_since is not None:
            numbers.update(_ended(tx, key_id, ask.ended_since))
    return Look(now, newest, reached, _read(tx, jobs.c.id, numbers), _read(tx, jobs.c.uuid, job_ids))


def _new(tx: Connection, key_id: int, after: int) -> list[int]:
    later = sa.select(jobs.c.id).where(jobs.c.key_id == key_id, jobs.c.id > after - RECENT, LASTING)
    return list(tx.execute(later.order_by(jobs.c.id).limit(AT_ONCE)).scalars())


def _active(tx: Connection, key_id: int) -> list[int]:
    found: list[int] = []
    for state in ("queued", "running"):  # as the index has them
        mine = sa.select(jobs.c.id).where(jobs.c.key_id == key_id, jobs.c.state == state, LASTING)
        found += tx.execute(mine.order_by(jobs.c.id.desc()).limit(NEWEST_ACTIVE)).scalars()
    return found


def _ended(tx: Connection, key_id: int, since: datetime) -> list[int]:
    mine = sa.select(jobs.c.id).where(jobs.c.key_id == key_id, jobs.c.finished_at >= since, LASTING)
    return list(tx.execute(mine.order_by(jobs.c.finished_at.desc()).limit(MOST_ENDED)).scalars())


def _read(tx: Connection, column: sa.Column[Any], values: Collection[Any]) -> list[Heard]:
    if not values:
        return []
    query = sa.select(*SHOWN).where(column.in_(values), jobs.c.deleted_at.is_(None), LASTING)
    rows = tx.execute(query.order_by(jobs.c.id + 0)).mappings().all()  # plus nothing: or SQLite reads all, in order
    return [Heard(row["id"], row["key_id"], job) for row, job in zip(rows, all_to_wire(tx, rows), strict=True)]
