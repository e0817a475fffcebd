"""`textmill run`: submit, follow, write; and go on after whatever interrupted it.

What a run must remember stands in its notes beside the output (`textmill/notes.py`): before the job is made its
idempotency key, then its id, then the results' cursor with the length of the output up to it. A torn last line of the
output lies beyond that length and is cut off. Where the job was processed again after its results were written (a
retry), they are written anew beside the output, which is replaced when the last one is there.
"""

import contextlib
import fcntl
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from textmill import provenance, wire
from textmill.client import Client, Job
from textmill.digest import OTHER_INPUT, Digest, Watch, digest_of
from textmill.errors import InvalidRequest, JobNotFound, TextmillError
from textmill.files.inputs import from_files
from textmill.files.parts import Parts
from textmill.notes import Place, Plan, load, save
from textmill.outputs import Outputs
from textmill.progress import Bar

SAVE_BYTES = 1024 * 1024
"""Output between two notes of the place: losing less than this to an interruption is cheaper than more fsyncs."""


def run(
    client: Client,
    plan: Plan,
    out: Path,
    restart: bool,
    progress: bool,
    say: Callable[[str], None],
    tell_origin: bool = False,
) -> Place:
    """Bring the results of the plan into `out`. Returns the place at the end.

    tell_origin: `textmill/provenance.py`, beside the results; told again whenever it was told before.

    Raises InvalidRequest where OUT.job is of another plan, OUT exists without it or is of a format that is not written,
    or another run is at work.
    """
    outputs = Outputs(plan, out)
    with _locked(outputs.collected) as file:
        notes = out.with_name(out.name + ".job")
        if restart:
            _drop(client, notes)
        elif outputs.staged and out.exists() and not notes.exists():
            raise InvalidRequest(f"{out.name} is there, and no {notes.name} says whose it is: --restart overwrites it")
        place = _place(client, outputs, file, notes, restart)
        if place.uploaded and "-" in plan.files and digest_of(_documents(plan)) != place.read:
            raise InvalidRequest(f"{OTHER_INPUT} (`textmill results {place.job_id}` has the results of those)")
        if place.state is not None and not _stale(client, place, file, outputs, say):
            _finish(outputs, place, notes, client, tell_origin)
            say(f"job {place.job_id}: {place.state}, and all results are in {out}")
            _say_failures(place, say)
            return place
        job = _uploaded(client, place, notes, progress, say)
        while not _written(job, place, file, notes, outputs, progress):
            say(f"job {job.id} was processed again meanwhile: all of its results are written anew")
        _finish(outputs, place, notes, client, tell_origin)
        say(f"job {job.id}: {job.state}, {counted(job.counts)}; results in {out}")
        _say_failures(place, say)
        return place


def _finish(outputs: Outputs, place: Place, notes: Path, client: Client, tell_origin: bool) -> None:
    """What is made when the last result is there: whole files, and where the results come from."""
    if outputs.staged:
        _make(outputs, place, notes)
    if tell_origin or provenance.path_of(outputs.out).exists():
        assert place.job_id is not None
        provenance.write(client, place.job_id, outputs.out, place.made, place.plan.options)


def _documents(plan: Plan) -> Iterator[Parts]:
    return from_files(plan.files, plan.format, plan.columns, plan.encoding)


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[IO[bytes]]:
    """A file, open for appending, and nobody else's meanwhile."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InvalidRequest(f"another run writes to {out}") from error
        yield file


def _place(client: Client, outputs: Outputs, out: IO[bytes], notes: Path, restart: bool) -> Place:
    """Where an earlier run of this plan stopped, or the start."""
    plan = outputs.plan
    place = None if restart else load(notes)
    if place is None and out.tell() and not restart:
        raise InvalidRequest(f"{out.name} has content, and no {notes.name} says whose it is: --restart overwrites it")
    if place is not None and (place.server, place.plan) != (client.url, plan):
        if place.job_id is not None:
            raise InvalidRequest(
                f"{notes} is of a run with other files, options or server: repeat that one, or --restart begins anew"
            )
        place = None  # that one never got its job, it was refused perhaps: nothing is lost
    if place is None:
        place = Place(server=client.url, plan=plan, idempotency_key=str(uuid.uuid4()))
        save(notes, place)
        out.truncate(0)
        provenance.path_of(outputs.out).unlink(missing_ok=True)
    return place


def _drop(client: Client, notes: Path) -> None:
    """Cancel the job of an earlier run that never got all of its documents: nobody will bring them now."""
    try:
        place = load(notes)
        if place and place.job_id and not place.uploaded and place.server == client.url:
            client.job(place.job_id).cancel()
    except (InvalidRequest, JobNotFound):
        return  # it is not known which, or it is no more


def _make(outputs: Outputs, place: Place, notes: Path) -> None:
    """What is made of collected results; then these are not needed any more, and the lock ends with their file."""
    if not place.ready:
        outputs.make()
        place.ready = True
        save(notes, place)
    outputs.collected.unlink()


def _stale(client: Client, place: Place, out: IO[bytes], outputs: Outputs, say: Callable[[str], None]) -> bool:
    """Whether results that were all written are to be written again; then the place is the start."""
    assert place.job_id is not None
    whole = outputs.out.exists() if place.ready else out.tell() >= place.written
    try:
        job = client.job(place.job_id)
    except JobNotFound:
        if whole:
            return False  # deleted, by hand or after its time: the results are as they were
        raise
    if whole and (job.state, job.info.finished_at) == (place.state, place.finished_at):
        return False
    lacking = f"has results that {outputs.out.name} lacks"
    why = "was processed again since its results were written" if whole else lacking
    say(f"job {job.id} {why}: they are written anew")
    # What is made of them is replaced as a whole anyway.
    place.rewind(job.info, rewriting=whole and not outputs.staged)
    return True


def _uploaded(client: Client, place: Place, notes: Path, progress: bool, say: Callable[[str], None]) -> Job:
    """The job with all of its documents: made, found again, or its upload gone on with."""
    plan = place.plan
    if place.job_id is None:
        job = client.open_job(
            plan.task, model=plan.model, priority=plan.priority, metadata=plan.metadata,
            idempotency_key=place.idempotency_key, webhook=plan.webhook, **plan.options,
        )  # fmt: skip
        place.job_id = job.id
        save(notes, place)
    else:
        job = client.job(place.job_id)
        say(f"going on with job {job.id}: {counted(job.counts)}")
    if not place.uploaded:
        if job.info.open:
            _upload(job, place, notes, progress)
        else:
            _check_closed(job, place)
        place.uploaded = True
        save(notes, place)
    return job


def _upload(job: Job, place: Place, notes: Path, progress: bool) -> None:
    def note(read: Digest) -> None:
        place.read = read
        save(notes, place)

    documents = _documents(place.plan)
    # Files, too: a table that can be read now and could not before (or the other way round) has other documents.
    watch = Watch(place.read or Digest(), job.counts.total, note)
    try:
        with Bar(job.info, transient=True) if progress else Bar.none() as bar:
            job.upload(Bar.counted(documents, job.info, bar), watch)
            watch.finish()
            job.close()
    except InvalidRequest as error:
        # An input that is not the one before is mended by giving that one; anything else was refused for good.
        if not watch.other:
            _abandon(job, place, notes, error)
        raise


def _abandon(job: Job, place: Place, notes: Path, error: InvalidRequest) -> None:
    """Leave no open job behind, so that the command begins anew when what was refused is mended."""
    try:
        job.cancel()
    except TextmillError as another:
        error.add_note(f"job {job.id} could not be cancelled: {another.message}")
        return
    error.add_note(f"job {job.id} is cancelled; the same command begins anew")
    place.job_id, place.idempotency_key, place.read = None, str(uuid.uuid4()), None
    save(notes, place)


def _check_closed(job: Job, place: Place) -> None:
    """The server closed the job before this run had noted its upload as done. Raises InvalidRequest unless it was."""
    given = digest_of(_documents(place.plan))
    if given.documents != job.counts.total:
        raise InvalidRequest(
            f"job {job.id} was closed with {job.counts.total} of {given.documents} documents: --restart begins anew"
        )
    if given != place.read:
        raise InvalidRequest(OTHER_INPUT)


def _written(job: Job, place: Place, file: IO[bytes], notes: Path, outputs: Outputs, progress: bool) -> bool:
    """Bring all results into the output. False where some are of before a retry: the place is the start then."""
    with contextlib.ExitStack() as stack:
        # Beside the file that a link leads to, and not in the place of the link.
        out = outputs.collected.resolve()
        fresh = out.with_name(out.name + ".job.results")
        # Locked, too: it becomes the output, and its lock that of the output.
        sink = stack.enter_context(_locked(fresh)) if place.rewriting else file
        if sink.tell() < place.written:
            place.rewind(job.info, place.rewriting)  # it has become the output already, or somebody took it away
        sink.truncate(place.written)
        sink.seek(0, os.SEEK_END)
        _collect(job, place, sink, notes, outputs, progress)
        counts = job.counts.model_dump()
        same = all(place.outcomes[state] == counts[state] for state in wire.RESULT_STATES)
        # Read as a whole after its end, they are of one time, whatever the counts say.
        if not job.ended or not (same or (place.rewriting and place.finished_at == job.info.finished_at)):
            place.rewind(job.info, rewriting=True)
            return False
        place.state, place.finished_at = job.state, job.info.finished_at
        if place.rewriting:
            fresh.replace(out)
            place.rewriting = False
        save(notes, place)
        return True


def _collect(job: Job, place: Place, out: IO[bytes], notes: Path, outputs: Outputs, progress: bool) -> None:
    """Append results from the noted place on, in document order, until the last one is written."""
    with Bar(job.info) if progress else Bar.none() as show:
        noted = place.written
        if not noted:
            out.write(outputs.lines.header.encode())
        while True:
            page = job.page(place.cursor, text=outputs.with_text)
            out.writelines(outputs.lines.line(result).encode() for result in page.results)
            place.outcomes.update(result.state for result in page.results)
            place.failures.update(result.error.code for result in page.results if result.error)
            place.made.update(map(provenance.maker, page.results))
            moved = page.next_cursor != place.cursor
            place.cursor, place.written = page.next_cursor, out.tell()
            if page.next_cursor is None:
                break
            if place.written - noted >= SAVE_BYTES or not moved:
                noted = _note(out, notes, place) if place.written > noted else noted
            if not moved:
                job.refresh(wait=1)
                if show:
                    show(job.info)
        job.refresh()
        if show:
            show(job.info)
        # Not noted: the cursor is None after the last page, as it is before the first.
        _flush(out)


def _note(file: IO[bytes], notes: Path, place: Place) -> int:
    _flush(file)  # the results first: notes that run ahead of them would lose some
    save(notes, place)
    return place.written


def _flush(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _say_failures(place: Place, say: Callable[[str], None]) -> None:
    """What failed by its code, and the command that tries it again."""
    for code, number in place.failures.most_common():
        again = (
            "mend the files, then --restart"
            if code.startswith("file_")
            else f"textmill retry {place.job_id} --code {code}"
        )
        say(f"  {number} failed with {code}; again: {again}")
    if place.failures:
        say("  after a retry the same run writes the results anew")


def counted(counts: wire.Counts) -> str:
    """How many documents there are, and how many of them in each state."""
    parts = [f"{counts.total} documents", f"{counts.succeeded} succeeded"]
    parts += [f"{number} {what}" for what in ("failed", "cancelled", "pending") if (number := getattr(counts, what))]
    return ", ".join(parts)
