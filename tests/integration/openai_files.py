"""OpenAI's own client at the api, and what tests of its files and batches do with it."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import openai
import sqlalchemy as sa

from store import files, orders
from store.session import Store
from tests.integration.serving import Running
from tests.worker_process import wait_until

ENDED = ("completed", "failed", "cancelled", "expired")
PATIENCE = 120
"""Seconds that only a system which hangs needs."""


def client_of(api: Running, secret: str | None = None) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{api.url}/openai/v1", api_key=secret or api.secret, max_retries=0, timeout=PATIENCE)


def line(custom_id: str, body: dict[str, Any], url: str = "/v1/summarization") -> str:
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": url, "body": {"model": "echo", **body}})


def texts(count: int, first: str = "text") -> list[str]:
    return [line(f"r{number}", {"input": f"{first} {number}"}) for number in range(count)]


def upload(client: openai.OpenAI, lines: Sequence[str | bytes], name: str = "in.jsonl") -> Any:
    data = b"\n".join(one if isinstance(one, bytes) else one.encode() for one in lines)
    return client.files.create(file=(name, data), purpose="batch")


def begin(client: openai.OpenAI, lines: Sequence[str | bytes], endpoint: str = "/v1/summarization", **more: Any) -> Any:
    file = upload(client, lines)
    chosen: Any = {"completion_window": "24h", **more}
    return client.batches.create(input_file_id=file.id, endpoint=endpoint, **chosen)  # type: ignore[arg-type]


def until(client: openai.OpenAI, batch: Any, states: Sequence[str] = ENDED, meanwhile: Callable[[], Any] = int) -> Any:
    found = [batch]

    def there() -> bool:
        meanwhile()
        found[0] = client.batches.retrieve(batch.id)
        return found[0].status in states

    wait_until(there, f"the batch is {' or '.join(states)}", PATIENCE)
    return found[0]


def read(client: openai.OpenAI, file_id: str | None) -> dict[str, Any]:
    """The lines of a file by their custom_id."""
    assert file_id is not None
    content = client.files.content(file_id).read()
    assert len(content) == client.files.retrieve(file_id).bytes
    lines = [json.loads(one) for one in content.splitlines()]
    found = {one["custom_id"]: one for one in lines}
    assert len(found) == len(lines), "each line once"
    return found


def counts(batch: Any) -> tuple[int, int, int]:
    return batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed


def rows(store: Store, *tables: sa.Table) -> list[int]:
    def count(tx: sa.Connection) -> list[int]:
        return [tx.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() for table in tables]

    return store.read(count)


def stored(store: Store, key_id: int, lines: Sequence[str], at_once: int = 3) -> files.StoredFile:
    """A file as an upload leaves it, in chunks of a few lines."""
    file = store.write(files.begin, key_id, "in.jsonl", "batch")
    pieces = ["".join(f"{one}\n" for one in lines[at : at + at_once]) for at in range(0, len(lines), at_once)]
    for number, piece in enumerate(pieces):
        store.write(files.add_chunk, file, number, piece.encode())
    return store.write(files.complete, file, sum(map(len, pieces)), 3600)


def ordered(store: Store, key_id: int, file: files.StoredFile) -> orders.Order:
    return store.write(orders.create, new_order(key_id, file))


def new_order(key_id: int, file: files.StoredFile) -> orders.NewOrder:
    return orders.NewOrder(key_id, file.id, file.uuid, "/v1/summarization", "24h", 86_400, {}, 86_400)
