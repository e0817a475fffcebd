"""A TCP proxy before a real server, which can go silent, in the middle of whatever is said, or refuse, or be slow."""

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from store.session import engine_url


class Proxy:
    """Forwards every connection to a server's Unix socket, or port on loopback, in a thread each. Made listening; close
    it at the end."""

    def __init__(self, target: Path | int) -> None:
        self._target = target
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._forwards = threading.Event()
        self._forwards.set()
        self._refuses = False
        self._doomed: bytes | None = None
        self._closed = False
        self._delay = 0.0
        self._open: set[socket.socket] = set()
        self._armed: tuple[tuple[bytes, ...], Callable[[], None]] | None = None
        threading.Thread(target=self._accept, daemon=True).start()

    def vanish(self) -> None:
        """Forward nothing any more, and close nothing: neither end can tell."""
        self._forwards.clear()

    def cut(self) -> None:
        """End all connections, and every new one at once: as a server does that has stopped."""
        self._refuses = True
        self._forwards.set()
        self._end_all()

    def slow(self, seconds: float) -> None:
        """Forward everything so much later."""
        self._delay = seconds

    def at(self, *words: bytes, act: Callable[[], None]) -> None:
        """Once, when a client has sent messages with these words, one after the other, on one connection: do this when
        the last has been forwarded, and its answer has not. No words at all are in any message."""
        self._armed = (words, act)

    def drop(self) -> None:
        """End all connections. New ones are welcome."""
        self._end_all()

    def lose_reply_to(self, words: bytes) -> None:
        """End the next connection on which a client says these words, when the server has done what they ask for: its
        answer is not forwarded."""
        self._doomed = words

    @property
    def lost(self) -> bool:
        """Whether such an answer was lost since."""
        return self._doomed is None

    def mend(self) -> None:
        """Forward again. Connections that vanished go on where they were."""
        self._armed = None
        self._delay = 0.0
        self._refuses = False
        self._forwards.set()

    def close(self) -> None:
        """End everything."""
        self._closed = True
        self.cut()
        self._listening.close()

    def _end_all(self) -> None:
        for end in list(self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            if self._refuses:
                client.close()
            else:
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _connect(self) -> socket.socket:
        if isinstance(self._target, int):
            return socket.create_connection(("127.0.0.1", self._target))
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(str(self._target))
        except OSError:
            server.close()
            raise
        return server

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError), self._connect() as server:
            ends = {client: server, server: client}
            self._open |= ends.keys()
            heard = Heard()
            try:
                with selectors.DefaultSelector() as selector:
                    for end in ends:
                        selector.register(end, selectors.EVENT_READ)
                    while True:
                        for key, _ in selector.select():
                            end = key.fileobj
                            assert isinstance(end, socket.socket)
                            data = end.recv(65_536)
                            self._forwards.wait()
                            if not data or self._refuses:
                                return
                            time.sleep(self._delay)
                            ends[end].sendall(data)
                            if end is client:
                                self._act_on(heard, data)
                            if end is client and self._doomed is not None and self._doomed in data:
                                server.recv(65_536)
                                self._doomed = None
                                return
            finally:
                self._open -= ends.keys()

    def _act_on(self, heard: "Heard", data: bytes) -> None:
        armed = self._armed
        if armed is not None and heard.all_of(armed[0], data):
            self._armed = None
            armed[1]()


class Heard:
    """How many of the words that somebody waits for one connection has sent."""

    def __init__(self) -> None:
        self._words: tuple[bytes, ...] = ()
        self._count = 0

    def all_of(self, words: tuple[bytes, ...], data: bytes) -> bool:
        """Whether this message completes them."""
        if words is not self._words:
            self._words, self._count = words, 0
        self._count += words[self._count] in data
        return self._count == len(words)


def proxied(url: str) -> tuple[Proxy, str]:
    """A proxy before the PostgreSQL server of the URL (which names a Unix socket), and the URL through it."""
    parsed = engine_url(url)
    folder = parsed.query["host"]
    assert isinstance(folder, str)
    proxy = Proxy(Path(folder) / ".s.PGSQL.5432")
    through = sa.URL.create("postgresql", parsed.username, parsed.password, "127.0.0.1", proxy.port, parsed.database)
    return proxy, through.render_as_string(hide_password=False)
