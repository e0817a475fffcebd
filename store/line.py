"""Who waits: rows of `turns` and `waiting`, added and removed in the transaction that makes it true.

The order of locks, and who waits for whom, is in `store/dispatch.py`.
"""

from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from store.faults import TransactionOutrun
from store.policy import LEAST_COST
from store.queue import PRIORITY
from store.tables import OUT, PENDING, WAITING, jobs, shards, turns, waiting

NAMES = {number: name for name, number in PRIORITY.items()}
"""Of the priorities, as columns begin with them."""


class Newcomer(NamedTuple):
    """A job to which shards were just added."""

    job_id: int
    key_id: int
    model: str
    priority: int


def wait(tx: Connection, job: Newcomer, served_before: bool = False) -> None:
    """Note that the job has pending shards, and keep that noted until the end of the transaction, which adds them.
    Call it before the job's row is locked. `served_before`: it had places already, and takes its turn as the last.

    Raises TransactionOutrun where the note was struck off at this very moment.
    """
    if tx.execute(_KEEP_TURN, {"of_model": job.model, "of_key": job.key_id}).scalar() is None:
        wake(tx, job.model, job.key_id)
    if tx.execute(_KEEP_WAITING, {"job": job.job_id}).scalar() is not None:
        return
    place: Any = 0
    if served_before:
        account = sa.and_(turns.c.model == job.model, turns.c.key_id == job.key_id)
        lane = turns.c[f"{NAMES[job.priority]}_place"]
        place = sa.select(sa.case((lane > 0, lane), else_=1)).where(account).scalar_subquery()
    insert = _insert(tx, waiting).values(**job._asdict(), place=place).on_conflict_do_nothing()
    if tx.execute(insert).rowcount == 0:
        raise TransactionOutrun


def wake(tx: Connection, model: str, key_id: int) -> None:
    """The key waits from now on, level with what the others have received: `policy.woken`."""
    level, out = tx.execute(_LEVEL, {"model": model, "key_id": key_id}).one()
    new = _insert(tx, turns).values(model=model, key_id=key_id, waiting=True, tag=max(0.0, level + out))
    ahead = sa.or_(turns.c.waiting, turns.c.tag > new.excluded.tag)
    tx.execute(
        new.on_conflict_do_update(
            index_elements=[turns.c.model, turns.c.key_id],
            set_={"waiting": True, "tag": sa.case((ahead, turns.c.tag), else_=new.excluded.tag)},
        )
    )


def strike(tx: Connection, model: str, key_id: int, job_id: int) -> bool:
    """Strike the job off if it has no pending shard, and its key if no job of it waits. Waits for nobody: what is
    locked stays, and the next release tries again. Returns whether the job is said to wait no longer."""
    row = {"job": job_id}
    if tx.execute(_HOLD_WAITING, row).scalar() is None:
        gone = tx.execute(_WAITING_ROW, row).scalar() is None
    else:
        gone = tx.execute(_STRIKE, row).rowcount == 1
    rest(tx, model, key_id)
    return gone


def forget(tx: Connection, model: str, key_id: int, job_id: int) -> None:
    """The job has no pending shard any more, as its shards are locked and fenced. Call it before its row is locked."""
    tx.execute(sa.delete(waiting).where(waiting.c.job_id == job_id))
    rest(tx, model, key_id)


def rest(tx: Connection, model: str, key_id: int) -> None:
    """The key waits no longer, if none of its jobs does. Waits for nobody."""
    account = {"of_model": model, "of_key": key_id}
    # Looked at before it is locked: most often another job of the key waits.
    if tx.execute(_HOLD_TURN, account).scalar() is not None:
        tx.execute(_REST, account)


def _insert(tx: Connection, table: sa.Table) -> Any:
    return (postgresql.insert if tx.dialect.name == "postgresql" else sqlite.insert)(table)


def _level() -> sa.Select[Any]:
    """What a key that comes starts level with, and what it has out itself. Costs by what is out: of the keys that have
    nothing out the indexes give the first or the last."""
    # No size: released by a process of an earlier release, which charged nobody for it.
    cost = sa.case((shards.c.characters < LEAST_COST, LEAST_COST), else_=sa.func.coalesce(shards.c.characters, 0))
    # Plus nothing: else SQLite would read all jobs, in the order of their keys.
    of_key = jobs.c.key_id + sa.literal_column("0")
    out = (
        sa.select(of_key.label("key_id"), sa.func.sum(cost).label("cost"))
        .join_from(shards, jobs)
        .where(OUT, jobs.c.model == sa.bindparam("model"))
        .group_by(of_key)
        .cte("out")
    )
    of_model = turns.c.model == sa.bindparam("model")
    less = sa.select((turns.c.tag - out.c.cost).label("received")).join_from(out, turns, turns.c.key_id == out.c.key_id)
    tags = sa.select(turns.c.tag.label("received")).where(of_model)
    none_out = turns.c.key_id.not_in(sa.select(out.c.key_id))
    of_waiting = sa.union_all(
        # The lowest tag of all: where that key has something out, the other half has less.
        sa.select(tags.where(WAITING).order_by(turns.c.tag).limit(1).subquery()),
        less.where(of_model, WAITING),
    ).subquery()
    of_all = sa.union_all(
        sa.select(tags.where(none_out).order_by(turns.c.tag.desc()).limit(1).subquery()),
        less.where(of_model),
    ).subquery()
    level = sa.func.coalesce(
        sa.select(sa.func.min(of_waiting.c.received)).scalar_subquery(),
        sa.select(sa.func.max(of_all.c.received)).scalar_subquery(),
        0.0,
    )
    mine = sa.select(out.c.cost).where(out.c.key_id == sa.bindparam("key_id", type_=sa.BigInteger)).scalar_subquery()
    return sa.select(level, sa.func.coalesce(mine, 0))


_LEVEL = _level()

# Built once: every release and every append runs some of them.
_ACCOUNT = sa.and_(
    turns.c.model == sa.bindparam("of_model"), turns.c.key_id == sa.bindparam("of_key", type_=sa.BigInteger)
)
_NONE_WAITS = sa.not_(sa.exists().where(waiting.c.model == turns.c.model, waiting.c.key_id == turns.c.key_id))
_KEEP_TURN = sa.select(turns.c.key_id).where(_ACCOUNT, WAITING).with_for_update(read=True, key_share=True)
_HOLD_TURN = sa.select(turns.c.key_id).where(_ACCOUNT, WAITING, _NONE_WAITS).with_for_update(skip_locked=True)
_REST = sa.update(turns).where(_ACCOUNT, _NONE_WAITS).values(waiting=False)
_ROW = waiting.c.job_id == sa.bindparam("job", type_=sa.BigInteger)
_WAITING_ROW = sa.select(waiting.c.job_id).where(_ROW)
_KEEP_WAITING = _WAITING_ROW.with_for_update(read=True, key_share=True)
_HOLD_WAITING = _WAITING_ROW.with_for_update(skip_locked=True)
_STRIKE = sa.delete(waiting).where(_ROW, sa.not_(sa.exists().where(shards.c.job_id == waiting.c.job_id, PENDING)))
