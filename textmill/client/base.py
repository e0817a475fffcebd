"""What both clients are made of: their settings, how a request is built, a job as the server last described it."""

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypedDict
from urllib.parse import urlsplit

import httpx

from textmill import wire
from textmill.documents import Chunker
from textmill.errors import InvalidRequest
from textmill.flows import Flows
from textmill.request import Call

TIMEOUT_SECONDS = 60.0
CONNECT_TIMEOUT_SECONDS = 5.0
HURRIED_SECONDS = 1.0
LOCAL = ("localhost", "127.0.0.1", "::1")


class Settings(TypedDict, total=False):
    """What a client can be told besides the server's address and key."""

    patience: float
    """Seconds for which a request is tried again while the server does not answer: 300."""
    first_patience: float
    """The same before it has answered for the first time: 4, since then the address is more likely wrong."""
    compress: bool
    """gzip uploads. By default unless the server is on this machine."""
    chunk_documents: int
    """Documents in one upload request: 1,000, which is also the server's limit unless it is set otherwise."""
    chunk_bytes: int
    """Bytes of documents in one upload request: a little under 4 MiB, the server's limit."""


class JobFilters(TypedDict, total=False):
    """By what jobs are found, besides their state and task. All conditions hold together."""

    model: str
    id: str
    """The beginning of the id."""
    metadata: Mapping[str, str]
    """Top-level values, as text: a string as it is, others as JSON."""
    created_after: datetime
    """Then or later."""
    created_before: datetime


class ClientBase:
    """What both clients are made of."""

    def __init__(self, url: str | None, api_key: str | None, settings: Settings) -> None:
        self.url = _given(url, "TEXTMILL_URL", "server").rstrip("/")
        api_key = _given(api_key, "TEXTMILL_API_KEY", "API key").strip()
        if not (api_key and api_key.isascii() and api_key.isprintable()):
            raise InvalidRequest("the API key has characters that no key has, or none at all")
        # Measured: compressing costs more than loopback does, and less than most networks.
        compress = settings.get("compress", urlsplit(self.url).hostname not in LOCAL)
        self._flows = Flows(settings.get("patience", 300), settings.get("first_patience", 4), compress, self.url)
        self._chunk_documents = settings.get("chunk_documents", wire.CHUNK_DOCUMENTS)
        self._chunk_bytes = settings.get("chunk_bytes", wire.CHUNK_BYTES - 128 * 1024)
        self._http: dict[str, Any] = {
            "base_url": self.url,
            "headers": {"Authorization": f"Bearer {api_key}"},
            "timeout": httpx.Timeout(TIMEOUT_SECONDS, connect=CONNECT_TIMEOUT_SECONDS),
        }

    def _chunker(self) -> Chunker:
        return Chunker(self._chunk_documents, self._chunk_bytes)


def _given(value: str | None, variable: str, what: str) -> str:
    found = os.environ.get(variable) if value is None else value
    if found is None:
        raise InvalidRequest(f"no {what} is named: give it to the client, or set {variable} in the environment")
    return found


def request_of(client: httpx.Client | httpx.AsyncClient, call: Call) -> httpx.Request:
    """The call as a request of this client, with the time that its answer may take."""
    timeout = httpx.Timeout(TIMEOUT_SECONDS + call.slow_seconds, connect=CONNECT_TIMEOUT_SECONDS)
    if call.hurried:
        timeout = httpx.Timeout(HURRIED_SECONDS)
    return client.build_request(
        call.method, call.path, params=call.params, content=call.content, headers=call.headers, timeout=timeout
    )


def head_of(
    task: str,
    model: str | None,
    priority: wire.Priority,
    metadata: dict[str, Any] | None,
    options: dict[str, Any],
    webhook: str | None = None,
) -> dict[str, Any]:
    """What makes a job, besides its documents, as the contract names it."""
    told = {"priority": priority, "metadata": metadata, "webhook": webhook}
    return {"task": task, "model": model, **told, "options": options}


def conversation(text: str | None, messages: Sequence[Mapping[str, str]] | None) -> str | Mapping[str, Any]:
    """The document that one of the two is. Raises InvalidRequest where it is not one."""
    if (text is None) == (messages is None):
        raise InvalidRequest("generate: give either a text or messages")
    return {"messages": list(messages)} if messages is not None else text or ""


class JobView:
    """A job as the server last described it: `refresh`, `wait` and the rest bring it up to date."""

    def __init__(self, info: wire.Job) -> None:
        self.info = info

    @property
    def id(self) -> str:
        """The job's id."""
        return self.info.id

    @property
    def state(self) -> str:
        """queued, running, completed, completed_with_errors, failed or cancelled; a newer server may know more."""
        return self.info.state

    @property
    def ended(self) -> bool:
        """Whether every document has its outcome."""
        return self.info.ended

    @property
    def counts(self) -> wire.Counts:
        """Documents by outcome."""
        return self.info.counts

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.info.task} {self.state}>"
