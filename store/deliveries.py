"""Deliveries: ends of jobs that are told to their webhooks. Who sends them is the api's business.

A delivery is written in the transaction that ends its job, so none is lost, and is claimed for a while by whoever sends
it: one that died leaves it due again. So it is made at least once, and every time under the same id.
"""

import re
import uuid
from collections import defaultdict
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from store.session import db_time
from store.tables import UNTOLD, deliveries, delivery_attempts, jobs, keys
from store.views import owned
from textmill.errors import DeliveryNotFound, JobNotFound, LeaseLost
from textmill.webhooks import Delivery, DeliveryAttempt, DeliveryState, EndedJob, Event, Outcome
from textmill.wire import Counts

LISTED = 100
"""Deliveries of one job that are shown: the newest. There is one for each time that it ended."""

LOGGED = 50
"""Attempts of one delivery that are kept: the last ones."""

ADOPTED = 100
"""Jobs that one step of `adopt` takes."""

ID = re.compile("msg_[0-9a-f]{32}")


class Claimed(NamedTuple):
    """The right to send a delivery for a while."""

    id: int
    uuid: str
    key_id: int
    job: str
    url: str
    payload: str
    tries: int
    """Claimed since it was due for the first time, or asked for again: with this one, and those that came to no end."""
    token: str


class Attempt(NamedTuple):
    """What sending it came to."""

    outcome: Outcome
    seconds: float
    status: int | None = None
    detail: str | None = None


# --- where they come from ---------------------------------------------------------------------------------------------


def announce(tx: Connection, internal_id: int) -> None:
    """The job, which has a webhook, has just ended: call it in that very transaction."""
    job = tx.execute(sa.select(jobs).where(jobs.c.id == internal_id)).mappings().one()
    event = _event(job)
    values = {
        "uuid": f"msg_{uuid.uuid4().hex}",
        "job_id": internal_id,
        "key_id": job["key_id"],
        "url": job["webhook"],
        "type": event.type,
        # As it is sent: the same bytes in every attempt.
        "payload": event.model_dump_json(),
        "state": "pending",
        "due_at": db_time(),
        "created_at": db_time(),
    }
    tx.execute(sa.insert(deliveries).values(**values))


def _event(job: RowMapping) -> Event:
    counts = {name: job[name] for name in ("total", "succeeded", "failed", "cancelled")}
    names = ("task", "model", "state", "created_at", "started_at", "finished_at")
    told = EndedJob(id=job["uuid"], counts=Counts(pending=0, **counts), **{name: job[name] for name in names})
    return Event(type=f"job.{job['state']}", timestamp=job["finished_at"], data=told)


def adopt(tx: Connection) -> bool:
    """Ends of jobs that a process of the previous release has brought about. False: none are left."""
    found = sa.select(jobs.c.id).where(UNTOLD).order_by(jobs.c.id).limit(ADOPTED).with_for_update(skip_locked=True)
    ids = tx.execute(found).scalars().all()
    for internal_id in ids:
        tx.execute(sa.update(jobs).where(jobs.c.id == internal_id).values(webhook_owed=None))
        announce(tx, internal_id)
    return bool(ids)


# --- who sends them ---------------------------------------------------------------------------------------------------


def due(tx: Connection) -> bool:
    """Whether one has to be sent."""
    return tx.execute(sa.select(sa.exists().where(deliveries.c.due_at <= _now()))).scalar_one()


def overdue_seconds(tx: Connection) -> float:
    """For how long the one has been due that has been so for longest; 0 where none is."""
    row = tx.execute(sa.select(sa.func.min(deliveries.c.due_at), db_time())).one()
    return 0.0 if row[0] is None else max(0.0, (row[1] - row[0]).total_seconds())


def claim(tx: Connection, seconds: float) -> Claimed | None:
    """A delivery that is due, for so many seconds; None: none is, or others are about to take them.

    Of the key with the fewest that are being sent, so that one whose receivers are dead keeps nobody waiting for long.
    It costs by the number of keys, each looked up in an index.
    """
    its = sa.and_(deliveries.c.key_id == keys.c.id, deliveries.c.due_at <= _now())
    sent = sa.and_(deliveries.c.key_id == keys.c.id, deliveries.c.token.is_not(None), deliveries.c.due_at > _now())
    out = sa.select(sa.func.count()).select_from(deliveries).where(sent).correlate(keys).scalar_subquery()
    first = sa.select(sa.func.min(deliveries.c.due_at)).where(its).correlate(keys).scalar_subquery()
    waits = sa.select(deliveries.c.id).where(its).correlate(keys).exists()
    key_id = tx.execute(sa.select(keys.c.id).where(waits).order_by(out, first).limit(1)).scalar()
    if key_id is None:
        return None
    oldest = sa.select(deliveries.c.id).where(deliveries.c.key_id == key_id, deliveries.c.due_at <= _now())
    delivery_id = tx.execute(oldest.order_by(deliveries.c.due_at).limit(1).with_for_update(skip_locked=True)).scalar()
    if delivery_id is None:
        return None
    token = uuid.uuid4().hex
    # Counted here and not when it is noted: one whose every attempt ends its process is tried no longer than others.
    mine = {"token": token, "due_at": db_time(seconds), "tries": deliveries.c.tries + 1}
    taken = sa.update(deliveries).where(deliveries.c.id == delivery_id).values(**mine)
    job = sa.select(jobs.c.uuid).where(jobs.c.id == deliveries.c.job_id).scalar_subquery()
    told: list[sa.ColumnElement[Any]] = [deliveries.c[name] for name in Claimed._fields if name in deliveries.c]
    row = tx.execute(taken.returning(*told, job.label("job"))).one()._mapping
    return Claimed(**row)


def note(tx: Connection, claimed: Claimed, attempt: Attempt, again_seconds: float | None) -> None:
    """What an attempt came to, and when the next one follows; None: none does.

    Raises LeaseLost where somebody else has it by now.
    """
    state: DeliveryState = "delivered" if attempt.outcome == "delivered" else "failed"
    values: dict[str, Any] = {"token": None, "attempts": deliveries.c.attempts + 1}
    if again_seconds is None:
        values |= {"state": state, "due_at": None, "ended_at": db_time()}
    else:
        values |= {"due_at": db_time(again_seconds)}
    noted = sa.update(deliveries).where(_held(claimed)).values(**values).returning(deliveries.c.attempts)
    number = tx.execute(noted).scalar()
    if number is None:
        raise LeaseLost("another process sends it, or its job was deleted")
    row = {"delivery_id": claimed.id, "number": number, "at": db_time(-attempt.seconds), **attempt._asdict()}
    tx.execute(sa.insert(delivery_attempts).values(**row))
    old = sa.and_(delivery_attempts.c.delivery_id == claimed.id, delivery_attempts.c.number <= number - LOGGED)
    tx.execute(sa.delete(delivery_attempts).where(old))


def put_back(tx: Connection, claimed: Claimed) -> None:
    """Nothing was sent: it is due at once, and counts one less. Nothing happens where somebody else has it by now."""
    again = {"token": None, "due_at": db_time(), "tries": deliveries.c.tries - 1}
    tx.execute(sa.update(deliveries).where(_held(claimed)).values(**again))


def _held(claimed: Claimed) -> sa.ColumnElement[bool]:
    return sa.and_(deliveries.c.id == claimed.id, deliveries.c.token == claimed.token)


def _now() -> sa.ScalarSelect[datetime]:
    # In a subquery: PostgreSQL looks a time that could change from row to row up in no index.
    return sa.select(db_time()).scalar_subquery()


# --- what producers see and do ----------------------------------------------------------------------------------------


def listed(tx: Connection, key_id: int, job_id: str) -> list[Delivery]:
    """Of a job, newest first. Raises JobNotFound."""
    internal_id = _job(tx, key_id, job_id)
    query = sa.select(deliveries).where(deliveries.c.job_id == internal_id)
    return _shown(tx, query.order_by(deliveries.c.id.desc()).limit(LISTED))


def resend(tx: Connection, key_id: int, job_id: str, delivery_id: str) -> Delivery:
    """Send it again at once, and go on with that as with a new one. One that is being sent this moment is left to it.

    Raises JobNotFound, DeliveryNotFound.
    """
    internal_id = _job(tx, key_id, job_id)
    if not ID.fullmatch(delivery_id):
        raise DeliveryNotFound
    this = sa.and_(deliveries.c.uuid == delivery_id, deliveries.c.job_id == internal_id)
    idle = sa.or_(deliveries.c.token.is_(None), deliveries.c.due_at <= _now())
    again = {"state": "pending", "tries": 0, "token": None, "due_at": db_time(), "ended_at": None}
    tx.execute(sa.update(deliveries).where(this, idle).values(**again))
    found = _shown(tx, sa.select(deliveries).where(this))
    if not found:
        raise DeliveryNotFound
    return found[0]


def _job(tx: Connection, key_id: int, job_id: str) -> int:
    internal_id: int | None = tx.execute(sa.select(jobs.c.id).where(owned(key_id, job_id))).scalar()
    if internal_id is None:
        raise JobNotFound
    return internal_id


def _shown(tx: Connection, query: sa.Select[Any]) -> list[Delivery]:
    rows = tx.execute(query).mappings().all()
    attempts: defaultdict[int, list[DeliveryAttempt]] = defaultdict(list)
    theirs = delivery_attempts.c.delivery_id.in_([row["id"] for row in rows])
    in_order = (delivery_attempts.c.delivery_id, delivery_attempts.c.number)
    for made in tx.execute(sa.select(delivery_attempts).where(theirs).order_by(*in_order)).mappings():
        attempts[made["delivery_id"]].append(DeliveryAttempt.model_validate(made))
    names = ("type", "url", "state", "created_at", "ended_at")
    return [
        Delivery(
            id=row["uuid"],
            next_attempt_at=row["due_at"] if row["token"] is None else None,
            attempts=attempts[row["id"]],
            **{name: row[name] for name in names},
        )
        for row in rows
    ]
