"""How many requests a key may make in a minute, over all api processes: they count in Redis.

Counted by the package `limits`, a moving window for each key. While Redis is away, each process counts by itself: that
is said once, and a key may have its share from each of them meanwhile. To refuse all requests then, or to let all of
them pass, would be worse.
"""

import logging
import math
import time
from typing import NamedTuple

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from limits.errors import StorageError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from store.faults import brief

log = logging.getLogger(__name__)

SILENCE_SECONDS = 0.5
"""How long an answer of Redis is waited for."""

AWAY_SECONDS = 5.0
"""How long Redis is left alone after it has failed."""


class Window(NamedTuple):
    """Whether a request of a key was within its limit, and what is left after it."""

    taken: bool
    limit: int
    remaining: int
    reset_seconds: int
    """When there will be more."""

    def headers(self) -> list[tuple[bytes, bytes]]:
        """`RateLimit` and `RateLimit-Policy`, as the IETF's draft of `RateLimit` header fields has them."""
        return [
            (b"ratelimit-policy", f'"requests";q={self.limit};w=60'.encode()),
            (b"ratelimit", f'"requests";r={self.remaining};t={self.reset_seconds}'.encode()),
        ]


class Rates:
    """The windows of all keys. Used on the event loop alone."""

    def __init__(self, redis_url: str) -> None:
        waits = {"socket_timeout": SILENCE_SECONDS, "socket_connect_timeout": SILENCE_SECONDS}
        storage = RedisStorage(
            f"async+{redis_url}", implementation="redispy", wrap_exceptions=True, key_prefix="textmill-rates", **waits
        )
        self._shared = MovingWindowRateLimiter(storage)
        self._alone = MovingWindowRateLimiter(MemoryStorage())
        self._away_until = -math.inf

    async def take(self, key_id: int, limit: int) -> Window:
        """Count one request of the key, if it may make one more."""
        item = RateLimitItemPerMinute(limit)
        now = time.monotonic()
        if now >= self._away_until:
            try:
                return await self._take(self._shared, item, key_id)
            except StorageError as error:
                if self._away_until == -math.inf:
                    log.warning("Redis is away, each process counts requests by itself: %s", brief(error.storage_error))
                self._away_until = time.monotonic() + AWAY_SECONDS
        return await self._take(self._alone, item, key_id)

    async def _take(self, counter: MovingWindowRateLimiter, item: RateLimitItemPerMinute, key_id: int) -> Window:
        taken = await counter.hit(item, str(key_id))
        stats = await counter.get_window_stats(item, str(key_id))
        if counter is self._shared and self._away_until != -math.inf:
            self._away_until = -math.inf
            log.warning("Redis counts requests again")
        seconds = max(1, math.ceil(stats.reset_time - time.time()))
        return Window(taken, item.amount, stats.remaining, seconds)


class RateHeaders:
    """ASGI middleware: answers to a key that has a limit say what is left of it, refusals too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def marked(message: Message) -> None:
            window = scope.get("state", {}).get("window")
            if message["type"] == "http.response.start" and window is not None:
                message["headers"] = [*message["headers"], *window.headers()]
            await send(message)

        await self._app(scope, receive, marked if scope["type"] == "http" else send)
