"""The registry of worker processes: who is alive, what they serve, how many task slots there are."""

import json
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from store.session import db_time, settings_of
from store.tables import workers
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


def register(tx: Connection, worker: WorkerRow) -> None:
    """A process has started."""
    tx.execute(
        sa.insert(workers).values(
            id=worker.id,
            host=worker.host,
            pid=worker.pid,
            device=worker.device,
            models=json.dumps(worker.models),
            resident="[]",
            slots=worker.slots,
            load=0.0,
            started_at=db_time(),
            heartbeat_at=db_time(),
        )
    )


def heartbeat(tx: Connection, worker_id: str, resident: list[str], load: float) -> bool:
    """The process is alive; `load` is the share of time that its engine was busy lately, 0 to 1.

    False where the registry has forgotten it: then it registers again.
    """
    values = {"resident": json.dumps(resident), "load": load, "heartbeat_at": db_time()}
    return tx.execute(sa.update(workers).where(workers.c.id == worker_id).values(**values)).rowcount == 1


def unregister(tx: Connection, worker_id: str) -> None:
    """The process is gone."""
    tx.execute(sa.delete(workers).where(workers.c.id == worker_id))


def forget_dead(tx: Connection) -> None:
    """Drop processes whose heartbeat is long over."""
    tx.execute(sa.delete(workers).where(workers.c.heartbeat_at < db_time(-10 * settings_of(tx).worker_timeout_seconds)))


def slots(tx: Connection, model: str) -> int:
    """Task slots of the live workers that serve the model."""
    alive = workers.c.heartbeat_at >= db_time(-settings_of(tx).worker_timeout_seconds)
    rows = tx.execute(sa.select(workers.c.slots, workers.c.models).where(alive))
    return sum(slots for slots, models in rows if model in json.loads(models))


def live(tx: Connection) -> list[WorkerInfo]:
    """The live workers, oldest first."""
    alive = workers.c.heartbeat_at >= db_time(-settings_of(tx).worker_timeout_seconds)
    rows = tx.execute(sa.select(workers).where(alive).order_by(workers.c.started_at, workers.c.id)).mappings()
    return [
        WorkerInfo.model_validate({**row, "models": json.loads(row["models"]), "resident": json.loads(row["resident"])})
        for row in rows
    ]
