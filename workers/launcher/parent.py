"""A worker process ends when its launcher does, however that happened: nobody would restart or stop it any more."""

import ctypes
import os
import signal
import sys

LAUNCHER = "TEXTMILL_LAUNCHER_PID"
"""The environment variable in which a launcher tells its children who it is."""

_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Ask the kernel (Linux) for a SIGTERM when the launcher dies. Does nothing where a launcher did not start this.

    Asked by the child itself and not between fork and exec, where Python may not safely run code.
    """
    launcher = os.environ.get(LAUNCHER)
    if launcher is None or sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(launcher):  # it died before it could be watched
        os.kill(os.getpid(), signal.SIGTERM)
