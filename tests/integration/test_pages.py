"""The commands on the pages, copied and run against the real api with the real catalogue."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from store.bulk import DocumentOutcome
from store.catalogue import load
from store.session import Store
from tests.integration.serving import Running, echo, serving
from tests.integration.test_api_cli import Worker
from textmill import Client

ROOT = Path(__file__).resolve().parent.parent.parent
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: str, language: str, holds: str) -> list[str]:
    found = FENCED.findall((ROOT / page).read_text(encoding="utf-8"))
    return [content for kind, content in found if kind == language and holds in content]


COMMANDS = [
    command.partition("#")[0].strip()
    for page in ("README.md", "docs/files.md")
    for block in blocks(page, "", "textmill ")
    for line in block.splitlines()
    for command in line.split(";")
    if "textmill" in command
]


@pytest.fixture(params=["sqlite"])
def backend(request: pytest.FixtureRequest) -> str:
    """SQLite alone: what differs between the databases lies behind the api, and is tested there."""
    return str(request.param)


def outcome(position: int, text: str) -> DocumentOutcome:
    """The output of every task at once."""
    made = echo(position, text)
    output: dict[str, Any] = {"summary_text": text, "translation_text": text, "entities": [], "embedding": [0.0]}
    output |= {
        "labels": [{"label": "l", "score": 1.0}],
        "answers": [{"answer": "", "score": 1.0, "start": 0, "end": 0}],
    }
    return made._replace(output=json.dumps(output)) if made.output else made


@pytest.fixture
def api(store: Store, tmp_path: Path) -> Iterator[Running]:
    """A folder like this repository's, a `textmill` command, and a worker."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "textmill"
    command.write_text(f"#!{sys.executable}\nfrom textmill.cli import main\nmain()\n")
    command.chmod(0o755)
    with serving(store, catalogue=load(ROOT / "models/catalogue.toml")) as running, Worker(store, outcome):
        yield running


def environment(api: Running, folder: Path) -> dict[str, str]:
    return {
        **os.environ, "TEXTMILL_URL": api.url, "TEXTMILL_API_KEY": api.secret, "PYTHONPATH": str(ROOT),
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
    }  # fmt: skip


def run(api: Running, folder: Path, *command: str) -> str:
    done = subprocess.run(
        command, check=False, cwd=folder, env=environment(api, folder), capture_output=True, text=True, timeout=800
    )
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


def test_every_command_on_the_pages_runs(api: Running, tmp_path: Path) -> None:
    assert len(COMMANDS) >= 15
    (tmp_path / "texts.txt").write_text("a text\nanother one\n")
    table = blocks("docs/files.md", "", "printf")[0].splitlines()
    run(api, tmp_path, "bash", "-c", next(line for line in table if line.startswith("printf")))
    with Client(api.url, api.secret) as mill:
        for command in COMMANDS:
            # Each gets a job of its own; all succeed but the one that is to be retried.
            job = mill.submit("ner", ["text", "fail" if "retry" in command else "text"]).wait()
            run(api, tmp_path, "bash", "-euo", "pipefail", "-c", re.sub(r"\bJOB\b", job.id, command))
        assert not any(job.info.open for job in mill.jobs())
    assert (tmp_path / "entities.csv").read_text().count("\nexamples/long/") == 13
    assert (tmp_path / "translations.tsv").read_text().splitlines()[1].split("\t")[3] == "The library is small."
    assert json.loads((tmp_path / "more.jsonl").read_text())["id"] == "0"


def test_the_python_of_the_readme_runs(api: Running, tmp_path: Path) -> None:
    (program,) = blocks("README.md", "python", "Client()")
    assert "The library is small." in run(api, tmp_path, sys.executable, "-c", program)
