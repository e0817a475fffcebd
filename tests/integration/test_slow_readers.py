"""Clients that ask and do not read: they hold no thread and no connection to the database, and no more memory than one
page; who takes nothing at all is given up in the end."""

import contextlib
import socket
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from api import protocol
from store.session import Store
from tests.integration.serving import Running, serving, work
from tests.worker_process import wait_until

LARGE = "x" * 20_000
DOCUMENTS = 400
"""Eight megabytes: more than the kernel takes off our hands."""

JOB = {"task": "summarization", "model": "echo", "open": True}


@pytest.fixture(params=["sqlite"])
def backend(request: pytest.FixtureRequest) -> str:
    """One alone: this is about the line to the client."""
    return str(request.param)


def job_with_large_results(api: Running) -> str:
    with api.http() as http:
        job: str = http.post("/v1/jobs", json=JOB).json()["id"]
        for _ in range(0, DOCUMENTS, 100):
            assert http.post(f"/v1/jobs/{job}/documents", json={"documents": [{"text": LARGE}] * 100}).is_success
        assert http.post(f"/v1/jobs/{job}/close").is_success
        work(api.store)
    return job


def asking(api: Running, path: str) -> socket.socket:
    """A client that has asked, and reads nothing."""
    host, _, port = api.url.removeprefix("http://").partition(":")
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    line.settimeout(240)
    line.connect((host, int(port)))
    head = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.secret}\r\nConnection: close\r\n\r\n"
    line.sendall(head.encode())
    return line


def stalled(api: Running) -> int:
    """Connections on which something waits for the client to read."""
    return sum(one.flow.write_paused for one in list(api.server.server_state.connections))  # type: ignore[union-attr]


def everything(line: socket.socket) -> bytes:
    return b"".join(iter(lambda: line.recv(1 << 20), b""))


class Reads:
    """How often results were read from the database."""

    def __init__(self, store: Store) -> None:
        self.count = 0
        sa.event.listen(store.engine, "before_cursor_execute", self._note)

    def _note(self, _connection: object, _cursor: object, statement: str, *_: object) -> None:
        self.count += "results.output" in statement


def test_who_does_not_read_takes_nobodys_place(
    make_store: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(database_pool=2)
    with serving(store, page_bytes=8_000_000) as api:
        job = job_with_large_results(api)
        page, stream = f"/v1/jobs/{job}/results?limit=1000", f"/v1/jobs/{job}/results.jsonl"

        # More than there are threads for requests, and connections to the database.
        lines = [asking(api, path) for path in (page, stream, f"/v1/jobs/{job}/documents?limit=1000") * 4]
        wait_until(lambda: stalled(api) == len(lines), "all of them have something to read")
        wait_until(lambda: store.engine.pool.checkedout() == 0, "no connection is held")  # type: ignore[attr-defined]
        with api.http() as http:
            for _ in range(20):
                assert http.get(f"/v1/jobs/{job}").status_code == 200
        assert stalled(api) == len(lines)
        for line in lines:
            line.close()

        # A stream is read from the database as it is read by its client.
        wait_until(lambda: not api.server.server_state.connections, "they are gone")
        reads = Reads(store)
        with asking(api, stream) as line:
            wait_until(lambda: stalled(api) == 1, "it has something to read")
            before = reads.count
            assert everything(line).count(LARGE.encode()) == DOCUMENTS
            assert reads.count > before, "not all had been read while nobody took it"

        # Who takes nothing is given up.
        monkeypatch.setattr(protocol, "UNREAD_SECONDS", 0.05)
        for path in (page, stream):
            with asking(api, path) as line:
                got = len(line.recv(1))
                wait_until(lambda: not api.server.server_state.connections, "it is given up")
                with contextlib.suppress(ConnectionResetError):
                    got += len(everything(line))
                assert got < DOCUMENTS * len(LARGE)


class Reader:
    """A transport whose client has left so many bytes unread at each look, and the loop of a protocol that looks."""

    def __init__(self, *unread: int) -> None:
        self._unread = list(unread)
        self.aborted = False

    def get_write_buffer_size(self) -> int:
        return self._unread.pop(0)

    def abort(self) -> None:
        self.aborted = True

    def call_later(self, _seconds: float, look: Callable[[int], None], unread: int) -> None:
        if self._unread:
            look(unread)


@pytest.mark.parametrize(
    ("unread", "given_up"), [((9, 9), True), ((9, 8, 7, 6), False), ((9, 8, 8), True), ((9, 8, 7, 9), True)]
)
def test_who_takes_some_is_not(unread: tuple[int, ...], given_up: bool) -> None:
    line = object.__new__(protocol.BoundedLine)
    line.transport = line.loop = reader = Reader(*unread)
    line._look_again(reader.get_write_buffer_size())
    assert reader.aborted == given_up
