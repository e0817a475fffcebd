"""What can happen to the system, each kind as a context: it begins, lasts for as long as the plan says, and ends."""

import contextlib
import resource
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple

import psutil
import redis
import sqlalchemy as sa

from store.dispatch import Released
from store.dispatcher import Dispatcher
from store.queue import celery_app, redis_lists
from store.tables import jobs, shards, workers
from tests.reliability.chaos.servers import Postgres, signal_all
from tests.reliability.chaos.system import APIS, WORKERS, WRITE_SECONDS, Part, System
from workers.launcher.machine import machine

Over = Callable[[], bool]
"""Whether what the fault has hit is at work again, as far as one can see it in the ledger."""

Act = Callable[[System, str], AbstractContextManager[Over]]

SLOW_SECONDS = 0.2
"""How much later a slow network delivers."""

STALE_MESSAGES = 200

WRITES = f"SET LOCAL statement_timeout = {WRITE_SECONDS * 1000}".encode()
"""How a transaction that writes begins. Its statements cannot be seen, once they are prepared."""


def at_once() -> bool:
    """Nothing has to become well again but the system as a whole."""
    return True


@dataclass(frozen=True)
class Kind:
    """A kind of fault: whom it may hit, how long it lasts (in seconds, at least and at most), how often it is chosen
    among the others, and on which databases it exists."""

    act: Act
    targets: tuple[str, ...] = ("",)
    seconds: tuple[float, float] = (0, 0)
    weight: float = 1
    databases: tuple[str, ...] = ("postgresql", "sqlite")


class Lease(NamedTuple):
    """A lease that a worker held."""

    shard_id: int
    token: str


# --- processes --------------------------------------------------------------------------------------------------------


def worker_of(part: Part) -> psutil.Process | None:
    """The worker process of a launcher, where it has one at the moment."""
    return next(iter(part.children), None)


def leases_of(system: System, worker: psutil.Process) -> list[Lease]:
    """What the process holds."""
    its = sa.select(workers.c.id).where(workers.c.machine == machine(), workers.c.pid == worker.pid)
    held = sa.select(shards.c.id, shards.c.token).where(shards.c.state == "leased", shards.c.worker_id.in_(its))
    return [Lease(*row) for row in system.store.read(lambda tx: tx.execute(held).all())]


def moved(system: System, held: list[Lease]) -> bool:
    """Whether every shard of these leases has been taken by another worker, or has ended."""
    ids = [lease.shard_id for lease in held]
    query = sa.select(shards.c.id, shards.c.token, shards.c.state).where(shards.c.id.in_(ids))
    rows = system.store.read(lambda tx: tx.execute(query).all())
    waits = {row.id for row in rows if row.state in ("queued", "pending")}
    return not waits and not any(row.state == "leased" and Lease(row.id, row.token) in held for row in rows)


@contextlib.contextmanager
def kill(system: System, target: str) -> Iterator[Over]:
    """SIGKILL the service's own process: an api, or a launcher, whose worker then drains."""
    system.parts[target].signal(signal.SIGKILL)
    yield at_once


@contextlib.contextmanager
def kill_worker(system: System, target: str) -> Iterator[Over]:
    """SIGKILL the worker of a launcher."""
    worker = worker_of(system.parts[target])
    if worker is None:
        yield at_once
        return
    held = leases_of(system, worker)
    signal_all([worker], signal.SIGKILL)
    yield lambda: moved(system, held)


@contextlib.contextmanager
def kill_machine(system: System, target: str) -> Iterator[Over]:
    """SIGKILL a launcher and its worker together; it is away for as long as the fault lasts."""
    part = system.parts[target]
    worker = worker_of(part)
    held = [] if worker is None else leases_of(system, worker)
    part.wanted = False
    part.signal(signal.SIGKILL)
    signal_all([] if worker is None else [worker], signal.SIGKILL)
    yield lambda: moved(system, held)
    part.wanted = True


@contextlib.contextmanager
def stop(system: System, target: str) -> Iterator[Over]:
    """SIGSTOP, then SIGCONT: an api or a launcher."""
    process = psutil.Process(system.parts[target].pid)
    signal_all([process], signal.SIGSTOP)
    yield at_once
    signal_all([process], signal.SIGCONT)


@contextlib.contextmanager
def stop_worker(system: System, target: str) -> Iterator[Over]:
    """SIGSTOP, then SIGCONT, the worker of a launcher."""
    worker = worker_of(system.parts[target])
    signal_all([] if worker is None else [worker], signal.SIGSTOP)
    yield at_once
    signal_all([] if worker is None else [worker], signal.SIGCONT)


@contextlib.contextmanager
def deploy(system: System, target: str) -> Iterator[Over]:
    """SIGTERM: the service drains, ends, and is started again. `all`: one after the other."""
    for name in (*APIS, *WORKERS) if target == "all" else (target,):
        part = system.parts[name]
        old = part.process
        part.signal(signal.SIGTERM)
        if old is not None and target == "all":
            with contextlib.suppress(subprocess.TimeoutExpired):
                old.wait(30)
    yield at_once


# --- Redis ------------------------------------------------------------------------------------------------------------


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


# --- the network ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def net_cut(system: System, target: str) -> Iterator[Over]:
    """Connections are ended, and new ones refused."""
    proxy = system.links[_link(target)]
    proxy.cut()
    yield at_once
    proxy.mend()


@contextlib.contextmanager
def net_silent(system: System, target: str) -> Iterator[Over]:
    """Nothing is forwarded, and nothing ended."""
    proxy = system.links[_link(target)]
    proxy.vanish()
    yield at_once
    proxy.mend()


@contextlib.contextmanager
def net_slow(system: System, target: str) -> Iterator[Over]:
    """Everything arrives later."""
    proxy = system.links[_link(target)]
    proxy.slow(SLOW_SECONDS)
    yield at_once
    proxy.mend()


@contextlib.contextmanager
def net_silent_in_transaction(system: System, target: str) -> Iterator[Over]:
    """Silent in the middle of a transaction that writes, so that its locks stay behind."""
    proxy = system.links[target, "sql"]
    proxy.at(WRITES, b"", b"", b"", act=proxy.vanish)
    yield at_once
    proxy.mend()


@contextlib.contextmanager
def commit_reply_lost(system: System, target: str) -> Iterator[Over]:
    """The COMMIT of a transaction that writes reaches the server, and its answer does not come back; again and again,
    for as long as it lasts."""
    proxy = system.links[target, "sql"]
    ends = threading.Event()

    def drop() -> None:
        proxy.drop()
        if not ends.is_set():
            again = threading.Timer(0.7, lambda: None if ends.is_set() else proxy.at(WRITES, b"COMMIT", act=drop))
            again.daemon = True
            again.start()

    proxy.at(WRITES, b"COMMIT", act=drop)
    yield at_once
    ends.set()
    proxy.mend()


def _link(target: str) -> tuple[str, str]:
    one, _, other = target.partition(">")
    return one, other


# --- the disk ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def disk_full(system: System, target: str) -> Iterator[Over]:
    """No file of any process may grow beyond what the ledger is by far."""
    found = [psutil.Process(part.pid) for part in system.parts.values()]
    found += [child for part in system.parts.values() for child in part.children]
    for process in found:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (65_536, resource.RLIM_INFINITY))
    yield at_once
    for process in found:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


SERVICES = (*APIS, *WORKERS)
POSTGRES = ("postgresql",)
LINKS = tuple(f"{one}>{other}" for one in SERVICES for other in ("sql", "redis"))
TO_APIS = tuple(f"producers>{api}" for api in APIS)

KINDS: dict[str, Kind] = {
    "kill_api": Kind(kill, APIS, weight=2),
    "kill_launcher": Kind(kill, WORKERS, weight=2),
    "kill_worker": Kind(kill_worker, WORKERS, weight=4),
    "kill_machine": Kind(kill_machine, WORKERS, (1, 6)),
    "stop_api": Kind(stop, APIS, (1, 8)),
    "stop_launcher": Kind(stop, WORKERS, (1, 8)),
    "stop_worker": Kind(stop_worker, WORKERS, (1, 30), weight=2),
    "deploy": Kind(deploy, (*SERVICES, "all"), weight=2),
    "redis_kill": Kind(redis_kill, seconds=(0, 8), weight=2),
    "redis_flush": Kind(redis_flush, weight=2),
    "redis_pause": Kind(redis_pause, seconds=(1, 10)),
    "messages": Kind(messages, tuple(SCRIPTS), weight=2),
    "stale_messages": Kind(stale_messages),
    "postgres_restart": Kind(postgres_restart, ("fast", "immediate"), weight=3, databases=POSTGRES),
    "postgres_pause": Kind(postgres_pause, seconds=(1, 12), weight=2, databases=POSTGRES),
    "postgres_terminate": Kind(postgres_terminate, weight=2, databases=POSTGRES),
    "net_cut": Kind(net_cut, (*LINKS, *TO_APIS), (1, 10), weight=2, databases=POSTGRES),
    "net_silent": Kind(net_silent, (*LINKS, *TO_APIS), (1, 30), weight=2, databases=POSTGRES),
    "net_slow": Kind(net_slow, (*LINKS, *TO_APIS), (2, 10), databases=POSTGRES),
    "net_silent_in_transaction": Kind(net_silent_in_transaction, SERVICES, (2, 15), weight=2, databases=POSTGRES),
    "commit_reply_lost": Kind(commit_reply_lost, SERVICES, (2, 8), weight=2, databases=POSTGRES),
    "disk_full": Kind(disk_full, seconds=(1, 8), weight=3, databases=("sqlite",)),
}
