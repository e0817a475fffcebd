"""The clerk: one thread of each api process that does what is to be done for batches, one step of one batch at a time.

Any process does any batch's next step, and each step can be done again: what a process that dies leaves behind is due
again a minute later, whatever its state was. In the sweep, which also runs in workers, a batch of 50,000 lines would
keep leases and lost messages waiting; and what its lines mean is this contract's business, not the store's.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from api.openai import reading
from api.openai.answers import answered
from api.openai.errors import body_of
from api.openai.reading import Check, Limits
from api.settings import ApiSettings
from store import files, jobs, keys, orders
from store.bulk import NewDocument
from store.catalogue import Catalogue
from store.dispatcher import Dispatcher
from store.faults import brief
from store.keys import Limits as KeyLimits
from store.orders import Claimed, Group
from store.session import Store
from store.traces import Traces
from textmill.errors import (
    DailyLimitReached,
    FileNotFound,
    InternalError,
    JobClosed,
    JobNotFound,
    LeaseLost,
    ResultNotReady,
    TextmillError,
    TooManyRequests,
    Unavailable,
    UploadOffsetMismatch,
)

log = logging.getLogger(__name__)

HELD_SECONDS = 60.0
"""For so long a step is this process's alone, unless it says that it goes on."""

SHOWN = 20
"""Refused lines that a batch of nothing else shows in its `errors`."""

LONGEST_WAIT = 600.0
"""Seconds until a batch is looked at again whose key may submit no more today: its limits may have changed."""

SHORTEST_PAUSE, LONGEST_PAUSE = 0.2, 10.0
"""Seconds between two looks at whether a batch's jobs have ended: a twentieth of the time that it has run."""


class Clerk:
    """The thread, and the steps."""

    def __init__(
        self,
        settings: ApiSettings,
        store: Store,
        catalogue: Catalogue,
        dispatcher: Dispatcher,
        traces: Traces | None = None,
    ) -> None:
        self._settings = settings
        self._traces = traces or Traces()
        self._store = store
        self._catalogue = catalogue
        self._dispatcher = dispatcher
        self._limits = Limits(settings.max_batch_lines, settings.max_batch_jobs, settings.max_chunk_bytes)
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="clerk", daemon=True)
        self._steps: dict[str, Callable[[Claimed, Pace], None]] = {
            "validating": self._validate,
            "in_progress": self._go_on,
            "cancelling": self._cancel,
            "finalizing": self._measure,
        }

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """There is something to do: look now."""
        self._wake.set()

    def stop(self, timeout: float = 10) -> None:
        """End the thread. What it was at is due again soon."""
        self._stopping = True
        self._wake.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        away = False
        while not self._stopping:
            try:
                busy = self.work()
                away = False
            except Unavailable as error:
                if not away:
                    log.warning("batches are put off: %s", brief(error))
                busy, away = False, True
            except (TextmillError, SQLAlchemyError):
                log.exception("looking for batches failed")
                busy = False
            if not busy:
                self._wake.wait(self._settings.batch_poll_seconds)
                self._wake.clear()

    def work(self) -> bool:
        """One step of the batch that has been due for longest. False: none is."""
        if not self._store.read(orders.due):
            return False
        claimed = self._store.write(orders.claim, HELD_SECONDS)
        if claimed is None:
            return False
        try:
            self._steps[claimed.order.state](claimed, Pace(self._store, claimed, lambda: self._stopping))
        except LeaseLost:
            log.info("batch_%s: another process goes on, or it was cancelled", claimed.order.uuid)
        except Unavailable:
            raise  # it is due again when the right to it runs out
        except Exception:  # whatever it is: the thread goes on with other batches, and this one ends with its time
            log.exception("batch_%s: a step failed", claimed.order.uuid)
            self._failed(claimed)
        return True

    def _failed(self, claimed: Claimed) -> None:
        if claimed.overdue:
            error = InternalError()
            self._store.write(orders.refuse, claimed, [_told(error.code, error.message, None, None)])
        else:
            self._store.write(orders.put_off, claimed, LONGEST_PAUSE)

    # --- the steps ----------------------------------------------------------------------------------------------------

    def _validate(self, claimed: Claimed, pace: "Pace") -> None:
        order = claimed.order
        if claimed.overdue:
            self._store.write(orders.finalize, claimed, "expired")
            return
        # Its jobs are all open until its file has been read: a key that may not have so many would wait for itself.
        most = self._store.read(keys.limits_of, order.key_id).open_jobs
        limits = self._limits if most is None else self._limits._replace(jobs=min(most, self._limits.jobs))
        check = Check(self._catalogue, order.endpoint, limits)
        try:
            check.run(self._chunks(order.file_id, pace))
        except FileNotFound as error:
            check.refuse_all = error
        if check.refuse_all is not None:
            said = body_of(check.refuse_all)["error"]
            self._store.write(orders.refuse, claimed, [_told(said["code"], said["message"], said["param"], None)])
            return
        groups = list(check.groups.values())
        self._store.write(orders.validated, claimed, check.total, check.documents, check.refused, groups)

    def _go_on(self, claimed: Claimed, pace: "Pace") -> None:
        order = claimed.order
        if claimed.overdue:
            self._end_jobs(claimed, pace)
            self._store.write(orders.finalize, claimed, "expired")
        elif not order.fed:
            self._feed(claimed, pace)
        else:
            states = self._store.read(orders.job_states, order.id)
            if None in states:
                self._deleted(claimed, pace)
            elif orders.all_ended(states):
                self._store.write(orders.finalize, claimed, "completed")
            else:
                self._store.write(orders.put_off, claimed, self._pause(order.in_progress_at))

    def _pause(self, since: Any) -> float:
        running = 0.0 if since is None else time.time() - since.timestamp()
        return min(max(running / 20, SHORTEST_PAUSE), LONGEST_PAUSE)

    def _feed(self, claimed: Claimed, pace: "Pace") -> None:
        order = claimed.order
        groups = self._store.read(orders.groups, order.id)
        if not groups:
            lines = self._store.read(orders.refused_lines, order.id, 0, SHOWN)
            told = [_told(line.code, line.message, line.param, line.line) for line in lines]
            self._store.write(orders.finalize, claimed, "failed", told)
            return
        key_limits = self._store.read(keys.limits_of, order.key_id)
        feeding = Feeding(self._store, self._dispatcher, claimed, groups, key_limits)
        refused = self._store.read(orders.refused_numbers, order.id)
        try:
            with self._traces.step("begin batch", batch=f"batch_{order.uuid}"):
                feeding.begin()
            chunks = self._chunks(order.file_id, pace)
            reading.feed(chunks, order.endpoint, refused, self._limits.line_bytes, feeding.append)
        except TooManyRequests as error:
            pause = float(error.details.get("retry_after_seconds", LONGEST_PAUSE))
            log.info("batch_%s waits: %s", order.uuid, error.message)
            self._store.write(orders.put_off, claimed, min(pause, LONGEST_WAIT))
            return
        except (JobClosed, JobNotFound):
            self._deleted(claimed, pace)  # somebody cancelled or deleted one of its jobs, or it stood still for days
            return
        except FileNotFound as error:
            self._fail(claimed, pace, error)
            return
        feeding.close()
        self._store.write(orders.fed, claimed)

    def _deleted(self, claimed: Claimed, pace: "Pace") -> None:
        message = "a job of this batch was cancelled or deleted before all of its documents were there"
        self._fail(claimed, pace, JobNotFound(message))

    def _fail(self, claimed: Claimed, pace: "Pace", error: TextmillError) -> None:
        self._end_jobs(claimed, pace)
        self._store.write(orders.finalize, claimed, "failed", [_told(error.code, error.message, None, None)])

    def _cancel(self, claimed: Claimed, pace: "Pace") -> None:
        self._end_jobs(claimed, pace)
        self._store.write(orders.finalize, claimed, "cancelled")

    def _end_jobs(self, claimed: Claimed, pace: "Pace") -> None:
        for group in self._store.read(orders.groups, claimed.order.id):
            if group.job_uuid is not None:
                try:
                    self._store.write_once(jobs.cancel, claimed.order.key_id, group.job_uuid)
                except JobNotFound:
                    log.info("batch_%s: its job %s was deleted", claimed.order.uuid, group.job_uuid)
                pace()

    def _measure(self, claimed: Claimed, pace: "Pace") -> None:
        counts = {"output": 0, "errors": 0}
        sizes = {"output": 0, "errors": 0}
        failed = 0
        try:
            for found in answered(self._store, claimed.order, self._settings.page_bytes, pace):
                counts[found.part] += 1
                sizes[found.part] += len(found.line)
                failed += found.failed
        except JobNotFound as error:
            self._store.write(orders.refuse, claimed, [_told(error.code, error.message, None, None)])
            return
        except ResultNotReady:
            log.info("batch_%s waits: one of its jobs is being retried", claimed.order.uuid)
            self._store.write(orders.put_off, claimed, self._pause(claimed.order.finalizing_at))
            return
        ending = orders.Ending(counts["output"], failed, sizes["output"], sizes["errors"])
        self._store.write(orders.finish, claimed, ending)

    def _chunks(self, file_id: int, pace: "Pace") -> Iterator[bytes]:
        for number in range(self._store.read(files.chunks_of, file_id)):
            data = self._store.read(files.chunk, file_id, number)
            if data is None:
                raise FileNotFound
            yield data
            pace()


class Pace:
    """Called between the parts of a step: says that this process goes on with it. Raises LeaseLost where it may not."""

    def __init__(self, store: Store, claimed: Claimed, stopping: Callable[[], bool]) -> None:
        self._store = store
        self._claimed = claimed
        self._stopping = stopping
        self._renewed = time.monotonic()

    def __call__(self) -> None:
        if self._stopping():
            self._store.write(orders.put_off, self._claimed, 0)
            raise LeaseLost("this process stops")
        if time.monotonic() - self._renewed > HELD_SECONDS / 6:
            self._store.write(orders.renew, self._claimed, HELD_SECONDS)
            self._renewed = time.monotonic()


class Feeding:
    """Documents on their way into the jobs of a batch. Those that are there already are left out."""

    def __init__(
        self, store: Store, dispatcher: Dispatcher, claimed: Claimed, groups: list[Group], limits: KeyLimits
    ) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._claimed = claimed
        self._key = claimed.order.key_id
        self._limits = limits
        self._groups = {group.digest: group for group in groups}
        self._jobs: dict[str, tuple[str, int]] = {}
        """By digest: the job, and how many documents it had when this step came upon it."""

    def begin(self) -> None:
        """Make the jobs that are missing. Raises LeaseLost, TooManyOpenJobs."""
        missing = {group.number: group for group in self._groups.values() if group.job_uuid is None}
        if not missing:
            return
        new = {number: self._new_job(group) for number, group in missing.items()}
        made, released = self._store.write_once(orders.add_jobs, self._claimed, new)
        self._dispatcher.publish(released)
        self._jobs = {missing[number].digest: (job_id, 0) for number, job_id in made.items()}

    def _new_job(self, group: Group) -> jobs.NewJob:
        order = self._claimed.order
        return jobs.NewJob(
            self._key,
            group.task,
            group.model,
            json.loads(group.options),
            metadata={"batch": f"batch_{order.uuid}", "endpoint": order.endpoint},
            open=True,
            limits=self._limits,
        )

    def append(self, digest: str, documents: list[NewDocument], start: int) -> None:
        """Raises JobClosed, JobNotFound, LeaseLost, DailyLimitReached."""
        job_id, had = self._jobs.get(digest) or self._job(digest)
        missing = documents[max(0, had - start) :]
        if missing:
            offset = start + len(documents) - len(missing)
            try:
                self._store_documents(job_id, missing, offset)
            except DailyLimitReached as error:
                # As far as it goes: all at once or none would never begin where a day's documents are fewer than these.
                if left := error.details["left"]:
                    self._store_documents(job_id, missing[:left], offset)
                raise

    def _store_documents(self, job_id: str, documents: list[NewDocument], offset: int) -> None:
        try:
            appended = self._store.write(jobs.append, self._key, job_id, documents, offset, None, self._limits)
        except UploadOffsetMismatch as error:
            raise LeaseLost("another process feeds it, too") from error
        self._dispatcher.publish(appended.released)

    def close(self) -> None:
        """No more documents follow."""
        for job_id, _ in self._jobs.values():
            self._store.write_once(jobs.close, self._key, job_id)

    def _job(self, digest: str) -> tuple[str, int]:
        job_id = self._groups[digest].job_uuid
        assert job_id is not None, "begin() was called"
        found = job_id, self._store.read(jobs.get, self._key, job_id).counts.total
        self._jobs[digest] = found
        return found


def _told(code: str, message: str, param: str | None, line: int | None) -> dict[str, Any]:
    return {"code": code, "message": message, "param": param, "line": line}
