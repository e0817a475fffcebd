"""Faults of the services' own processes: killed, stopped, deployed, without a disk to write to."""

import contextlib
import resource
import signal
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

import psutil
import sqlalchemy as sa

from store.tables import shards, workers
from tests.reliability.chaos.servers import signal_all
from tests.reliability.chaos.system import APIS, WORKERS, Over, Part, System, at_once
from workers.launcher.machine import machine


class Lease(NamedTuple):
    """A lease that a worker held."""

    shard_id: int
    token: str


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
