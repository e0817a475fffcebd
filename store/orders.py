"""Orders: a file of requests, and what becomes of them. At /openai/v1 an order is a "batch", a word that is taken here.

validating -> in_progress -> finalizing -> completed, or failed (at once, or with all lines refused), or by way of
cancelling -> cancelled, or expired. Its documents are those of ordinary jobs, one for each model and options that its
lines ask for. Who drives it is `api/openai/clerk.py`: it claims an order that is due, for a while, with a token, and
does one step; whatever is written names the token, so that of two that work on one order only one takes effect.

Lock order: files, an order's row, those of its jobs.
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from store import files as stored_files
from store import jobs
from store.dispatch import Released
from store.session import db_time, settings_of
from store.tables import STORED, files, order_jobs, order_lines, orders
from store.tables import jobs as jobs_table
from textmill.errors import BatchEnded, BatchNotFound, InvalidCursor, LeaseLost
from textmill.wire import ENDED_STATES

ACTIVE_STATES = ("validating", "in_progress", "cancelling", "finalizing")


class NewOrder(NamedTuple):
    """A request for an order, looked at."""

    key_id: int
    file_id: int
    file_uuid: str
    endpoint: str
    completion_window: str
    seconds: float
    """The same as a number."""
    metadata: dict[str, str]
    output_seconds: float
    """How long the files that it ends with are kept."""


class Order(NamedTuple):
    """An order as its key sees it."""

    id: int
    uuid: str
    key_id: int
    file_id: int
    file_uuid: str
    endpoint: str
    completion_window: str
    metadata: str
    output_seconds: int
    state: str
    ending: str | None
    total: int
    refused: int
    documents: int
    fed: bool
    succeeded: int | None
    failed: int | None
    errors: str | None
    created_at: datetime
    expires_at: datetime
    in_progress_at: datetime | None
    cancelling_at: datetime | None
    finalizing_at: datetime | None
    ended_at: datetime | None
    output_file: str | None = None
    error_file: str | None = None


class Claimed(NamedTuple):
    """A right to work on an order for a while."""

    order: Order
    token: str
    overdue: bool
    """The time in which it was to be done is over."""


class Line(NamedTuple):
    """A line that was refused."""

    line: int
    custom_id: str | None
    code: str
    message: str
    param: str | None


class Group(NamedTuple):
    """Lines of an order that are one job."""

    number: int
    digest: str
    task: str
    model: str
    options: str
    form: str
    job_uuid: str | None = None


class Ending(NamedTuple):
    """What an order comes to: lines, and the sizes of its two files."""

    succeeded: int
    failed: int
    output_bytes: int
    error_bytes: int


_COLUMNS = [orders.c[name] for name in Order._fields[: Order._fields.index("output_file")]]


# --- what its key does ------------------------------------------------------------------------------------------------


def create(tx: Connection, new: NewOrder) -> Order:
    """Store it; the clerk looks at it at once. Raises FileNotFound."""
    stored_files.keep(tx, new.key_id, new.file_id)
    values = {
        "uuid": uuid.uuid4().hex,
        "key_id": new.key_id,
        "file_id": new.file_id,
        "file_uuid": new.file_uuid,
        "endpoint": new.endpoint,
        "completion_window": new.completion_window,
        "metadata": json.dumps(new.metadata),
        "output_seconds": int(new.output_seconds),
        "state": "validating",
        "total": 0,
        "refused": 0,
        "documents": 0,
        "fed": False,
        "due_at": db_time(),
        "created_at": db_time(),
        "expires_at": db_time(new.seconds),
    }
    return Order(*tx.execute(sa.insert(orders).values(**values).returning(*_COLUMNS)).one())


def get(tx: Connection, key_id: int, order_uuid: str) -> Order:
    """Raises BatchNotFound."""
    row = tx.execute(sa.select(*_COLUMNS).where(_owned(key_id, order_uuid))).one_or_none()
    if row is None:
        raise BatchNotFound
    return _seen(tx, [Order(*row)])[0]


def page(tx: Connection, key_id: int, limit: int, after: str | None = None) -> tuple[list[Order], bool]:
    """The key's orders, newest first, and whether more follow. Raises InvalidCursor."""
    query = sa.select(*_COLUMNS).where(orders.c.key_id == key_id)
    if after is not None:
        place = tx.execute(sa.select(orders.c.id).where(_owned(key_id, after))).scalar()
        if place is None:
            raise InvalidCursor("after: there is no such batch under this key")
        query = query.where(orders.c.id < place)
    rows = tx.execute(query.order_by(orders.c.id.desc()).limit(limit + 1)).all()
    return _seen(tx, [Order(*row) for row in rows[:limit]]), len(rows) > limit


def cancel(tx: Connection, key_id: int, order_uuid: str) -> Order:
    """Nothing more of it is begun; the clerk cancels its jobs. Once more changes nothing.

    Raises BatchNotFound, BatchEnded.
    """
    active = orders.c.state.in_(("validating", "in_progress"))
    values = {"state": "cancelling", "cancelling_at": db_time(), "token": None, "due_at": db_time()}
    tx.execute(sa.update(orders).where(_owned(key_id, order_uuid), active).values(**values))
    order = get(tx, key_id, order_uuid)
    if order.state not in ("cancelling", "cancelled"):
        raise BatchEnded(f"the batch is {order.state}: there is nothing left to cancel")
    return order


def _owned(key_id: int, order_uuid: str) -> sa.ColumnElement[bool]:
    return sa.and_(orders.c.uuid == order_uuid, orders.c.key_id == key_id)


def _seen(tx: Connection, found: list[Order]) -> list[Order]:
    """With how far they are, and the files that they ended with."""
    ids = [order.id for order in found]
    made = tx.execute(sa.select(files.c.order_id, files.c.part, files.c.uuid).where(files.c.order_id.in_(ids), STORED))
    parts = {(row.order_id, row.part): row.uuid for row in made}
    running = [order.id for order in found if order.succeeded is None]
    counts = (
        sa.select(order_jobs.c.order_id, sa.func.sum(jobs_table.c.succeeded), sa.func.sum(jobs_table.c.failed))
        .join_from(order_jobs, jobs_table, jobs_table.c.uuid == order_jobs.c.job_uuid)
        .where(order_jobs.c.order_id.in_(running))
        .group_by(order_jobs.c.order_id)
    )
    done = {order_id: (int(succeeded), int(failed)) for order_id, succeeded, failed in tx.execute(counts)}
    return [
        _counted(order, *done.get(order.id, (0, 0)))._replace(
            output_file=parts.get((order.id, "output")), error_file=parts.get((order.id, "errors"))
        )
        for order in found
    ]


def _counted(order: Order, succeeded: int, failed: int) -> Order:
    """Lines that are done, where it has not ended: of lines with several documents each a share of them."""
    if order.succeeded is not None:
        return order
    lines = order.total - order.refused
    documents = max(order.documents, 1)
    return order._replace(succeeded=succeeded * lines // documents, failed=order.refused + failed * lines // documents)


# --- what the clerk does ----------------------------------------------------------------------------------------------


def due(tx: Connection) -> bool:
    """Whether somebody has to look at an order."""
    return tx.execute(sa.select(sa.exists(_due()))).scalar_one()


def _due() -> sa.Select[tuple[int]]:
    # In a subquery: PostgreSQL looks a time that could change from row to row up in no index.
    now = sa.select(db_time()).scalar_subquery()
    return sa.select(orders.c.id).where(orders.c.ended_at.is_(None), orders.c.due_at <= now).order_by(orders.c.due_at)


def claim(tx: Connection, seconds: float) -> Claimed | None:
    """The order that has been due for longest, for so many seconds; None: none is."""
    order_id = tx.execute(_due().limit(1).with_for_update(skip_locked=True)).scalar()
    if order_id is None:
        return None
    token = uuid.uuid4().hex
    taken = sa.update(orders).where(orders.c.id == order_id).values(token=token, due_at=db_time(seconds))
    row = tx.execute(taken.returning(*_COLUMNS, orders.c.expires_at < db_time())).one()
    return Claimed(Order(*row[:-1]), token, bool(row[-1]))


def renew(tx: Connection, claimed: Claimed, seconds: float) -> None:
    """So many seconds more. Raises LeaseLost."""
    _write(tx, claimed, due_at=db_time(seconds))


def put_off(tx: Connection, claimed: Claimed, seconds: float) -> None:
    """Give it back; it is due again after so long. Raises LeaseLost."""
    _write(tx, claimed, token=None, due_at=db_time(seconds))


def refuse(tx: Connection, claimed: Claimed, errors: Sequence[dict[str, Any]]) -> None:
    """The whole file is wrong: nothing of it is run, and it has failed. Raises LeaseLost."""
    values = {"state": "failed", "errors": json.dumps(errors), "ended_at": db_time(), "succeeded": 0, "failed": 0}
    _write(tx, claimed, token=None, **values)


def validated(
    tx: Connection, claimed: Claimed, total: int, documents: int, refused: Sequence[Line], groups: Sequence[Group]
) -> None:
    """What the lines of its file come to. Raises LeaseLost."""
    counts = {"total": total, "refused": len(refused), "documents": documents}
    _write(tx, claimed, token=None, due_at=db_time(), state="in_progress", in_progress_at=db_time(), **counts)
    order_id = claimed.order.id
    if refused:
        tx.execute(sa.insert(order_lines), [{"order_id": order_id, **line._asdict()} for line in refused])
    if groups:
        tx.execute(sa.insert(order_jobs), [{"order_id": order_id, **group._asdict()} for group in groups])


def add_jobs(tx: Connection, claimed: Claimed, new: Mapping[int, jobs.NewJob]) -> tuple[dict[int, str], list[Released]]:
    """The jobs of groups, by the groups' numbers, open and empty: all or none. Returns their ids by the same numbers.

    One by one, two batches of a key that may have few open jobs would each get some, and wait for the other's for ever.
    Raises LeaseLost, TooManyOpenJobs.
    """
    _write(tx, claimed, fed=False)
    made: dict[int, str] = {}
    released: list[Released] = []
    for number, job in new.items():
        submitted = jobs.submit(tx, job, [])
        made[number] = submitted.job.id
        released += submitted.released
        internal = tx.execute(sa.select(jobs_table.c.id).where(jobs_table.c.uuid == submitted.job.id)).scalar_one()
        mine = sa.and_(order_jobs.c.order_id == claimed.order.id, order_jobs.c.number == number)
        tx.execute(sa.update(order_jobs).where(mine).values(job_id=internal, job_uuid=submitted.job.id))
    return made, released


def fed(tx: Connection, claimed: Claimed) -> None:
    """All of its documents are in its jobs. Raises LeaseLost."""
    _write(tx, claimed, token=None, due_at=db_time(), fed=True)


def finalize(tx: Connection, claimed: Claimed, ending: str, errors: Sequence[dict[str, Any]] | None = None) -> None:
    """Nothing of it runs any more; what it comes to is measured next. Raises LeaseLost."""
    told = {} if errors is None else {"errors": json.dumps(errors)}
    values = {"state": "finalizing", "ending": ending, "finalizing_at": db_time(), "due_at": db_time(), **told}
    _write(tx, claimed, token=None, **values)


def finish(tx: Connection, claimed: Claimed, ending: Ending) -> None:
    """It has ended, with a file for what succeeded and one for what failed. Raises LeaseLost."""
    order, now = claimed.order, tx.execute(sa.select(db_time())).scalar_one()
    counts = {"succeeded": ending.succeeded, "failed": ending.failed}
    _write(tx, claimed, token=None, state=order.ending, ended_at=now, **counts)
    expires = now + timedelta(seconds=order.output_seconds)
    for part, size in (("output", ending.output_bytes), ("errors", ending.error_bytes)):
        if size:
            name = f"batch_{order.uuid}_{part}.jsonl"
            values = {"uuid": uuid.uuid4().hex, "key_id": order.key_id, "name": name, "purpose": "batch_output"}
            values |= {"bytes": size, "chunks": 0, "order_id": order.id, "part": part}
            tx.execute(sa.insert(files).values(**values, created_at=now, touched_at=now, expires_at=expires))


def _write(tx: Connection, claimed: Claimed, **values: Any) -> None:
    mine = sa.and_(orders.c.id == claimed.order.id, orders.c.token == claimed.token)
    if tx.execute(sa.update(orders).where(mine).values(**values)).rowcount == 0:
        raise LeaseLost("the batch was cancelled, or another process works on it")


# --- its parts --------------------------------------------------------------------------------------------------------


def of_file(tx: Connection, order_id: int) -> Order | None:
    """The order that a file belongs to; None where it has been removed."""
    row = tx.execute(sa.select(*_COLUMNS).where(orders.c.id == order_id)).one_or_none()
    return None if row is None else Order(*row)


def groups(tx: Connection, order_id: int) -> list[Group]:
    """In the order of their numbers."""
    columns = [order_jobs.c[name] for name in Group._fields]
    query = sa.select(*columns).where(order_jobs.c.order_id == order_id).order_by(order_jobs.c.number)
    return [Group(*row) for row in tx.execute(query)]


def job_states(tx: Connection, order_id: int) -> list[str | None]:
    """Of the jobs that it has; None for one that was deleted."""
    there = sa.and_(jobs_table.c.uuid == order_jobs.c.job_uuid, jobs_table.c.deleted_at.is_(None))
    made = sa.and_(order_jobs.c.order_id == order_id, order_jobs.c.job_uuid.is_not(None))
    query = sa.select(jobs_table.c.state).join_from(order_jobs, jobs_table, there, isouter=True).where(made)
    return list(tx.execute(query).scalars())


def all_ended(states: Sequence[str | None]) -> bool:
    """Whether none of these jobs goes on."""
    return all(state is None or state in ENDED_STATES for state in states)


def refused_numbers(tx: Connection, order_id: int) -> set[int]:
    """The numbers of the lines that were refused."""
    return set(tx.execute(sa.select(order_lines.c.line).where(order_lines.c.order_id == order_id)).scalars())


def refused_lines(tx: Connection, order_id: int, after: int, limit: int) -> list[Line]:
    """Lines that were refused, in their order, from behind the line `after` on."""
    columns = [order_lines.c[name] for name in Line._fields]
    query = sa.select(*columns).where(order_lines.c.order_id == order_id, order_lines.c.line > after)
    return [Line(*row) for row in tx.execute(query.order_by(order_lines.c.line).limit(limit))]


def retire(tx: Connection) -> bool:
    """Remove an order that ended before the retention, with what is left of it. False: there is none."""
    seconds = settings_of(tx).retention_seconds
    if seconds is None:
        return False
    too_long_ago = sa.select(db_time(-seconds)).scalar_subquery()
    order_id = tx.execute(sa.select(orders.c.id).where(orders.c.ended_at < too_long_ago).limit(1)).scalar()
    if order_id is None:
        return False
    theirs = sa.and_(files.c.order_id == order_id, files.c.deleted_at.is_(None))
    tx.execute(sa.update(files).where(theirs).values(deleted_at=db_time()))
    stored_files.let_go(tx, [order_id])
    for table in (order_lines, order_jobs):
        tx.execute(sa.delete(table).where(table.c.order_id == order_id))
    tx.execute(sa.delete(orders).where(orders.c.id == order_id))
    return True
