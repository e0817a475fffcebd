"""The line to one client: a request's head has to be small and to arrive in time, before anybody knows whose it is, and
an answer has to be taken.

uvicorn bounds none of it: a client could leave connections half open for ever, send headers until the memory is full,
or ask for large pages and read none of them.
Bodies come later and are bounded by `api/v1/limits.py`.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES = 65_536
"""A request's first line and headers. What arrives at once with them is not counted."""

HEAD_SECONDS = 20.0
"""From the connection, or from a request's first byte, to the end of its headers."""

UNREAD_SECONDS = 300.0
"""A client that takes not one byte of what waits for it, for so long, is gone. One that reads slowly is not: of a
stream no more is prepared meanwhile, and no thread and no connection to the database is held."""


class BoundedLine(HttpToolsProtocol):
    """uvicorn's protocol with these limits."""

    _timer: asyncio.TimerHandle | None = None
    _unread_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_there()
        self._is_read()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._look_again(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        self._is_read()
        super().resume_writing()

    def _look_again(self, unread: int) -> None:
        self._unread_timer = self.loop.call_later(UNREAD_SECONDS, self._still_unread, unread)

    def _still_unread(self, before: int) -> None:
        unread = self.transport.get_write_buffer_size()
        if unread < before:
            self._look_again(unread)
        else:
            self.transport.abort()  # closing would wait until all is read

    def _is_read(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        self._head_is_there()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._timer is not None:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._refuse(b"431 Request Header Fields Too Large")

    def _await_head(self) -> None:
        self._head_is_there()
        self._timer = self.loop.call_later(HEAD_SECONDS, self._refuse, b"408 Request Timeout")

    def _head_is_there(self) -> None:
        self._head_bytes = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, status: bytes) -> None:
        self._head_is_there()
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            self.transport.close()
