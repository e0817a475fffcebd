"""The `textmill` command. What takes time to import is imported by the command that needs it."""

import itertools
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from textmill import errors
from textmill.cli_options import (
    RESULT_STATES,
    SOME_FAILED,
    STATES,
    TASK,
    UNREACHABLE,
    USAGE,
    as_json,
    client_of,
    connection,
    exit_code,
    job_of,
    to_option,
)
from textmill.cli_run import run, submit
from textmill.cli_webhooks import webhooks_group

if TYPE_CHECKING:
    from textmill.client import Job

INTERRUPTED = 128 + signal.SIGINT


class Commands(click.Group):
    """Turns Textmill's errors into messages and exit codes."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (errors.ServerUnreachable, errors.Unavailable) as error:
            self._fail(ctx, error, UNREACHABLE)
        except errors.WaitTimeout as error:
            self._fail(ctx, error, SOME_FAILED)
        except errors.TextmillError as error:
            self._fail(ctx, error, USAGE)
        except BrokenPipeError as error:
            # `textmill results ... | head`: nobody reads on. Python would complain once more when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            self._tell(error)
            ctx.exit(SOME_FAILED)
        except KeyboardInterrupt as error:
            self._tell(error, "interrupted")
            ctx.exit(INTERRUPTED)

    def _fail(self, ctx: click.Context, error: errors.TextmillError, code: int) -> None:
        self._tell(error, f"{error.message} [{error.code}]")
        ctx.exit(code)

    def _tell(self, error: BaseException, *message: str) -> None:
        for line in (*message, *getattr(error, "__notes__", ())):
            click.echo(f"textmill: {line}", err=True)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="textmill")
def main() -> None:
    """Submit bulk text-processing jobs, follow them, read their results.

    \b
    Exit codes: 0 all succeeded, 1 some documents failed (or are not decided yet), 2 usage,
    3 the server could not be reached, 130 interrupted.
    """


main.add_command(run)
main.add_command(submit)


@main.command()
@click.argument("job_id")
@as_json
@connection
def status(job_id: str, json_: bool, server: str | None, api_key: str | None) -> None:
    """Show a job."""
    with client_of(server, api_key) as client:
        _show_job(job_of(client, job_id), json_)


@main.command()
@click.argument("job_id")
@click.option("--timeout", type=float, help="seconds; the job goes on after them")
@click.option("-q", "--quiet", is_flag=True, help="no progress")
@as_json
@connection
def wait(job_id: str, timeout: float | None, quiet: bool, json_: bool, server: str | None, api_key: str | None) -> None:
    """Wait until a job has ended."""
    with client_of(server, api_key) as client:
        job = job_of(client, job_id).wait(timeout, progress=not quiet)
        _show_job(job, json_)
        sys.exit(exit_code(job))


@main.command()
@click.argument("job_id")
@click.option("-o", "--output", default="-", help="instead of standard output")
@to_option
@click.option("--state", type=click.Choice(RESULT_STATES), help="only these")
@click.option("--provenance", is_flag=True, help="OUTPUT.provenance.json, too: model, licence, limitations, backend")
@connection
def results(
    job_id: str, output: str, to: Any, state: Any, provenance: bool, server: str | None, api_key: str | None
) -> None:
    """Print a job's results in document order; while it runs, as they come.

    In a file by its suffix as csv, tsv or parquet, else as JSON lines.
    """
    from textmill import provenance as origin
    from textmill.files.results import form_of
    from textmill.wire import Result

    if provenance and output == "-":
        raise click.UsageError("--provenance stands beside a file of results: name it with -o")
    with client_of(server, api_key) as client:
        job = job_of(client, job_id)
        form = form_of(output, job.info.task, to)
        made: Counter[str] = Counter()
        if output != "-":
            # It tells of what stood here before.
            origin.path_of(Path(output)).unlink(missing_ok=True)

        def found() -> Iterator[Result]:
            for result in job.results(state, text=form.with_text):
                made[origin.maker(result)] += 1
                yield result

        if form.whole:
            if output == "-":
                raise click.UsageError(f"{form.kind} is no text: name a file with -o")
            form.write(found, Path(output))
        else:
            with click.open_file(output, "w", encoding="utf-8") as file:
                file.write(form.header)
                file.writelines(map(form.line, found()))
        if provenance:
            origin.write(client, job.id, Path(output), made, job.info.options)
        sys.exit(exit_code(job.refresh()))


@main.command()
@click.argument("job_id")
@as_json
@connection
def cancel(job_id: str, json_: bool, server: str | None, api_key: str | None) -> None:
    """Cancel what has no outcome yet."""
    with client_of(server, api_key) as client:
        _show_job(job_of(client, job_id).cancel(), json_)


@main.command()
@click.argument("job_id")
@connection
def delete(job_id: str, server: str | None, api_key: str | None) -> None:
    """Delete an ended job with its texts and results."""
    with client_of(server, api_key) as client:
        job_of(client, job_id).delete()


@main.command()
@click.argument("job_id")
@click.option("--code", "codes", multiple=True, help="only documents that failed with this code; may be repeated")
@click.option("--cancelled", is_flag=True, help="also those that were cancelled")
@as_json
@connection
def retry(
    job_id: str, codes: tuple[str, ...], cancelled: bool, json_: bool, server: str | None, api_key: str | None
) -> None:
    """Process the failed documents of an ended job again."""
    with client_of(server, api_key) as client:
        job = job_of(client, job_id)
        if job.counts.cancelled and not cancelled:
            # The ledger has no job that goes on with some of its documents cancelled.
            raise errors.InvalidRequest(
                f"{job.counts.cancelled} documents of the job were cancelled, and would be processed, too: --cancelled"
            )
        _show_job(job.retry(codes or None), json_)


@main.command()
@click.option("--state", type=click.Choice(STATES))
@click.option("--task", type=TASK)
@click.option("-n", "--limit", type=click.IntRange(1), default=20, show_default=True)
@as_json
@connection
def jobs(state: Any, task: Any, limit: int, json_: bool, server: str | None, api_key: str | None) -> None:
    """List jobs, newest first."""
    from textmill.show import jobs_table

    with client_of(server, api_key) as client:
        found = [job.info for job in itertools.islice(client.jobs(state, task), limit)]
    if not found:
        click.echo("no jobs", err=True)
        return
    for line in [job.model_dump_json() for job in found] if json_ else jobs_table(found):
        click.echo(line)


@main.command()
@click.argument("name", required=False)
@click.option("--task", type=TASK, help="only those for it")
@as_json
@connection
def models(name: str | None, task: str | None, json_: bool, server: str | None, api_key: str | None) -> None:
    """List the models that the server offers; with NAME, show one with its licence and its limitations."""
    from textmill.show import model_line, model_text

    with client_of(server, api_key) as client:
        offered = client.models()
        live = [] if json_ else client.workers()
    wanted = (None, task) if task else None  # the stand-in has no task: it serves any
    found = [m for m in offered if name in (None, m["name"]) and (wanted is None or m["task"] in wanted)]
    if name is not None and not found:
        named = ", ".join(model["name"] for model in offered)
        raise errors.ModelNotFound(f"the server offers no model {name!r}; it has: {named}")
    for model in found:
        if json_:
            lines = [json.dumps(model, ensure_ascii=False)]
        else:
            lines = model_text(model, live) if name else [model_line(model, live)]
        for line in lines:
            click.echo(line)


@main.command()
@as_json
@connection
def workers(json_: bool, server: str | None, api_key: str | None) -> None:
    """List the live workers."""
    with client_of(server, api_key) as client:
        for worker in client.workers():
            if json_:
                click.echo(worker.model_dump_json())
                continue
            resident = ", ".join(worker.resident) or "no model loaded"
            busy = f"{worker.load:.0%} busy{', draining' if worker.draining else ''}"
            click.echo(f"{worker.host}:{worker.pid}  {worker.device}  {busy}  {resident}")


main.add_command(webhooks_group)


def _show_job(job: "Job", json_: bool) -> None:
    from textmill.show import job_line

    click.echo(job.info.model_dump_json() if json_ else job_line(job.info))
