"""Webhooks on the wire: what is told when a job ends, the log of its deliveries, the secrets that sign them.

A delivery is a POST as Standard Webhooks has it: `webhook-id` (the same in every attempt), `webhook-timestamp` and
`webhook-signature`, of which there are several while a secret is rotated. Its body is an `Event`.
"""

from datetime import datetime
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from textmill.base import Request, Wire
from textmill.wire import Counts, JobState

LONGEST_OVERLAP = 90 * 86_400

DeliveryState: TypeAlias = Literal["pending", "delivered", "failed"]
"""Failed: it was given up, and only whoever asks for it sends it again."""

Outcome: TypeAlias = Literal["delivered", "refused", "redirected", "timeout", "unreachable", "forbidden", "unsigned"]
"""What one attempt came to. Forbidden: the name leads to no address to which this installation sends. Unsigned: the key
has no secret, so nothing was sent."""


class EndedJob(Wire):
    """The job in an event: how it ended, and nothing of its texts. The API has the rest."""

    id: str
    task: str
    model: str
    state: JobState | str
    counts: Counts
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime


class Event(Wire):
    """The body of a delivery."""

    type: str
    """`job.` and the state in which the job ended."""
    timestamp: datetime
    """When it did."""
    data: EndedJob


class DeliveryAttempt(Wire):
    """One attempt to deliver."""

    at: datetime
    seconds: float
    outcome: Outcome | str
    status: int | None
    """Of the answer, where there was one."""
    detail: str | None


class Delivery(Wire):
    """An end of a job that is told to its webhook."""

    id: str
    """The `webhook-id` of all its attempts."""
    type: str
    url: str
    state: DeliveryState | str
    created_at: datetime
    next_attempt_at: datetime | None
    """Null while one is under way, and where none follows by itself."""
    ended_at: datetime | None
    attempts: list[DeliveryAttempt]
    """The last ones, oldest first."""


class DeliveriesPage(Wire):
    """`GET /v1/jobs/{id}/deliveries`: newest first."""

    deliveries: list[Delivery]


class WebhookSecret(Wire):
    """A secret by which a key's webhooks are signed, without itself."""

    id: int
    created_at: datetime
    expires_at: datetime | None
    """Of the one before, while it is rotated: until when it signs, too."""


class WebhookSecretsPage(Wire):
    """`GET /v1/webhooks/secrets`: newest first."""

    secrets: list[WebhookSecret]


class NewWebhookSecret(WebhookSecret):
    """One that was just made: it is shown this once."""

    secret: str
    """`whsec_` and base64, as the libraries of Standard Webhooks take it."""


class WebhookSecretRequest(Request):
    """`POST /v1/webhooks/secrets`."""

    overlap_seconds: Annotated[float, Field(ge=0, le=LONGEST_OVERLAP)] = 86_400
    """How long the secret of now signs as well."""
