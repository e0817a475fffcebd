"""Settings of the HTTP process. What it shares with the workers stands in `store/settings.py`."""

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, HttpUrl, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from textmill.wire import CHUNK_BYTES, CHUNK_DOCUMENTS


class ApiSettings(BaseSettings):
    """Read from the environment (`TEXTMILL_` and the name in capitals), once, in `api/main.py`."""

    model_config = SettingsConfigDict(env_prefix="TEXTMILL_", frozen=True, extra="ignore")

    host: str = "127.0.0.1"
    """The address to listen on. `0.0.0.0` opens it to the network: put TLS in front."""

    port: int = Field(default=8000, ge=0, le=65_535)
    """The port to listen on; 0 takes a free one."""

    web: Path = Path("web")
    """The folder of the page that is served at `/`. Where there is none, there is no page."""

    flower_url: HttpUrl | None = None
    """Where people find Flower: the page links to it."""

    request_threads: int = Field(default=8, ge=1)
    """Requests that are worked on at once. Waiting requests (`?wait=`) take none."""

    access_log: bool = False
    """A line for each request, without its query. Off: `/metrics` counts them."""

    shutdown_seconds: int = Field(default=10, ge=0)
    """How long a stopping process lets running requests finish."""

    max_job_bytes: int = Field(default=4 * CHUNK_BYTES, ge=1)
    """Largest body of `POST /v1/jobs`, decompressed. Also the longest text that can be submitted at all."""

    max_job_documents: int = Field(default=25_000, ge=0)
    """Most documents inside one `POST /v1/jobs`; a larger job is opened, and its documents appended."""

    max_chunk_bytes: int = Field(default=CHUNK_BYTES, ge=1)
    """Largest body of one append, decompressed."""

    max_chunk_documents: int = Field(default=CHUNK_DOCUMENTS, ge=1)
    """Most documents in one append."""

    max_bodies_bytes: int = Field(default=256 * 1024 * 1024, ge=1)
    """Bytes of bodies, as they came, that a process holds at once: those that arrive, and those whose requests are
    worked on. A request above it is answered 503 `overloaded`; one body is taken in any case."""

    body_seconds: float = Field(default=120, gt=0)
    """How long the body of a request may take to arrive. Then the answer is 408 `body_timeout`."""

    max_file_bytes: int = Field(default=200 * 1024 * 1024, ge=1)
    """Largest file of `POST /openai/v1/files`. It passes through in pieces: none of it is held in memory."""

    max_batch_lines: int = Field(default=50_000, ge=1)
    """Most lines of a batch's file, and most texts in them together."""

    max_batch_jobs: int = Field(default=100, ge=1)
    """Most combinations of model and options in one batch: each is a job. A line that makes one more is refused."""

    file_seconds: float = Field(default=30 * 86_400, gt=0)
    """How long a file is kept, and what a batch ends with, where the request says nothing."""

    batch_poll_seconds: float = Field(default=0.5, gt=0)
    """How often a process looks whether a batch has something to be done."""

    max_metadata_bytes: int = Field(default=16_384, ge=2)
    """Largest `metadata` of a job, as JSON."""

    max_page: int = Field(default=1_000, ge=1)
    """Most results, or jobs, on one page. A larger `limit` is refused."""

    page_bytes: int = Field(default=8 * 1024 * 1024, ge=1)
    """A page of results ends early, with a cursor, once it is this large; it holds one result at least."""

    max_wait_seconds: float = Field(default=60, ge=0)
    """Longest `?wait=`. A larger one is cut to this: ask again. Proxies like to close what is silent for longer."""

    ask_seconds: float = Field(default=60, gt=0)
    """How long a request that is answered with its results (the inference API) waits for them. Then the answer is 504
    `answer_timeout`, and the work is given up."""

    max_asked_documents: int = Field(default=256, ge=1)
    """Most texts in one such request; more of them are a job."""

    max_asking: int = Field(default=500, ge=1)
    """Such requests that wait in a process. One more is answered 503 `overloaded`."""

    max_asking_of_key: int = Field(default=100, ge=1)
    """Such requests of one key that wait in a process. One more is answered 429 `too_many_requests`."""

    wait_poll_seconds: float = Field(default=1, gt=0)
    """How often the one poller looks whether a job that somebody waits for has ended. It finds what no hint told of:
    those who wait are woken by Redis (pub/sub), which may lose one, or be away."""

    events_poll_seconds: float = Field(default=0.5, gt=0)
    """How often the one poller looks for what has changed of the jobs that somebody listens to. Of a job's end it
    hears at once, where Redis is there."""

    events_heartbeat_seconds: float = Field(default=15, gt=0)
    """An event stream that has nothing to say for so long sends a comment, so that no proxy closes it."""

    max_listeners: int = Field(default=500, ge=1)
    """Event streams that a process keeps open. One more is answered 503 `overloaded`."""

    max_listeners_of_key: int = Field(default=50, ge=1)
    """Event streams of one key that a process keeps open. One more is answered 429 `too_many_requests`."""

    key_cache_seconds: float = Field(default=5, ge=0)
    """How long a key that was found good is not looked up again, so how long a revoked one still works."""

    key_use_seconds: float = Field(default=30, gt=0)
    """How often it is stored when keys were last used."""

    webhook_senders: int = Field(default=4, ge=0)
    """Threads that tell webhooks of the ends of jobs. 0: this process tells none, and refuses jobs that want it."""

    webhook_networks: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = ()
    """Networks that are no public ones, and to which webhooks are sent all the same: `10.1.0.0/16,127.0.0.0/8`. There
    `http://` will do, too; everywhere else it is `https://`."""

    webhook_retries: Annotated[tuple[Annotated[float, Field(ge=0)], ...], NoDecode] = (
        *(5, 300, 1_800, 7_200),
        *(18_000, 36_000, 36_000),
    )
    """Seconds after an attempt that failed until the next one, with up to a tenth more at random: so many attempts
    follow the first, here over about 28 hours."""

    webhook_seconds: float = Field(default=15, gt=0)
    """How long one attempt may take, from the name's addresses to the answer."""

    webhook_poll_seconds: float = Field(default=1, gt=0)
    """How often a process looks for deliveries that are due. Of a job's end it hears at once, where Redis is there."""

    @field_validator("webhook_networks", "webhook_retries", mode="before")
    @classmethod
    def _with_commas(cls, given: Any) -> Any:
        return [part.strip() for part in given.split(",") if part.strip()] if isinstance(given, str) else given
