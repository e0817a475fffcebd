"""The entry of the HTTP process: the only place where its settings are read and its parts are made."""

import logging
import socket

import click
import uvicorn
from fastapi import FastAPI

from api import keys_command
from api.app import create_app
from api.protocol import BoundedLine
from api.settings import ApiSettings
from store import logs, schema, traces
from store.catalogue import load
from store.dispatcher import Dispatcher
from store.faults import brief
from store.queue import celery_app
from store.session import Store
from store.settings import StoreSettings
from store.sweep import Sweeper
from textmill.errors import TextmillError, Unavailable

log = logging.getLogger("api")

KEEP_ALIVE_SECONDS = 75
"""How long a connection on which nothing is asked stays open. Longer than clients and balancers keep theirs (60 s as a
rule): whoever closes first is to be the one who asks, or a request meets a connection that is just being closed."""

LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def build(settings: ApiSettings, ledger: StoreSettings) -> FastAPI:
    """The application as these settings describe it."""
    catalogue = load(ledger.catalogue)
    if ledger.echo:
        catalogue = catalogue.with_echo()
    store = Store(ledger.database_url, ledger)
    dispatcher = Dispatcher(celery_app(ledger.redis_url))
    told = traces.of(ledger.traces, "api")
    return create_app(settings, store, catalogue, dispatcher, Sweeper(store, dispatcher), traces=told)


class Server(uvicorn.Server):
    """uvicorn, which on SIGTERM would let every `?wait=` and event stream run to its end before it stops."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer those who wait, then stop."""
        app = self.config.app
        assert isinstance(app, FastAPI)
        app.state.parts.waiters.stop()
        app.state.parts.listeners.stop()
        await super().shutdown(sockets)


def server(app: FastAPI, settings: ApiSettings) -> Server:
    """The server, not yet running."""
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=BoundedLine,
        ws="none",
        access_log=settings.access_log,
        log_config=None,  # main() configures logging, once for all of the process
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=settings.shutdown_seconds,
    )
    return Server(config)


def without_query(record: logging.LogRecord) -> bool:
    """Takes the query out of a line of uvicorn's access log: producers search for what is theirs (`metadata.KEY=`)."""
    if isinstance(record.args, tuple) and len(record.args) == 5:
        client, method, path, *rest = record.args
        record.args = (client, method, str(path).partition("?")[0], *rest)
    return True


@click.group(invoke_without_command=True)
@click.pass_context
def main(context: click.Context) -> None:
    """Textmill's HTTP process. Settings come from the environment; without a command it serves."""
    if context.invoked_subcommand is None:
        try:
            settings, ledger = ApiSettings(), StoreSettings()
            logs.configure(ledger.log_format, logging.INFO, LINE, process="api")
            logging.getLogger("uvicorn.access").addFilter(without_query)
            app = build(settings, ledger)
            _check(app.state.parts.store)
        except (TextmillError, ValueError, schema.NotMigrated) as error:
            raise click.ClickException(str(error)) from error
        server(app, settings).run()
        app.state.parts.store.close()


def _check(store: Store) -> None:
    try:
        schema.check(store)
    except Unavailable as error:
        log.warning("serving without a database: %s", brief(error))  # 503 until it answers


main.add_command(keys_command.keys_group)
