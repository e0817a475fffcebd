"""What the documents say is so: settings, commands, links, and the files that run the containers."""

import ast
import re
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from pydantic_settings import BaseSettings

from api.main import main as api_main
from api.settings import ApiSettings
from store.settings import StoreSettings
from textmill import errors
from textmill.cli import main
from workers.main import command as workers_main
from workers.settings import WorkerSettings

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")])


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def compose(name: str = "docker-compose.yml") -> dict[str, Any]:
    # !reset is compose's own tag: it takes out what the file below has.
    document: dict[str, Any] = yaml.safe_load(read(name).replace("!reset null", "null"))
    return document


def environment_variables(settings: type[BaseSettings]) -> list[str]:
    prefix = settings.model_config.get("env_prefix", "")
    return [f"{prefix}{name}".upper() for name in settings.model_fields]


# --- pages ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tables", ["settings", "tasks"])
def test_tables_are_as_the_code_says(tables: str) -> None:
    command = [sys.executable, f"docs/{tables}.py", "--check"]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_no_variable_sets_two_things() -> None:
    # The standalone system gives one environment to all processes.
    names = [name for kind in (StoreSettings, ApiSettings, WorkerSettings) for name in environment_variables(kind)]
    assert [name for name, times in Counter(names).items() if times > 1] == []


def test_every_variable_that_pages_name_exists() -> None:
    known = {name for kind in (StoreSettings, ApiSettings, WorkerSettings) for name in environment_variables(kind)}
    known |= {"TEXTMILL_GPUS", "TEXTMILL_URL", "TEXTMILL_API_KEY", "TEXTMILL_PUBLIC_PORT"}
    for page in PAGES:
        named = set(re.findall(r"\bTEXTMILL_[A-Z_]+\b", page.read_text(encoding="utf-8"))) - {"TEXTMILL_"}
        assert named <= known, f"{page.name} names {named - known}"


def test_every_make_target_is_documented() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):.*## ", read("Makefile"), re.MULTILINE)) - {"help"}
    assert targets >= {"demo", "up", "test", "check", "bench", "bench-queue", "chaos", "migrate"}
    pages = read("CONTRIBUTING.md")
    assert [target for target in sorted(targets) if f"make {target}" not in pages] == []


def test_every_command_is_documented() -> None:
    assert [name for name in main.commands if f"textmill {name}" not in read("README.md")] == []


def test_make_alone_lists_the_targets() -> None:
    shown = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in re.findall(r"^([a-z][a-z-]*):.*## ", read("Makefile"), re.MULTILINE):
        assert re.search(rf"^  {target} +\S", shown, re.MULTILINE), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_on_pages_compiles(page: Path) -> None:
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        ast.parse(block)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_that_nothing_runs_are_commands(page: Path) -> None:
    # What can be run is run (tests/acceptance/test_followed_pages.py); of the rest names and options are right.
    groups = {r"^ *(?:\.venv/bin/)?textmill": main, r"python -m api": api_main, r"python -m workers": workers_main}
    for block in re.findall(r"^ *```console\n(.*?)^ *```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            for path in re.findall(r"(?<![\w/.])(?:deploy|examples)/[\w./-]+", line):
                assert (ROOT / path).exists(), line
            for target in re.findall(r"\bmake ([a-z-]+)", line):
                assert f"\n{target}:" in read("Makefile"), line
            for start, group in groups.items():
                if found := re.search(rf"{start} (.*)", line):
                    parse(group, shlex.split(found[1]))


def parse(command: click.Command, words: list[str], parent: click.Context | None = None) -> None:
    """Raises click.UsageError where a command does not take the words. Runs nothing."""
    context = command.make_context(command.name, words, parent)
    if isinstance(command, click.Group) and (rest := [*context._protected_args, *context.args]):
        name, inner, words = command.resolve_command(context, rest)
        assert inner is not None, name
        parse(inner, words, context)


def test_pages_name_error_codes_that_exist() -> None:
    codes = set(errors.by_code())
    for code in re.findall(r"fails? as `(\w+)`", read("docs/operations.md")):
        assert code in codes


# --- the architecture page --------------------------------------------------------------------------------------------

ROOMS = ("textmill", "store", "api", "workers", "standalone", "migrations", "models", "benchmarks", "docs", "examples")


def architecture(heading: str) -> str:
    """A section of the page."""
    found = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", read("docs/architecture.md"), re.MULTILINE | re.DOTALL)
    assert found, heading
    return found[1]


def sources() -> list[Path]:
    """Python files and pages: whatever may point to a place on a page."""
    return [*PAGES, *(file for room in (*ROOMS, "tests") for file in (ROOT / room).rglob("*.py"))]


def test_every_rule_that_is_named_by_its_number_is_on_the_page() -> None:
    numbers = re.findall(r"^\| (\d+) \|", architecture("The ledger"), re.MULTILINE)
    assert len(numbers) == len(set(numbers)) >= 9
    named = {
        (file.name, number)
        for file in sources()
        for listed in re.findall(r"\b[Rr]ules? (\d+(?:(?:, | and | to )\d+)*)", file.read_text(encoding="utf-8"))
        for number in re.findall(r"\d+", listed)
    }
    assert ("test_sweep.py", "8") in named
    assert {place for place in named if place[1] not in numbers} == set()


def test_nothing_points_to_a_numbered_section() -> None:
    # Headings have no numbers: name them.
    pointing = re.compile(r"\b[Ss]ections? \d")
    assert [file.name for file in sources() if pointing.search(file.read_text(encoding="utf-8"))] == []


def test_every_rule_of_the_ledger_names_its_tests() -> None:
    for row in re.findall(r"^\| \d+ \|.*$", architecture("The ledger"), re.MULTILINE):
        assert re.search(r"`tests/(integration|reliability)/\w+\.py` \|$", row), row


def test_every_path_on_the_architecture_page_exists() -> None:
    paths = re.findall(r"`([\w-]+(?:/[\w.-]*)+|\w+\.(?:py|md|toml))`", read("docs/architecture.md"))
    assert {"store/bulk.py", "migrations/versions/", "docs/http.md"} <= set(paths)
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_rooms_on_the_architecture_page_are_those_of_the_tree() -> None:
    shown: set[Path] = set()
    block = architecture("Rooms").split("```")[1]
    for line in block.strip().splitlines():
        names = re.split(r"  +", line.strip())[0].split()
        if not line.startswith(" "):
            folder = ROOT / names[0]
            names = [""]
        shown |= {folder / name for name in names}
    assert sorted(str(path) for path in shown if not path.exists()) == []
    for room in ("textmill", "store", "api", "workers"):
        files = {file for file in (ROOT / room).iterdir() if file.suffix == ".py" and not file.name.startswith("__")}
        folders = {init.parent for init in (ROOT / room).glob("*/__init__.py")}
        assert sorted(str(path.relative_to(ROOT)) for path in (files | folders) - shown) == []


# --- containers -------------------------------------------------------------------------------------------------------


def test_compose_has_every_part() -> None:
    services = compose()["services"]
    assert set(services) == {"postgres", "redis", "migrate", "api", "worker", "flower"}
    assert {name for name, service in services.items() if "healthcheck" not in service} == {"migrate", "worker"}
    for name in ("api", "worker"):
        assert services[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_compose_publishes_no_database_and_nothing_beyond_loopback() -> None:
    services = compose()["services"]
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert set(published) == {"api", "flower"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


def test_images_are_pinned_and_not_root() -> None:
    images = [service["image"] for service in compose()["services"].values()]
    dockerfile = read("Dockerfile")
    images += re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    for image in images:
        assert re.search(r":\d+\.\d+", image), f"{image} is not pinned"
    assert re.search(r"^USER (?!root|0)\w+", dockerfile, re.MULTILINE)


def test_every_value_that_compose_wants_is_explained() -> None:
    wanted = set(re.findall(r"(?<!\$)\$\{(\w+)", read("docker-compose.yml")))
    assert {"POSTGRES_PASSWORD", "REDIS_PASSWORD", "FLOWER_PASSWORD"} <= wanted
    for name in wanted:
        assert name in read(".env.example")
        assert f"`{name}`" in read("docs/operations.md")
    for name in ("POSTGRES_PASSWORD", "REDIS_PASSWORD", "FLOWER_PASSWORD"):
        assert f"${{{name}:?" in read("docker-compose.yml"), f"{name} must not have a default"


def test_the_worker_container_is_killed_only_after_its_drain() -> None:
    grace = compose()["services"]["worker"]["stop_grace_period"]
    assert int(grace.removesuffix("s")) >= WorkerSettings.model_fields["drain_seconds"].default + 20


def test_containers_set_known_variables() -> None:
    known = {"DATABASE_URL", "REDIS_URL", "FLOWER_BASIC_AUTH", "FLOWER_ADDRESS", "FLOWER_PORT"}
    known |= {name for kind in (StoreSettings, ApiSettings, WorkerSettings) for name in environment_variables(kind)}
    for name in ("migrate", "api", "worker", "flower"):
        assert set(compose()["services"][name]["environment"]) <= known
    assert set(re.findall(r"\b(TEXTMILL_[A-Z_]+)=", read("Dockerfile"))) <= known


def test_the_image_copies_every_room_that_runs() -> None:
    copied = set(re.findall(r"^COPY (\w+) \./\w+$", read("Dockerfile"), re.MULTILINE))
    assert copied == {"textmill", "store", "api", "workers", "standalone", "migrations", "models", "web"}


def test_the_cpu_overlay_changes_only_what_a_machine_without_gpus_lacks() -> None:
    overlay = compose("docker-compose.cpu.yml")["services"]
    assert set(overlay) == {"worker"}
    assert overlay["worker"]["command"][-2:] == ["--gpus", "none"]
