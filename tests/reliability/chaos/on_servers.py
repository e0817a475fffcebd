"""Faults of Redis and PostgreSQL: killed, restarted, silent, emptied, and messages that are not what was sent."""

import contextlib
import signal
from collections.abc import Iterator

import psutil
import redis
import sqlalchemy as sa

from store.dispatch import Released
from store.dispatcher import Dispatcher
from store.queue import celery_app, redis_lists
from store.tables import jobs, shards
from tests.reliability.chaos.servers import Postgres, signal_all
from tests.reliability.chaos.system import Over, System, at_once

STALE_MESSAGES = 200


@contextlib.contextmanager
def redis_kill(system: System, target: str) -> Iterator[Over]:
    """SIGKILL; it comes back empty."""
    system.valkey.kill()
    yield at_once
    if system.valkey.process is None or system.valkey.process.poll() is not None:
        system.valkey.start()


@contextlib.contextmanager
def redis_pause(system: System, target: str) -> Iterator[Over]:
    """SIGSTOP, then SIGCONT."""
    assert system.valkey.process is not None
    process = psutil.Process(system.valkey.process.pid)
    signal_all([process], signal.SIGSTOP)
    yield at_once
    signal_all([process], signal.SIGCONT)


@contextlib.contextmanager
def redis_flush(system: System, target: str) -> Iterator[Over]:
    """FLUSHALL."""
    with _redis(system) as client:
        client.flushall()
    yield at_once


@contextlib.contextmanager
def messages(system: System, target: str) -> Iterator[Over]:
    """What waits in Redis is doubled, put into another order, or taken away, in one step each."""
    with _redis(system) as client:
        for name in redis_lists("echo"):
            client.eval(SCRIPTS[target], 1, name)
    yield at_once


SCRIPTS = {
    "doubled": "for _, m in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do redis.call('LPUSH', KEYS[1], m) end",
    "reordered": "local all = redis.call('LRANGE', KEYS[1], 0, -1); redis.call('DEL', KEYS[1]); "
    "for _, m in ipairs(all) do redis.call('LPUSH', KEYS[1], m) end",
    "lost": "for n = 1, math.floor(redis.call('LLEN', KEYS[1]) / 2) + 1 do redis.call('RPOP', KEYS[1]) end",
}


@contextlib.contextmanager
def stale_messages(system: System, target: str) -> Iterator[Over]:
    """Messages of shards that are done, at work, waiting or not yet released arrive once more."""
    columns = (shards.c.id, jobs.c.uuid, jobs.c.task, jobs.c.model, jobs.c.priority, shards.c.first, shards.c.last)
    query = sa.select(*columns).join_from(shards, jobs).order_by(shards.c.id.desc()).limit(STALE_MESSAGES)
    rows = system.store.read(lambda tx: tx.execute(query).mappings().all())
    dispatcher = Dispatcher(celery_app(system.valkey.url))
    dispatcher.start()
    dispatcher.publish(
        Released(
            shard_id=row["id"], job=row["uuid"], task=row["task"], model=row["model"], priority=row["priority"],
            first=row["first"], last=row["last"],
        )
        for row in rows
    )  # fmt: skip
    dispatcher.stop()
    yield at_once


def _redis(system: System) -> redis.Redis:
    return redis.Redis.from_url(system.valkey.url)


# --- PostgreSQL -------------------------------------------------------------------------------------------------------


def _postgres(system: System) -> Postgres:
    assert isinstance(system.ledger, Postgres)
    return system.ledger


@contextlib.contextmanager
def postgres_restart(system: System, target: str) -> Iterator[Over]:
    """`fast` or `immediate`."""
    _postgres(system).restart(target)
    yield at_once


@contextlib.contextmanager
def postgres_pause(system: System, target: str) -> Iterator[Over]:
    """SIGSTOP, then SIGCONT, to all its processes."""
    server = _postgres(system)
    server.signal(signal.SIGSTOP)
    yield at_once
    server.signal(signal.SIGCONT)


@contextlib.contextmanager
def postgres_terminate(system: System, target: str) -> Iterator[Over]:
    """All sessions are ended."""
    _postgres(system).terminate_backends()
    yield at_once
