"""A progress bar for a job. rich is imported when a bar is asked for."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from textmill import wire

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

T = TypeVar("T")


class Bar:
    """Shows counts, rate and remaining time on the standard error; entering it gives the function that updates it."""

    def __init__(self, job: wire.Job) -> None:
        self._job = job
        self._progress: Progress | None = None
        self._bar: TaskID | None = None

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
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        # The server's own rate and estimate: it knows of what other jobs take.
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
            console=Console(stderr=True),
        )  # fmt: skip
        self._bar = self._progress.add_task(self._job.task, total=None, rate="")
        self._progress.start()
        self.show(self._job)
        return self.show

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._progress is not None
        self._progress.stop()

    def show(self, job: wire.Job) -> None:
        """Bring the bar up to date."""
        assert self._progress is not None
        assert self._bar is not None
        counts = job.counts
        failed = f", {counts.failed} failed" if counts.failed else ""
        speed = f"{job.documents_per_second:.1f}/s" if job.documents_per_second else ""
        left = f", {job.eta_seconds:.0f} s left" if job.eta_seconds and not job.open else ""
        self._progress.update(
            self._bar,
            # While documents are still coming nobody knows the total, and the bar counts those.
            description=f"{job.task} {'uploading' if job.open else job.state}",
            total=None if job.open else counts.total,
            completed=counts.total if job.open else counts.total - counts.pending,
            rate=f"{speed}{left}{failed}",
        )
