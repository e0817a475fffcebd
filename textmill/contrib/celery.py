"""Textmill from a Celery app of your own: a canvas goes on when its job has ended, and no slot waits for that.

`docs/celery.md` tells how; the extra `textmill[celery]` brings Celery.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from celery import Celery, Task
from celery.exceptions import Reject, SoftTimeLimitExceeded

from textmill.client import Client, Job
from textmill.errors import InvalidRequest, JobClosed, JobFailed, TextmillError

PATIENCE_SECONDS = 2.0
"""How long a request is tried again while a slot is held. What takes longer is tried again by a new message."""

FIRST_SECONDS = 1.0
LONGEST_SECONDS = 60.0

TRIES = 6
"""Of a message that the broker refuses, in the slot: for about a minute. Then it gets the one of before back."""


class Tasks(NamedTuple):
    """What `register` adds to an app."""

    run: "Task[..., str]"
    """`run.s(task, **asked)`, behind a task that returns documents: submits them as a job, and returns its id when it
    has ended. asked: what `Client.submit` takes, and `max_failed`."""
    wait: "Task[..., str]"
    """`wait.s()`, behind a task that returns a job's id: returns it when the job has ended. Takes `max_failed`."""


def register(
    app: Celery,
    client: Callable[..., Client] = Client,
    *,
    name: str = "textmill",
    first_seconds: float = FIRST_SECONDS,
    longest_seconds: float = LONGEST_SECONDS,
) -> Tasks:
    """Add the tasks `NAME.run` and `NAME.wait` to the app.

    client: makes the client of a process, which is told how patient to be (`functools.partial(Client, url, key)`); by
    default address and key are those of the environment. first_seconds: until the first look at a job; the next ones
    are twice as far apart each time, longest_seconds at most: far less than the broker's visibility timeout.
    max_failed, of both tasks: where more documents failed or were cancelled, JobFailed is raised; None: never.
    """
    following = _Following(_OfProcess(client), first_seconds, longest_seconds)
    # Acknowledged when the next message is out: what a crash cuts short comes again, and nothing is lost.
    # Not shared: other apps of the process have no client of this one.
    kept: dict[str, Any] = {"acks_late": True, "reject_on_worker_lost": True, "max_retries": None, "shared": False}

    @app.task(name=f"{name}.run", bind=True, **kept)
    def run(
        self: "Task[..., str]",
        documents: list[Any] | None,
        task: str,
        *,
        max_failed: int | None = 0,
        job: str | None = None,
        **asked: Any,
    ) -> str:
        with following.again(self):
            if job is None:
                job = following.submitted(self, documents, task, asked)
            # From now on the job's id travels, and the documents do not.
            return following.ended(
                self, job, max_failed, args=(None, task), kwargs={"job": job, "max_failed": max_failed}
            )

    @app.task(name=f"{name}.wait", bind=True, **kept)
    def wait(self: "Task[..., str]", job: str, max_failed: int | None = 0) -> str:
        with following.again(self):
            return following.ended(self, job, max_failed)

    return Tasks(run, wait)


class _OfProcess:
    """A client a process: connections do not go along into a child, and none is made where tasks are only sent."""

    def __init__(self, make: Callable[..., Client]) -> None:
        self._make = make
        self._made: tuple[int, Client] | None = None

    def get(self) -> Client:
        if self._made is None or self._made[0] != os.getpid():
            made = self._make(patience=PATIENCE_SECONDS, first_patience=PATIENCE_SECONDS)
            self._made = (os.getpid(), made)
        return self._made[1]


class _Following:
    """How a task submits a job and looks after it, a moment at a time."""

    def __init__(self, clients: _OfProcess, first_seconds: float, longest_seconds: float) -> None:
        self._clients = clients
        self._first = first_seconds
        self._longest = longest_seconds

    @contextlib.contextmanager
    def again(self, task: "Task[..., str]") -> Iterator[None]:
        """What may pass (a server that restarts, a limit that is reached) is tried again by a new message."""
        try:
            yield
        except TextmillError as error:
            if not error.retry or _alone(task):
                raise
            raise self._next(task, exc=error) from error

    def submitted(self, task: "Task[..., str]", documents: object, name: str, asked: Mapping[str, Any]) -> str:
        """The id of the job of this Celery task, with all its documents. The same task has the same job, however often
        it is delivered: an upload that was cut short goes on where it was.

        Not `Client.submit`: where its upload fails it cancels the job, which a second delivery would come upon.
        """
        if not isinstance(documents, (list, tuple)):
            raise InvalidRequest(f"the task before gives a list of documents, and not a {type(documents).__name__}")
        given = {**asked, "metadata": {"celery_task": task.request.id, **(asked.get("metadata") or {})}}
        key = None if task.request.id is None else f"celery-{task.request.id}"
        job = self._clients.get().open_job(name, idempotency_key=key, **given)
        if job.info.open:
            try:
                job.upload([tuple(one) if isinstance(one, list) else one for one in documents])  # JSON has no tuples
                job.close()
            except TextmillError as error:
                if not error.retry:
                    job.cancel()
                raise
            except SoftTimeLimitExceeded:  # no message follows, so nobody goes on with it
                with contextlib.suppress(TextmillError):
                    job.cancel()
                raise
        elif job.counts.total != len(documents):
            raise JobClosed(f"job {job.id} took {job.counts.total} of {len(documents)} documents, and was closed then")
        return job.id

    def ended(self, task: "Task[..., str]", job_id: str, max_failed: int | None, **changed: Any) -> str:
        """The job's id where it has ended; else the task comes again later, with its arguments changed.

        Raises celery.exceptions.Retry, JobFailed.
        """
        job = self._clients.get().job(job_id)
        if _alone(task):
            job.wait()
        if not job.ended:
            # A countdown: the message lies with the worker until then, and the slot is somebody else's.
            raise self._next(task, **changed)
        return _judged(job, max_failed)

    def _next(self, task: "Task[..., str]", **changed: Any) -> Exception:
        """What to raise when the new message is out. A broker may refuse it (full, failing over): Celery would drop the
        old one as well then, and with it the chain. Giving it back at once is no way out: a Redis that is full refuses
        that, too, and the worker ends of it.
        """
        for number in range(TRIES):
            try:
                return task.retry(countdown=self._pause(task), throw=False, **changed)
            except Reject as error:
                refused = error
                time.sleep(min(self._longest, self._first * 2.0**number))
        return Reject(refused.args[0], requeue=True)

    def _pause(self, task: "Task[..., str]") -> float:
        return min(self._longest, self._first * 2.0 ** min(task.request.retries, 30))


def _alone(task: "Task[..., str]") -> bool:
    """Whether no worker is there that would call again: called as a function, or eager in somebody's tests."""
    return task.request.called_directly or task.request.is_eager


def _judged(job: Job, max_failed: int | None) -> str:
    counts = job.counts
    lost = counts.failed + counts.cancelled
    if max_failed is not None and lost > max_failed:
        codes = "".join(f", {number} {code}" for code, number in job.info.errors.items())
        message = f"job {job.id}: {lost} of {counts.total} documents failed or were cancelled{codes}"
        about = {"failed": counts.failed, "cancelled": counts.cancelled, "total": counts.total}
        raise JobFailed(message, job_id=job.id, **about)
    return job.id
