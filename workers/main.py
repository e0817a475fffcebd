"""`python -m workers`: one worker process for each device; `python -m workers models`: the models of the catalogue."""

import logging
import os
import sys
from collections.abc import Sequence

import click

from store import logs, schema
from store.dispatcher import Dispatcher
from store.faults import brief
from store.queue import celery_app
from store.session import Store
from store.settings import StoreSettings
from textmill.errors import Unavailable
from workers.launcher import gpus
from workers.launcher.launcher import Launcher, slots
from workers.settings import WorkerSettings


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--gpus", "wanted", default="auto", show_default=True, metavar="auto|all|none|0,1",
              help="The GPUs to use, one process each: all of them, none (one process on the CPU), or some by number. "
              "auto: all, or the CPU where there is none. CUDA_VISIBLE_DEVICES is honoured.")  # fmt: skip
@click.option("--cpu-processes", type=click.IntRange(min=1), help="Processes on the CPU, where no GPU is used.")
@click.option("--models", help="Models of the catalogue to serve, with commas between. Default: all.")
@click.option("--concurrency", type=click.IntRange(min=1), help="Shards in work at once, for each process.")
@click.pass_context
def command(
    context: click.Context, wanted: str, cpu_processes: int | None, models: str | None, concurrency: int | None
) -> None:
    """Run Textmill's workers. Every other setting is an environment variable (TEXTMILL_..., see docs/operations.md)."""
    if context.invoked_subcommand is not None:
        return
    # The children read their settings from the environment, as everybody does.
    if cpu_processes is not None:
        os.environ["TEXTMILL_CPU_PROCESSES"] = str(cpu_processes)
    if models is not None:
        os.environ["TEXTMILL_MODELS"] = models
    if concurrency is not None:
        os.environ["TEXTMILL_CONCURRENCY"] = str(concurrency)
    settings, store_settings = WorkerSettings(), StoreSettings()
    line = "[%(asctime)s: %(levelname)s/launcher] %(message)s"
    logs.configure(store_settings.log_format, settings.log_level, line, process="launcher")
    store = Store(store_settings.database_url, store_settings)
    try:
        schema.check(store)
    except schema.NotMigrated as error:
        raise click.ClickException(str(error)) from error
    except Unavailable as error:
        logging.getLogger(__name__).warning("the database is not there yet: %s", brief(error))
    dispatcher = Dispatcher(celery_app(store_settings.redis_url))
    context.exit(Launcher(slots(choose(wanted), settings), settings, store, dispatcher).run())


@command.command("models", add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def models_command(arguments: Sequence[str]) -> None:
    """Check the catalogue's models on this machine, fetch one (`pull NAME`), compare its backends (`compare NAME`)."""
    from workers import model_command  # imports torch, which the launcher never does

    sys.exit(model_command.main(list(arguments)))


def choose(wanted: str) -> list[gpus.Gpu]:
    """The GPUs that `--gpus` means; an empty list is the CPU."""
    if wanted == "none":
        return []
    visible = gpus.visible()
    if wanted == "auto":
        return visible
    if not visible:
        raise click.UsageError(f"--gpus {wanted}: this machine shows no GPU (--gpus none runs on the CPU)")
    if wanted == "all":
        return visible
    chosen = []
    for number in wanted.split(","):
        if not number.strip().isdigit() or int(number) >= len(visible):
            raise click.UsageError(f"--gpus {wanted}: there is no GPU {number.strip()!r}, only 0 to {len(visible) - 1}")
        chosen.append(visible[int(number)])
    return chosen


def main() -> None:
    """The entry point."""
    command(prog_name="python -m workers")
