"""`textmill webhooks`: the secrets that sign them, the log of a job's deliveries, sending one again."""

from typing import TYPE_CHECKING

import click

from textmill.cli_options import as_json, client_of, connection, job_of

if TYPE_CHECKING:
    from textmill.webhooks import Delivery

DAY_HOURS = 24.0
LONGEST_HOURS = 90 * DAY_HOURS


@click.group("webhooks")
def webhooks_group() -> None:
    """Webhooks: secrets, deliveries, sending again. A job has one by `--webhook URL`."""


@webhooks_group.command("rotate")
@click.option(
    "--overlap-hours",
    type=click.FloatRange(0, LONGEST_HOURS),
    default=DAY_HOURS,
    show_default=True,
    help="how long the secrets of now sign as well; 0: no longer",
)
@connection
def rotate(overlap_hours: float, server: str | None, api_key: str | None) -> None:
    """Make the key's first secret, or a new one, and print it: it cannot be shown again."""
    with client_of(server, api_key) as client:
        click.echo(client.new_webhook_secret(3_600 * overlap_hours).secret)


@webhooks_group.command("secrets")
@as_json
@connection
def secrets(json_: bool, server: str | None, api_key: str | None) -> None:
    """List the secrets that sign, without themselves."""
    with client_of(server, api_key) as client:
        for secret in client.webhook_secrets():
            until = f"signs until {secret.expires_at:%Y-%m-%d %H:%M} UTC" if secret.expires_at else "signs"
            shown = f"{secret.id}  made {secret.created_at:%Y-%m-%d %H:%M} UTC  {until}"
            click.echo(secret.model_dump_json() if json_ else shown)


@webhooks_group.command("deliveries")
@click.argument("job_id")
@as_json
@connection
def deliveries(job_id: str, json_: bool, server: str | None, api_key: str | None) -> None:
    """What was told to a job's webhook, newest first, with each attempt."""
    with client_of(server, api_key) as client:
        for delivery in job_of(client, job_id).deliveries():
            for line in [delivery.model_dump_json()] if json_ else _shown(delivery):
                click.echo(line)


@webhooks_group.command("resend")
@click.argument("job_id")
@click.argument("delivery_id", required=False)
@as_json
@connection
def resend(job_id: str, delivery_id: str | None, json_: bool, server: str | None, api_key: str | None) -> None:
    """Send a delivery of a job again, the newest where none is named."""
    with client_of(server, api_key) as client:
        delivery = job_of(client, job_id).resend(delivery_id)
        click.echo(delivery.model_dump_json() if json_ else _shown(delivery)[0])


def _shown(delivery: "Delivery") -> list[str]:
    from textmill.show import attempt_line, delivery_line

    return [delivery_line(delivery), *(f"  {attempt_line(attempt)}" for attempt in delivery.attempts)]
