"""`python -m api keys`: keys, straight in the database, for whoever runs the installation."""

import contextlib
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any, TypeVar, get_args

import click

from store import keys, schema
from store.session import Store
from store.settings import StoreSettings
from textmill.errors import KeyNotFound, Unavailable
from textmill.keys import LARGEST_LIMIT, LONGEST_OVERLAP, Key, Role

C = TypeVar("C")

DAY_SECONDS = 86_400
OVERLAP_HOURS = LONGEST_OVERLAP / 3_600


@click.group("keys")
def keys_group() -> None:
    """Make, list, limit, rotate and revoke API keys, straight in the database."""


@contextlib.contextmanager
def _opened() -> Iterator[Store]:
    store = Store(StoreSettings().database_url)
    try:
        schema.check(store)
        yield store
    except (schema.NotMigrated, Unavailable) as error:
        raise click.ClickException(str(error)) from error
    except KeyNotFound as error:
        raise click.BadParameter(error.message, param_hint="KEY_ID") from error
    finally:
        store.close()


def _limit(name: str, least: int, help_text: str) -> Any:
    return click.option(f"--{name}", type=click.IntRange(least, LARGEST_LIMIT), help=help_text)


def _limit_options(command: C) -> C:
    for option in (
        _limit("documents-per-day", 0, "Documents that it may submit on one day (UTC)."),
        _limit("open-jobs", 0, "Jobs that it may have at once that have not ended."),
        _limit("requests-per-minute", 1, "Requests that it may make in any minute."),
    ):
        command = option(command)
    return command


_role = click.option(
    "--role",
    type=click.Choice(get_args(Role)),
    help="producer: its own jobs; reader: only sees them; operator: every key's jobs, and the keys.",
)


def _say(name: str, made: keys.NewKey) -> None:
    click.echo(f"key {made.id} ({name}), shown this once:", err=True)
    click.echo(made.secret)


@keys_group.command("create")
@click.argument("name")
@_role
@_limit_options
def create_key(name: str, role: Role | None, **limits: int | None) -> None:
    """Make a key and print it; it cannot be shown again. Without limits it has none."""
    with _opened() as store:
        _say(name, store.write_once(keys.create, name, role or "producer", keys.Limits(**limits)))


@keys_group.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_keys(as_json: bool) -> None:
    """All keys, without their secrets."""
    with _opened() as store:
        found = store.read(keys.listed)
    if as_json:
        for key in found:
            click.echo(json.dumps(key.model_dump(mode="json")))
        return
    row = "{:>5}  {:<24} {:<9} {:<20} {:<20} {}"
    click.echo(row.format("ID", "NAME", "ROLE", "MADE", "LAST USED", "LIMITS"))
    for key in found:
        name = key.name if len(key.name) <= 24 else f"{key.name[:23]}…"
        moments = [_moment(key.created_at), _moment(key.last_used_at)]
        click.echo(row.format(key.id, name, key.role, *moments, _told(key)).rstrip())


def _moment(at: datetime | None) -> str:
    return "never" if at is None else f"{at:%Y-%m-%d %H:%M} UTC"


def _told(key: Key) -> str:
    limits = key.limits.model_dump(exclude_none=True).items()
    told = [f"{value} {name.replace('_', ' ')}" for name, value in limits]
    if key.previous_secret_until is not None:
        told.append(f"secret of before until {_moment(key.previous_secret_until)}")
    if key.revoked_at is not None:
        told.append(f"revoked {_moment(key.revoked_at)}")
    return ", ".join(told)


@keys_group.command("set")
@click.argument("key_id", type=click.IntRange(min=1))
@click.option("--name", help="What it is called.")
@_role
@_limit_options
@click.option("--unlimited", is_flag=True, help="Take away the limits that are not given here.")
def set_key(key_id: int, unlimited: bool, **given: Any) -> None:
    """Change a key; what is not named stays. Processes know it after TEXTMILL_KEY_CACHE_SECONDS."""
    values = {name: value for name, value in given.items() if value is not None}
    if unlimited:
        values = dict.fromkeys(keys.LIMITS) | values
    if not values:
        raise click.UsageError("say what is to change")
    with _opened() as store:
        store.write_once(keys.change, key_id, values)


@keys_group.command("rotate")
@click.argument("key_id", type=click.IntRange(min=1))
@click.option(
    "--overlap-hours",
    type=click.FloatRange(0, OVERLAP_HOURS),
    default=DAY_SECONDS / 3_600,
    show_default=True,
    help="How long the secret of now is still taken.",
)
def rotate_key(key_id: int, overlap_hours: float) -> None:
    """Give a key a new secret and print it; its jobs stay its own."""
    with _opened() as store:
        made = store.write_once(keys.rotate, key_id, 3_600 * overlap_hours)
        _say(store.read(keys.get, key_id).name, made)


@keys_group.command("revoke")
@click.argument("key_id", type=click.IntRange(min=1))
def revoke_key(key_id: int) -> None:
    """Refuse a key from now on. Its jobs go on."""
    with _opened() as store:
        store.write_once(keys.revoke, key_id)
