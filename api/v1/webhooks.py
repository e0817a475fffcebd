"""Webhooks: the log of a job's deliveries, sending one again, the secrets that sign them."""

from fastapi import APIRouter, Request

from api.services import JobId, Key, Services
from api.v1 import door, limits
from api.v1.bodies import SmallBody
from store import deliveries, webhook_secrets
from textmill.webhooks import DeliveriesPage, Delivery, NewWebhookSecret, WebhookSecretRequest, WebhookSecretsPage

router = APIRouter(prefix="/v1", tags=["webhooks"])


@router.get("/jobs/{job_id}/deliveries")
def listed(services: Services, key: Key, job_id: JobId) -> DeliveriesPage:
    """What was told to the job's webhook: one delivery for each time that the job ended, the newest 100 first."""
    return DeliveriesPage(deliveries=services.store.read(deliveries.listed, key, job_id))


@router.post("/jobs/{job_id}/deliveries/{delivery_id}/resend")
def resend(services: Services, key: Key, job_id: JobId, delivery_id: str) -> Delivery:
    """Send it again at once, with the same `webhook-id`. One that is being sent this moment is left to it."""
    found = services.store.write_once(deliveries.resend, key, job_id, delivery_id)
    services.sender.wake()
    return found


@router.get("/webhooks/secrets")
def secrets(services: Services, key: Key) -> WebhookSecretsPage:
    """The secrets by which this key's webhooks are signed, without themselves."""
    return WebhookSecretsPage(secrets=services.store.read(webhook_secrets.listed, key))


@router.post("/webhooks/secrets", status_code=201)
def rotate(request: Request, services: Services, key: Key, body: SmallBody) -> NewWebhookSecret:
    """Make the key's first secret, or a new one: that of now signs as well for `overlap_seconds`."""
    asked = door.parse_small(WebhookSecretRequest, limits.decoded(request, body, limits.SMALL_BODY) or b"{}")
    return services.store.write_once(webhook_secrets.rotate, key, asked.overlap_seconds)
