"""What the live workers can do, in characters a second: the size of a shard, and how much of a model may be out."""

import functools
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from store.policy import Window
from store.session import db_time, settings_of
from store.settings import StoreSettings
from store.tables import LEASED, OUT, STAYS, jobs, shards, speeds, workers

MOST_BATCH_BITES, MOST_BATCH_WINDOWS = 8, 4
"""A batch that takes longer by the speed that is known counts for so many times a shard's seconds, and a window's."""


@dataclass(frozen=True)
class Server:
    """A live worker process: its models but for those that it could not load, its task slots, characters a second and
    characters that fill a batch, by model."""

    models: frozenset[str]
    slots: int
    speeds: Mapping[str, float] = field(default_factory=dict)
    batches: Mapping[str, float] = field(default_factory=dict)


@dataclass
class Out:
    """What is released and unfinished, but for what workers hold that drain, as their slots do not count either: shards
    of each model, and of the model in question characters by key."""

    shards: Counter[str] = field(default_factory=Counter)
    characters: Counter[int] = field(default_factory=Counter)
    keys: set[int] = field(default_factory=set)

    def counted(self, most: float) -> float:
        """Characters, with those of each key up to its share of `most`: what one took while it was alone keeps nobody
        else out."""
        share = most / max(1, len(self.characters))
        return sum(min(characters, share) for characters in self.characters.values())


def bite(speed: float | None, settings: StoreSettings, batch: float = 0) -> int:
    """Characters in one shard of a model with this speed (characters a second of one worker; None: not known), of which
    so many fill a batch (0: not known).

    Not less than a batch: who runs batches that are not full seems slow by a factor, and smaller shards would leave
    even less to fill them with, for as long as the job runs. But at most `MOST_BATCH_BITES` times the seconds, as where
    a batch takes a slow processor a minute.
    """
    if speed is None:
        return min(settings.first_shard_characters, settings.shard_characters)
    of_time = speed * settings.shard_seconds
    return min(max(1, int(of_time), int(min(batch, MOST_BATCH_BITES * of_time))), settings.shard_characters)


def window(model: str, speed: float | None, servers: Sequence[Server], out: Out, settings: StoreSettings) -> Window:
    """How much of the model may be out, by the live workers that serve it. `speed`: as for `bite`."""
    size = bite(speed, settings, batch(model, servers))
    mine = [server for server in servers if model in server.models]
    most = settings.unserved_shards
    found = Window(most, most, 0, size, out.shards[model], free=most - out.shards[model])
    if not mine:
        return found
    usual = size / settings.shard_seconds if speed is None else speed
    # Batches must be filled, slow as they are: see `bite`.
    full = settings.release_batches / settings.release_seconds
    # A process with one slot runs one shard, and one waits for it.
    slots = sum(max(2, server.slots) for server in mine)
    served = frozenset[str]().union(*(server.models for server in mine))
    busy = {other for other, count in out.shards.items() if count and other in served}
    found.free = slots - sum(out.shards[other] for other in busy)
    # The models that are at work share the slots that are not in reserve; each has one at least.
    allowed = max(1, int(slots * (1 - settings.slot_reserve)) // len(busy | {model}))
    found.least = 2 * len(mine)
    found.shards = max(allowed, found.least) if busy <= {model} else allowed
    is_alone = busy <= {model} and len(out.keys) <= 1
    seconds = settings.release_alone_seconds if is_alone else settings.release_seconds
    for server in mine:
        speed = server.speeds.get(model, usual)
        found.characters += seconds * max(speed, min(full * server.batches.get(model, 0), MOST_BATCH_WINDOWS * speed))
    found.out_characters = out.counted(found.characters)
    return found


def read_window(tx: Connection, model: str) -> tuple[Window, Out]:
    """The model's window now, and what is out."""
    settings = settings_of(tx)
    servers = live(tx)
    speed = _speed(tx, model, servers)
    out = _out(tx, model, bite(speed, settings, batch(model, servers)))
    return window(model, speed, servers, out, settings), out


def read_bite(tx: Connection, model: str) -> int:
    """Characters in a shard of the model that is cut now."""
    servers = live(tx)
    return bite(_speed(tx, model, servers), settings_of(tx), batch(model, servers))


def batch(model: str, servers: Sequence[Server]) -> float:
    """Characters that fill a batch of the model in each of the live workers that serve it; 0 where none knows."""
    known = (server.batches[model] for server in servers if model in server.models and model in server.batches)
    return min(known, default=0)


def live(tx: Connection) -> list[Server]:
    """The worker processes whose heartbeat is young, but for those that take no more shards."""
    rows = tx.execute(_LIVE, {"since": -settings_of(tx).worker_timeout_seconds})
    return [
        Server(
            _models(models) - _models(failed or "[]"), slots, *(json.loads(told or "{}") for told in (speeds, batches))
        )
        for models, slots, failed, speeds, batches in rows
    ]


@functools.lru_cache(maxsize=256)
def _models(listed: str) -> frozenset[str]:
    """Most workers serve the same models."""
    return frozenset(json.loads(listed))


def _speed(tx: Connection, model: str, servers: Sequence[Server]) -> float | None:
    """That of the live workers which know it, on average; or the last that was ever known; or None."""
    told = [server.speeds[model] for server in servers if model in server.speeds]
    if told:
        return sum(told) / len(told)
    return tx.execute(_LAST_SPEED, {"model": model}).scalar()


def _out(tx: Connection, model: str, size: int) -> Out:
    """`size`: characters of a shard whose row says none."""
    out = Out()
    for of_model, key_id, count, characters in tx.execute(_OUT, {"size": size}):
        out.shards[of_model] += count
        if of_model == model:
            out.characters[key_id] += characters
            out.keys.add(key_id)
    return out


_LIVE = sa.select(*(workers.c[name] for name in ("models", "slots", "failed", "speeds", "batches"))).where(
    workers.c.heartbeat_at >= db_time(sa.bindparam("since", type_=sa.Float)), STAYS
)
_LAST_SPEED = sa.select(speeds.c.characters_per_second).where(speeds.c.model == sa.bindparam("model"))
# Only active jobs have shards that are out. Not asked for: SQLite would then begin with all active jobs.
_OUT = (
    sa.select(
        jobs.c.model,
        jobs.c.key_id,
        sa.func.count(),
        sa.func.sum(sa.func.coalesce(shards.c.characters, sa.bindparam("size", type_=sa.Integer))),
    )
    .join_from(shards, jobs)
    .outerjoin(workers, sa.and_(LEASED, workers.c.id == shards.c.worker_id))
    .where(OUT, STAYS)  # a shard of no registered worker counts
    .group_by(jobs.c.model, jobs.c.key_id)
)
