"""More than the server may hold: it says so, loses nothing that it has accepted, and goes on. With the clients of
`python -m benchmarks.overload`, which measures the same; here nothing is said of time."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.overload.load import Crowd, lost
from store.session import Store
from tests import worker_process
from tests.integration.serving import Running, serving

POLLERS, PRODUCERS = 40, 6
DOCUMENTS, TEXT = 10, "x" * 3_000
MOST = 100_000
"""Bytes of bodies that the api may hold: less than the producers' together."""

BODY = 31_000
"""About the bytes of one body."""

STALLED = MOST - 1_000
"""Bytes of one that does not go on: beside it there is room for no other."""

pytestmark = pytest.mark.parametrize("backend", ["postgresql"])


@pytest.fixture
def api(store: Store, tmp_path: Path) -> Iterator[Running]:
    with worker_process.running(store, tmp_path / "worker"), serving(store, max_bodies_bytes=MOST) as running:
        yield running


def held(api: Running) -> int:
    app = api.server.config.app
    return int(app.state.parts.bodies.held)  # type: ignore[union-attr]


def stalled(api: Running) -> socket.socket:
    """A producer that sends most of a large body, and then nothing."""
    line = socket.create_connection(("127.0.0.1", int(api.url.rpartition(":")[2])))
    head = f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.secret}\r\nContent-Length: {MOST}\r\n\r\n"
    line.sendall(head.encode() + b" " * STALLED)
    worker_process.wait_until(lambda: held(api) == STALLED, "the stalled body is held")
    return line


def test_what_is_too_much_is_refused_and_nothing_accepted_is_lost(api: Running) -> None:
    line = stalled(api)
    enough = threading.Event()
    most_held = 0

    def over() -> bool:
        nonlocal most_held
        most_held = max(most_held, held(api))
        return enough.is_set()

    crowd = Crowd(api.url, api.secret, over)

    async def run() -> None:
        clients = asyncio.create_task(crowd.run(POLLERS, PRODUCERS, 0.2, DOCUMENTS, TEXT))
        while crowd.tally.refused < PRODUCERS and not clients.done():
            await asyncio.sleep(0.02)
        line.close()
        while len(crowd.tally.accepted) < 3 * PRODUCERS and not clients.done():
            await asyncio.sleep(0.02)
        enough.set()
        await clients

    asyncio.run(run())
    assert crowd.tally.bad == []
    assert crowd.tally.refused >= PRODUCERS
    assert len(crowd.tally.accepted) >= 3 * PRODUCERS
    assert most_held <= MOST + 2 * BODY, "what is held is bounded, whoever sends"
    assert lost(api.url, api.secret, crowd.tally.accepted) == []
    assert held(api) == 0


def test_a_connection_that_rests_is_not_closed_before_its_client_would(store: Store) -> None:
    """Under load a poller's next request came after uvicorn's 5 s, and met a connection that was being closed."""
    with serving(store) as api, api.http() as http:
        assert http.get("/health/live").is_success
        (connection,) = api.server.server_state.connections
        asked = connection.loop.time()
        assert http.get("/health/live").is_success

        def rests() -> bool:  # the timer starts once the answer is out
            timer = connection.timeout_keep_alive_task  # type: ignore[union-attr]
            return timer is not None and timer.when() - asked > 60

        worker_process.wait_until(rests, "the connection may rest for a minute")
