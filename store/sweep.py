"""What time brings: expired leases, lost messages, abandoned jobs, files whose time is over, retention.

Every process with a database runs a sweeper; one guarded row elects the one that does the work.
"""

import functools
import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable

import redis
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from store import (
    deliveries,
    dispatch,
    endings,
    files,
    fleeting,
    leases,
    line,
    orders,
    quota,
    retrying,
    tallies,
    workers,
)
from store.dispatch import Released
from store.dispatcher import Dispatcher
from store.faults import brief
from store.queue import redis_lists
from store.receipts import KEPT_SECONDS
from store.session import Store, db_time, settings_of
from store.tables import (
    ACTIVE,
    OUT,
    UNMEASURED,
    WAITING,
    documents,
    duties,
    order_jobs,
    receipts,
    results,
    shards,
    turns,
)
from store.tables import jobs as jobs_table
from textmill.errors import TextmillError
from textmill.wire import ENDED_STATES

log = logging.getLogger(__name__)

LONELY_SWEEPS = 5
"""Sweeps on which no live worker served a model that is asked for, after which the log says so."""


class Sweeper:
    """A thread that sweeps every `sweep_seconds`, while this process holds the duty."""

    def __init__(self, store: Store, dispatcher: Dispatcher) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._id = str(uuid.uuid4())
        self._redis = redis.Redis.from_url(store.settings.redis_url, socket_timeout=2, socket_connect_timeout=2)
        self._suspicious: set[str] = set()
        self._unserved: Counter[str] = Counter()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout: float = 10) -> None:
        """End the thread after the sweep in progress, and give the duty up."""
        self._stopping.set()
        self._thread.join(timeout)
        try:
            self._store.write(resign, self._id)
        except (TextmillError, sa.exc.SQLAlchemyError) as error:
            log.info("the duty to sweep runs out by itself: %s", brief(error))
        self._redis.close()

    def _run(self) -> None:
        while not self._stopping.wait(self._store.settings.sweep_seconds):
            try:
                self.sweep()
            except (TextmillError, sa.exc.SQLAlchemyError, OSError) as error:
                log.warning("sweep put off: %s", brief(error))

    def sweep(self) -> bool:
        """One sweep, if this process holds the duty. Each step is a transaction of its own."""
        if not self._store.write(take_up, self._id):
            self._suspicious.clear()
            return False
        self._publish("expired", leases.expire)
        self._in_steps(functools.partial(self._store.write, adopt))
        for model in self._store.read(models_that_wait):
            self._publish("topped up", dispatch.release, model)
        self._republish_lost()
        for step in (endings.close_abandoned, retire, workers.forget_dead, tallies.forget_minutes, quota.forget_days):
            self._store.write(step)
        self._in_steps(functools.partial(self._store.write, deliveries.adopt))
        self._in_steps(self._retry)
        for step in (fleeting.forget_expired, orders.retire, files.expire, files.purge, purge):
            self._in_steps(functools.partial(self._store.write, step))
        self._in_steps(functools.partial(self._store.write, forget_receipts))
        return True

    def _retry(self) -> bool:
        step = self._store.write(retrying.go_on)
        self._dispatcher.publish(step.released)
        return step.more

    def _in_steps(self, step: Callable[[], bool]) -> None:
        """One step after the other, so that deleting keeps up with submitting; each is short, and others write between.
        No longer than the settings say: leases run out meanwhile, and the next sweep goes on."""
        until = time.monotonic() + self._store.settings.sweep_step_seconds
        while step() and time.monotonic() < until and not self._stopping.is_set():
            if not self._store.write(hold_duty, self._id):
                return

    def _publish(self, what: str, step: Callable[..., list[Released]], *args: str) -> None:
        released = self._store.write(step, *args)
        if released:
            log.info("sweep: %d shards %s", len(released), what)
        self._dispatcher.publish(released)

    def _republish_lost(self) -> None:
        """Publish again where, on two sweeps running, Redis holds fewer messages than SQL has queued shards. One sweep
        is not enough: a message may be between Redis and its claim. Publishing twice is harmless."""
        queued = self._store.read(queued_shards)
        self._say_what_nobody_serves(queued)
        try:
            short = {model for model, count in queued.items() if self._messages(model) < count}
        except redis.RedisError as error:
            log.debug("Redis does not answer: %s", error)
            return
        for model in short & self._suspicious:
            self._publish("published again", stale, model)
        self._suspicious = short

    def _say_what_nobody_serves(self, queued: Counter[str]) -> None:
        """Once for each model, after some sweeps: workers that start or are replaced are not there for a moment."""
        lonely = {model for model in queued if not self._store.read(workers.served, model)}
        self._unserved = Counter({model: self._unserved[model] + 1 for model in lonely})
        for model in (model for model, sweeps in self._unserved.items() if sweeps == LONELY_SWEEPS):
            log.warning("%d shards of %s are queued, and no live worker serves that model", queued[model], model)

    def _messages(self, model: str) -> int:
        return sum(int(self._redis.llen(name)) for name in redis_lists(model))


def take_up(tx: Connection, holder: str) -> bool:
    """Hold the duty to sweep. Where nobody had it for more than a term, the database was away, or everything was.

    The leases that ran out meanwhile could not be renewed: who is alive gets time to do so, and no loss is counted to
    documents that did nothing. (One worker that is cut off alone cannot be told from one that is dead.)
    """
    unheld = sa.select(duties.c.held_until < db_time(-_term(tx))).where(duties.c.name == "sweep")
    was_away = tx.execute(unheld).scalar()
    if not hold_duty(tx, holder):
        return False
    if was_away and (spared := leases.spare(tx, settings_of(tx).lease_seconds / 3)):  # the pace of renewals
        log.warning("sweep: nobody could renew %d leases in time; they get longer", spared)
    return True


def _term(tx: Connection) -> float:
    return max(10.0, 5 * settings_of(tx).sweep_seconds)


def hold_duty(tx: Connection, holder: str, name: str = "sweep") -> bool:
    """Take the duty, or keep it: one holder at a time, until it stops asking for some sweeps."""
    until = db_time(_term(tx))
    free = sa.or_(duties.c.holder == holder, duties.c.holder.is_(None), duties.c.held_until < db_time())
    taken = sa.update(duties).where(duties.c.name == name, free).values(holder=holder, held_until=until)
    return tx.execute(taken).rowcount == 1


def resign(tx: Connection, holder: str, name: str = "sweep") -> None:
    """Give the duty up."""
    tx.execute(sa.update(duties).where(duties.c.name == name, duties.c.holder == holder).values(holder=None))


def models_that_wait(tx: Connection) -> list[str]:
    """Models of which something waits to be released."""
    return list(tx.execute(sa.select(turns.c.model).where(WAITING).distinct()).scalars())


def adopt(tx: Connection, count: int = 200) -> bool:
    """Measure shards that a process of the previous release made, and note that their jobs wait. False: none are left.

    Such a process may add some until it is stopped; without this, nobody would release them.
    """
    found = sa.select(shards.c.id).where(UNMEASURED).order_by(shards.c.id).limit(count)
    ids = tx.execute(found.with_for_update(skip_locked=True)).scalars().all()
    if not ids:
        return False
    texts = sa.and_(documents.c.job_id == shards.c.job_id, documents.c.position.between(shards.c.first, shards.c.last))
    size = sa.select(sa.func.coalesce(sa.func.sum(sa.func.length(documents.c.text)), 0)).where(texts)
    measured = sa.update(shards).where(shards.c.id.in_(ids)).values(characters=size.scalar_subquery())
    tx.execute(measured)
    columns = (jobs_table.c.id, jobs_table.c.key_id, jobs_table.c.model, jobs_table.c.priority)
    theirs = jobs_table.c.id.in_(sa.select(shards.c.job_id).where(shards.c.id.in_(ids)))
    for row in tx.execute(sa.select(*columns).where(theirs, ACTIVE).order_by(jobs_table.c.id)).all():
        line.wait(tx, line.Newcomer(*row))
    return True


def queued_shards(tx: Connection) -> Counter[str]:
    """Queued shards of each model."""
    query = (
        sa.select(jobs_table.c.model, sa.func.count().label("queued"))
        .join_from(shards, jobs_table)
        .where(OUT, shards.c.state == "queued")
        .group_by(jobs_table.c.model)
    )
    return Counter({row.model: row.queued for row in tx.execute(query)})


def stale(tx: Connection, model: str) -> list[Released]:
    """Queued shards of the model whose last message is old, marked as published again."""
    too_long_ago = db_time(-settings_of(tx).republish_seconds)
    query = (
        sa.select(shards.c.id)
        .join_from(shards, jobs_table)
        .where(OUT, shards.c.state == "queued", shards.c.published_at < too_long_ago)
        .where(jobs_table.c.model == model)  # active, as it has shards that are out
        .order_by(shards.c.id + 0)  # or SQLite would read the whole table in this order
        .limit(leases.AT_ONCE)
        .with_for_update(skip_locked=True, of=shards)
    )
    return dispatch.mark_published(tx, tx.execute(query).scalars().all())


def retire(tx: Connection) -> None:
    """Hide ended jobs that are older than the retention. Those of a batch go with it: `orders.retire`."""
    seconds = settings_of(tx).retention_seconds
    if seconds is None:
        return
    # In a subquery: PostgreSQL looks a time that could change from row to row up in no index.
    too_long_ago = sa.select(db_time(-seconds)).scalar_subquery()
    over = sa.and_(
        jobs_table.c.state.in_(ENDED_STATES),
        jobs_table.c.finished_at < too_long_ago,
        jobs_table.c.deleted_at.is_(None),
        # Looked up once for all of the jobs, which an EXISTS would not be: no index has the ids of these.
        jobs_table.c.uuid.not_in(sa.select(order_jobs.c.job_uuid).where(order_jobs.c.job_uuid.is_not(None))),
    )
    tx.execute(sa.update(jobs_table).where(over).values(deleted_at=db_time(), idempotency_key=None))


def purge(tx: Connection) -> bool:
    """Remove a step's worth of rows of one deleted job, and the job itself with the last of them. False: none left."""
    job_id = tx.execute(sa.select(jobs_table.c.id).where(jobs_table.c.deleted_at.is_not(None)).limit(1)).scalar()
    if job_id is None:
        return False
    first = tx.execute(sa.select(sa.func.min(documents.c.position)).where(documents.c.job_id == job_id)).scalar()
    if first is not None:
        end = first + settings_of(tx).purge_rows
        for table in (results, documents):
            tx.execute(sa.delete(table).where(table.c.job_id == job_id, table.c.position < end))
        return True
    some = sa.select(shards.c.id).where(shards.c.job_id == job_id).limit(settings_of(tx).purge_rows)
    tx.execute(sa.delete(shards).where(shards.c.id.in_(some)))
    if tx.execute(some.limit(1)).scalar() is not None:
        return True
    tallies.forget_errors(tx, job_id)
    tx.execute(sa.delete(jobs_table).where(jobs_table.c.id == job_id))
    return True


def forget_receipts(tx: Connection) -> bool:
    """Remove a step's worth of receipts that nobody asks for any more. False: none are left."""
    too_long_ago = sa.select(db_time(-KEPT_SECONDS)).scalar_subquery()
    count = settings_of(tx).purge_rows
    old = sa.select(receipts.c.token).where(receipts.c.written_at < too_long_ago).limit(count)
    return tx.execute(sa.delete(receipts).where(receipts.c.token.in_(old))).rowcount == count
