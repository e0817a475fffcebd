"""The command's own side: usage, defaults, exit codes that need no server, and its quick start."""

import json
import subprocess
import sys
from pathlib import Path
from typing import get_args

import click
import pytest
from click import UsageError
from click.testing import CliRunner

from textmill import cli, cli_options, tasks, wire
from textmill.cli import main
from textmill.files.formats import Format


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and no server in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TEXTMILL_URL", raising=False)
    monkeypatch.delenv("TEXTMILL_API_KEY", raising=False)
    return tmp_path


def test_help_imports_neither_http_nor_pydantic() -> None:
    code = (
        "import sys; from textmill.cli import main; main(['--help'], standalone_mode=False); print(sorted(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "translation" not in out.splitlines()[0]
    loaded = set(out.splitlines()[-1].replace("'", "").strip("[]").split(", "))
    assert "textmill.cli" in loaded
    assert not loaded & {"httpx", "pydantic", "rich", "anyio", "asyncio"}


def test_choices_are_the_contracts() -> None:
    assert wire.PRIORITIES == cli_options.PRIORITIES
    assert get_args(wire.JobState) == cli_options.STATES
    assert wire.RESULT_STATES == cli_options.RESULT_STATES
    assert get_args(Format) == cli_options.FORMATS


def test_tasks_are_those_of_the_list() -> None:
    for command in ("run", "submit"):
        shown = "".join(CliRunner().invoke(main, [command, "--help"]).output.split())  # folded wherever the width ends
        assert f"{{{'|'.join(tasks.NAMES)}}}" in shown
    assert [cli_options.TASK.convert(name, None, None) for name in ("ner", "token-classification")] == ["ner", "ner"]
    refused = CliRunner().invoke(main, ["jobs", "--task", "parsing"])
    assert refused.exit_code == cli.USAGE
    assert f"the tasks are: {', '.join(tasks.NAMES)}" in refused.output
    assert [found.value for found in cli_options.TASK.shell_complete(click.Context(main), main.params[0], "s")] == [
        "summarization"
    ]


def test_every_command_of_the_contract_is_there() -> None:
    asked = ["run", "submit", "status", "wait", "results", "cancel", "delete", "retry", "jobs", "models", "workers"]
    asked += ["webhooks"]
    assert sorted(main.commands) == sorted(asked)
    for command in asked:
        assert CliRunner().invoke(main, [command, "--help"]).exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["status", "j"],  # no server named
        ["run", "parsing", "x"],
        ["run", "ner", "missing.txt", "-o", "out", "--server", "http://127.0.0.1:9", "--api-key", "k"],
        ["submit", "ner", "x.txt", "-O", "novalue"],
        ["submit", "ner", "x.txt", "--text-column", "body", "--server", "http://127.0.0.1:9", "--api-key", "k"],
        ["run", "ner", "x.txt", "-o", "out.xlsx", "--server", "http://127.0.0.1:9", "--api-key", "k"],
        ["submit", "ner", "x.txt", "--metadata", "[1]", "--server", "http://127.0.0.1:9", "--api-key", "k"],
        ["status", "j", "--server", "not-a-url", "--api-key", "k"],
        ["status", "j", "--server", "http://127.0.0.1:9", "--api-key", "line\nbreak"],
    ],
)
def test_usage_is_2(arguments: list[str], nowhere: Path) -> None:
    (nowhere / "x.txt").write_text("text")
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == cli.USAGE, result.output
    assert result.output


def test_options_are_json_or_text() -> None:
    given = ("num_beams=4", "early_stopping=never", 'labels=["PER"]', "source_lang=no", "min_score=0.5")
    assert cli_options.parsed_options(given, None, "pt") == {
        "num_beams": 4, "early_stopping": "never", "labels": ["PER"], "source_lang": "no", "min_score": 0.5,
        "target_lang": "pt",
    }  # fmt: skip


def test_the_standalone_systems_key_goes_to_no_other_server(nowhere: Path) -> None:
    (nowhere / ".textmill").mkdir()
    (nowhere / ".textmill" / "standalone.json").write_text(json.dumps({"api_url": "http://h:1", "api_key": "k"}))
    with cli_options.client_of(None, None) as client:
        assert client.url == "http://h:1"
    with cli_options.client_of("http://h:1/", None) as client:
        assert client.url == "http://h:1"
    with pytest.raises(UsageError):
        cli_options.client_of("http://elsewhere:1", None)
