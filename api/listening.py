"""Server-sent events: one poller for all who listen, so that a thousand open pages cost one look a time. A hint that
one of their jobs has ended makes it look at once."""

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

from starlette.concurrency import run_in_threadpool

from store import events
from store.events import Ask, Heard, Look
from store.faults import brief
from store.hints import Ended
from store.session import Store
from textmill.errors import Overloaded, TooManyRequests, Unavailable
from textmill.wire import Job

log = logging.getLogger(__name__)

MOST_TRACKED = 1_000
"""Active jobs whose changes one listener to a key hears of; of more it forgets those accepted first."""

OVERLAP = timedelta(seconds=30)
"""How much earlier than its last event a listener that comes back hears of ends: a commit follows the time in it."""

MOST_WAITING = 2_000
"""Events that wait for a listener which does not read. With more its stream ends, and it goes on from its last id."""

QUIET = b": \n\n"
"""A comment of server-sent events."""

PAUSE_SECONDS = 0.05
"""Between two looks at least, however many hints there are."""

Place = tuple[int, datetime]
"""How far a listener to a key has heard: the newest job's number, and when."""


class Listener:
    """One open stream: what it has still to send. A job that changes twice before it is sent is sent once."""

    def __init__(self, key_id: int, job_id: str | None, known: str | None, place: Place | None) -> None:
        self.key_id = key_id
        self.job_id = job_id
        self.woken = asyncio.Event()
        self.over = False
        """Nothing more will come."""
        self.after = self._begin = None if place is None else place[0]
        self.ended_since = None if place is None else place[1] - OVERLAP
        self.tracked: dict[int, str] = {}
        """Number -> version of the jobs that it has heard of and that may change, or be looked at once more."""
        self._known = known
        self._waiting: dict[str, bytes] = {}
        self._id = ""

    def hear_job(self, heard: Heard | None) -> None:
        """How its job is now; None: it was deleted."""
        if self.over:
            return
        if heard is not None:
            self._note(heard)
            self._id = version(heard.job)
        self.over = heard is None or heard.job.ended
        self._wake()

    def hear_key(self, look: Look) -> None:
        """What a look has brought of its key."""
        if self.over:
            return
        newest = look.newest[self.key_id]
        if self._begin is None:
            self._begin = self.after = newest
        for heard in look.of_keys:
            if heard.key_id == self.key_id and self._concerns(heard):
                self._note(heard)
        self.after = max(self.after or 0, look.reached[self.key_id])
        self.ended_since = None
        changing = {h.number for h in look.of_keys if not h.job.ended or h.number > self.after - events.RECENT}
        self.tracked = {number: known for number, known in self.tracked.items() if number in changing}
        for number in sorted(self.tracked)[:-MOST_TRACKED]:
            del self.tracked[number]
        self._id = f"{self.after}-{look.now.timestamp():.3f}"
        if len(self._waiting) > MOST_WAITING:
            self._waiting.clear()
            self.over = True
        self._wake()

    def _concerns(self, heard: Heard) -> bool:
        """Whether this listener has to hear of the job: another one to the same key may have asked for it."""
        if not heard.job.ended or heard.number in self.tracked or heard.number > (self._begin or 0):
            return True
        ended = heard.job.finished_at
        return self.ended_since is not None and ended is not None and ended >= self.ended_since

    def _note(self, heard: Heard) -> None:
        now = version(heard.job)
        if now not in (self.tracked.get(heard.number), self._known):
            self._waiting.pop(heard.job.id, None)  # to the end, in the order in which they changed
            self._waiting[heard.job.id] = heard.job.model_dump_json().encode()
        self.tracked[heard.number] = now
        self._known = None

    def _wake(self) -> None:
        if self._waiting or self.over:
            self.woken.set()

    def take(self) -> bytes:
        """What is to be sent now. The last event alone has an id: whoever has it has heard all."""
        self.woken.clear()
        last = len(self._waiting) - 1
        events = [
            b"event: job\n" + (b"id: %b\n" % self._id.encode() if number == last else b"") + b"data: " + data + b"\n\n"
            for number, data in enumerate(self._waiting.values())
        ]
        self._waiting.clear()
        return b"".join(events)


def version(job: Job) -> str:
    """What changes when something is to be told of the job; its rate alone is no news."""
    counts = job.counts
    error = "" if job.error is None else job.error.code
    return f"{job.state}.{job.open:d}.{counts.total}.{counts.succeeded}.{counts.failed}.{counts.cancelled}.{error}"


def place_of(event_id: str) -> Place | None:
    """Where a listener to a key was, after the id of its last event. None where that is none of ours."""
    number, _, moment = event_id.partition("-")
    if not (number.isdecimal() and len(number) <= 18):
        return None
    try:
        return int(number), datetime.fromtimestamp(float(moment), UTC)
    except (ValueError, OverflowError, OSError):
        return None


class Listeners:
    """All open streams of this process. Belongs to one event loop.

    It asks SQL, and is told of ends alone, as `Waiters` is: a change may be committed by any process.
    """

    def __init__(self, store: Store, poll_seconds: float, most: int, most_of_key: int) -> None:
        self._store = store
        self._poll_seconds = poll_seconds
        self._most = most
        self._most_of_key = most_of_key
        self._open: set[Listener] = set()
        self._somebody = asyncio.Event()
        self._stopped = False

    def __len__(self) -> int:
        return len(self._open)

    def join(self, listener: Listener) -> None:
        """Tell it what changes from now on, until `leave`. Raises TooManyRequests (of its key), Overloaded."""
        if sum(other.key_id == listener.key_id for other in self._open) >= self._most_of_key:
            raise TooManyRequests(f"this key listens {self._most_of_key} times already")
        if len(self._open) >= self._most:
            raise Overloaded(f"{self._most} listen to this process already")
        self._open.add(listener)
        self._somebody.set()
        if self._stopped:
            self.stop()

    def leave(self, listener: Listener) -> None:
        """Its stream is closed."""
        self._open.discard(listener)

    def hear(self, ended: Ended) -> None:
        """A job has ended, somebody says: look, if it concerns anybody."""
        if any(
            ended.job == each.job_id or (each.job_id is None and ended.key_id == each.key_id) for each in self._open
        ):
            self._somebody.set()

    async def run(self) -> None:
        """Look while somebody listens, until cancelled. Who joins is told at once how things stand."""
        while True:
            await self._somebody.wait()
            self._somebody.clear()
            if not self._open:
                continue
            try:
                await self._look()
            except Unavailable as error:
                log.warning("looking for changed jobs failed: %s", brief(error))
            except Exception:  # whatever it is: the streams stay open, and the next look may succeed
                log.exception("looking for changed jobs failed")
            await asyncio.sleep(min(PAUSE_SECONDS, self._poll_seconds))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._poll_seconds):
                    await self._somebody.wait()
            self._somebody.set()

    def stop(self) -> None:
        """End all streams: the process is going to stop. Listeners come back, to this or another process."""
        self._stopped = True
        for listener in self._open:
            listener.over = True
            listener.woken.set()

    async def _look(self) -> None:
        listening = list(self._open)
        of_keys: dict[int, list[Listener]] = defaultdict(list)
        for listener in listening:
            if listener.job_id is None:
                of_keys[listener.key_id].append(listener)
        asks = {key_id: _asked(those) for key_id, those in of_keys.items()}
        job_ids = {listener.job_id for listener in listening if listener.job_id is not None}
        look = await run_in_threadpool(self._store.read, events.look, asks, job_ids)
        by_id = {heard.job.id: heard for heard in look.of_jobs}
        for listener in listening:
            if listener.job_id is None:
                listener.hear_key(look)
            else:
                listener.hear_job(by_id.get(listener.job_id))


def _asked(listeners: list[Listener]) -> Ask:
    """What all listeners to one key have to hear of, together."""
    places = [listener.after for listener in listeners if listener.after is not None]
    ends = [listener.ended_since for listener in listeners if listener.ended_since is not None]
    tracked = {number for listener in listeners for number in listener.tracked}
    return Ask(min(places, default=None), tracked, min(ends, default=None))


async def stream(listener: Listener, seconds: float) -> AsyncIterator[bytes]:
    """The bytes of a listener's stream, with a comment where nothing was sent for so long: proxies close what is
    silent."""
    yield QUIET  # something at once, so that the status line reaches whoever waits for it
    while listener.woken.is_set() or not listener.over:
        try:
            async with asyncio.timeout(seconds):
                await listener.woken.wait()
        except TimeoutError:
            yield QUIET
        else:
            yield listener.take()
