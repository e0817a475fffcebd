"""The site of the pages: built without a warning, with the whole reference, and loading nothing from elsewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from textmill import errors
from textmill.cli import main

ROOT = Path(__file__).resolve().parents[2]


def build(source: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """As `make docs-site` does."""
    line = re.search(r"^docs-site:.*\n\t\$\(BIN\)/python (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert line
    places = {"docs": str(ROOT / "docs"), ".": str(source), "build/site-read": str(folder / "read")}
    words = [places.get(word, word) for word in line[1].split()[:-1]]
    return subprocess.run(
        [sys.executable, *words, str(folder / "site")], cwd=ROOT, check=False, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stderr
    return folder / "site"


def test_every_page_is_there(site: Path) -> None:
    pages = {page.relative_to(ROOT).with_suffix(".html") for page in (ROOT / "docs").rglob("*.md")}
    assert {page for page in pages if not (site / page).exists()} == set()
    assert "url=docs/" in (site / "index.html").read_text()


def test_the_reference_has_what_the_code_has(site: Path) -> None:
    commands = (site / "docs/reference/commands.html").read_text()
    assert [name for name in main.commands if f'id="textmill-{name}"' not in commands] == []
    python = (site / "docs/reference/python.html").read_text()
    assert [code for code in errors.by_code() if f">{code}<" not in python] == []
    assert all(f'id="textmill.client.{name}"' in python for name in ("Client.submit", "Job.results"))
    http = (site / "docs/reference/http.html").read_text()
    told = re.sub(r"<[^>]+>", "", http)
    assert all(f"{call}¶" in told for call in ("POST /v1/jobs", "GET /v1/jobs/{job_id}/results", "POST /hf/{model}"))
    assert 'href="#object-job"' in http


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    loading = re.compile(r'<(?:(?:script|img|iframe)\b[^>]*\ssrc|link\b[^>]*stylesheet[^>]*\shref)="(?:https?:)?//')
    imported = re.compile(r"(?:@import|url\()\s*[\"']?(?:https?:)?//")
    assert [page for page in site.rglob("*.html") if loading.search(page.read_text(encoding="utf-8"))] == []
    assert [sheet for sheet in site.rglob("*.css") if imported.search(sheet.read_text(encoding="utf-8"))] == []


def test_a_broken_link_fails_the_build(tmp_path: Path) -> None:
    (tmp_path / "tree/docs").mkdir(parents=True)
    (tmp_path / "tree/docs/index.md").write_text("# A page\n\n[no page](absent.md)\n\n[no place](index.md#absent)\n")
    done = build(tmp_path / "tree", tmp_path)
    assert done.returncode != 0
    assert "docs/index.md:3" in done.stderr
    assert "docs/index.md:5" in done.stderr
