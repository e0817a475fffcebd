"""Which processes of an earlier launcher still hold what the ledger says they hold."""

import os
import subprocess
import sys

from workers.launcher.launcher import is_running


def test_a_process_that_nobody_waited_for_is_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.read()  # its end closes the pipe
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, and kept as a zombie
    assert not is_running(child.pid)
    child.wait()
    assert not is_running(child.pid)


def test_a_running_processis_running_whoever_owns_it() -> None:
    assert is_running(os.getpid())
    assert is_running(1)
