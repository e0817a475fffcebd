"""The real app behind a real uvicorn on a real port, and a worker's part of the work done straight in the store."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import httpx
import sqlalchemy as sa

from api.app import FACES, create_app
from api.faces import Face
from api.main import Server, server
from api.settings import ApiSettings
from store import keys, leases
from store.bulk import DocumentOutcome
from store.catalogue import Catalogue
from store.dispatcher import Dispatcher
from store.queue import celery_app
from store.session import Store
from store.tables import shards

ECHO_ONLY = Catalogue(MappingProxyType({})).with_echo()


@dataclass
class Running:
    """A serving api process, in a thread."""

    url: str
    secret: str
    store: Store
    server: Server

    def http(self, secret: str | None = None) -> httpx.Client:
        """A bare HTTP client with a key."""
        return httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {secret or self.secret}"}, timeout=240
        )


@contextlib.contextmanager
def serving(
    store: Store,
    port: int = 0,
    secret: str | None = None,
    catalogue: Catalogue = ECHO_ONLY,
    faces: Sequence[Face] = FACES,
    **settings: object,
) -> Iterator[Running]:
    """Serve the store until the block ends; then the server has stopped gracefully."""
    secret = secret or store.write(keys.create, "producer").secret
    quick = {
        "ask_seconds": 600, "key_cache_seconds": 0, "wait_poll_seconds": 0.02, "events_poll_seconds": 0.02,
        "batch_poll_seconds": 0.02,
    }  # fmt: skip
    chosen = ApiSettings.model_validate({"port": port, **quick, **settings})
    dispatcher = Dispatcher(celery_app(store.settings.redis_url))
    running = server(create_app(chosen, store, catalogue, dispatcher, None, faces), chosen)
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((chosen.host, chosen.port))
    listening.listen(128)  # connections wait in here until the server takes them, so nobody has to wait for its start
    thread = threading.Thread(target=running.run, args=([listening],), name="api")
    thread.start()
    try:
        yield Running(f"http://{chosen.host}:{listening.getsockname()[1]}", secret, store, running)
    finally:
        running.should_exit = True
        thread.join(240)
        listening.close()
        assert not thread.is_alive(), "the server did not stop"


def echo(position: int, text: str) -> DocumentOutcome:
    """What the echo model makes of a summarization; a text that starts with "fail" fails."""
    failed = text.startswith("fail")
    return DocumentOutcome(
        position=position,
        output=None if failed else json.dumps({"summary_text": text}),
        error_code="processing_failed" if failed else None,
        error_message="as asked" if failed else None,
        model_revision="1",
        input_tokens=len(text),
        output_tokens=len(text),
        pieces=1,
        truncated=False,
    )


def work(store: Store, most: int | None = None, outcome: Callable[[int, str], DocumentOutcome] = echo) -> int:
    """Claim and settle queued shards as a worker does, `most` of them or all. Returns how many."""
    done = 0
    while most is None or done < most:
        waiting = store.read(_queued)
        if not waiting:
            break
        for shard_id in waiting[: None if most is None else most - done]:
            lease = store.write(leases.claim, shard_id, "tester")
            if lease is None:
                continue
            texts = store.read(leases.undecided, lease, -1, 100_000)
            store.write(leases.settle, lease, [_outcome(text, outcome) for text in texts], True)
            done += 1
    return done


def _outcome(text: leases.Text, outcome: Callable[[int, str], DocumentOutcome]) -> DocumentOutcome:
    if reason := text.fields.get("unreadable"):
        return DocumentOutcome(text.position, None, reason["code"], reason["message"])
    return outcome(text.position, text.text)


def _queued(tx: sa.Connection) -> list[int]:
    return list(tx.execute(sa.select(shards.c.id).where(shards.c.state == "queued").order_by(shards.c.id)).scalars())
