"""The parts of Textmill on one machine, and when they are ready."""

import os
import secrets
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx

from standalone import valkey
from standalone.child import Child, Command
from standalone.ports import LOOPBACK, Port
from standalone.statefile import State, StateFile, write_private
from standalone.supervisor import Supervisor
from standalone.writes import Writes
from store import keys
from store.session import Store, migrate
from textmill.errors import Unauthorized

ROOT = Path(__file__).resolve().parent.parent
FLOWER_USER = "textmill"
PROBE_SECONDS = 2.0


class System:
    """All processes of an installation that lives in one folder.

    `environment` decides as it does for every other process: DATABASE_URL and REDIS_URL replace the embedded parts,
    TEXTMILL_ settings reach the api and the worker.
    """

    def __init__(self, folder: Path, environment: dict[str, str], *, drain_seconds: float) -> None:
        self.folder = folder
        self.environment = environment
        self._writes = Writes()
        self.file = StateFile(folder / "standalone.json", self._writes)
        self.api_key = ""
        self.embedded_redis = "REDIS_URL" not in environment
        self.database_url = environment.get("DATABASE_URL") or f"sqlite:///{folder / 'textmill.sqlite3'}"
        self._ready = False
        self._redis_password = secrets.token_urlsafe(24)
        self._flower_password = secrets.token_urlsafe(12)
        self._ports = {"redis": Port(6379), "api": Port(8000), "flower": Port(5555)}
        self._drain_seconds = drain_seconds
        self.supervisor = Supervisor(on_look=self._look)

    @property
    def redis_url(self) -> str:
        """The broker, embedded or given."""
        return self.environment.get("REDIS_URL") or valkey.url(self._ports["redis"], self._redis_password)

    @property
    def _flower_url(self) -> str:
        return f"http://{LOOPBACK}:{self._ports['flower'].number}"

    @property
    def state(self) -> State:
        """What the file says now."""
        return State(
            api_url=f"http://{LOOPBACK}:{self._ports['api'].number}",
            api_key=self.api_key,
            flower_url=self._flower_url,
            flower_user=FLOWER_USER,
            flower_password=self._flower_password,
            redis_url=self.redis_url,
            database_url=self.database_url,
            pids=self._pids(),
        )

    def run(self, announce: Callable[[State], None], until: Callable[[], bool] = lambda: False) -> None:
        """Start everything, `announce` when it is ready, and keep it running `until` then. Raises Stopped or GaveUp."""
        self.file.remove()
        logs = self.folder / "logs"
        logs.mkdir(exist_ok=True)
        for log in logs.glob("*.log"):
            log.replace(log.with_suffix(".log.1"))
        with self.supervisor.listening():
            try:
                self._bring_up(logs)
                self._ready = True
                self._look()
                announce(self.state)
                self.supervisor.until(until, give_up=False)
            finally:
                self._ready = False
                self.file.remove()
                self.supervisor.stop()

    def _bring_up(self, logs: Path) -> None:
        def add(name: str, command: Callable[[], Command], stop_seconds: float) -> None:
            child = Child(name, command, logs / f"{name}.log", stop_seconds=stop_seconds, writes=self._writes)
            self.supervisor.children.append(child)

        migrate(self.database_url)
        self.api_key = self._own_key()
        if self.embedded_redis:
            folder = self.folder / "redis"
            add("redis", lambda: valkey.command(folder, self._ports["redis"], self._redis_password), 10)
            self.supervisor.until(lambda: valkey.answers(self.redis_url), give_up=True)
            self._ports["redis"].settle()
        add("flower", self._flower, 5)
        add("api", self._api, 15)
        add("worker", self._worker, self._drain_seconds + 20)
        with httpx.Client(timeout=PROBE_SECONDS, trust_env=False) as http:
            for probe in (self._api_ready, self._worker_ready, self._flower_ready):
                self.supervisor.until(partial(probe, http), give_up=True)
        self._ports["api"].settle()
        self._ports["flower"].settle()

    def _own_key(self) -> str:
        """The key of earlier runs where the database still knows it, else a new one."""
        path = self.folder / "api-key"
        store = Store(self.database_url)
        try:
            if path.exists():
                secret = path.read_text(encoding="utf-8").strip()
                try:
                    store.read(keys.authenticate, secret)
                    return secret
                except Unauthorized:
                    pass  # another database, or the key was revoked
            secret = store.write_once(keys.create, "standalone").secret
            write_private(path, secret + "\n")
            return secret
        finally:
            store.close()

    def _environment(self, **own: str) -> dict[str, str]:
        return {
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis_url,
            "TEXTMILL_ECHO": self.environment.get("TEXTMILL_ECHO", "1"),
            "TEXTMILL_CACHE_DIR": self.environment.get("TEXTMILL_CACHE_DIR", str(self.folder / "cache")),
            "PYTHONUNBUFFERED": "1",
            **own,
        }

    def _api(self) -> Command:
        own = {
            "TEXTMILL_HOST": LOOPBACK,
            "TEXTMILL_PORT": str(self._ports["api"].choose()),
            # For a link on the page. Flower was started before, so its port is known.
            "TEXTMILL_FLOWER_URL": self.environment.get("TEXTMILL_FLOWER_URL", self._flower_url),
        }
        return Command([sys.executable, "-m", "api"], self._environment(**own), ROOT)

    def _worker(self) -> Command:
        gpus = self.environment.get("TEXTMILL_GPUS", "auto")
        # Small models on the CPU: a process a core is faster than one with all cores, and does not suffer as much where
        # other programs want them too.
        processes = self.environment.get("TEXTMILL_CPU_PROCESSES", str(min(4, len(os.sched_getaffinity(0)))))
        environment = self._environment(
            TEXTMILL_DRAIN_SECONDS=str(self._drain_seconds), TEXTMILL_CPU_PROCESSES=processes
        )
        return Command([sys.executable, "-m", "workers", "--gpus", gpus], environment, ROOT)

    def _flower(self) -> Command:
        options = {
            "FLOWER_ADDRESS": LOOPBACK,
            "FLOWER_PORT": str(self._ports["flower"].choose()),
            "FLOWER_BASIC_AUTH": f"{FLOWER_USER}:{self._flower_password}",
        }
        return Command([sys.executable, "-m", "standalone.flower"], self._environment(**options), ROOT)

    def _api_ready(self, http: httpx.Client) -> bool:
        return _get(http, f"{self.state.api_url}/health/ready") is not None

    def _worker_ready(self, http: httpx.Client) -> bool:
        headers = {"Authorization": f"Bearer {self.api_key}"}
        answer = _get(http, f"{self.state.api_url}/v1/workers", headers=headers)
        pids = self.state.pids["worker"]
        return answer is not None and bool(pids) and all(f'"pid":{pid},' in answer.text for pid in pids)

    def _flower_ready(self, http: httpx.Client) -> bool:
        auth = httpx.BasicAuth(FLOWER_USER, self._flower_password)
        return _get(http, f"{self.state.flower_url}/api/workers", auth=auth) is not None

    def _pids(self) -> dict[str, list[int]]:
        """The worker's are the processes that do the work, not their launcher."""
        found: dict[str, list[int]] = {}
        for child in self.supervisor.children:
            if child.name == "worker":
                found[child.name] = sorted(process.pid for process in child.descendants())
            else:
                found[child.name] = [child.pid] if child.pid else []
        return {name: found.get(name, []) for name in ("api", "worker", "flower", "redis")}

    def _look(self) -> None:
        if self._ready:
            self.file.write(self.state)


def _get(http: httpx.Client, url: str, **kwargs: object) -> httpx.Response | None:
    """The answer where there is one and it is a success."""
    try:
        answer = http.get(url, **kwargs)  # type: ignore[arg-type]
    except httpx.TransportError:
        return None
    return answer if answer.is_success else None


def folder_of(path: Path) -> Path:
    """The installation's folder, made where it is not there, for its owner alone."""
    path = path.resolve()
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.chmod(path, 0o700)
    return path
