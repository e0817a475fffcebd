"""The progress of a job: a bar on a terminal or in a notebook, else a line now and then. rich is imported late."""

import contextlib
import html
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from textmill import wire
from textmill.show import duration

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

T = TypeVar("T")

FIRST_LINE_SECONDS, LINE_SECONDS = 2.0, 30.0
"""Before the first line where there is no terminal, and at most between two; between them each pause is twice as long
as the one before. Who waits a minute sees that something happens, and a log of a night has a few hundred lines."""

RECENT_SECONDS = 60.0
"""What is left is estimated by the speed of so long. That since the job's start, which the server tells, would count
the loading of its model: of a job of two minutes it said three hours."""

FEWEST_SECONDS = 5.0
"""Before so long no speed is told: documents come in groups, and the first one says little."""


class Speed:
    """How fast a job goes lately, by its documents that were seen to be done. Times are in seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def saw(self, now: float, job: wire.Job) -> None:
        """The job as it is now."""
        done = job.counts.total - job.counts.pending
        if self._seen and done < self._seen[-1][1]:
            self._seen.clear()  # processed again
        if done:
            self._seen.append((now, done))
        while len(self._seen) > 2 and self._seen[1][0] <= now - RECENT_SECONDS:
            self._seen.popleft()

    @property
    def per_second(self) -> float | None:
        """Documents, over the last RECENT_SECONDS; None where that is not known yet."""
        if not self._seen:
            return None
        (start, before), (now, done) = self._seen[0], self._seen[-1]
        return (done - before) / (now - start) if now - start >= FEWEST_SECONDS and done > before else None


class Bar:
    """Shows counts, rate, elapsed and remaining time on the standard error; entering it gives what updates it.

    transient: the bar goes away at its end. clock: seconds.
    """

    def __init__(
        self,
        job: wire.Job,
        transient: bool = False,
        console: "Console | None" = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._job = job
        self._transient = transient
        self._console = console
        self._clock = clock
        self._start = self._said = clock()
        self._pause = FIRST_LINE_SECONDS
        self._speed = Speed()
        self._progress: Progress | None = None
        self._bar: TaskID | None = None
        self._cell: Any = None
        """The place in a notebook's cell where the bar is redrawn."""

    @staticmethod
    def none() -> contextlib.AbstractContextManager[None]:
        """No bar."""
        return contextlib.nullcontext()

    @staticmethod
    def counted(documents: Iterable[T], job: wire.Job, show: Callable[[wire.Job], None] | None) -> Iterator[T]:
        """The documents, counted on the bar as they are read."""
        for number, document in enumerate(documents, start=1):
            if show and number % 100 == 0:
                counts = job.counts.model_copy(update={"total": number})
                show(job.model_copy(update={"counts": counts}))
            yield document

    def __enter__(self) -> Callable[[wire.Job], None]:
        show = self._begun()

        def seen(job: wire.Job) -> None:
            if not job.open:
                self._speed.saw(self._clock(), job)
            show(job)

        return seen

    def _begun(self) -> Callable[[wire.Job], None]:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        console = self._console or Console(stderr=True)
        if console.is_jupyter:
            from IPython.display import display

            # rich's own bar wants ipywidgets there, and shows nothing but a hint without them.
            self._cell = display(self._as_cell(self._job), raw=True, display_id=True)
            return self._update_cell
        if not console.is_terminal:
            return self._line
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
            console=console, transient=self._transient,
        )  # fmt: skip
        self._bar = self._progress.add_task(self._job.task, total=None, rate="")
        self._progress.start()
        self._update(self._job)
        return self._update

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def _update(self, job: wire.Job) -> None:
        assert self._progress is not None
        assert self._bar is not None
        counts = job.counts
        self._progress.update(
            self._bar,
            # While documents are still coming nobody knows the total, and the bar counts those.
            description=self._what(job),
            total=None if job.open else counts.total,
            completed=counts.total if job.open else counts.total - counts.pending,
            rate=self._rate(job),
        )

    def _line(self, job: wire.Job) -> None:
        if self._clock() - self._said < self._pause:
            return
        self._said, self._pause = self._clock(), min(2 * self._pause, LINE_SECONDS)
        print(self._told(job), file=sys.stderr, flush=True)

    def _update_cell(self, job: wire.Job) -> None:
        self._cell.update(self._as_cell(job), raw=True)

    def _as_cell(self, job: wire.Job) -> dict[str, str]:
        told, counts = self._told(job), job.counts
        place = "" if job.open else f' value="{counts.total - counts.pending}" max="{max(counts.total, 1)}"'
        return {"text/plain": told, "text/html": f"<progress{place}></progress> {html.escape(told)}"}

    def _told(self, job: wire.Job) -> str:
        counts = job.counts
        done = f"{counts.total}" if job.open else f"{counts.total - counts.pending}/{counts.total}"
        return f"{self._what(job)}: {done} documents, {self._rate(job)}"

    def _what(self, job: wire.Job) -> str:
        return f"{job.task} {'uploading' if job.open else job.state}"

    def _rate(self, job: wire.Job) -> str:
        # The server's own speed is that of the whole job: of one that has ended the right one.
        speed = job.documents_per_second if job.ended or job.open else self._speed.per_second
        parts = [f"{speed:.1f}/s"] if speed else []
        parts += [f"{duration(self._clock() - self._start)} so far"]
        parts += [f"about {duration(job.counts.pending / speed)} left"] if speed and not (job.open or job.ended) else []
        parts += [f"{job.counts.failed} failed"] if job.counts.failed else []
        parts += [job.notice] if job.notice else []
        return ", ".join(parts)
