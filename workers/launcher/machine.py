"""Where a process id means something: the same number names other processes elsewhere, also in another container."""

import os
import socket
from pathlib import Path

BOOT = Path("/proc/sys/kernel/random/boot_id")
NAMESPACE = Path("/proc/self/ns/pid")


def machine() -> str:
    """This machine since it started, and the namespace of its processes that this one is in (Linux).

    Not the host name: containers may share one, and each has a process 1. Elsewhere there is nothing better than that.
    """
    try:
        return f"{BOOT.read_text().strip()} {os.readlink(NAMESPACE)}"
    except OSError:
        return socket.gethostname()
