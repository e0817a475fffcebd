"""Files of a key: those that it uploaded, and those that its orders end with.

An uploaded file is kept in the database, in chunks: every process that has the ledger has the files, a backup of the
one has the others, and there is no folder for api processes to share and to lose. What an order ends with is not stored
a second time: its lines are made of the results whenever they are read.
"""

import uuid
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from store.session import db_time
from store.tables import STORED, UNFED, file_chunks, files, jobs, order_jobs, orders
from textmill.errors import FileInUse, FileNotFound, InvalidCursor
from textmill.wire import ENDED_STATES

UPLOAD_SECONDS = 3600
"""An upload to which nothing was added for this long is removed: its process is gone."""

PURGED = 50
"""Chunks that one step removes: some 13 MB as they are cut."""

EXPIRED = 100
"""Files that one step lets expire."""


class StoredFile(NamedTuple):
    """A file as its key sees it."""

    id: int
    uuid: str
    name: str
    purpose: str
    bytes: int
    chunks: int
    order_id: int | None
    part: str | None
    created_at: datetime
    expires_at: datetime | None


_COLUMNS = [files.c[name] for name in StoredFile._fields]


# --- uploads ----------------------------------------------------------------------------------------------------------


def begin(tx: Connection, key_id: int, name: str, purpose: str) -> int:
    """A file that nobody sees until it is complete. Returns its number."""
    now = db_time()
    values = {"uuid": uuid.uuid4().hex, "key_id": key_id, "name": name, "purpose": purpose, "chunks": 0}
    inserted = sa.insert(files).values(**values, created_at=now, touched_at=now).returning(files.c.id)
    file_id: int = tx.execute(inserted).scalar_one()
    return file_id


def add_chunk(tx: Connection, file_id: int, number: int, data: bytes) -> None:
    """The next chunk. Raises FileNotFound where the upload was given up meanwhile."""
    uploading = sa.and_(files.c.id == file_id, files.c.bytes.is_(None), files.c.deleted_at.is_(None))
    if tx.execute(sa.update(files).where(uploading).values(chunks=number + 1, touched_at=db_time())).rowcount == 0:
        raise FileNotFound
    tx.execute(sa.insert(file_chunks).values(file_id=file_id, number=number, data=data))


def complete(tx: Connection, file_id: int, size: int, seconds: float) -> StoredFile:
    """All of it is there: from now on it is a file. It expires so many seconds after it was begun."""
    mine = sa.and_(files.c.id == file_id, files.c.deleted_at.is_(None))
    begun: datetime | None = tx.execute(sa.select(files.c.created_at).where(mine)).scalar()
    if begun is None:
        raise FileNotFound
    expires = begun + timedelta(seconds=seconds)
    done = sa.update(files).where(mine).values(bytes=size, expires_at=expires)
    row = tx.execute(done.returning(*_COLUMNS)).one_or_none()
    if row is None:
        raise FileNotFound
    return StoredFile(*row)


def give_up(tx: Connection, file_id: int) -> None:
    """The upload ended before its file did."""
    tx.execute(sa.update(files).where(files.c.id == file_id, files.c.bytes.is_(None)).values(deleted_at=db_time()))


# --- look -------------------------------------------------------------------------------------------------------------


def get(tx: Connection, key_id: int, file_uuid: str) -> StoredFile:
    """Raises FileNotFound."""
    row = tx.execute(sa.select(*_COLUMNS).where(_owned(key_id, file_uuid))).one_or_none()
    if row is None:
        raise FileNotFound
    return StoredFile(*row)


def page(
    tx: Connection, key_id: int, limit: int, after: str | None = None, purpose: str | None = None, newest: bool = True
) -> tuple[list[StoredFile], bool]:
    """The key's files, and whether more follow. after: the last one of the page before. Raises InvalidCursor."""
    query = sa.select(*_COLUMNS).where(files.c.key_id == key_id, STORED)
    if purpose is not None:
        query = query.where(files.c.purpose == purpose)
    if after is not None:
        # Deleted ones count, too: a file may be deleted while its key goes through the pages.
        place = tx.execute(sa.select(files.c.id).where(files.c.uuid == after, files.c.key_id == key_id)).scalar()
        if place is None:
            raise InvalidCursor("after: there is no such file under this key")
        query = query.where(files.c.id < place if newest else files.c.id > place)
    rows = tx.execute(query.order_by(files.c.id.desc() if newest else files.c.id).limit(limit + 1)).all()
    return [StoredFile(*row) for row in rows[:limit]], len(rows) > limit


def chunks_of(tx: Connection, file_id: int) -> int:
    """How many chunks an uploaded file has. Raises FileNotFound."""
    found: int | None = tx.execute(sa.select(files.c.chunks).where(files.c.id == file_id, STORED)).scalar()
    if found is None:
        raise FileNotFound
    return found


def keep(tx: Connection, key_id: int, file_id: int) -> None:
    """Have the key's file there until this transaction has stored what is going to read it. Raises FileNotFound."""
    there = sa.and_(files.c.id == file_id, files.c.key_id == key_id, STORED)
    kept = sa.or_(files.c.expires_at.is_(None), files.c.expires_at > db_time())
    if tx.execute(sa.select(files.c.id).where(there, kept).with_for_update()).scalar() is None:
        raise FileNotFound


def chunk(tx: Connection, file_id: int, number: int) -> bytes | None:
    """A chunk of an uploaded file; None where the file has been removed meanwhile."""
    where = sa.and_(file_chunks.c.file_id == file_id, file_chunks.c.number == number)
    return tx.execute(sa.select(file_chunks.c.data).where(where)).scalar()


def _owned(key_id: int, file_uuid: str) -> sa.ColumnElement[bool]:
    return sa.and_(files.c.uuid == file_uuid, files.c.key_id == key_id, STORED)


# --- delete, expire, purge --------------------------------------------------------------------------------------------

_BEING_READ = sa.select(orders.c.id).where(orders.c.file_id == files.c.id, UNFED).exists()


def delete(tx: Connection, key_id: int, file_uuid: str) -> None:
    """Hide the file at once; the sweep removes it in steps. With the last of an order's files its jobs are deleted.

    Raises FileNotFound, FileInUse (an order still has to read it).
    """
    file_id = tx.execute(sa.select(files.c.id).where(_owned(key_id, file_uuid)).with_for_update()).scalar()
    if file_id is None:
        raise FileNotFound
    gone = _hide(tx, [file_id])
    if not gone:
        raise FileInUse
    let_go(tx, gone)


def _hide(tx: Connection, locked: Sequence[int]) -> list[int | None]:
    """Delete those of the files that no order is going to read. Returns the orders that they were of.

    The caller has locked them, in a statement before this one: only so are orders seen that were made meanwhile.
    """
    unread = sa.update(files).where(files.c.id.in_(locked), sa.not_(_BEING_READ))
    return list(tx.execute(unread.values(deleted_at=db_time()).returning(files.c.order_id)).scalars())


def expire(tx: Connection) -> bool:
    """Delete files whose time is over, and uploads that nobody goes on with. False: there were none left over."""
    # In subqueries: PostgreSQL looks a time that could change from row to row up in no index.
    now, long_ago = (sa.select(db_time(seconds)).scalar_subquery() for seconds in (0, -UPLOAD_SECONDS))
    over = (
        sa.and_(files.c.expires_at < now, files.c.deleted_at.is_(None), sa.not_(_BEING_READ)),
        sa.and_(files.c.bytes.is_(None), files.c.deleted_at.is_(None), files.c.touched_at < long_ago),
    )
    more = False
    for which in over:
        some = sa.select(files.c.id).where(which).limit(EXPIRED).with_for_update(skip_locked=True)
        found = tx.execute(some).scalars().all()
        let_go(tx, _hide(tx, found))
        more = more or len(found) == EXPIRED
    return more


def let_go(tx: Connection, order_ids: Collection[int | None]) -> None:
    """Delete the jobs of ended orders of which no file is left: nobody reads their results any more. None: no order's
    file was deleted."""
    for order_id in sorted({one for one in order_ids if one is not None}):
        # One after the other: of two that each delete one of its last two files, both would see the other's.
        tx.execute(sa.select(orders.c.id).where(orders.c.id == order_id).with_for_update())
        if tx.execute(sa.select(files.c.id).where(files.c.order_id == order_id, STORED).limit(1)).scalar() is None:
            theirs = sa.select(order_jobs.c.job_uuid).where(order_jobs.c.order_id == order_id)
            ended = sa.and_(jobs.c.uuid.in_(theirs), jobs.c.state.in_(ENDED_STATES), jobs.c.deleted_at.is_(None))
            tx.execute(sa.update(jobs).where(ended).values(deleted_at=db_time(), idempotency_key=None))


def purge(tx: Connection) -> bool:
    """Remove a step's worth of chunks of one deleted file, or the file itself with the last of them. False: done."""
    file_id = tx.execute(sa.select(files.c.id).where(files.c.deleted_at.is_not(None)).limit(1)).scalar()
    if file_id is None:
        return False
    some = sa.select(file_chunks.c.number).where(file_chunks.c.file_id == file_id).limit(PURGED)
    mine = sa.and_(file_chunks.c.file_id == file_id, file_chunks.c.number.in_(some))
    if tx.execute(sa.delete(file_chunks).where(mine)).rowcount == 0:
        tx.execute(sa.delete(files).where(files.c.id == file_id))
    return True
