"""Settings that every process with a database shares: the api, the workers, the sweep."""

from pathlib import Path

from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class StoreSettings(BaseSettings):
    """Read from the environment, once, in the entry file of a process."""

    model_config = SettingsConfigDict(env_prefix="TEXTMILL_", frozen=True, extra="ignore")

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

    shard_characters: int = Field(default=65_536, ge=1)
    """Characters of text in one shard. A shard is what one Celery message, one lease and one lost worker are about."""

    shard_documents: int = Field(default=500, ge=1)
    """Documents in one shard, however short they are."""

    lease_seconds: float = Field(default=60, gt=0)
    """How long a worker may hold a shard without renewing its lease. Renewed every third of it."""

    max_attempts: int = Field(default=3, ge=1)
    """How often a document may take its worker down, alone, before it fails as `worker_lost`."""

    minimum_window: int = Field(default=8, ge=1)
    """Released shards of one job, at least; twice the live task slots where that is more."""

    key_windows: int = Field(default=2, ge=1)
    """Released shards of one key in one queue, in windows: its jobs share them in turn."""

    queue_windows: int = Field(default=4, ge=1)
    """Released shards of one queue, in windows. More keeps Redis fuller and a newcomer waiting longer."""

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

    purge_rows: int = Field(default=5_000, ge=1)
    """Documents of a deleted job that are removed in one transaction. A sweep goes on until none is left."""

    database_pool: int = Field(default=8, ge=1)
    """Connections to the database that a process keeps."""

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
