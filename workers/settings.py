"""Settings of a worker process, read from the environment once, in `workers/app.py` and `workers/main.py`."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class WorkerSettings(BaseSettings):
    """Every variable is named TEXTMILL_ and the field's name in capitals. Lists are written with commas."""

    model_config = SettingsConfigDict(env_prefix="TEXTMILL_", frozen=True, extra="ignore")

    models: str = ""
    """Models of the catalogue that this worker serves, with commas between. Empty: all of them."""

    preload: str = ""
    """Models to load at start, before their first document. Empty: each is loaded when it is first needed."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """What the models run on. The launcher sets it for each process it starts."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the weights, in place of the catalogue's. auto: as the catalogue says."""

    cpu_processes: int = Field(default=1, ge=1)
    """Worker processes on the CPU, where no GPU is used; they share the cores, and each holds its own models."""

    threads: int = Field(default=0, ge=0)
    """CPU threads that one pass uses. 0: as many as the process has cores."""

    concurrency: int = Field(default=12, ge=1)
    """Task slots: shards in work at once. More gives the planner more to choose from, and takes more memory."""

    batch_tokens: int = Field(default=0, ge=0)
    """Padded tokens in a batch. 0: found by a short calibration after a model is first loaded, and kept on disk."""

    max_batch_tokens: int = Field(default=65_536, ge=1)
    """The largest batch that calibration tries."""

    turn_seconds: float = Field(default=0.25, gt=0)
    """What a model's turn, and a batch, takes while somebody else waits. Less: they wait less, and less is done."""

    credit_tokens: int = Field(default=65_536, ge=1)
    """Tokens of one shard that may be with the engine at once. Times the task slots, it bounds what waits in memory."""

    answers_mb: int = Field(default=16, ge=0)
    """Memory for recent answers, of each model: equal pieces of text are not run twice. 0: they are, always."""

    model_memory_mb: int = Field(default=0, ge=0)
    """Memory for resident weights: beyond it the least recently used are unloaded. 0: until the device is full."""

    model_retry_seconds: float = Field(default=60, ge=0)
    """A worker that could not load a model leaves its shards to others for this long, then loading is tried again."""

    model_unavailable_seconds: float = Field(default=15, ge=0)
    """Documents of a model that could not be loaded fail as `model_unavailable` once no live worker has been able to
    serve it for this long. Longer than a healthy worker takes to start again."""

    batch_deadline_seconds: float = Field(default=60, gt=0)
    """A batch that runs longer than this, and than 20 times a calibrated one (but five times this at most), hangs: the
    process is started anew."""

    load_deadline_seconds: float = Field(default=900, gt=0)
    """The same for loading (and, where needed, downloading) a model."""

    progress_seconds: float = Field(default=300, gt=0)
    """Preparing or assembling one document that takes longer than this, or opening a model that takes longer than this
    and the limit above together, hangs: the other shards are handed back, and the process is started anew."""

    drain_seconds: float = Field(default=20, ge=0)
    """After SIGTERM, shards in work may finish for this long; then they are handed back, and the process ends."""

    settle_seconds: float = Field(default=1, gt=0)
    """Results of an unfinished shard are stored at least this often."""

    settle_documents: int = Field(default=500, ge=1)
    """Results of an unfinished shard are stored when there are so many."""

    cache_dir: Path = Path(".textmill/cache")
    """Where calibrations are kept, and what CTranslate2 runs: checkpoints, converted. May be deleted at any time."""

    task_events: bool = True
    """Send Celery's events about tasks: without them Flower shows no tasks."""

    worker_metrics_port: int = Field(default=0, ge=0, le=65_535)
    """Port for Prometheus metrics; the launcher adds the child's number. 0: none served."""

    worker_metrics_host: str = "127.0.0.1"
    """The address of that port. They ask for no key: `0.0.0.0` belongs into a network of your own, as a container's."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """How much the worker logs."""
