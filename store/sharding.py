"""Cutting a job's documents into shards: consecutive ranges, sized by characters."""

from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from store import capacity
from store.session import db_time, settings_of
from store.tables import jobs, shards


class Range(NamedTuple):
    """The documents first..last of a job, and the characters of those that the shard is about."""

    first: int
    last: int
    characters: int


def add(tx: Connection, job_id: int, ranges: Sequence[Range]) -> None:
    """Store shards over these ranges of the job's documents, and count them as remaining."""
    rows = [{"job_id": job_id, "state": "pending", **piece._asdict()} for piece in ranges]
    tx.execute(sa.insert(shards).values(created_at=db_time()), rows)
    tx.execute(
        sa.update(jobs).where(jobs.c.id == job_id).values(remaining_shards=jobs.c.remaining_shards + len(ranges))
    )


def add_sized(tx: Connection, job_id: int, model: str, sizes: Sequence[tuple[int, int]]) -> None:
    """Cut documents, given as (position, characters), into bites of the model's workers, and store them."""
    if sizes:
        add(tx, job_id, cut(sizes, capacity.read_bite(tx, model), settings_of(tx).shard_documents))


def cut(sizes: Sequence[tuple[int, int]], max_characters: int, max_documents: int) -> list[Range]:
    """Ranges over documents given as (position, characters), in order.

    A document that is larger than a shard gets one of its own. Positions between the given ones may fall into a range:
    they have their outcome already, and a claim reads only those that have none.
    """
    ranges: list[Range] = []
    first = last = count = characters = 0
    for position, size in sizes:
        if count and (count >= max_documents or characters + size > max_characters):
            ranges.append(Range(first, last, characters))
            count = characters = 0
        if not count:
            first = position
        last, count, characters = position, count + 1, characters + size
    if count:
        ranges.append(Range(first, last, characters))
    return ranges
