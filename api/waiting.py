"""Those who wait for a job's end: woken by hints, and by one slow poller for all of them, so that a thousand waiting
producers cost one query a time."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator

from starlette.concurrency import run_in_threadpool

from store import jobs
from store.faults import brief
from store.hints import Ended
from store.session import Store
from textmill.errors import Unavailable

log = logging.getLogger(__name__)


class Expected:
    """A job's end, as somebody awaits it."""

    def __init__(self, begin: Callable[[], None]) -> None:
        self._begin = begin
        self.begun = False
        """Whether it is waited for: until then the job may not have been made yet."""
        self.woken = asyncio.Event()
        """The job has ended, as far as is known, or there is nothing to wait for."""
        self._error: Exception | None = None

    async def within(self, seconds: float) -> None:
        """Return when the job has ended, the time is up, or this process stops.

        Raises what the poller's query raised (StoreBusy): the producer hears of it instead of waiting for nothing.
        """
        self.begun = True
        self._begin()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.woken.wait()
        if self._error is not None:
            raise self._error

    def wake(self, error: Exception | None = None) -> None:
        """Let it return, or raise the error. Later calls change nothing."""
        if not self.woken.is_set():
            self._error = error
            self.woken.set()


class Waiters:
    """Wakes requests when their jobs end. Belongs to one event loop.

    It is told of ends by hints (`api/hearing.py`), and asks SQL all the same, seldom: a hint may be lost.
    """

    def __init__(self, store: Store, poll_seconds: float) -> None:
        self._store = store
        self._poll_seconds = poll_seconds
        self._expected: dict[str, set[Expected]] = {}
        self._somebody = asyncio.Event()
        self._stopped = False

    @property
    def stopped(self) -> bool:
        """Whether the process is going to stop, so that nobody is woken any more."""
        return self._stopped

    def __len__(self) -> int:
        return sum(each.begun for those in self._expected.values() for each in those)

    @contextlib.contextmanager
    def expecting(self, job_id: str) -> Iterator["Expected"]:
        """The job's end, noticed from now on: begin before you look whether it has come, or you may miss it."""
        expected = Expected(self._somebody.set)
        self._expected.setdefault(job_id, set()).add(expected)
        if self._stopped:
            expected.wake()
        try:
            yield expected
        finally:
            if others := self._expected.get(job_id):
                others.discard(expected)
                if not others:
                    del self._expected[job_id]

    async def run(self) -> None:
        """Poll while somebody waits, until cancelled."""
        while True:
            await self._somebody.wait()
            await asyncio.sleep(self._poll_seconds)
            waiting = [job_id for job_id, those in self._expected.items() if any(each.begun for each in those)]
            if not waiting:
                self._somebody.clear()
                continue
            try:
                ended = await run_in_threadpool(self._store.read, jobs.ended, waiting)
            except Unavailable as error:
                log.warning("looking for ended jobs failed: %s", brief(error))
                self._wake(waiting, error)
            except Exception as error:  # whatever it is: the waiters answer for it, and the next ones get a next try
                log.exception("looking for ended jobs failed")
                self._wake(waiting, error)
            else:
                self._wake(ended, None)

    def hear(self, ended: Ended) -> None:
        """A job has ended, somebody says: who waits for it looks."""
        self._wake([ended.job], None)

    def stop(self) -> None:
        """Answer everybody now: the process is going to stop."""
        self._stopped = True
        self._wake(list(self._expected), None)

    def _wake(self, job_ids: list[str] | set[str], error: Exception | None) -> None:
        for job_id in job_ids:
            for expected in self._expected.pop(job_id, ()):
                expected.wake(error)
