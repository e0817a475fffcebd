"""The whole system in processes of its own, each with a network of its own, started again when they die."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import httpx
import psutil

from store import keys
from store.session import Store
from store.settings import StoreSettings
from tests.conftest import ValkeyProcess, free_port
from tests.proxy import Proxy
from tests.reliability.chaos.servers import Ledger, Postgres, Sqlite, signal_all, wait_until

ROOT = Path(__file__).resolve().parents[3]
START_SECONDS = 120
RESTART_SECONDS = 0.5
"""After which whoever runs the services starts a dead one again."""

WRITE_SECONDS = 21
"""Time limit of a statement that writes: not that of one that reads, so that a transaction shows its kind."""

_PR_SET_CHILD_SUBREAPER = 36

APIS = ("api-1", "api-2")
WORKERS = ("workers-1", "workers-2")
COMMANDS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(APIS, (sys.executable, "-m", "api")),
    **dict.fromkeys(WORKERS, (sys.executable, "-m", "workers", "--gpus", "none")),
}


Over = Callable[[], bool]
"""Whether what a fault has hit is at work again, as far as one can see it in the ledger."""


def at_once() -> bool:
    """Nothing has to become well again but the system as a whole."""
    return True


class Part:
    """An api, or a launcher with its worker, as a service: while it is wanted it is started whenever it is dead."""

    def __init__(self, name: str, environment: dict[str, str], log: Path) -> None:
        self.name = name
        self._environment = environment
        self._log = log
        self._lock = threading.Lock()
        self._dead_since: float | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self.wanted = True

    @property
    def pid(self) -> int:
        """Of the service's own process."""
        assert self.process is not None
        return self.process.pid

    @property
    def children(self) -> list[psutil.Process]:
        """The worker processes of a launcher."""
        try:
            found: list[psutil.Process] = psutil.Process(self.pid).children()
        except psutil.NoSuchProcess:
            return []
        return found

    def look_after(self) -> None:
        """Start it where it has been dead for a moment."""
        with self._lock:
            if not self.wanted or (self.process is not None and self.process.poll() is None):
                self._dead_since = None
            elif self.process is not None and self._dead_since is None:
                self._dead_since = time.monotonic()
            elif self._dead_since is None or time.monotonic() - self._dead_since > RESTART_SECONDS:
                with self._log.open("ab") as output:
                    command = COMMANDS[self.name]
                    self.process = subprocess.Popen(
                        command, cwd=ROOT, env=self._environment, stdout=output, stderr=output, start_new_session=True
                    )

    def signal(self, number: signal.Signals) -> None:
        """To the service's own process."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def log_has(self, words: str) -> int:
        """How often its log says so."""
        return self._log.read_text(errors="replace").count(words)


class System:
    """PostgreSQL (or a file), Valkey, two apis, two launchers, and the network between any two of them.

    `links`: the proxies, by what they connect: ("api-1", "sql"), ("workers-2", "redis"), ("producers", "api-1").
    """

    def __init__(self, folder: Path, database: str, lease_seconds: float) -> None:
        self.folder = folder
        self.database = database
        self.lease_seconds = lease_seconds
        _adopt_orphans()
        self.ledger: Ledger = Postgres() if database == "postgresql" else Sqlite(folder)
        self.valkey = ValkeyProcess(folder)
        self.valkey.start()
        settings = StoreSettings(database_url=self.ledger.url, redis_url=self.valkey.url)
        self.store = Store(self.ledger.url, settings)
        self.links: dict[tuple[str, str], Proxy] = {}
        self.ports = {api: free_port() for api in APIS}
        for api, port in self.ports.items():
            self.links["producers", api] = Proxy(port)
        self.parts = {name: self._part(name) for name in COMMANDS}
        self._ends = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, daemon=True)

    def _part(self, name: str) -> Part:
        sql, database_url = self.ledger.link()
        if sql is not None:
            self.links[name, "sql"] = sql
        redis = self.links[name, "redis"] = Proxy(self.valkey.port)
        environment = {
            **os.environ,
            "DATABASE_URL": database_url,
            "REDIS_URL": f"redis://127.0.0.1:{redis.port}/0",
            "TEXTMILL_PORT": str(self.ports.get(name, 0)),
            "TEXTMILL_ECHO": "1",
            "TEXTMILL_LEASE_SECONDS": str(self.lease_seconds),
            "TEXTMILL_DRAIN_SECONDS": "5",
            "TEXTMILL_DATABASE_WRITE_SECONDS": str(WRITE_SECONDS),
            "TEXTMILL_CACHE_DIR": str(self.folder / "cache"),
            "TEXTMILL_DTYPE": "float32",
            "TEXTMILL_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
        }
        return Part(name, environment, self.folder / f"{name}.log")

    def start(self) -> None:
        """Start all, and wait until the apis answer and the workers are there."""
        self._supervisor.start()
        wait_until(self._ready, "the system is up", START_SECONDS)

    def _ready(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            served = all(httpx.get(f"{url}/health/ready").is_success for url in self.direct)
            return served and all(self.parts[name].log_has(" ready.") for name in WORKERS)
        return False

    @property
    def direct(self) -> list[str]:
        """The apis' addresses, past the proxies."""
        return [f"http://127.0.0.1:{port}" for port in self.ports.values()]

    @property
    def through(self) -> list[str]:
        """The apis' addresses as producers have them."""
        return [f"http://127.0.0.1:{self.links['producers', api].port}" for api in APIS]

    def key(self, name: str) -> str:
        """A new API key."""
        return self.store.write(keys.create, name).secret

    def heal(self) -> None:
        """End whatever is done to the system at the moment."""
        for proxy in self.links.values():
            proxy.mend()
        for part in self.parts.values():
            part.wanted = True

    def _supervise(self) -> None:
        while not self._ends.wait(0.1):
            for part in self.parts.values():
                part.look_after()

    def close(self) -> None:
        """End every process of the run."""
        self._ends.set()
        if self._supervisor.is_alive():
            self._supervisor.join()
        self.store.close()
        with contextlib.suppress(Exception):
            self.ledger.close()
        _kill_and_wait(psutil.Process().children(recursive=True))
        for proxy in self.links.values():
            proxy.close()


@contextlib.contextmanager
def running(folder: Path, database: str, lease_seconds: float) -> Iterator[System]:
    """The system, up; ended afterwards."""
    system = System(folder, database, lease_seconds)
    try:
        system.start()
        yield system
    finally:
        system.close()


def _adopt_orphans() -> None:
    """A worker whose launcher is killed becomes this process's child: none is left behind in the end."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _kill_and_wait(processes: Sequence[psutil.Process]) -> None:
    signal_all(list(processes), signal.SIGKILL)
    psutil.wait_procs(processes, timeout=10)
