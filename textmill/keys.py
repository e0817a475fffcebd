"""API keys on the wire: what operators see and set."""

from datetime import datetime
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from textmill.base import Request, Wire

Role: TypeAlias = Literal["producer", "reader", "operator"]
"""A producer submits and sees its own jobs, a reader only sees them. An operator does that for every key, and makes
keys."""

LARGEST_LIMIT = 2**31 - 1
LONGEST_OVERLAP = 90 * 86_400

Limit: TypeAlias = Annotated[int, Field(ge=0, le=LARGEST_LIMIT)] | None
KeyName: TypeAlias = Annotated[str, Field(min_length=1, max_length=200)]


class KeyLimits(Request):
    """How much a key may do; null is as much as it likes."""

    requests_per_minute: Annotated[int, Field(ge=1, le=LARGEST_LIMIT)] | None = None
    """In any minute, over all api processes."""
    open_jobs: Limit = None
    """Jobs that have not ended, at once."""
    documents_per_day: Limit = None
    """Documents submitted, by the day of UTC."""


class KeyRequest(Request):
    """`POST /v1/keys`."""

    name: KeyName
    role: Role = "producer"
    limits: KeyLimits = KeyLimits()


class KeyChange(Request):
    """`PATCH /v1/keys/{id}`: what is left out stays; `limits` are set as a whole."""

    name: KeyName | None = None
    role: Role | None = None
    limits: KeyLimits | None = None


class RotateRequest(Request):
    """`POST /v1/keys/{id}/rotate`."""

    overlap_seconds: Annotated[float, Field(ge=0, le=LONGEST_OVERLAP)] = 86_400
    """How long the secret of now is still taken."""


class Key(Wire):
    """A key, without its secret."""

    id: int
    name: str
    role: Role | str
    limits: KeyLimits
    created_at: datetime
    last_used_at: datetime | None
    """About: noted every half minute."""
    revoked_at: datetime | None
    previous_secret_until: datetime | None
    """While it is rotated: until when the secret of before is taken."""


class KeyWithSecret(Wire):
    """A key that was just made or rotated: its secret is shown this once."""

    key: Key
    secret: str
