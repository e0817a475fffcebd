"""PostgreSQL and Redis with passwords, over TLS, by their URLs alone; and that nothing says aloud what is nobody's
business: passwords, keys, and what producers wrote, whatever fails.

All processes as they are started in earnest: api, launcher with its worker, Flower.
"""

import contextlib
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest
import sqlalchemy as sa

from store import keys
from store.dispatcher import Dispatcher
from store.queue import celery_app
from store.session import Store, engine_url
from store.settings import StoreSettings
from store.sweep import Sweeper
from tests.conftest import ValkeyProcess, free_port
from tests.proxy import Proxy, proxied
from tests.tls import Authority, TlsFront
from tests.worker_process import ROOT, running, wait_until
from textmill.errors import StoreBusy

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.parametrize("backend", ["postgresql"], indirect=True),
]

SECONDS = 300
"""For what takes seconds."""


def secret(what: str) -> str:
    """One that stands nowhere else."""
    return f"{what}{uuid.uuid4().hex}"


@dataclass
class Servers:
    """PostgreSQL and Valkey, each with a password, behind TLS, and what stands between."""

    authority: Authority
    database: TlsFront
    database_line: Proxy
    redis: TlsFront
    valkey: ValkeyProcess
    database_password: str
    database_url: str = ""
    redis_url: str = ""
    environment: dict[str, str] = field(default_factory=dict)


@pytest.fixture
def servers(database_url: str, tmp_path: Path) -> Iterator[Servers]:
    authority = Authority(tmp_path)
    password, name = secret("pgpass"), f"mill_{uuid.uuid4().hex[:8]}"
    with wants_a_password(database_url, name, password):
        line, _ = proxied(database_url)
        database = TlsFront(authority, line.port, negotiated=True)
        valkey = ValkeyProcess(tmp_path, secret("redispass"))
        valkey.start()
        redis = TlsFront(authority, valkey.port)
        made = Servers(authority, database, line, redis, valkey, password)
        made.database_url = (
            f"postgresql://{name}:{password}@localhost:{database.port}/{engine_url(database_url).database}"
            f"?sslmode=verify-full&sslrootcert={authority.file}"
        )
        made.redis_url = (
            f"rediss://:{valkey.password}@localhost:{redis.port}/0?ssl_cert_reqs=required&ssl_ca_certs={authority.file}"
        )
        yield made
        for front in (database, line, redis):
            front.close()
        valkey.kill()


@contextlib.contextmanager
def wants_a_password(url: str, name: str, password: str) -> Iterator[None]:
    """A role of the server that has to say its password (SCRAM), with all rights to this database."""
    engine = sa.create_engine(engine_url(url), isolation_level="AUTOCOMMIT")
    with engine.connect() as root:
        file = Path(root.exec_driver_sql("SHOW hba_file").scalar_one())
        before = file.read_text()
        file.write_text(f"local all {name} scram-sha-256\n{before}")
        for statement in (
            "SET password_encryption = 'scram-sha-256'",
            f"CREATE ROLE {name} LOGIN PASSWORD '{password}'",
            f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}",
            f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {name}",
            "SELECT pg_reload_conf()",
        ):
            root.exec_driver_sql(statement)
    try:
        yield
    finally:
        with engine.connect() as root:
            file.write_text(before)
            for statement in (f"DROP OWNED BY {name}", f"DROP ROLE {name}", "SELECT pg_reload_conf()"):
                root.exec_driver_sql(statement)
        engine.dispose()


@pytest.fixture
def store(servers: Servers) -> Iterator[Store]:
    """The ledger, by the URLs that are tried."""
    settings = StoreSettings(database_url=servers.database_url, redis_url=servers.redis_url)
    store = Store(servers.database_url, settings)
    yield store
    store.close()


@contextlib.contextmanager
def process(log: Path, module: str, **environment: str) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("ab") as output:
        started = subprocess.Popen(
            [sys.executable, "-m", module], cwd=ROOT, env={**os.environ, **environment}, stdout=output, stderr=output
        )
    try:
        yield started
    finally:
        started.kill()
        started.wait()


def answers(url: str, **how: object) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(url, timeout=60, **how).is_success  # type: ignore[arg-type]
    return False


def test_passwords_and_tls_and_nobody_talks(servers: Servers, store: Store, tmp_path: Path) -> None:
    key = store.write(keys.create, "producer").secret
    flower_password, written, named = secret("flowerpass"), secret("written"), secret("named")
    given = {"DATABASE_URL": servers.database_url, "REDIS_URL": servers.redis_url, "TEXTMILL_ECHO": "1"}
    api_port, flower_port, metrics_port = free_port(), free_port(), free_port()
    api_url, flower_url = f"http://127.0.0.1:{api_port}", f"http://127.0.0.1:{flower_port}"
    flower_settings = {"FLOWER_BASIC_AUTH": f"me:{flower_password}", "FLOWER_PORT": str(flower_port)}
    signed_in = {"auth": ("me", flower_password)}
    with (
        process(tmp_path / "api.log", "api", TEXTMILL_PORT=str(api_port), TEXTMILL_ACCESS_LOG="1", **given),
        process(tmp_path / "flower.log", "standalone.flower", **flower_settings, **given),
        running(store, tmp_path / "worker", worker_metrics_port=metrics_port, log_level="DEBUG") as worker,
        httpx.Client(base_url=api_url, headers={"Authorization": f"Bearer {key}"}, timeout=SECONDS) as http,
    ):
        wait_until(lambda: answers(f"{api_url}/health/ready"), "the api is up", SECONDS)
        wait_until(lambda: answers(f"{flower_url}/api/tasks", **signed_in), "Flower is up", SECONDS)

        def ended(job: str) -> bool:
            return http.get(f"/v1/jobs/{job}").json()["state"] not in ("queued", "running")

        def submit(*texts: str, task: str = "summarization", **more: object) -> httpx.Response:
            documents = [{"id": f"{named}-{n}", "text": f"{written} {text}"} for n, text in enumerate(texts)]
            head = {"task": task, "model": "echo", "documents": documents, "metadata": {"note": written}}
            return http.post("/v1/jobs", json={**head, **more}, headers={"Idempotency-Key": secret(written)})

        # --- it works -------------------------------------------------------------------------------------------------
        good = submit("one", "two").json()["id"]
        wait_until(lambda: ended(good), "the job ends", SECONDS)
        results = http.get(f"/v1/jobs/{good}/results").json()["results"]
        assert [one["output"]["summary_text"] for one in results] == [f"{written} one", f"{written} two"]
        shown = f"{flower_url}/api/tasks"
        wait_until(lambda: good in httpx.get(shown, timeout=60, **signed_in).text, "Flower shows it", SECONDS)
        assert servers.database.connections > 0
        assert servers.redis.connections > 0
        assert servers.database.plain == 0

        # --- it fails, in several ways --------------------------------------------------------------------------------
        told = [
            submit("x", options={named: written}),
            submit("x", options={"max_length": written}),
            submit("x", model=named),
            submit("x", priority=written),
            submit("x\0"),
            submit("x", documents=[{"id": named, "text": written}] * 2),
            submit("x", callback_url=written),
            http.get(f"/v1/jobs/{good}/results", params={"cursor": written, "code": written, "state": written}),
            http.get("/v1/jobs", params={"metadata.note": written, "created_after": written}),
            http.post("/v1/jobs", content=written.encode(), headers={"Content-Encoding": named}),
            httpx.get(f"{api_url}/v1/jobs", headers={"Authorization": f"Bearer {key}{written}"}, timeout=60),
            httpx.get(f"{api_url}/v1/jobs", headers={"Authorization": written, "Cookie": written}, timeout=60),
        ]
        assert {answer.status_code for answer in told} <= {200, 400, 401, 404, 415, 422}
        failing = ["[[echo:raise]]", "[[echo:oom]]", "[[echo:too-long]]", "[[echo:prepare-raise]]", "[[echo:broken]]"]
        bad = [submit(text).json()["id"] for text in failing]
        for job in bad:
            wait_until(lambda job=job: ended(job), "the job fails", SECONDS)  # type: ignore[misc]
        job = submit("[[echo:kill]]").json()["id"]
        wait_until(lambda: "ended (SIGKILL)" in worker.log, "a worker is killed", SECONDS)
        http.post(f"/v1/jobs/{job}/cancel")

        # An idle worker has nothing to say of the database: this one has results that it cannot write.
        slow = submit("[[echo:sleep=10]]").json()["id"]
        wait_until(lambda: http.get(f"/v1/jobs/{slow}").json()["state"] == "running", "a worker has it", SECONDS)
        servers.database_line.cut()
        told.append(submit("while SQL is away"))
        assert told[-1].status_code == 503
        wait_until(lambda: "the work waits for the database" in worker.log, "the worker notices", SECONDS)
        servers.database_line.mend()
        servers.valkey.kill()
        late = submit("while Redis is away").json()["id"]
        wait_until(lambda: "Redis takes no messages" in (tmp_path / "api.log").read_text(), "the api notices", SECONDS)
        wait_until(lambda: "Cannot connect to" in worker.log, "the worker notices", SECONDS)
        servers.valkey.start()
        for job in (slow, late):
            wait_until(lambda job=job: ended(job), "the job ends", SECONDS)  # type: ignore[misc]

        # --- what the system writes -----------------------------------------------------------------------------------
        pages = ("/", "/workers", "/broker", "/tasks", "/api/workers", "/api/tasks", "/api/queues/length", "/metrics")
        shows = {path: httpx.get(flower_url + path, timeout=60, **signed_in) for path in pages}
        assert {page.status_code for page in shows.values()} == {200}
        assert "Unable to get queues" not in (tmp_path / "flower.log").read_text()
        public = {f"Flower's {path}": page.text for path, page in shows.items()}
        public |= {"the api's metrics": http.get("/metrics").text, "the workers": http.get("/v1/workers").text}
        public["the worker's metrics"] = httpx.get(f"http://127.0.0.1:{metrics_port}/metrics", timeout=60).text
        errors = {f"answer {n}": answer.text for n, answer in enumerate(told)}
        family = psutil.Process().children(recursive=True)
        public["the list of processes"] = "\n".join(" ".join(command_of(one)) for one in family)
        assert worker.stop() == 0
    public |= {log.name: log.read_text(errors="replace") for log in tmp_path.rglob("*.log")}
    for name in ("api.log", "flower.log", "worker.log"):
        assert public[name], "it says something"
    for what in (servers.database_password, servers.valkey.password, key, flower_password, written):
        assert [where for where, text in (public | errors).items() if what in text] == [], what
    # An error names what it is about (an id, a model, an option) to whoever sent it, and to nobody else.
    assert [where for where, text in public.items() if named in text] == []


def command_of(one: psutil.Process) -> list[str]:
    try:
        return one.cmdline()
    except psutil.NoSuchProcess:
        return []


def test_a_certificate_of_somebody_else_is_refused(servers: Servers, store: Store, tmp_path: Path) -> None:
    (tmp_path / "another").mkdir()
    other = Authority(tmp_path / "another")
    url, redis_url = (
        one.replace(str(servers.authority.file), str(other.file)) for one in (servers.database_url, servers.redis_url)
    )
    settings = store.settings.model_copy(update={"redis_url": redis_url, "database_patience_seconds": 0.1})
    with pytest.raises(StoreBusy):
        Store(url, settings).read(lambda tx: tx.exec_driver_sql("SELECT 1"))
    dispatcher = Dispatcher(celery_app(redis_url))
    with dispatcher._app.connection_for_write() as connection, pytest.raises(Exception, match="CERTIFICATE_VERIFY"):
        connection.connect()
    sweeper = Sweeper(Store(store.url, settings), dispatcher)
    with pytest.raises(Exception, match="CERTIFICATE_VERIFY"):
        sweeper._redis.ping()
