"""`?wait=`: one poller for all who wait, so that a thousand waiting producers cost one query a time."""

import asyncio
import logging

from starlette.concurrency import run_in_threadpool

from store import jobs
from store.faults import brief
from store.session import Store
from textmill.errors import Unavailable

log = logging.getLogger(__name__)


class Waiters:
    """Wakes requests when their jobs end. Belongs to one event loop.

    It asks SQL and is not told: the job's end may be committed by any process, and SQL is what they all share.
    """

    def __init__(self, store: Store, poll_seconds: float) -> None:
        self._store = store
        self._poll_seconds = poll_seconds
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._somebody = asyncio.Event()
        self._stopped = False

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    async def wait(self, job_id: str, seconds: float) -> None:
        """Return when the job has ended, the time is up, or this process stops.

        Raises what the poller's query raised (StoreBusy): the producer hears of it instead of waiting for nothing.
        """
        if self._stopped or seconds <= 0:
            return
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(job_id, set()).add(ended)
        self._somebody.set()
        try:
            async with asyncio.timeout(seconds):
                await ended
        except TimeoutError:
            pass
        finally:
            if others := self._waiting.get(job_id):
                others.discard(ended)
                if not others:
                    del self._waiting[job_id]

    async def run(self) -> None:
        """Poll while somebody waits, until cancelled."""
        while True:
            await self._somebody.wait()
            await asyncio.sleep(self._poll_seconds)
            if not self._waiting:
                self._somebody.clear()
                continue
            try:
                ended = await run_in_threadpool(self._store.read, jobs.ended, list(self._waiting))
            except Unavailable as error:
                log.warning("looking for ended jobs failed: %s", brief(error))
                self._wake(list(self._waiting), error)
            except Exception as error:  # whatever it is: the waiters answer for it, and the next ones get a next try
                log.exception("looking for ended jobs failed")
                self._wake(list(self._waiting), error)
            else:
                self._wake(ended, None)

    def stop(self) -> None:
        """Answer everybody now: the process is going to stop."""
        self._stopped = True
        self._wake(list(self._waiting), None)

    def _wake(self, job_ids: list[str] | set[str], error: Exception | None) -> None:
        for job_id in job_ids:
            for waiter in self._waiting.pop(job_id, ()):
                if waiter.done():
                    continue
                if error is None:
                    waiter.set_result(None)
                else:
                    waiter.set_exception(error)
