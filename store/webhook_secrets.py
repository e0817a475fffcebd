"""The secrets by which a key's webhooks are signed: one, and while it is rotated the one before as well."""

import base64
import secrets

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from store.session import db_time
from store.tables import keys, webhook_secrets
from textmill.errors import WebhookSecretMissing
from textmill.webhooks import NewWebhookSecret, WebhookSecret

PREFIX = "whsec_"
"""By it the libraries of Standard Webhooks know a secret."""

BYTES = 32

MOST = 10
"""That sign at once: each makes every delivery longer by a signature."""


def rotate(tx: Connection, key_id: int, overlap_seconds: float) -> NewWebhookSecret:
    """The key's first secret, or a new one: that of now signs as well for so long, earlier ones for as long as they
    were to. With no time at all none of them does. It cannot be read again.
    """
    # Of two at once the second sees what the first has made: else both would stay without an end.
    tx.execute(sa.select(keys.c.id).where(keys.c.id == key_id).with_for_update(key_share=True))
    mine = webhook_secrets.c.key_id == key_id
    signing_now = sa.select(webhook_secrets.c.id).where(_signing(key_id)).order_by(webhook_secrets.c.id.desc())
    kept = tx.execute(signing_now.limit(MOST - 1)).scalars().all() if overlap_seconds else []
    tx.execute(sa.delete(webhook_secrets).where(mine, webhook_secrets.c.id.not_in(kept)))
    endless = webhook_secrets.c.expires_at.is_(None)
    tx.execute(sa.update(webhook_secrets).where(mine, endless).values(expires_at=db_time(overlap_seconds)))
    secret = PREFIX + base64.b64encode(secrets.token_bytes(BYTES)).decode()
    new = sa.insert(webhook_secrets).values(key_id=key_id, secret=secret, created_at=db_time())
    row = tx.execute(new.returning(webhook_secrets.c.id, webhook_secrets.c.created_at)).one()
    return NewWebhookSecret(id=row.id, created_at=row.created_at, expires_at=None, secret=secret)


def listed(tx: Connection, key_id: int) -> list[WebhookSecret]:
    """Those that sign, newest first."""
    columns = [webhook_secrets.c[name] for name in WebhookSecret.model_fields]
    rows = tx.execute(sa.select(*columns).where(_signing(key_id)).order_by(webhook_secrets.c.id.desc())).mappings()
    return [WebhookSecret.model_validate(row) for row in rows]


def signing(tx: Connection, key_id: int) -> list[str]:
    """The secrets themselves, newest first."""
    query = sa.select(webhook_secrets.c.secret).where(_signing(key_id)).order_by(webhook_secrets.c.id.desc())
    return list(tx.execute(query).scalars())


def require(tx: Connection, key_id: int) -> None:
    """Raises WebhookSecretMissing where the key has none."""
    if not signing(tx, key_id):
        raise WebhookSecretMissing


def _signing(key_id: int) -> sa.ColumnElement[bool]:
    still = sa.or_(webhook_secrets.c.expires_at.is_(None), webhook_secrets.c.expires_at > db_time())
    return sa.and_(webhook_secrets.c.key_id == key_id, still)
