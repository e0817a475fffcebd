"""What a worker refuses before it starts."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

CATALOGUE = """
[m]
task = "ner"
source = "hub:nobody/nothing"
backend = "tpu"
window = 64
licence = "none"
limitations = "none"
"""


@pytest.mark.parametrize(
    ("models", "said"),
    [("m", "there is no backend 'tpu'; there are: "), ("other", "no model 'other' in the catalogue")],
)
def test_names_that_are_in_no_list_end_the_process(models: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "catalogue.toml").write_text(CATALOGUE)
    environment = {"TEXTMILL_CATALOGUE": str(tmp_path / "catalogue.toml"), "TEXTMILL_MODELS": models}
    command = [sys.executable, "-c", "import workers.app"]
    ended = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)
    assert ended.returncode != 0
    assert said in ended.stderr
