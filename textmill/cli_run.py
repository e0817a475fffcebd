"""`textmill run` and `textmill submit`. What takes time to import is imported by the command that needs it."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from textmill import errors
from textmill.cli_options import (
    ALL_SUCCEEDED,
    SOME_FAILED,
    TASK,
    as_json,
    client_of,
    columns_of,
    connection,
    exit_code,
    job_options,
    notices,
    parsed_metadata,
    parsed_options,
    places_of_one_id,
    to_option,
)

if TYPE_CHECKING:
    from textmill.client import Client, Job
    from textmill.notes import Place


@click.command()
@click.argument("task", type=TASK)
@click.argument("files", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    required=True,
    help="file of results; -: the standard output",
)
@to_option
@click.option("--join", is_flag=True, help="write the rows of the input with new columns")
@click.option("--split", metavar="DIR", help="also write one file a document: its text, or brat's pair for ner")
@click.option("--restart", is_flag=True, help="begin anew, whatever an earlier run left")
@click.option("--provenance", is_flag=True, help="OUTPUT.provenance.json, too: model, licence, limitations, backend")
@click.option("-q", "--quiet", is_flag=True, help="no progress")
@as_json
@job_options
@connection
def run(
    task: Any,
    files: tuple[str, ...],
    output: Path,
    to: Any,
    join: bool,
    split: str | None,
    restart: bool,
    provenance: bool,
    quiet: bool,
    json_: bool,
    **given: Any,
) -> None:
    """Submit FILES, follow the job, write its results to a file: by its suffix csv, tsv, parquet, else JSON lines.

    FILES: files, folders, patterns ('reports/**/*.txt', quoted), addresses (s3://...), - for the standard input. The
    same command again goes on where an interrupted one stopped: OUTPUT.job remembers the place. --json: the job at its
    end, on the standard output.
    """
    if str(output) == "-":
        if join or split or restart or provenance or json_:
            raise click.UsageError("-o - prints results; --join, --split, --restart, --provenance, --json want a file")
        _run_once(task, files, to, not quiet, given)
    from textmill import notes
    from textmill import run as resume
    from textmill.files.sources import expand
    from textmill.outputs import Own

    options = parsed_options(given["options"], given["source_lang"], given["target_lang"])
    metadata = parsed_metadata(given["metadata"])
    plan = notes.plan(
        task,
        expand(files, Own(output, split)),
        given["format_"],
        given["model"],
        given["priority"],
        metadata,
        options,
        columns_of(given, task, keep=join),
        given["encoding"],
        to,
        join,
        split,
        given["webhook"],
    )
    with client_of(given["server"], given["api_key"]) as client, notices():
        try:
            with places_of_one_id(plan.files, plan.format, plan.columns, plan.encoding):
                place = resume.run(
                    client, plan, output, restart, not quiet, lambda text: click.echo(text, err=True), provenance
                )
        except (KeyboardInterrupt, errors.ServerUnreachable) as error:
            error.add_note("the same command goes on from here")
            raise
        if json_:
            click.echo(_at_end(client, place))
    sys.exit(ALL_SUCCEEDED if place.state == "completed" else SOME_FAILED)


def _at_end(client: "Client", place: "Place") -> str:
    try:
        return client.job(str(place.job_id)).info.model_dump_json()
    except errors.JobNotFound:
        # Deleted, by hand or after its time: the part of it that the notes have.
        known = place.model_dump(mode="json", include={"state", "finished_at"})
        return json.dumps({"id": place.job_id, **known, "counts": place.outcomes, "errors": place.failures})


def _run_once(task: str, files: tuple[str, ...], to: Any, progress: bool, given: dict[str, Any]) -> NoReturn:
    from textmill.files.results import form_of
    from textmill.once import print_results

    form = form_of("-", task, to)
    if form.whole:
        raise click.UsageError(f"{form.kind} is no text: name a file with -o")
    with client_of(given["server"], given["api_key"]) as client:
        job = _submitted(client, task, files, given)
        # A bar would stand between the results.
        shown = progress and not sys.stdout.isatty()
        try:
            job = print_results(job, form, sys.stdout, shown, lambda text: click.echo(text, err=True))
        except errors.JobNotFound as error:
            error.add_note(f"job {job.id} was deleted meanwhile")
            raise
        except (KeyboardInterrupt, BrokenPipeError, errors.TextmillError) as error:
            error.add_note(f"job {job.id} goes on: textmill results {job.id}")
            raise
        sys.exit(exit_code(job))


def _submitted(client: "Client", task: str, files: tuple[str, ...], given: dict[str, Any]) -> "Job":
    from textmill.files.inputs import check, from_files
    from textmill.files.sources import expand

    options = parsed_options(given["options"], given["source_lang"], given["target_lang"])
    source = expand(files), given["format_"], columns_of(given, task), given["encoding"]
    check(*source)
    with notices(), places_of_one_id(*source):
        return client.submit(
            task, from_files(*source), model=given["model"], priority=given["priority"],
            metadata=parsed_metadata(given["metadata"]), webhook=given["webhook"], **options,
        )  # fmt: skip


@click.command()
@click.argument("task", type=TASK)
@click.argument("files", nargs=-1, required=True)
@as_json
@job_options
@connection
def submit(task: Any, files: tuple[str, ...], json_: bool, **given: Any) -> None:
    """Submit FILES and print the job's id."""
    with client_of(given["server"], given["api_key"]) as client:
        job = _submitted(client, task, files, given)
        click.echo(job.info.model_dump_json() if json_ else job.id)
