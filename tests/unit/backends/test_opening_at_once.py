"""The first jobs of several models may arrive together, in a process that has imported nothing yet."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

OPEN_ALL_AT_ONCE = """
import sys, threading
from pathlib import Path
from store import catalogue
from workers.models import make, spec_of

entries = [e for e in catalogue.load(Path("models/catalogue.toml")).entries.values() if e.local]
together = threading.Barrier(2 * len(entries))
failed = []

def open_one(entry):
    together.wait()
    try:
        make(spec_of(entry, "cpu", cache_dir=Path(sys.argv[1]))).open()
    except Exception as error:
        failed.append(f"{entry.name}: {error!r}")

threads = [threading.Thread(target=open_one, args=(entry,)) for entry in entries * 2]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert len(entries) >= 3 and not failed, failed
"""


def test_models_that_are_opened_at_once_all_open(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OPEN_ALL_AT_ONCE, str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-2000:]
