"""`Authorization: Bearer KEY` -> the key's id, looked up once in a few seconds."""

import hashlib
import time
from collections.abc import Callable

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from store import keys
from store.session import Store
from textmill.errors import Unauthorized

MOST_CACHED = 10_000
"""Keys in the cache. Past it the cache starts again: only good keys enter it, so nobody can fill it from outside."""


class Keys:
    """Good keys are remembered for `seconds`; bad ones are looked up each time."""

    def __init__(self, store: Store, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._seconds = seconds
        self._clock = clock
        self._known: dict[bytes, tuple[int, float]] = {}

    async def key_of(self, request: Request) -> int:
        """The id of the key that the request carries. Raises Unauthorized."""
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        secret = secret.strip()
        if scheme.lower() != "bearer" or not secret:
            raise Unauthorized("send the API key as `Authorization: Bearer KEY`")
        # A digest, so that no memory dump of this process shows keys.
        digest = hashlib.sha256(secret.encode()).digest()
        key_id, until = self._known.get(digest, (0, 0.0))
        if self._clock() < until:
            return key_id
        key_id = await run_in_threadpool(self._store.read, keys.authenticate, secret)
        if len(self._known) >= MOST_CACHED:
            self._known.clear()
        self._known[digest] = (key_id, self._clock() + self._seconds)
        return key_id
