"""API keys. Only a hash is stored: a key is shown once, when it is made."""

import hashlib
import secrets
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from store.session import db_time
from store.tables import keys
from textmill.errors import Unauthorized


class NewKey(NamedTuple):
    """A key that was just made."""

    id: int
    secret: str


def _hash(secret: str) -> str:
    # A key has 256 random bits, so a plain digest is enough; slow password hashing would cost every request.
    return hashlib.sha256(secret.encode()).hexdigest()


def create(tx: Connection, name: str) -> NewKey:
    """Make a key. Its secret cannot be read again."""
    secret = f"tm_{secrets.token_urlsafe(32)}"
    return NewKey(add(tx, name, secret), secret)


def add(tx: Connection, name: str, secret: str) -> int:
    """Store a key whose secret was chosen elsewhere. Returns its id."""
    values = {"name": name, "secret_hash": _hash(secret), "created_at": db_time()}
    key_id: int = tx.execute(sa.insert(keys).values(**values).returning(keys.c.id)).scalar_one()
    return key_id


def authenticate(tx: Connection, secret: str) -> int:
    """The id of the key with this secret. Raises Unauthorized."""
    known = sa.select(keys.c.id).where(keys.c.secret_hash == _hash(secret), keys.c.revoked_at.is_(None))
    key_id: int | None = tx.execute(known).scalar()
    if key_id is None:
        raise Unauthorized
    return key_id


def revoke(tx: Connection, key_id: int) -> bool:
    """Refuse the key from now on. Its jobs go on. False where no such key is in force."""
    in_force = sa.and_(keys.c.id == key_id, keys.c.revoked_at.is_(None))
    return tx.execute(sa.update(keys).where(in_force).values(revoked_at=db_time())).rowcount == 1
