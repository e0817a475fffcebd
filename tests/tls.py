"""TLS in front of a real server: certificates of an authority of the test's own, and what ends TLS as stunnel or
a balancer does.

The servers' binaries that the tests bring along are built without TLS. What is tried is ours: the clients' side.
"""

import asyncio
import contextlib
import ssl
import threading
from pathlib import Path

import trustme

SSL_REQUEST = 80877103
"""What a PostgreSQL client says first where it wants TLS, in eight bytes with their length."""


class Authority:
    """Makes certificates for `localhost` and is trusted by its file."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.file = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.file))
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("localhost").configure_cert(self.context)


class TlsFront:
    """Takes TLS connections on a port of `localhost` and forwards what they say to a port on loopback. `negotiated`: it
    is asked for first, in PostgreSQL's way."""

    def __init__(self, authority: Authority, target: int, negotiated: bool = False) -> None:
        self._context = authority.context
        self._target = target
        self._negotiated = negotiated
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.connections = 0
        """That were made, and spoke TLS."""
        self.plain = 0
        """That wanted to speak without."""
        self.port: int = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()

    def close(self) -> None:
        """End everything."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        mine = asyncio.all_tasks() - {asyncio.current_task()}
        for task in mine:
            task.cancel()
        await asyncio.gather(*mine, return_exceptions=True)

    async def _listen(self) -> int:
        tls = None if self._negotiated else self._context
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError, asyncio.CancelledError):
            if self._negotiated and not await self._agree(client, to_client):
                self.plain += 1
                to_client.close()
                return
            self.connections += 1
            server, to_server = await asyncio.open_connection("127.0.0.1", self._target)
            await asyncio.gather(_forward(client, to_server), _forward(server, to_client))

    async def _agree(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> bool:
        """Whether the client wants TLS, which is then spoken."""
        while (asked := int.from_bytes((await client.readexactly(8))[4:], "big")) != SSL_REQUEST:
            if asked >> 16 != SSL_REQUEST >> 16:  # a start-up packet, in the clear
                return False
            to_client.write(b"N")  # another encryption: no
        to_client.write(b"S")
        await to_client.start_tls(self._context)
        return True


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
