"""One POST to an address that a producer chose: to a permitted network address, with an end, following nothing.

The name is resolved once, and what is connected to is one of the addresses that were looked at: a name that leads
elsewhere a moment later gains nothing. That is why it is httpcore below httpx: the address that httpx connects to is
its own affair. No proxy of the environment is used: it would resolve the name itself.
"""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any, NamedTuple

import httpcore
import httpx

from api.webhooks.addresses import Address, Networks, permitted, trusted

Resolve = Callable[[str, int], list[Address]]
"""The addresses that a name leads to, best first. Raises OSError."""

MOST_ADDRESSES = 4
"""Of one name that are tried."""

MOST_BYTES = 16_384
"""Of an answer's body that are read, and thrown away: a receiver that is still writing need not see its line cut."""


class Forbidden(Exception):
    """The name leads to no address to which this installation sends."""


class Answer(NamedTuple):
    """Of a receiver."""

    status: int
    retry_after_seconds: float | None


class Post:
    """Sends. Threads share one."""

    def __init__(self, networks: Networks, resolve: Resolve | None = None) -> None:
        self._networks = networks
        self._resolve = resolve or addresses_of
        self._tls = httpx.create_ssl_context()  # SSL_CERT_FILE of the environment counts, as everywhere

    def send(self, address: str, headers: Mapping[str, str], body: bytes, deadline: float) -> Answer:
        """POST the body, and be done by the deadline (of `time.monotonic`).

        Raises Forbidden, and httpcore's TimeoutException, NetworkError, ProtocolError.
        """
        url = httpx.URL(address)
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        sent = {"Host": url.netloc.decode("ascii"), "Connection": "close", **headers}
        ways = _Ways(self._networks, self._resolve, deadline, encrypted=url.scheme == "https")
        with httpcore.ConnectionPool(ssl_context=self._tls, network_backend=ways) as pool:
            with pool.stream("POST", target, headers=list(sent.items()), content=body) as response:
                answer = Answer(response.status, _retry_after(response.headers))
                with contextlib.suppress(httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError):
                    _drop(response.iter_stream())
        return answer


def addresses_of(name: str, port: int) -> list[Address]:
    """What the system's resolver says. Raises OSError."""
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return [ip_address(address[0]) for *_, address in found]


class _Ways(httpcore.NetworkBackend):
    """How connections are made: by addresses that were looked at, in the time that is left."""

    def __init__(self, networks: Networks, resolve: Resolve, deadline: float, encrypted: bool) -> None:
        self._networks = networks
        self._resolve = resolve
        self._deadline = deadline
        self._encrypted = encrypted
        self._tcp = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        last: Exception | None = None
        addresses = self._looked_at(host, port)[:MOST_ADDRESSES]
        for tried, address in enumerate(addresses):
            seconds = self.left() / (len(addresses) - tried)  # one that swallows packets leaves the others their share
            try:
                return _Timed(self._tcp.connect_tcp(str(address), port, seconds), self.left)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                last = error
        assert last is not None, "there is an address, or Forbidden was raised"
        raise last

    def _looked_at(self, host: str, port: int) -> list[Address]:
        try:
            found = list(dict.fromkeys(self._resolved(host, port)))
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"no addresses of this name: {error}") from error
        good = [address for address in found if permitted(address, self._networks)]
        if not good:
            raise Forbidden("the name leads to no public address")
        if not self._encrypted:
            good = [address for address in good if trusted(address, self._networks)]
            if not good:
                raise Forbidden("public addresses are sent to by https:// alone")
        return good

    def _resolved(self, host: str, port: int) -> list[Address]:
        """In a thread, which is left to itself when the time is over: the system's resolver cannot be told an end."""
        answer: Future[list[Address]] = Future()

        def look() -> None:
            try:
                answer.set_result(self._resolve(host, port))
            except Exception as error:  # noqa: BLE001 - whatever it is: it is raised where the answer is waited for
                answer.set_exception(error)

        threading.Thread(target=look, name="webhooks look-up", daemon=True).start()
        try:
            return answer.result(self.left())
        except TimeoutError as error:
            raise httpcore.ConnectTimeout("the look-up of the name took too long") from error

    def left(self) -> float:
        """Seconds. Raises ReadTimeout where there are none."""
        seconds = self._deadline - time.monotonic()
        if seconds <= 0:
            raise httpcore.ReadTimeout("no time is left")
        return seconds


class _Timed(httpcore.NetworkStream):
    """A connection that ends at one moment, however slowly the other side goes on."""

    def __init__(self, stream: httpcore.NetworkStream, left: Callable[[], float]) -> None:
        self._stream = stream
        self._left = left

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._left())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Timed(self._stream.start_tls(ssl_context, server_hostname, self._left()), self._left)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _drop(body: Iterable[bytes]) -> None:
    read = 0
    for part in body:
        read += len(part)
        if read > MOST_BYTES:
            return


def _retry_after(headers: Iterable[tuple[bytes, bytes]]) -> float | None:
    for name, value in headers:
        if name.lower() == b"retry-after":
            return float(value) if value.isdigit() and len(value) < 8 else _until(value)
    return None


def _until(date: bytes) -> float | None:
    """Seconds until an HTTP date; None where it is none. Its two obsolete forms no server sends."""
    try:
        when = datetime.strptime(date.decode("ascii"), "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
    except ValueError:
        return None
    return max(0.0, (when - datetime.now(UTC)).total_seconds())
