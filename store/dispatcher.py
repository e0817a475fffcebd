"""How released shards, and hints that jobs have ended, reach Redis: after the commit, on one thread that no request and
no task ever waits for."""

import collections
import logging
import threading
import time
from collections.abc import Iterable

import redis
from celery import Celery
from kombu.exceptions import OperationalError

from store.dispatch import Released
from store.hints import Ended, Hinting
from store.queue import NORMAL, RUN_SHARD, queue_name

log = logging.getLogger(__name__)


class Dispatcher:
    """One thread that publishes released shards. `publish` returns at once, whatever Redis does.

    What cannot be sent is kept and tried again, at most `longest_pause` seconds apart: the release window bounds how
    much that can be. What a dying process loses is queued in SQL, where the sweep finds it.
    """

    shortest_pause = 0.1
    longest_pause = 5.0
    most_hints = 1_000
    """Hints that wait. Of more the oldest are lost, and a poll finds what they would have told."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._waiting: collections.deque[Released] = collections.deque()
        self._hints: collections.deque[Ended] = collections.deque(maxlen=self.most_hints)
        self._hinting = Hinting(app.conf.broker_url)
        self._mute_until = 0.0
        self._wake = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)
        self.healthy = True
        """False while Redis takes no messages."""
        self.published = 0
        """Messages sent by this process."""

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def publish(self, released: Iterable[Released]) -> None:
        """Hand shards over for publishing. Call it after the commit that released them."""
        with self._wake:
            self._waiting.extend(released)
            self._wake.notify()

    def hint(self, ended: Iterable[Ended]) -> None:
        """Let whoever waits for these jobs know that they have ended. Call it after the commit that ended them."""
        with self._wake:
            self._hints.extend(ended)
            self._wake.notify()

    def stop(self, timeout: float = 5) -> None:
        """Send what is waiting, if Redis takes it, and end the thread."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join(timeout)

    def _run(self) -> None:
        pause = self.shortest_pause
        while self._something():
            self._send_hints()  # first: somebody waits for each
            if (released := self._next()) is None:
                continue
            try:
                self._send(released)
            except (OperationalError, OSError) as error:
                with self._wake:
                    self._waiting.appendleft(released)
                    if self.healthy:
                        log.warning("Redis takes no messages (%s): %d shards wait", error, len(self._waiting))
                    self.healthy = False
                    if self._stopping:
                        return
                    self._wake.wait_for(lambda: self._stopping, pause)
                pause = min(2 * pause, self.longest_pause)
            else:
                if not self.healthy:
                    log.warning("Redis takes messages again")
                self.healthy = True
                self.published += 1
                pause = self.shortest_pause
        self._hinting.close()

    def _something(self) -> bool:
        """Wait for something to send; False where nothing is left and nothing will come."""
        with self._wake:
            self._wake.wait_for(lambda: self._waiting or self._hints or self._stopping)
            return bool(self._waiting or self._hints)

    def _next(self) -> Released | None:
        with self._wake:
            return self._waiting.popleft() if self._waiting else None

    def _send_hints(self) -> None:
        """All that wait. After one that fails they are lost for a while: shards do not wait for each one to fail."""
        while self._hints:
            hint = self._hints.popleft()
            if time.monotonic() < self._mute_until:
                continue
            try:
                self._hinting.send(hint)
            except redis.RedisError as error:
                log.debug("a hint was lost: %s", error)
                self._mute_until = time.monotonic() + self.longest_pause

    def _send(self, released: Released) -> None:
        # Redis pops by priority first. What is released is next by right, and `low` is among it rarely enough: behind
        # every `normal` message it would starve. `high` goes first, as far as what is out at the moment.
        priority = min(released.priority, NORMAL)
        documents = released.last - released.first + 1
        self._app.send_task(
            RUN_SHARD,
            args=[released.shard_id],
            queue=queue_name(released.model),
            priority=priority,
            ignore_result=True,
            retry=False,
            argsrepr=(
                f"job={released.job} task={released.task} model={released.model} "
                f"shard={released.shard_id} documents={documents}"
            ),
        )
