"""API keys: who may do what, and how much of it. Only hashes are stored: a secret is shown once, when it is made."""

import hashlib
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from store.session import db_time
from store.tables import jobs, keys
from textmill import keys as wire
from textmill.errors import KeyNotFound, Unauthorized

LIMITS = ("requests_per_minute", "open_jobs", "documents_per_day")


class Limits(NamedTuple):
    """How much a key may do; None is as much as it likes."""

    requests_per_minute: int | None = None
    open_jobs: int | None = None
    documents_per_day: int | None = None


UNLIMITED = Limits()


class Grant(NamedTuple):
    """A key that is in force, and what it may do."""

    id: int
    role: wire.Role
    limits: Limits


class NewKey(NamedTuple):
    """A key that was just made, or rotated."""

    id: int
    secret: str


def _hash(secret: str) -> str:
    # A key has 256 random bits, so a plain digest is enough; slow password hashing would cost every request.
    return hashlib.sha256(secret.encode()).hexdigest()


def _secret() -> str:
    return f"tm_{secrets.token_urlsafe(32)}"


def create(tx: Connection, name: str, role: wire.Role = "producer", limits: Limits = UNLIMITED) -> NewKey:
    """Make a key. Its secret cannot be read again."""
    secret = _secret()
    return NewKey(add(tx, name, secret, role, limits), secret)


def add(tx: Connection, name: str, secret: str, role: wire.Role = "producer", limits: Limits = UNLIMITED) -> int:
    """Store a key whose secret was chosen elsewhere. Returns its id."""
    values = {"name": name, "secret_hash": _hash(secret), "created_at": db_time(), "role": role, **limits._asdict()}
    key_id: int = tx.execute(sa.insert(keys).values(**values).returning(keys.c.id)).scalar_one()
    return key_id


def authenticate(tx: Connection, secret: str) -> Grant:
    """The key with this secret, or with one that was rotated and is still taken. Raises Unauthorized."""
    digest = _hash(secret)
    still = sa.and_(keys.c.previous_hash == digest, keys.c.previous_until > db_time())
    columns = [keys.c.id, keys.c.role, *(keys.c[name] for name in LIMITS)]
    known = sa.select(*columns).where(sa.or_(keys.c.secret_hash == digest, still), keys.c.revoked_at.is_(None))
    row = tx.execute(known).one_or_none()
    if row is None:
        raise Unauthorized
    return Grant(row[0], row[1], Limits(*row[2:]))


def limits_of(tx: Connection, key_id: int) -> Limits:
    """What a key may do, whether it is in force or not: for what it began."""
    row = tx.execute(sa.select(*(keys.c[name] for name in LIMITS)).where(keys.c.id == key_id)).one()
    return Limits(*row)


def note_use(tx: Connection, used: Mapping[int, datetime]) -> None:
    """Remember when keys were last used; a time that is older than the stored one changes nothing."""
    for key_id, moment in sorted(used.items()):  # in one order, so that two processes never wait for each other
        older = sa.or_(keys.c.last_used_at.is_(None), keys.c.last_used_at < moment)
        tx.execute(sa.update(keys).where(keys.c.id == key_id, older).values(last_used_at=moment))


# --- what operators do ------------------------------------------------------------------------------------------------


def listed(tx: Connection) -> list[wire.Key]:
    """All keys, revoked ones too, oldest first."""
    rows = tx.execute(sa.select(keys, db_time().label("now")).order_by(keys.c.id)).mappings()
    return [_to_wire(row) for row in rows]


def get(tx: Connection, key_id: int) -> wire.Key:
    """One key. Raises KeyNotFound."""
    row = tx.execute(sa.select(keys, db_time().label("now")).where(keys.c.id == key_id)).mappings().one_or_none()
    if row is None:
        raise KeyNotFound
    return _to_wire(row)


def change(tx: Connection, key_id: int, values: Mapping[str, Any]) -> wire.Key:
    """Set name, role or limits of a key that is in force. Raises KeyNotFound."""
    if values:
        _update(tx, key_id, values)
    return get(tx, key_id)


def rotate(tx: Connection, key_id: int, overlap_seconds: float) -> NewKey:
    """Give a key a new secret; the one of now is taken for so long, one of an earlier rotation no longer.

    Raises KeyNotFound for a key that is not in force.
    """
    secret = _secret()
    values = {
        "previous_hash": keys.c.secret_hash if overlap_seconds else None,
        "previous_until": db_time(overlap_seconds) if overlap_seconds else None,
        "secret_hash": _hash(secret),
    }
    _update(tx, key_id, values)
    return NewKey(key_id, secret)


def revoke(tx: Connection, key_id: int) -> None:
    """Refuse the key from now on. Its jobs go on. Raises KeyNotFound for a key that is not in force."""
    _update(tx, key_id, {"revoked_at": db_time(), "previous_hash": None, "previous_until": None})


def _update(tx: Connection, key_id: int, values: Mapping[str, Any]) -> None:
    in_force = sa.and_(keys.c.id == key_id, keys.c.revoked_at.is_(None))
    if tx.execute(sa.update(keys).where(in_force).values(**values)).rowcount == 0:
        raise KeyNotFound(f"no key {key_id} is in force")


def owner_of(tx: Connection, job_id: str) -> int | None:
    """The key whose job that is; None where there is no such job."""
    found: int | None = tx.execute(sa.select(jobs.c.key_id).where(jobs.c.uuid == job_id)).scalar()
    return found


def _to_wire(row: RowMapping) -> wire.Key:
    rotating = row["previous_until"] is not None and row["previous_until"] > row["now"]
    return wire.Key(
        id=row["id"],
        name=row["name"],
        role=row["role"],
        limits=wire.KeyLimits(**{name: row[name] for name in LIMITS}),
        created_at=row["created_at"],
        last_used_at=row["last_used_at"],
        revoked_at=row["revoked_at"],
        previous_secret_until=row["previous_until"] if rotating else None,
    )
