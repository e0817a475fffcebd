"""A real PgBouncer before the PostgreSQL server of the tests: transaction mode, and few sessions of the server's."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from store.session import engine_url
from tests.conftest import free_port

SESSIONS = 3
"""Sessions of the server that all clients share. Fewer than any test has clients, so that they are shared."""


def program() -> str:
    """PgBouncer. Missing it skips, and fails where everything has to be tested."""
    found = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        said = "no pgbouncer: `make pgbouncer` installs it (as root, on Debian)"
        if os.environ.get("CI") or os.environ.get("TEXTMILL_CI"):
            pytest.fail(said)
        pytest.skip(said)
    return found


class PgBouncer:
    """One that a test may kill and start again on the same port."""

    def __init__(self, program: str, database_url: str, folder: Path) -> None:
        server = engine_url(database_url)
        socket = Path(str(server.query["host"]))
        port = free_port()
        self.url = sa.URL.create(
            "postgresql", server.username, None, "127.0.0.1", port, server.database
        ).render_as_string()
        # It refuses to be root, and has to be somebody who may open the server's socket and read its own file.
        owner = ["-u", socket.owner()] if os.geteuid() == 0 else []
        ini = socket / f"pgbouncer-{port}.ini"
        self._command = [program, *owner, str(ini)]
        self._log = folder / "pgbouncer.log"
        ini.write_text(
            f"[databases]\n* = host={socket} user={server.username}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = any\npool_mode = transaction\ndefault_pool_size = {SESSIONS}\n"
            "server_login_retry = 1\n"
        )
        if os.geteuid() == 0:
            shutil.chown(ini, socket.owner())
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when the database answers through it."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        end = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.url, connect_timeout=10).close()
            except psycopg.OperationalError as error:
                if time.monotonic() > end or self._process.poll() is not None:
                    raise RuntimeError(self._log.read_text()[-2000:]) from error
                time.sleep(0.02)
            else:
                return

    def kill(self) -> None:
        """At once, with whatever is under way."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
