"""The options that commands share, and what turns them into values. What takes time to import is imported when used."""

import contextlib
import itertools
import json
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from textmill import errors

if TYPE_CHECKING:
    from textmill.client import Client, Job
    from textmill.files.columns import Columns
    from textmill.files.formats import Format

F = TypeVar("F", bound=Callable[..., Any])

ALL_SUCCEEDED, SOME_FAILED, USAGE, UNREACHABLE = 0, 1, 2, 3
"""Exit codes."""

STANDALONE = Path(".textmill/standalone.json")
# Written out, since importing them from textmill.wire brings pydantic: a test compares.
PRIORITIES = ("high", "normal", "low")
STATES = ("queued", "running", "completed", "completed_with_errors", "failed", "cancelled")
RESULT_STATES = ("succeeded", "failed", "cancelled")
FORMATS = (
    "auto", "text", "lines", "jsonl", "json", "csv", "tsv", "parquet", "arrow",
    "html", "pdf", "docx", "odt", "epub", "eml",
)  # fmt: skip


TOS = ("auto", "jsonl", "csv", "tsv", "parquet", "conll", "spacy")


class TaskName(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions of click only
    """A task by its name or an alias. The list of them brings pydantic, so it is read when a command needs it."""

    name = "task"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The task's own name."""
        from textmill import tasks

        try:
            return tasks.get(value).name
        except errors.InvalidRequest as unknown:
            self.fail(unknown.message, param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """The names, as `click.Choice` shows them. click before 8.2 gives no context."""
        from textmill import tasks

        return f"{{{'|'.join(tasks.NAMES)}}}" if param.param_type_name == "argument" else f"[{'|'.join(tasks.NAMES)}]"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The names that begin so."""
        from textmill import tasks

        return [CompletionItem(name) for name in tasks.NAMES if name.startswith(incomplete)]


TASK = TaskName()


def connection(command: F) -> F:
    """--server and --api-key."""
    key = click.option("--api-key", envvar="TEXTMILL_API_KEY", help="API key [env TEXTMILL_API_KEY]")
    server = click.option("--server", envvar="TEXTMILL_URL", help="address of the server [env TEXTMILL_URL]")
    return server(key(command))


def job_options(command: F) -> F:
    """What makes a job, besides its documents."""
    for option in (
        click.option("--metadata", help="JSON object, kept with the job"),
        click.option("--webhook", metavar="URL", help="told when the job ends (`textmill webhooks`)"),
        click.option("--priority", type=click.Choice(PRIORITIES), default="normal", show_default=True),
        click.option("-O", "--option", "options", multiple=True, metavar="NAME=VALUE",
                     help="an option of the task, such as num_beams=4; the value is JSON, or text"),
        click.option("-t", "--target-lang", help="language to translate to"),
        click.option("-s", "--source-lang", help="language to translate from"),
        click.option("-m", "--model", help="a model of the catalogue (`textmill models`); else the task's default"),
        click.option("--format", "format_", type=click.Choice(FORMATS), default="auto", show_default=True,
                     help="how files are read: a document is a row (csv, tsv, jsonl, json, parquet, arrow), a line, "
                          "or the file; auto: by the suffix, lines for -"),
        click.option("--encoding", help="of texts and tables that are not UTF-8 (cp1252, utf-16, ...)"),
        click.option("--id-column", help="tables: the column of ids; else `id` where there is one"),
        click.option("--text-column", help="tables: the column of texts; else `text`"),
    ):  # fmt: skip
        command = option(command)
    return command


to_option = click.option(
    "--to", type=click.Choice(TOS), default="auto", show_default=True,
    help="how results are written; conll and spacy: entities with their texts; auto: by the suffix",
)  # fmt: skip

as_json = click.option("--json", "json_", is_flag=True, help="as JSON, a line for each")


def client_of(server: str | None, api_key: str | None) -> "Client":
    """The client for options, environment or the standalone system of this folder, in this order."""
    from textmill.client import Client

    if not (server and api_key) and STANDALONE.is_file():
        here = json.loads(STANDALONE.read_text())
        # A key belongs to its server: that of the standalone system is not sent anywhere else.
        if not server or server.rstrip("/") == here["api_url"].rstrip("/"):
            server, api_key = here["api_url"], api_key or here["api_key"]
    if not server or not api_key:
        raise click.UsageError("name the server and the key: --server, --api-key, or TEXTMILL_URL, TEXTMILL_API_KEY")
    return Client(server, api_key)


def exit_code(job: "Job") -> int:
    """0 where every document succeeded."""
    return ALL_SUCCEEDED if job.state == "completed" else SOME_FAILED


BEGINNING = re.compile(r"[0-9a-f-]{1,35}")
"""Of a job's id, which has 36 characters."""


def job_of(client: "Client", given: str) -> "Job":
    """The job of an id, or of the beginning of one that is no other's. Raises JobNotFound, InvalidRequest."""
    if not BEGINNING.fullmatch(given):
        return client.job(given)
    found = list(itertools.islice(client.jobs(id=given), 2))
    if not found:
        raise errors.JobNotFound(
            f"no job of this key has an id that begins with {given}; an operator names those of other keys by whole ids"
        )
    if len(found) > 1:
        raise errors.InvalidRequest(f"more than one id begins with {given}: {found[0].id}, {found[1].id}, ...")
    return client.job(found[0].id)


def parsed_options(options: tuple[str, ...], source_lang: str | None, target_lang: str | None) -> dict[str, Any]:
    """NAME=VALUE pairs and the languages as the task's options."""
    found: dict[str, Any] = {}
    for pair in options:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise click.UsageError(f"--option {pair}: expected NAME=VALUE")
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            found[name] = value
    named = {"source_lang": source_lang, "target_lang": target_lang}
    return found | {name: value for name, value in named.items() if value is not None}


def parsed_metadata(metadata: str | None) -> dict[str, Any] | None:
    """The --metadata option."""
    if metadata is None:
        return None
    try:
        found = json.loads(metadata)
    except json.JSONDecodeError as error:
        raise click.UsageError(f"--metadata: not JSON: {error}") from error
    if not isinstance(found, dict):
        raise click.UsageError("--metadata: expected a JSON object")
    return found


def columns_of(given: dict[str, Any], task: str, keep: bool = False) -> "Columns":
    """--text-column and --id-column, and those that the task has beside; keep: all others as well."""
    from textmill import tasks
    from textmill.files.columns import Columns

    return Columns(given["text_column"], given["id_column"], tasks.fields_of(task), keep)


@contextlib.contextmanager
def places_of_one_id(names: list[str], format: "Format", columns: "Columns", encoding: str | None) -> Iterator[None]:
    """Where the server says that two documents have one id: which, by file and line."""
    from textmill.files.inputs import same_id

    try:
        yield
    except errors.DuplicateDocument as error:
        if found := same_id(names, format, columns, encoding):
            error.add_note(found)
        raise


@contextlib.contextmanager
def notices() -> Iterator[None]:
    """What files have to say (an encoding that was found out, a file that fails), each once, on the standard error."""
    from textmill.files.encodings import FileNotice

    said: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if not issubclass(category, FileNotice):
            before(message, category, *place, **more)
        elif str(message) not in said:
            said.add(str(message))
            click.echo(f"textmill: {message}", err=True)

    with warnings.catch_warnings():
        before = warnings.showwarning
        warnings.simplefilter("always", FileNotice)
        warnings.showwarning = show
        yield
