"""`Authorization: Bearer KEY` -> who asks: the key's id, role and limits, looked up once in a few seconds."""

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

import sqlalchemy as sa
from fastapi import Request
from starlette.concurrency import run_in_threadpool

from store import keys
from store.faults import brief
from store.keys import Grant
from store.session import Store
from textmill.errors import TextmillError, Unauthorized

log = logging.getLogger(__name__)

MOST_CACHED = 10_000
"""Keys in the cache. Past it the cache starts again: only good keys enter it, so nobody can fill it from outside."""


class Keys:
    """Good keys are remembered for `seconds`; bad ones are looked up each time."""

    def __init__(self, store: Store, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._seconds = seconds
        self._clock = clock
        self._known: dict[bytes, tuple[Grant, float]] = {}
        self._used: dict[int, datetime] = {}

    async def grant_of(self, request: Request) -> Grant:
        """The key that the request carries. Raises Unauthorized."""
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        secret = secret.strip()
        if scheme.lower() != "bearer" or not secret:
            raise Unauthorized("send the API key as `Authorization: Bearer KEY`")
        # A digest, so that no memory dump of this process shows keys.
        digest = hashlib.sha256(secret.encode()).digest()
        known = self._known.get(digest)
        if known is None or self._clock() >= known[1]:
            grant = await run_in_threadpool(self._store.read, keys.authenticate, secret)
            if len(self._known) >= MOST_CACHED:
                self._known.clear()
            known = self._known[digest] = (grant, self._clock() + self._seconds)
        self._used[known[0].id] = datetime.now(UTC)
        return known[0]

    async def run(self, seconds: float) -> None:
        """Store when keys were last used, every so many seconds: no request waits for that, and none fails by it."""
        while True:
            await asyncio.sleep(seconds)
            await self.store_uses()

    async def store_uses(self) -> None:
        """Store it now. What could not be stored is tried again with the next one."""
        used, self._used = self._used, {}
        if not used:
            return
        try:
            await run_in_threadpool(self._store.write, keys.note_use, used)
        except (TextmillError, sa.exc.SQLAlchemyError) as error:
            log.info("when keys were used is stored later: %s", brief(error))
            self._used = used | self._used
