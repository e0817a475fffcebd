"""Notices what hangs: a pass of the engine here, a task thread by `workers/shards/progress.py`. Neither can be ended in
a thread: the process ends instead, and another one starts."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from workers.engine.pile import Waiting

log = logging.getLogger(__name__)

Hung = TypeVar("Hung")
Hung_co = TypeVar("Hung_co", covariant=True)

CHECK_SECONDS = 0.5


class Watch:
    """What the engine's threads are doing now, and until when each may take. Written by them, read by others."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._deadlines: dict[int, float] = {}
        """By thread."""
        self.batch: Sequence[Waiting] = ()
        """The items in the batch that is running."""

    @contextlib.contextmanager
    def limit(self, seconds: float) -> Iterator[None]:
        """What the calling thread runs within may take so long.

        Limits nest: the innermost counts (loading a model within a batch).
        """
        thread = threading.get_ident()
        outer = self._deadlines.get(thread)
        self._deadlines[thread] = self._clock() + seconds
        try:
            yield
        finally:
            if outer is None:
                del self._deadlines[thread]
            else:
                self._deadlines[thread] = outer

    @property
    def overdue(self) -> bool:
        """Whether what runs now should have ended."""
        return any(self._clock() > deadline for deadline in list(self._deadlines.values()))

    def hung(self) -> Sequence[Waiting] | None:
        """The items in the batch that should have ended, maybe none (a model is loaded); None: nothing hangs."""
        if not self.overdue:
            return None
        batch = self.batch
        log.critical("the engine is overdue with %d items", len(batch))
        return batch


class Watched(Protocol[Hung_co]):
    """What a watchdog looks at."""

    def hung(self) -> Hung_co | None:
        """What should have ended, said in the log; None: all is well."""


class Watchdog(Generic[Hung]):
    """A thread that looks again and again, and calls `bite` once with what hangs. name: the thread's."""

    def __init__(
        self, name: str, watched: Watched[Hung], bite: Callable[[Hung], None], check_seconds: float = CHECK_SECONDS
    ) -> None:
        self._watched = watched
        self._bite = bite
        self._check_seconds = check_seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(self._check_seconds):
            if (hung := self._watched.hung()) is not None:
                self._bite(hung)
                return
