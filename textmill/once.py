"""A run whose results go to the standard output: nothing remembers its place, and nothing can be gone on with."""

from collections.abc import Callable
from typing import IO

from textmill.client import Job
from textmill.files.results import Form
from textmill.progress import Bar
from textmill.run import counted


def print_results(job: Job, form: Form, out: IO[str], progress: bool, say: Callable[[str], None]) -> Job:
    """All results of a job that was submitted, in document order as they come; then what failed. The job at its end."""
    out.write(form.header)
    cursor = None
    with Bar(job.info) if progress else Bar.none() as show:
        while True:
            page = job.page(cursor, text=form.with_text)
            out.writelines(map(form.line, page.results))
            if page.next_cursor is None:
                break
            if page.next_cursor == cursor:
                out.flush()
                job.refresh(wait=1)
                if show:
                    show(job.info)
            cursor = page.next_cursor
        out.flush()
        job.refresh()
    say(f"job {job.id}: {job.state}, {counted(job.counts)}")
    for code, number in job.info.errors.items():
        say(f"  {number} failed with {code}")
    return job
