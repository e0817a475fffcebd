"""Real receivers of webhooks: HTTP servers on loopback that keep what came, and answer as a test wants."""

import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Empty, Queue
from typing import NamedTuple

from standardwebhooks import Webhook

from tests.integration.interleaving import PATIENCE
from textmill.webhooks import Event


class Received(NamedTuple):
    """A request that came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def event(self, secret: str) -> Event:
        """What it says. Raises WebhookVerificationError where the signature is not by this secret."""
        Webhook(secret).verify(self.body, self.headers)
        return Event.model_validate_json(self.body)


class Reply(NamedTuple):
    """What a receiver answers."""

    status: int = 204
    headers: Mapping[str, str] = {}
    before: Callable[[], object] = lambda: None
    """Called when the request is there, and before the answer."""


class Receiver:
    """A server that gives one reply after the other, the last one for ever."""

    def __init__(self, *replies: Reply, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None):
        self._replies = list(replies) or [Reply()]
        self._came: Queue[Received] = Queue()
        self.server = ThreadingHTTPServer((host, port), _handler(self._answer))
        if tls is not None:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.url = f"http://{host}:{self.port}/hook"

    def _answer(self, received: Received) -> Reply:
        reply = self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]
        self._came.put(received)
        reply.before()
        return reply

    def take(self) -> Received:
        """The next one that came, or comes."""
        return self._came.get(timeout=PATIENCE)

    @property
    def silent(self) -> bool:
        """Whether nothing is there that was not taken."""
        try:
            self._came.queue[0]
        except (IndexError, Empty):
            return True
        return False


def _handler(answer: Callable[[Received], Reply]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = answer(Received(self.path, headers, body))
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    return Handler


@contextmanager
def receiving(*replies: Reply, **where: object) -> Iterator[Receiver]:
    """A receiver, until the block ends."""
    receiver = Receiver(*replies, **where)  # type: ignore[arg-type]
    thread = threading.Thread(target=receiver.server.serve_forever, kwargs={"poll_interval": 0.01}, name="receiver")
    thread.start()
    try:
        yield receiver
    finally:
        receiver.server.shutdown()
        receiver.server.server_close()
        thread.join()
