"""Pages that lead by the hand, followed: every block of `sh` and `python` is run, in their order, in one folder, and
what the page shows below it comes out (`...` stands for anything)."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.conftest import ROOT, Running

PAGES = ("tutorial", "from-transformers", "openai", "from-libretranslate", "inference-api")
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
INTERPRETERS = {"sh": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}
ERRORS = {"sh": subprocess.STDOUT, "python": subprocess.PIPE}
"""A page shows what commands tell on the standard error, but not the progress that a slow machine is told of there."""


@pytest.mark.parametrize("page", PAGES)
def test_a_page_followed(page: str, system: Running, tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    state = system.state()
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "TEXTMILL_URL": state["api_url"],
        "TEXTMILL_API_KEY": state["api_key"],
    }
    blocks = BLOCK.findall((ROOT / f"docs/{page}.md").read_text(encoding="utf-8"))
    assert len(blocks) >= 2
    for language, block, shown in blocks:
        done = subprocess.run(
            [*INTERPRETERS[language], block],
            cwd=tmp_path, env=environment, check=False, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=ERRORS[language], text=True,
        )  # fmt: skip
        assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
        if shown:
            wanted = ".*".join(map(re.escape, shown.strip().split("...")))
            assert re.fullmatch(wanted, done.stdout.strip(), re.DOTALL), f"{block}\n{done.stdout}"


def test_nothing_that_can_be_run_is_left_out() -> None:
    # An indented block, or one that BLOCK does not see, would be run by nobody.
    for page in PAGES:
        text = (ROOT / f"docs/{page}.md").read_text(encoding="utf-8")
        assert len(re.findall(r"^\s*```(?:sh|python)\b", text, re.MULTILINE)) == len(BLOCK.findall(text)), page
