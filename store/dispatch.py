"""Which shards are released: SQL alone, inside the transaction that makes room.

Publishing them follows its commit (`store/dispatcher.py`). What a crash in between loses is published by the sweep.

`store/policy.py` decides; here is what it reads and writes. `turns` has an account for each key and model, `waiting` a
row for each job with pending shards, added and removed in the transaction that makes it true. Their place in the order
of locks is between shards and jobs. A release itself waits for none of them:

- It charges a key under FOR NO KEY UPDATE SKIP LOCKED, so of two releases at once the second passes the key over. The
  first then fills the place that it freed itself; the other place is filled by the next settle, or by the sweep.
- Whoever adds shards holds the rows that say so FOR KEY SHARE, which keeps nobody from charging the key. Only striking
  them off needs more, is tried with SKIP LOCKED, and looks once more, under its lock, whether nothing waits.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from store import capacity, policy
from store.line import NAMES, Newcomer, rest, strike
from store.policy import SHARES, Filled, Lane, Pending, Turn, Waiting
from store.session import db_time
from store.tables import OUT, PENDING, WAITING, jobs, shards, turns, waiting

ROUNDS = 20
"""How often one release looks again: it expected larger shards, or found rows of jobs that wait no longer."""


class Released(NamedTuple):
    """A shard that is to be published."""

    shard_id: int
    job: str
    task: str
    model: str
    first: int
    last: int
    priority: int


# --- who is served ----------------------------------------------------------------------------------------------------


def release(tx: Connection, model: str, newcomer: Newcomer | None = None) -> list[Released]:
    """Turn pending shards of the model's jobs into queued ones, as far as the window has room. Publish what it returns
    after the commit. `newcomer`: a job that has its first shard at once where slots are in reserve.

    Takes rows with SKIP LOCKED and never waits, so it may run while other shards or a job are locked. Two of them at
    once may exceed the window by a few shards, which the next one makes up for.
    """
    window, out = capacity.read_window(tx, model)
    books = _Books(tx, model, window.bite)
    taken: list[Pending] = []
    served: set[int] = set()

    def settle(filled: Filled) -> None:
        books.exhausted |= filled.exhausted - _write(tx, model, filled)
        taken.extend(filled.shards)
        served.update(filled.jobs)
        out.keys.update(filled.turns)

    for _ in range(ROUNDS):
        if not window.open:
            break
        filled = policy.fill(window, books)
        settle(filled)
        if not filled.shards and not filled.exhausted:
            break
    if newcomer and not window.open and window.free > 0 and newcomer.job_id not in served:
        turn = books.turn(newcomer.key_id)
        if turn is not None and tx.execute(_OUT_OF_JOB, {"job_id": newcomer.job_id}).scalar() is None:
            some_out = newcomer.key_id in out.keys
            settle(policy.admit(window, books, turn, newcomer.job_id, newcomer.priority, some_out))
    return _to_publish(tx, [shard.shard_id for shard in taken])


class _Books:
    """`policy.Books` over the tables."""

    def __init__(self, tx: Connection, model: str, size: int) -> None:
        self._tx = tx
        self._model = model
        self._size = size
        self.exhausted: set[int] = set()

    def turns(self, count: int) -> list[Turn]:
        more = {"model": self._model, "count": count + len(self.exhausted)}
        rows = self._tx.execute(_TURNS, more).mappings()
        return [_turn(row) for row in rows if row["key_id"] not in self.exhausted][:count]

    def turn(self, key_id: int) -> Turn | None:
        row = self._tx.execute(_TURN, {"model": self._model, "key_id": key_id}).mappings().one_or_none()
        return None if row is None else _turn(row)

    def lowest(self) -> float:
        return self._tx.execute(_LOWEST, {"model": self._model}).scalar() or 0.0

    def jobs(self, key_id: int, count: int) -> list[Waiting]:
        line = {"model": self._model, "key_id": key_id, "count": count}
        # Not locked: whoever holds a pending shard of a job keeps others from striking it off.
        return sorted((Waiting(*row) for row in self._tx.execute(_JOBS, line)), key=lambda job: (job.place, job.job_id))

    def pending(self, job_id: int, count: int) -> list[Pending]:
        rows = self._tx.execute(_PENDING, {"job_id": job_id, "count": count})
        return [Pending(shard_id, self._size if size is None else size) for shard_id, size in rows]


def _turn(row: Any) -> Turn:
    lanes = {priority: Lane(row[f"{name}_tag"], row[f"{name}_place"]) for priority, name in NAMES.items()}
    return Turn(row["key_id"], row["tag"], lanes)


def _write(tx: Connection, model: str, filled: Filled) -> set[int]:
    """Write down what the policy decided. Returns the keys in which rows of jobs that wait no longer were removed."""
    if filled.shards:
        tx.execute(_RELEASE, {"ids": [shard.shard_id for shard in filled.shards]})
    charged = [
        {
            "in_model": model,
            "of_key": turn.key_id,
            "tag": turn.tag,
            **{f"{name}_tag": turn.lanes[priority].tag for priority, name in NAMES.items()},
            **{f"{name}_place": turn.lanes[priority].place for priority, name in NAMES.items()},
        }
        for turn in filled.turns.values()
    ]
    if charged:
        tx.execute(_CHARGE, charged)
    if filled.places:
        tx.execute(_PLACE, [{"job": job_id, "new_place": place} for job_id, place in filled.places.items()])
    struck = {key_id for job_id, key_id in filled.emptied.items() if strike(tx, model, key_id, job_id)}
    for key_id in filled.exhausted - set(filled.emptied.values()):
        rest(tx, model, key_id)
    return struck


def mark_published(tx: Connection, shard_ids: Sequence[int], **changes: Any) -> list[Released]:
    """Note that these shards are about to be published now, with any further changes to their rows."""
    if not shard_ids:
        return []
    tx.execute(sa.update(shards).where(shards.c.id.in_(shard_ids)).values(published_at=db_time(), **changes))
    return _to_publish(tx, shard_ids)


def _to_publish(tx: Connection, shard_ids: Sequence[int]) -> list[Released]:
    """In the order of the ids, which is that of the messages."""
    if not shard_ids:
        return []
    found = {row[0]: Released(*row) for row in tx.execute(_RELEASED, {"ids": shard_ids})}
    return [found[shard_id] for shard_id in shard_ids]


# --- statements -------------------------------------------------------------------------------------------------------

_COUNT = sa.bindparam("count", type_=sa.Integer)
_OF_MODEL = turns.c.model == sa.bindparam("model")
_OF_KEY = sa.bindparam("key_id", type_=sa.BigInteger)
_TURNS = (
    sa.select(turns)
    .where(_OF_MODEL, WAITING)
    .order_by(turns.c.tag)
    .limit(_COUNT)
    .with_for_update(skip_locked=True, key_share=True)
)
_TURN = sa.select(turns).where(_OF_MODEL, turns.c.key_id == _OF_KEY).with_for_update(skip_locked=True, key_share=True)
_LOWEST = sa.select(sa.func.min(turns.c.tag)).where(_OF_MODEL, WAITING)


def _line(priority: int, newcomers: bool) -> sa.Select[Any]:
    """The first in line of one priority of a key."""
    lane = sa.and_(
        waiting.c.model == sa.bindparam("model"), waiting.c.key_id == _OF_KEY, waiting.c.priority == priority
    )
    line = sa.select(waiting.c.job_id, waiting.c.priority, waiting.c.place).where(
        lane, waiting.c.place == 0 if newcomers else waiting.c.place > 0
    )
    return sa.select(line.order_by(waiting.c.place, waiting.c.job_id).limit(_COUNT).subquery())


_JOBS = sa.union_all(*(_line(priority, newcomers) for priority in SHARES for newcomers in (True, False)))
_PENDING = (
    sa.select(shards.c.id, shards.c.characters)
    .where(shards.c.job_id == sa.bindparam("job_id", type_=sa.BigInteger), PENDING)
    .order_by(shards.c.first)
    .limit(_COUNT)
    .with_for_update(skip_locked=True)
)
_OUT_OF_JOB = sa.select(shards.c.id).where(shards.c.job_id == sa.bindparam("job_id", type_=sa.BigInteger), OUT).limit(1)
_CHARGE = (
    sa.update(turns)
    .where(turns.c.model == sa.bindparam("in_model"), turns.c.key_id == sa.bindparam("of_key"))
    .values({
        column.name: sa.bindparam(column.name)
        for column in turns.c
        if column.name == "tag" or column.name.endswith(("_tag", "_place"))
    })
)  # fmt: skip
_PLACE = (
    sa.update(waiting)
    .where(waiting.c.job_id == sa.bindparam("job"))
    .values(place=sa.bindparam("new_place"))
)  # fmt: skip
_IDS = shards.c.id.in_(sa.bindparam("ids", expanding=True))
_RELEASE = (
    sa.update(shards)
    .where(_IDS)
    .values(state="queued", released_at=db_time(), published_at=db_time())
)  # fmt: skip
_RELEASED = (
    sa.select(shards.c.id, jobs.c.uuid, jobs.c.task, jobs.c.model, shards.c.first, shards.c.last, jobs.c.priority)
    .join_from(shards, jobs)
    .where(_IDS)
)
