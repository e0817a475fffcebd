"""Settings that every process with a database shares: the api, the workers, the sweep."""

import importlib.util
from pathlib import Path
from urllib.parse import urlsplit

import sqlalchemy as sa
from pydantic import AliasChoices, Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from store.logs import Form

UNREADABLE = "cannot be read; in a password @ / # ? [ ] % have to be percent-encoded (%40 %2F %23 %3F %5B %5D %25)"

TRACING = ("opentelemetry", "opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.exporter.otlp")
"""What `store/spans.py` needs, from the outside in: to look for a package imports those around it."""


class StoreSettings(BaseSettings):
    """Read from the environment, once, in the entry file of a process."""

    # Errors show no values: these URLs have passwords.
    model_config = SettingsConfigDict(env_prefix="TEXTMILL_", frozen=True, extra="ignore", hide_input_in_errors=True)

    database_url: str = Field(
        default="sqlite:///.textmill/textmill.sqlite3",
        validation_alias=AliasChoices("DATABASE_URL", "TEXTMILL_DATABASE_URL"),
    )
    """The ledger: `postgresql://...` or `sqlite:///path`."""

    redis_url: str = Field(
        default="redis://127.0.0.1:6379/0", validation_alias=AliasChoices("REDIS_URL", "TEXTMILL_REDIS_URL")
    )
    """The doorbell. Give Textmill a database number of its own."""

    catalogue: Path = Path("models/catalogue.toml")
    """The file that names the models which this installation offers."""

    echo: bool = False
    """Offer the model `echo` for every task: a stand-in that answers at once, for trials and tests."""

    log_format: Form = "text"
    """How processes log: lines of `text`, or an object a line, `json`. Both name job and shard where they know them."""

    traces: bool = False
    """Send OpenTelemetry traces of requests, shards, batches and settles. Where to, and of how many of them, is said by
    OpenTelemetry's own variables (`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_TRACES_SAMPLER`)."""

    shard_seconds: float = Field(default=1, gt=0)
    """A shard is a bite of about so many seconds of one worker process, by the speed it has shown with the model, and
    not less than what fills a batch, up to eight times the seconds. A shard is what one Celery message, one lease and
    one lost worker are about."""

    shard_characters: int = Field(default=131_072, ge=1)
    """Characters of text in one shard, at most, however fast workers are. A longer document is a shard of its own."""

    shard_documents: int = Field(default=500, ge=1)
    """Documents in one shard, at most, however short they are."""

    first_shard_characters: int = Field(default=16_384, ge=1)
    """Characters in one shard of a model that no worker has run yet, so that nobody knows how fast it is."""

    lease_seconds: float = Field(default=60, gt=0)
    """How long a worker may hold a shard without renewing its lease. Renewed every third of it."""

    max_attempts: int = Field(default=3, ge=1)
    """How often a document may take its worker down, alone, before it fails as `worker_lost`."""

    release_seconds: float = Field(default=3, gt=0)
    """Work of one model that is released and unfinished, in seconds of what its live workers do together; at least two
    shards for each worker process. More keeps Redis fuller and a newcomer waiting longer."""

    release_alone_seconds: float = Field(default=6, gt=0)
    """The same while only one key has something out and no other model is at work: from more texts batches are fuller
    and less padded. Once another comes, what it may have out does not depend on what the first had taken alone."""

    release_batches: float = Field(default=4, ge=0)
    """But at least so many full batches of each live worker process, and more by the same factor while only one key has
    something out, up to four times the seconds: batches that nothing fills make a slow worker slower still. 0: time
    alone decides."""

    slot_reserve: float = Field(default=0.4, ge=0, lt=1)
    """Share of the live task slots that no job fills: in them a newcomer's first shard starts at once."""

    unserved_shards: int = Field(default=8, ge=1)
    """Released shards of a model that no live worker serves: what a starting worker finds."""

    sweep_seconds: float = Field(default=2, gt=0)
    """Seconds between two sweeps."""

    republish_seconds: float = Field(default=10, ge=0)
    """A released shard whose message seems lost is published again when its last message is older than this."""

    worker_timeout_seconds: float = Field(default=30, gt=0)
    """A worker whose last heartbeat is older counts no task slots and is not listed."""

    open_job_ttl_seconds: float = Field(default=86_400, gt=0)
    """An open job to which nothing was appended for this long is closed: its producer is gone."""

    retention_seconds: float | None = Field(default=None, gt=0)
    """Ended jobs are deleted, with their texts and results, this long after their end. Unset: kept."""

    stats_hours: float = Field(default=24, gt=0, le=168)
    """How far back `GET /v1/stats` can look: so long are the counts of each minute kept."""

    purge_rows: int = Field(default=5_000, ge=1)
    """Documents, or shards, of a deleted job that are removed in one transaction."""

    sweep_step_seconds: float = Field(default=1, ge=0)
    """How long one sweep goes on removing deleted jobs, step by step, before leases, lost messages and the rest have
    their turn again; one step is made in any case. Deleting falls behind where this is small beside the time between
    two sweeps."""

    database_pool: int = Field(default=8, ge=1)
    """Connections to the database that a process opens, at most, and keeps. A thread that finds none free waits: for
    `database_patience_seconds`, on PostgreSQL."""

    database_connect_seconds: float = Field(default=5, ge=2)
    """How long making a connection, or trying whether one still works, may take. PostgreSQL only, like the limits
    below, which are set for each transaction; migrations have none."""

    database_silence_seconds: float = Field(default=10, ge=1)
    """A connection whose other end acknowledges nothing for this long is given up (TCP keepalives, user timeout)."""

    database_read_seconds: float = Field(default=20, gt=0)
    """How long one statement of a reading transaction may run. The client gives up a little later by itself."""

    database_write_seconds: float = Field(default=20, gt=0)
    """How long one statement of a writing transaction may run, the waits for its locks included."""

    database_lock_seconds: float = Field(default=15, gt=0)
    """How long a statement waits for one lock. More than the limit below, so that a vanished machine is outwaited."""

    database_idle_seconds: float = Field(default=10, gt=0)
    """How long a transaction may lie idle between two statements. This is what a machine costs that vanishes in one:
    the server ends the transaction, and with it the locks."""

    database_patience_seconds: float = Field(default=10, gt=0)
    """A call that the database does not answer begins no further try after this long, and fails (503 from the api)."""

    @field_validator("traces")
    @classmethod
    def _traces_can_be_sent(cls, on: bool) -> bool:
        if on and any(importlib.util.find_spec(package) is None for package in TRACING):
            raise ValueError("OpenTelemetry is not installed: pip install -c constraints.txt --group traces")
        return on

    # Libraries that stumble over a password would say it: as a port that is no number, as a host that they do not find.

    @field_validator("database_url")
    @classmethod
    def _database_url_is_readable(cls, url: str) -> str:
        try:
            host = sa.make_url(url).host or ""
        except (sa.exc.ArgumentError, ValueError):
            raise ValueError(UNREADABLE) from None
        if "@" in host:
            raise ValueError(UNREADABLE)
        return url

    @field_validator("redis_url")
    @classmethod
    def _redis_url_is_readable(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            _ = parts.port
        except ValueError:
            raise ValueError(UNREADABLE) from None
        if "@" in parts.path or parts.netloc.count("@") > 1:
            raise ValueError(UNREADABLE)
        return url
