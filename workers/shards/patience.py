"""What the task threads do while SQL is away: they keep what they have, and try again with growing pauses.

A slot that waits pops no message. So a worker takes at most one message a slot that it cannot claim yet, and the others
stay in Redis for whoever can.
"""

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from store.faults import brief
from textmill.errors import Unavailable

log = logging.getLogger(__name__)
T = TypeVar("T")

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
"""Seconds between two tries, each of which has tries of its own within it (`Store`)."""


class Patience:
    """Shared by the threads of a process, so that an outage is said once, and one thread's success wakes them all."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._away = False
        self._since = 0.0  # the moment, on the monotonic clock, at which that was said last
        self._given_up = False

    def persist(self, call: Callable[[], T], until: Callable[[], float] = lambda: math.inf) -> T:
        """What `call` returns, once the database answers.

        `until()`: the moment, on the monotonic clock, after which it is not tried again; it may move meanwhile. Raises
        what the last try raised, when that has come, and where none is given when nobody is to wait any more.
        """
        pause = FIRST_PAUSE
        while True:
            begun = time.monotonic()
            try:
                result = call()
            except Unavailable as error:
                left = until() - time.monotonic()
                if left <= 0 or (self._given_up and left == math.inf):
                    raise
                self._wait(min(pause, left), begun, error)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                self._answered(begun)
                return result

    def give_up(self) -> None:
        """What may wait for any time ends at its next failure: the process drains."""
        with self._changed:
            self._given_up = True
            self._changed.notify_all()

    # A call that began before the last change tells nothing about what has been since: it may have been answered just
    # before the outage, or broken off by one that is over. Believed, sixteen slots would say both in turns.

    def _wait(self, seconds: float, begun: float, error: Unavailable) -> None:
        with self._changed:
            if not self._away and begun >= self._since:
                self._away, self._since = True, time.monotonic()
                log.warning("the work waits for the database, and keeps its results: %s", brief(error))
            self._changed.wait(seconds)

    def _answered(self, begun: float) -> None:
        if not self._away:  # the usual case takes no lock
            return
        with self._changed:
            if self._away and begun >= self._since:
                self._away, self._since = False, time.monotonic()
                log.warning("the database answers again")
                self._changed.notify_all()
