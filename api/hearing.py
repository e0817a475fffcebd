"""Hears, over one connection for the whole process, which jobs have ended, and lets those know who wait for one."""

import asyncio
import logging
from collections.abc import Callable, Sequence

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from store.hints import SECONDS, Ended, channel

log = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0
"""Between two tries to reach Redis. Meanwhile polls find out."""

SILENCE_SECONDS = 10.0
"""A connection over which nothing came for so long is tried with a ping."""


class Hearing:
    """One listener to hints. Belongs to one event loop."""

    def __init__(self, redis_url: str, tell: Sequence[Callable[[Ended], None]]) -> None:
        self._url = redis_url
        self._tell = tell
        self.connected = False
        """Whether hints arrive."""

    async def run(self) -> None:
        """Listen until cancelled. A Redis that is away costs nothing but the hints."""
        while True:
            try:
                await self._listen()
            except (redis.RedisError, OSError, TimeoutError) as error:
                if self.connected:
                    log.warning("no hints from Redis (%s): ends of jobs are polled for", error)
            self.connected = False
            await asyncio.sleep(PAUSE_SECONDS)

    async def _listen(self) -> None:
        """Raises redis.RedisError, OSError, TimeoutError when the connection is over."""
        client = redis.asyncio.Redis.from_url(self._url, socket_connect_timeout=SECONDS, retry=Retry(NoBackoff(), 0))
        async with client, client.pubsub() as hints:
            await hints.subscribe(channel(client))
            unanswered = 0
            while unanswered < 2:
                message = await hints.get_message(timeout=SILENCE_SECONDS)
                if message is None:
                    unanswered += 1
                    await hints.ping()
                    continue
                unanswered = 0
                self.connected = True
                if message["type"] == "message" and (ended := Ended.read(message["data"])):
                    for tell in self._tell:
                        tell(ended)
            raise TimeoutError("it is silent")
