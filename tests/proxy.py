"""A TCP proxy before a real server, which can go silent, in the middle of whatever is said, or refuse."""

import contextlib
import selectors
import socket
import threading
from pathlib import Path

import sqlalchemy as sa

from store.session import engine_url


class Proxy:
    """Forwards every connection to a server's Unix socket, in a thread each. Made listening; close it at the end."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._forwards = threading.Event()
        self._forwards.set()
        self._refuses = False
        self._doomed: bytes | None = None
        self._closed = False
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def vanish(self) -> None:
        """Forward nothing any more, and close nothing: neither end can tell."""
        self._forwards.clear()

    def cut(self) -> None:
        """End all connections, and every new one at once: as a server does that has stopped."""
        self._refuses = True
        self._forwards.set()
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

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, contextlib.suppress(OSError):
            server.connect(str(self._target))
            ends = {client: server, server: client}
            self._open |= ends.keys()
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
                            ends[end].sendall(data)
                            if end is client and self._doomed is not None and self._doomed in data:
                                server.recv(65_536)
                                self._doomed = None
                                return
            finally:
                self._open -= ends.keys()


def proxied(url: str) -> tuple[Proxy, str]:
    """A proxy before the PostgreSQL server of the URL (which names a Unix socket), and the URL through it."""
    parsed = engine_url(url)
    folder = parsed.query["host"]
    assert isinstance(folder, str)
    proxy = Proxy(Path(folder) / ".s.PGSQL.5432")
    through = sa.URL.create("postgresql", parsed.username, parsed.password, "127.0.0.1", proxy.port, parsed.database)
    return proxy, through.render_as_string(hide_password=False)
