"""Hints that a job has ended, by Redis: whoever waits for it looks at once, and not only when a poll comes round.

Nothing depends on one. It may be lost, doubled or late: what has ended the ledger says, and a slow poll finds it.
"""

from typing import NamedTuple, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

SECONDS = 2
"""How long Redis may take to accept a hint. One that fails is lost."""


class Ended(NamedTuple):
    """A job that has ended, and whose it is."""

    job: str
    key_id: int

    def message(self) -> str:
        """As it is sent."""
        return f"{self.job} {self.key_id}"

    @classmethod
    def read(cls, message: bytes) -> Self | None:
        """As it was sent; None where somebody else sent something here."""
        job, _, key_id = message.decode(errors="replace").partition(" ")
        return cls(job, int(key_id)) if key_id.isdecimal() and len(key_id) <= 18 else None


def channel(client: redis.Redis | redis.asyncio.Redis) -> str:
    """Channels are common to all databases of a Redis, and an installation has one of these: so its number is here."""
    return f"textmill.ended.{client.connection_pool.connection_kwargs.get('db', 0)}"


class Hinting:
    """Sends hints. Not for several threads at once."""

    def __init__(self, redis_url: str) -> None:
        # One retry: a connection that lay idle for long may have been closed by the other side.
        self._redis = redis.Redis.from_url(
            redis_url, socket_timeout=SECONDS, socket_connect_timeout=SECONDS, retry=Retry(NoBackoff(), 1)
        )
        self._channel = channel(self._redis)

    def send(self, ended: Ended) -> None:
        """Raises redis.RedisError."""
        self._redis.publish(self._channel, ended.message())

    def close(self) -> None:
        """Give the connection back."""
        self._redis.close()
