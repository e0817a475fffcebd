"""What the image holds is enough: the files that the Dockerfile copies, in a folder by themselves, migrate a database,
serve the page and are healthy, by the commands of docker-compose.yml."""

import os
import re
import shutil
import socket
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from store.session import Store
from tests.conftest import free_port
from tests.worker_process import wait_until

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PATIENCE = 300
"""Seconds for what takes a few on an idle machine."""


@pytest.fixture(params=["sqlite"])
def backend(request: pytest.FixtureRequest) -> str:
    """SQLite alone: this is about files."""
    return str(request.param)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """The image's folder. The models, which no test changes, are only linked to."""
    folder = tmp_path / "image"
    folder.mkdir()
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    deep = shutil.ignore_patterns(*(line.removeprefix("**/") for line in ignored if line.startswith("**/")))
    for line in re.findall(r"^COPY (.+) \./\w*$", DOCKERFILE, re.MULTILINE):
        for name in line.split():
            assert not any(fnmatch(name, pattern) for pattern in ignored), f"{name} is copied, and ignored"
            if name == "models":
                (folder / name).symlink_to(ROOT / name)
            elif (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, folder / name, ignore=deep)
            else:
                shutil.copy(ROOT / name, folder / name)
    return folder


def test_it_migrates_serves_the_page_and_is_healthy(image: Path, store: Store, tmp_path: Path) -> None:
    inside = re.search(r"^WORKDIR (\S+)$", DOCKERFILE, re.MULTILINE)
    web = re.search(r"TEXTMILL_WEB=(\S+)", DOCKERFILE)
    assert inside
    assert web
    port = free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("TEXTMILL_", "PYTHON"))},
        "DATABASE_URL": f"sqlite:///{tmp_path / 'ledger.sqlite3'}",
        "REDIS_URL": store.settings.redis_url,
        "TEXTMILL_WEB": web[1].replace(inside[1], str(image)),
        "TEXTMILL_PORT": str(port),
    }

    def command(words: list[str]) -> list[str]:
        """The words of a service, by this Python."""
        told = [word.replace(":8000/", f":{port}/") for word in words]
        return [sys.executable, *told[1:]] if told[0] == "python" else [sys.executable, "-m", *told]

    services = COMPOSE["services"]
    subprocess.run(command(services["migrate"]["command"]), cwd=image, env=environment, check=True)
    log = tmp_path / "api.log"
    with log.open("wb") as output:
        api = subprocess.Popen(
            command(services["api"]["command"]), cwd=image, env=environment, stdout=output, stderr=output
        )
    try:
        kind, *check = services["api"]["healthcheck"]["test"]
        assert kind == "CMD"

        def listens() -> bool:
            assert api.poll() is None, log.read_text()
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        wait_until(listens, "the api listens", PATIENCE)
        subprocess.run(command(check), cwd=image, env=environment, check=True)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as http:
            assert http.get("/").text == (ROOT / "web" / "index.html").read_text(encoding="utf-8")
            for file in (ROOT / "web").rglob("*.*"):
                answer = http.get("/" + file.relative_to(ROOT / "web").as_posix())
                assert answer.content == file.read_bytes(), file
    finally:
        api.kill()
        api.wait()
