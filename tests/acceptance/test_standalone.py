"""`make up`: the system comes up, works, and goes, with real processes and real signals."""

import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from urllib.parse import urlparse

import httpx
import psutil
import pytest
import redis

from tests.acceptance.conftest import SECONDS, Running, eventually

pytestmark = pytest.mark.timeout(600)

DOCUMENTS = 400
SLOW = "[[echo:sleep=0.02]]"


def test_the_file_tells_where_everything_is(system: Running) -> None:
    state = system.state()
    path = system.data / "standalone.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert set(state) == {
        "api_url", "api_key", "flower_url", "flower_user", "flower_password", "redis_url", "database_url", "pids",
    }  # fmt: skip
    assert httpx.get(f"{state['api_url']}/health/ready", timeout=240).is_success
    assert f"{state['api_url']}/#key={state['api_key']}\n" in system.output.read_text()
    with redis.Redis.from_url(state["redis_url"]) as client:
        assert client.ping()
    for part in ("api", "worker", "flower", "redis"):
        assert all(psutil.pid_exists(pid) for pid in state["pids"][part])
        assert state["pids"][part]
    with system.client() as mill:
        assert {worker.pid for worker in mill.workers()} == set(state["pids"]["worker"])


def test_everything_listens_on_loopback_alone(system: Running) -> None:
    listening = {
        connection.laddr.ip
        for process in system.look()
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


def test_redis_wants_the_password(system: Running) -> None:
    url = urlparse(system.state()["redis_url"])
    with redis.Redis(host=str(url.hostname), port=int(url.port or 0)) as stranger:
        with pytest.raises(redis.AuthenticationError):
            stranger.ping()


def test_a_job_runs_to_its_end(system: Running) -> None:
    with system.client() as mill:
        job = mill.submit("translation", ["one", "two", "three"], model="echo")
        job.wait(timeout=SECONDS)
        assert [result.output.translation_text for result in job.results() if result.output] == ["one", "two", "three"]


def test_flower_shows_a_task_by_names_and_no_text(system: Running) -> None:
    state = system.state()
    text = "Confidential: the merger of Alpha and Omega."
    with system.client() as mill:
        job = mill.submit("ner", [text] * 3, model="echo")
        job.wait(timeout=SECONDS)
    assert httpx.get(f"{state['flower_url']}/api/tasks", timeout=240).status_code == 401

    auth = (state["flower_user"], state["flower_password"])
    queues = httpx.get(f"{state['flower_url']}/broker", auth=auth, timeout=240).text
    assert "textmill.ner-en-small" in queues, "the models' queues, not Celery's default one alone"

    def shown() -> dict[str, str] | None:
        tasks = httpx.get(f"{state['flower_url']}/api/tasks", auth=auth, timeout=240).json()
        return next((task for task in tasks.values() if job.id in task["args"]), None)

    task = eventually(shown, "Flower shows the job's task")
    assert task["name"] == "textmill.run_shard"
    assert "echo" in task["args"]
    assert "3" in task["args"]
    assert "Confidential" not in str(task)


def test_a_second_system_in_the_same_folder_is_refused(system: Running) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "standalone", "up"],
        check=False, cwd=system.folder, env=system.environment, capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip
    assert second.returncode == 2
    assert "already runs" in second.stderr
    assert httpx.get(f"{system.state()['api_url']}/health/ready", timeout=240).is_success


@pytest.mark.parametrize("part", ["worker", "api", "redis", "flower"])
def test_a_killed_process_costs_no_document(system: Running, part: str) -> None:
    with system.client() as mill:
        job = mill.submit("summarization", [f"{SLOW} document {number}" for number in range(DOCUMENTS)], model="echo")
        eventually(lambda: job.refresh().counts.succeeded, "the job has begun")
        assert not job.ended
        system.kill(part)
        job.wait(timeout=SECONDS)
        assert job.state == "completed", system.logs()
        results = list(job.results())
    assert [result.position for result in results] == list(range(DOCUMENTS))
    assert {result.state for result in results} == {"succeeded"}


def test_ctrl_c_leaves_nothing_behind_and_the_next_start_goes_on(
    system: Running, fresh: Callable[..., Running]
) -> None:
    running = fresh().start()
    state = running.state()
    # Beside a system that has the usual ports (or somebody else on this machine has them).
    assert {state["api_url"], state["flower_url"], state["redis_url"]}.isdisjoint(map(str, system.state().values()))
    with running.client() as mill:
        job = mill.submit("ner", [f"{SLOW} {number}" for number in range(DOCUMENTS)], model="echo")
        eventually(lambda: job.refresh().counts.succeeded, "the job has begun")
        assert not job.ended
    assert running.stop(signal.SIGINT) == 0
    assert running.left_behind() == []
    assert not (running.data / "standalone.json").exists()

    running.start()
    assert running.state()["api_key"] == state["api_key"]
    with running.client() as mill:
        assert mill.job(job.id).wait(timeout=SECONDS).counts.succeeded == DOCUMENTS


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_given_servers_replace_the_embedded_ones(
    database_url: str, redis_url: str, fresh: Callable[..., Running]
) -> None:
    running = fresh(DATABASE_URL=database_url, REDIS_URL=redis_url).start()
    state = running.state()
    assert (state["database_url"], state["redis_url"]) == (database_url, redis_url)
    assert state["pids"]["redis"] == []
    with running.client() as mill:
        job = mill.submit("ner", ["a", "b"], model="echo")
        job.wait(timeout=SECONDS)
        assert job.counts.succeeded == 2
    assert not list(running.data.glob("*.sqlite3"))

    # A supervisor that is killed outright takes its processes along.
    running.look()
    assert running.process is not None
    running.process.kill()
    running.process.wait()
    eventually(lambda: not running.left_behind(), "all processes have ended")


def test_a_full_disk_does_not_end_it(fresh: Callable[..., Running]) -> None:
    """No file may grow: neither those of the supervisor, nor those of what it starts meanwhile."""
    running = fresh().start()
    assert running.process is not None
    limits = {process.pid: resource.prlimit(process.pid, resource.RLIMIT_FSIZE) for process in running.look()}
    for pid, (_, hard) in limits.items():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
    [old] = running.state()["pids"]["flower"]
    os.kill(old, signal.SIGKILL)

    def started_again() -> set[psutil.Process]:
        return {process for process in running.look() if process.pid not in limits and process.pid != old}

    eventually(started_again, "Flower is started again")
    assert running.state()["pids"]["flower"] == [old], "the file could not be written"
    assert running.process.poll() is None

    for process in running.look():
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, limits[running.process.pid])
    eventually(lambda: running.state()["pids"]["flower"] not in ([], [old]), "the file is true again")
    with running.client() as mill:
        assert mill.submit("ner", ["a", "b"], model="echo").wait(timeout=SECONDS).counts.succeeded == 2
    assert running.stop() == 0
    assert running.left_behind() == []
