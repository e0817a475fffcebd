"""What was measured on what: the checkout and the device, in words."""

import os
import subprocess
from pathlib import Path

from benchmarks import servers
from workers.launcher.gpus import describe_device


def checkout() -> str:
    """The commit that was measured; `-dirty` where it has changes that are not committed."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    return subprocess.run(command, cwd=servers.ROOT, capture_output=True, text=True, check=True).stdout.strip()


def device() -> str:
    """What the models ran on."""
    name = describe_device("cpu" if os.environ.get("TEXTMILL_GPUS") == "none" else "auto")
    if name != "cpu":
        return name
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{models[0] if models else 'CPU'}, {len(os.sched_getaffinity(0))} cores"
