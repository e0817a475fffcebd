"""The registry of worker processes: who is alive, what they serve, how many task slots there are."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, RowMapping

from store import tallies
from store.session import db_time, settings_of
from store.tables import STAYS, workers
from store.tables import speeds as last_speeds
from textmill.wire import WorkerInfo


@dataclass(frozen=True)
class WorkerRow:
    """A worker process as it registers itself."""

    id: str
    host: str
    pid: int
    device: str
    models: tuple[str, ...]
    slots: int
    machine: str
    """Where the pid means something: `workers/launcher/machine.py`."""


def register(tx: Connection, worker: WorkerRow) -> None:
    """A process has started. Once more is harmless: its first answer may be lost."""
    insert = postgresql.insert if tx.dialect.name == "postgresql" else sqlite.insert
    tx.execute(
        insert(workers)
        .values(
            id=worker.id,
            host=worker.host,
            pid=worker.pid,
            device=worker.device,
            models=json.dumps(worker.models),
            resident="[]",
            slots=worker.slots,
            machine=worker.machine,
            load=0.0,
            started_at=db_time(),
            heartbeat_at=db_time(),
        )
        .on_conflict_do_nothing()
    )


def heartbeat(
    tx: Connection,
    worker_id: str,
    resident: list[str],
    load: float,
    speeds: Mapping[str, float] | None = None,
    failed: Sequence[str] = (),
    filled: tuple[int, int] = (0, 0),
    draining: bool = False,
    batches: Mapping[str, float] | None = None,
) -> bool:
    """The process is alive; `load` is the share of time that its engine was busy lately, 0 to 1; `speeds`: characters
    of text per second that it does of each model it has run, while it does nothing else; `failed`: models that it could
    not open or load, for which its slots do not count; `filled`: tokens of its batches since the last heartbeat,
    without padding and with it; `draining`: it takes no more shards; `batches`: characters of text that fill a batch of
    each model.

    False where the registry has forgotten it: then it registers again.
    """
    told = {model: speed for model, speed in (speeds or {}).items() if speed > 0}
    values = {"resident": json.dumps(resident), "load": load, "speeds": json.dumps(told), "draining": draining}
    values |= {"failed": json.dumps(failed), "batches": json.dumps(batches or {}), "heartbeat_at": db_time()}
    alive = tx.execute(sa.update(workers).where(workers.c.id == worker_id).values(**values)).rowcount == 1
    _remember(tx, told)
    tallies.count_batches(tx, worker_id, *filled)
    return alive


def _remember(tx: Connection, told: Mapping[str, float]) -> None:
    """Keep the last speed of each model, for when no worker that knows it is there."""
    if not told:
        return
    new = (postgresql.insert if tx.dialect.name == "postgresql" else sqlite.insert)(last_speeds)
    known = [
        {"model": model, "characters_per_second": speed, "updated_at": db_time()}
        for model, speed in sorted(told.items())  # in one order: two workers tell of the same models at once
    ]
    changes = {name: new.excluded[name] for name in ("characters_per_second", "updated_at")}
    tx.execute(new.values(known).on_conflict_do_update(index_elements=[last_speeds.c.model], set_=changes))


def unregister(tx: Connection, worker_id: str) -> None:
    """The process is gone."""
    tx.execute(sa.delete(workers).where(workers.c.id == worker_id))


def forget_dead(tx: Connection) -> None:
    """Drop processes whose heartbeat is long over."""
    tx.execute(sa.delete(workers).where(workers.c.heartbeat_at < db_time(-10 * settings_of(tx).worker_timeout_seconds)))


def pids(tx: Connection, machine: str) -> list[int]:
    """The processes that are registered of this machine."""
    return list(tx.execute(sa.select(workers.c.pid).where(workers.c.machine == machine)).scalars())


def live(tx: Connection) -> list[WorkerInfo]:
    """The live workers, oldest first."""
    alive = workers.c.heartbeat_at >= db_time(-settings_of(tx).worker_timeout_seconds)
    rows = tx.execute(sa.select(workers).where(alive).order_by(workers.c.started_at, workers.c.id)).mappings().all()
    return [_to_wire(row) for row in rows]


def _to_wire(row: RowMapping) -> WorkerInfo:
    lists = {name: json.loads(row[name] or "[]") for name in _LISTS}
    return WorkerInfo.model_validate({**row, **lists, "draining": bool(row["draining"])})


def shown(tx: Connection) -> list[WorkerInfo]:
    """The live workers with how full their batches were over the last minutes, and how fast they were."""
    recent = tallies.recent(tx)
    return [worker.model_copy(update=recent.get(worker.id, {})) for worker in live(tx)]


_LISTS = ("models", "resident", "failed")


def served(tx: Connection, model: str) -> bool:
    """Whether a live worker serves the model, has not failed to load it, and is not draining. Told by the database,
    which stops at the first: producers that poll ask for this."""
    return _one_has(tx, workers.c.models, model)


def loaded(tx: Connection, model: str) -> bool:
    """As `served`, by one that had the model loaded at its last heartbeat."""
    return _one_has(tx, workers.c.resident, model)


def _one_has(tx: Connection, named: sa.ColumnElement[str], model: str) -> bool:
    alive = workers.c.heartbeat_at >= db_time(-settings_of(tx).worker_timeout_seconds)
    name = json.dumps(model)
    has = named.contains(name, autoescape=True)
    cannot = sa.func.coalesce(workers.c.failed, "").contains(name, autoescape=True)
    return tx.execute(sa.select(sa.exists().where(alive, STAYS, has, sa.not_(cannot)))).scalar_one()


def others_serve(tx: Connection, worker_id: str, model: str) -> bool:
    """As `served`, by another worker than this one."""
    others = (worker for worker in live(tx) if worker.id != worker_id and not worker.draining)
    return any(model in worker.models and model not in worker.failed for worker in others)
