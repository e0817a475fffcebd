"""Which models this process serves at the moment: a model that it cannot load is left to the other workers for a while.

A broken worker answers quicker than a healthy one: where it failed what it cannot do, it would fail a whole queue.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from store.faults import brief
from textmill.errors import TextmillError
from workers import metrics

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""How often a process with a failed model looks whether another worker can serve it."""


@dataclass
class _Failed:
    """A model that could not be opened or loaded."""

    retry_at: float
    unserved_since: float | None = None
    """Since when no live worker was seen that can serve it; None: one was, or nobody has looked."""
    consuming: bool = True


class Serving:
    """The models of this process that failed, and what follows from it.

    `elsewhere(model)`: whether another live worker can serve it. `report()`: tells the registry, which asks `failed`.
    `consume(model, on)`: take messages of the model, or no more; returns when that is so.
    `retry_seconds`: a failed model is tried again after so long. `unavailable_seconds`: its documents fail once no live
    worker was able to serve it for so long. Both callbacks of the database are called from this object's thread alone.
    """

    def __init__(
        self,
        elsewhere: Callable[[str], bool],
        report: Callable[[], None],
        consume: Callable[[str, bool], None],
        retry_seconds: float,
        unavailable_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._elsewhere = elsewhere
        self._report = report
        self._consume = consume
        self._retry_seconds = retry_seconds
        self._unavailable_seconds = unavailable_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._failed: dict[str, _Failed] = {}
        self._reported: list[str] = []
        self._changed = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="serving", daemon=True)

    @property
    def failed(self) -> list[str]:
        """Models that could not be opened or loaded, and have not been run since."""
        return sorted(self._failed)

    def failure(self, model: str) -> None:
        """The model could not be opened or loaded. Its messages are left to others when this returns."""
        now = self._clock()
        with self._lock:
            known = self._failed.setdefault(model, _Failed(now + self._retry_seconds))
            if now >= known.retry_at:  # slots that hear of the same failure do not put its end off
                known.retry_at = now + self._retry_seconds
            metrics.FAILED.labels(model).set(1)
            self._apply(model, known)
        self._changed.set()

    def success(self, model: str) -> None:
        """The model did its work."""
        if model not in self._failed:
            return
        with self._lock:
            known = self._failed.pop(model, None)
            metrics.FAILED.labels(model).set(0)
            if known is not None and not known.consuming:
                self._consume(model, True)
        self._changed.set()

    def unavailable(self, model: str) -> bool:
        """Whether no live worker has been able to serve the failed model for so long that its documents fail."""
        known = self._failed.get(model)
        return known is not None and self._is_over(known)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout: float = 2) -> None:
        """End the thread."""
        self._stopping = True
        self._changed.set()
        self._thread.join(timeout)

    def look(self) -> None:
        """Tell the registry what is new, and look who else can serve what failed here."""
        if self._reported != (failed := self.failed):
            self._report()
            self._reported = failed
        for model in failed:
            served = self._elsewhere(model)
            with self._lock:
                if (known := self._failed.get(model)) is None:
                    continue
                if served:
                    known.unserved_since = None
                elif known.unserved_since is None:
                    known.unserved_since = self._clock()
                self._apply(model, known)

    def _apply(self, model: str, known: _Failed) -> None:
        """Take messages of it where loading is to be tried again, or its documents are to be failed."""
        wanted = self._clock() >= known.retry_at or self._is_over(known)
        if wanted != known.consuming:
            log.info(
                "%s: %s", model, "its shards are taken again" if wanted else "its shards are left to other workers"
            )
            known.consuming = wanted
            self._consume(model, wanted)

    def _is_over(self, known: _Failed) -> bool:
        since = known.unserved_since
        return since is not None and self._clock() - since >= self._unavailable_seconds

    def _run(self) -> None:
        while not self._stopping:
            self._changed.wait(LOOK_SECONDS if self._failed else None)
            self._changed.clear()
            try:
                self.look()
            except (TextmillError, SQLAlchemyError) as error:
                log.warning("who else serves %s is not known now: %s", ", ".join(self.failed), brief(error))
                self._changed.wait(LOOK_SECONDS)
